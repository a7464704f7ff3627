"""Operations that load files of records. They are jobs: the request is checked and answered at once, the outcome is in
get_job."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from frontend import csv_load, downloads, json_load, s3, server_files
from frontend.jobs import Outcome
from frontend.loading import ACTIONS, Record, load
from frontend.operations.members import SCHEMA, TABLE, Check, Invalid, Member, name, record, text
from frontend.operations.row import Call, Operation
from frontend.operations.submission import submit
from frontend.permissions import Demand, authorize_demands, on_tables

if TYPE_CHECKING:
    from frontend.work import Job

_BAD_ACTION = "Action is required and must be either insert, update, or upsert"


def csv_data_load(call: Call) -> dict[str, str]:
    _ = call.table
    return submit(call, call.jobs.spool(call["data"]), without=("data",))


def csv_file_load(call: Call) -> dict[str, str]:
    _ = call.table  # whether it exists comes before whether the file does
    server_files.open_for_reading(call.node, call["file_path"]).close()
    return submit(call)


def load_of_elsewhere(call: Call) -> dict[str, str]:
    """Whether there is something to be loaded shows in the job."""
    _ = call.table
    return submit(call)


# -------------------------------------------------------------------------------------------------------------- jobs


def _from_spool(call: Call, job: Job) -> Outcome:
    assert job.spooled is not None
    with job.spooled.open("rb") as file:
        return _load_csv(call, job, file)


def _from_file(call: Call, job: Job) -> Outcome:
    with server_files.open_for_reading(call.node, call["file_path"]) as file:
        return _load_csv(call, job, file)


def _from_url(call: Call, job: Job) -> Outcome:
    with downloads.opened(call.node, call["csv_url"], call["passthrough_headers"]) as file:
        return _load_csv(call, job, file)


def _from_s3(call: Call, job: Job) -> Outcome:
    with s3.opened(call["s3"]) as file:
        return (_load_json if call["s3"]["key"].endswith(".json") else _load_csv)(call, job, file)


def _load_csv(call: Call, job: Job, file: BinaryIO) -> str:
    columns, chunks = csv_load.parsed(file, call.table.definition)
    _check(call, columns)
    return _load(call, job, chunks, lambda chunk: None) or "No records parsed from csv file."


def _load_json(call: Call, job: Job, file: BinaryIO) -> str:
    def check(chunk: list[Record]) -> None:
        _check(call, tuple(dict.fromkeys(name for record in chunk for name in record)))

    return _load(call, job, json_load.parsed(file), check) or "No records parsed from json file."


def _load(call: Call, job: Job, chunks: Iterator[list[Record]], check: Callable[[list[Record]], None]) -> str:
    action = call["action"] or "insert"
    written, found = load(chunks, call.table, action, call.user.name, check, job.progress)
    return f"successfully loaded {written} of {found} records" if found else ""


def _check(call: Call, attributes: tuple[str, ...]) -> None:
    authorize_demands(call, [Demand(call["schema"], call["table"], _rights(call), attributes)])


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


def _s3_object(value: Any, label: str) -> dict[str, str]:
    """Where an object is, and the credentials for it; all of the members are needed."""
    given = value if isinstance(value, dict) else {}
    problems = [] if given else [_blank("S3")]
    problems += [_blank(f"S3 {words}") for name_of, words in s3.MEMBERS.items() if given.get(name_of) in (None, "")]
    key = given.get("key")
    if key and not str(key).endswith((".csv", ".json")):
        problems.append("S3 key must include one of the following valid file extensions - '.csv', '.json'")
    if problems:
        raise Invalid(",".join(problems))
    return {name_of: str(given[name_of]) for name_of in s3.MEMBERS}


def _blank(words: str) -> str:
    return f"{words} can't be blank"


_NO_S3 = ",".join(map(_blank, ("S3", *(f"S3 {words}" for words in s3.MEMBERS.values()))))

OPERATIONS = (
    Operation(
        "csv_data_load",
        csv_data_load,
        on_tables(_demands),
        (*_COMMON, Member("data", _filled("Data", or_empty=True), required=True, absent="Data  is required")),
        absent=400,
        joiner=",",
        work=_from_spool,
    ),
    Operation(
        "csv_file_load",
        csv_file_load,
        on_tables(_demands),
        (*_COMMON, Member("file_path", _filled("File path "), required=True, absent="File path  is required")),
        absent=400,
        joiner=",",
        work=_from_file,
    ),
    Operation(
        "csv_url_load",
        load_of_elsewhere,
        on_tables(_demands),
        (
            SCHEMA,
            TABLE,
            _ACTION,
            Member("csv_url", _url, required=True),
            Member("passthrough_headers", _headers, null_is_absent=True, default={}),
        ),
        absent=400,
        work=_from_url,
    ),
    Operation(
        "import_from_s3",
        load_of_elsewhere,
        on_tables(_demands),
        (*_COMMON, Member("s3", _s3_object, required=True, absent=_NO_S3, null_is_absent=True)),
        absent=400,
        joiner=",",
        work=_from_s3,
    ),
)
