"""Operations that load CSV. They are jobs: the request is checked and answered at once, the outcome is in get_job."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, TextIO

from frontend import downloads, server_files
from frontend.csv_load import ACTIONS, load
from frontend.operations.members import SCHEMA, TABLE, Check, Invalid, Member, name, record, text
from frontend.operations.row import Call, Operation
from frontend.permissions import Demand, authorize_demands, on_tables

_BAD_ACTION = "Action is required and must be either insert, update, or upsert"


def csv_data_load(call: Call) -> dict[str, str]:
    return _start(call, io.StringIO(call["data"], newline=""))


def csv_file_load(call: Call) -> dict[str, str]:
    _ = call.table  # whether it exists comes before whether the file does
    return _start(call, server_files.open_for_reading(call.node, call["file_path"]))


def csv_url_load(call: Call) -> dict[str, str]:
    _ = call.table
    return _start(call, downloads.opened(call.node, call["csv_url"], call["passthrough_headers"]))


def _start(call: Call, opened: AbstractContextManager[TextIO]) -> dict[str, str]:
    table = call.table
    action = call["action"] or "insert"

    def check(columns: tuple[str, ...]) -> None:
        authorize_demands(call, [Demand(table.schema, table.name, _rights(call), columns)])

    def work() -> str:
        with opened as file:
            return load(file, table, action, call.user.name, check)

    return started(call.jobs.start(call.operation.name, call.user.name, call.word, work))


def started(job: str) -> dict[str, str]:
    """The answer to a request that became a job."""
    return {"message": f"Starting job with id {job}", "job_id": job}


# -------------------------------------------------------------------------------------------------------- permission


def _rights(call: Call) -> tuple[str, ...]:
    action = call["action"]
    return ("insert", "update") if action in (None, "upsert") else (action,)


def _demands(call: Call) -> Sequence[Demand]:
    return [Demand(call["schema"], call["table"], _rights(call))]


# ----------------------------------------------------------------------------------------------------------- members


def _action(value: Any, label: str) -> str:
    if value not in ACTIONS:
        raise Invalid(_BAD_ACTION)
    return str(value)


def _filled(capitalised: str, *, or_empty: bool = False) -> Check:
    def check(value: Any, label: str) -> str:
        if not isinstance(value, str):
            raise Invalid(f"{capitalised} must be a string")
        if not value and not or_empty:
            raise Invalid(f"{capitalised} is required")
        return value

    return check


def _url(value: Any, label: str) -> str:
    given = text(value, label)
    if not downloads.is_url(given):
        raise Invalid(f"'{label}' must be a valid url")
    return given


def _headers(value: Any, label: str) -> dict[str, str]:
    """Headers of a request; what could end one and begin another is refused."""
    given = record(value, label)
    for name_of, content in given.items():
        if not isinstance(content, str) or not _HEADER.fullmatch(f"{name_of}: {content}"):
            raise Invalid(f"'{label}.{name_of}' must be a header")
    return given


_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e]*")
_ACTION = Member("action", _action)
_COMMON = (
    SCHEMA,
    Member("table", name, required=True, absent="Table can't be blank", null_is_absent=True),
    _ACTION,
)

OPERATIONS = (
    Operation(
        "csv_data_load",
        csv_data_load,
        on_tables(_demands),
        (*_COMMON, Member("data", _filled("Data", or_empty=True), required=True, absent="Data  is required")),
        absent=400,
        joiner=",",
    ),
    Operation(
        "csv_file_load",
        csv_file_load,
        on_tables(_demands),
        (*_COMMON, Member("file_path", _filled("File path "), required=True, absent="File path  is required")),
        absent=400,
        joiner=",",
    ),
    Operation(
        "csv_url_load",
        csv_url_load,
        on_tables(_demands),
        (
            SCHEMA,
            TABLE,
            _ACTION,
            Member("csv_url", _url, required=True),
            Member("passthrough_headers", _headers, null_is_absent=True, default={}),
        ),
        absent=400,
    ),
)
