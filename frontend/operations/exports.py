"""Exports: the result of a search as a file on the server's machine, or as an object in S3. All mistakes show in the
job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from frontend import s3, server_files, wire
from frontend.errors import Refused
from frontend.jobs import Outcome
from frontend.operations import search, sql
from frontend.operations.dispatch import carry_out
from frontend.operations.members import Member, anything
from frontend.operations.row import Call, Operation, word_for
from frontend.operations.submission import submit
from frontend.permissions import super_user
from frontend.rows import Rows

if TYPE_CHECKING:
    from frontend.work import Job

SEARCHES = {row.name: row for row in (*search.OPERATIONS, *sql.OPERATIONS)}
LISTED = ("search_by_value", "search_by_hash", "sql", "search_by_conditions")
FORMATS = {"json": wire.stream_json, "csv": wire.stream_csv}


def _to_file(call: Call, job: Job) -> Outcome:
    form, directory = _format(call["format"]), _directory(call["path"])
    name = str(call["filename"] if call["filename"] is not None else time.time_ns() // 1_000_000)
    path = server_files.write(call.node, directory, f"{name}.{form}", _content(call, job, form))
    return {"message": f"Successfully exported {form.upper()} locally.", "path": path}


def _to_s3(call: Call, job: Job) -> Outcome:
    form, place = _format(call["format"]), _place(call["s3"])
    key = f"{place['key']}.{form}"
    s3.store(place, key, _content(call, job, form))
    return {"message": f"Successfully exported {form.upper()} to S3.", "bucket": place["bucket"], "key": key}


def _content(call: Call, job: Job, form: str) -> Iterator[bytes]:
    """The file in pieces. The search runs when the first one is asked for."""
    found = _search(call)
    try:
        for piece in FORMATS[form](found):
            yield piece
            job.progress("exporting")
    finally:
        found.close()


def _search(call: Call) -> Rows:
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
    if isinstance(result, Rows):
        return result
    if not isinstance(result, list):
        raise Refused(400, "search_operation must be a search")
    return Rows.of(result)


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


def _place(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise Refused(400, "S3 object is missing.")
    for name in s3.MEMBERS:
        if not isinstance(value.get(name), str) or not value[name]:
            raise Refused(400, f"{name} is missing.")
    return value


_SEARCH = (Member("format", anything), Member("search_operation", anything))

OPERATIONS = (
    Operation(
        "export_local",
        submit,
        super_user("export_local"),
        (*_SEARCH, Member("path", anything), Member("filename", anything)),
        work=_to_file,
    ),
    Operation("export_to_s3", submit, super_user("export_to_s3"), (*_SEARCH, Member("s3", anything)), work=_to_s3),
)
