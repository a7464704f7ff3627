"""Operations that clear away what is old: records, on this node only, and entries of a table's log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import engine
from engine import keys
from frontend.jobs import Outcome
from frontend.operations.members import SCHEMA, TABLE, Invalid, Member, text
from frontend.operations.row import Call, Operation
from frontend.operations.submission import submit
from frontend.permissions import SUPER_USER, Demand, authorize_demands, super_user

if TYPE_CHECKING:
    from frontend.work import Job

CHUNK = 1000  # records that are deleted in one transaction
CREATED = "__createdtime__"


def _records_before(call: Call, job: Job) -> Outcome:
    """Each chunk is what a view of its own shows, and is given up if one of its records changes meanwhile."""
    authorize_demands(call, [Demand(call["schema"], call["table"], ("delete",))])
    table, deleted = call.table, 0
    while True:
        with table.view() as view:
            chunk = list(islice(_created_before(view, call["date"]), CHUNK))
            if not chunk:
                break
            with suppress(engine.Conflict):  # somebody wrote one of them; the next view shows what is left to do
                deleted += len(table.delete(chunk, user=call.user.name, at=view, replicated=False).written)
        job.progress(f"{deleted} records deleted so far")
    return f"{deleted} of {deleted} records successfully deleted" if deleted else "No records found to delete"


def _created_before(view: engine.View, moment: float) -> Iterator[Any]:
    """The keys of records that were made before a time (ms)."""
    if view.is_indexed(CREATED):
        return view.keys(CREATED, keys.below(moment) & keys.NUMBERS)
    key = view.primary_key
    rows = view.scan(key, columns=(key, CREATED))
    return (row[key] for row in rows if row.get(CREATED) is not None and row[CREATED] < moment)


def _log_before(call: Call, job: Job) -> Outcome:
    forgotten = call.table.forget_log(int(call["timestamp"] * 1000))
    return {
        "start_timestamp": _milliseconds(forgotten.first),
        "end_timestamp": _milliseconds(forgotten.last),
        "transactions_deleted": forgotten.transactions,
    }


def _milliseconds(version: int | None) -> float | None:
    return None if version is None else version / 1000


# ----------------------------------------------------------------------------------------------------------- members


def _date(value: Any, label: str) -> float:
    """A time in ISO 8601, UTC unless it says otherwise, in milliseconds."""
    try:
        moment = datetime.fromisoformat(text(value, label))
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * 1000
    except (ValueError, OverflowError):
        raise Invalid(f"'{label}' must be in ISO 8601 date format") from None


def _timestamp(value: Any, label: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise Invalid(f"'{label}' is invalid")
    return value


_BY_DATE = (SCHEMA, TABLE, Member("date", _date, required=True))
_BY_TIMESTAMP = (SCHEMA, TABLE, Member("timestamp", _timestamp, required=True))
_SUPER_USER_FILES = super_user("deleteFilesBefore")

OPERATIONS = (
    Operation("delete_records_before", submit, _SUPER_USER_FILES, _BY_DATE, work=_records_before),
    Operation("delete_files_before", submit, _SUPER_USER_FILES, _BY_DATE, work=_records_before),
    Operation("delete_audit_logs_before", submit, SUPER_USER, _BY_TIMESTAMP, work=_log_before),
    Operation("delete_transaction_logs_before", submit, SUPER_USER, _BY_TIMESTAMP, work=_log_before),
)
