"""export_local: the result of a search as a file on the server's machine. All mistakes show in the job."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from frontend import server_files, wire
from frontend.errors import Refused
from frontend.operations import search, sql
from frontend.operations.bulk import started
from frontend.operations.dispatch import carry_out
from frontend.operations.members import Member, anything
from frontend.operations.row import Call, Operation, word_for
from frontend.permissions import super_user

SEARCHES = {row.name: row for row in (*search.OPERATIONS, *sql.OPERATIONS)}
LISTED = ("search_by_value", "search_by_hash", "sql", "search_by_conditions")
FORMATS = {"json": wire.encode_json, "csv": wire.encode_csv}


def export_local(call: Call) -> dict[str, str]:
    def work() -> dict[str, str]:
        form, directory = _format(call["format"]), _directory(call["path"])
        name = str(call["filename"] if call["filename"] is not None else time.time_ns() // 1_000_000)
        content = FORMATS[form](_search(call))
        path = server_files.write(call.node, directory, f"{name}.{form}", content)
        return {"message": f"Successfully exported {form.upper()} locally.", "path": path}

    return started(call.jobs.start(call.operation.name, call.user.name, call.word, work))


def _search(call: Call) -> Any:
    """The result of the search, with the permissions of the caller."""
    request = call["search_operation"]
    name = request.get("operation") if isinstance(request, dict) else None
    if not name:
        raise Refused(400, "search_operation.operation missing")
    row = SEARCHES.get(name) if isinstance(name, str) else None
    if row is None:
        listed = ", ".join(LISTED)
        raise Refused(400, f"searchOperation.operation must be one of the following values: {listed}")
    result = carry_out(replace(call, operation=row, request=request, word=word_for(name, request), members={}))
    if not isinstance(result, list):
        raise Refused(400, "search_operation must be a search")
    return result


def _format(value: Any) -> str:
    if value is None or value == "":
        raise Refused(400, "format missing")
    if not isinstance(value, str) or value not in FORMATS:
        raise Refused(400, f"format invalid. must be one of the following values: {', '.join(FORMATS)}")
    return value


def _directory(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Refused(400, "path is missing.")
    return value


OPERATIONS = (
    Operation(
        "export_local",
        export_local,
        super_user("export_local"),
        (
            Member("format", anything),
            Member("path", anything),
            Member("filename", anything),
            Member("search_operation", anything),
        ),
    ),
)
