"""Operations that look at jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from frontend.operations.members import Check, Invalid, Member
from frontend.operations.row import Call, Operation
from frontend.permissions import EVERYBODY, super_user

_CONVERTED = ("start_datetime", "end_datetime")


def get_job(call: Call) -> list[dict[str, Any]]:
    found = call.jobs.find(call["id"]) if isinstance(call["id"], str) else None
    return [] if found is None else [found]


def search_jobs_by_start_date(call: Call) -> list[dict[str, Any]]:
    return [_with_dates(job) for job in call.jobs.between(call["from_date"], call["to_date"])]


def _with_dates(job: dict[str, Any]) -> dict[str, Any]:
    dates = {f"{name}_converted": _iso(job[name]) for name in _CONVERTED if job.get(name) is not None}
    return {**job, **dates}


def _iso(milliseconds: float) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ----------------------------------------------------------------------------------------------------------- members


def _job_id(value: Any, label: str) -> Any:
    if value == "":
        raise Invalid("Invalid job ID specified.")
    return value


def _invalid_date(which: str, end: str) -> str:
    text = f"Error: Invalid '{which}' date, must be in ISO-8601 format (YYYY-MM-DD){end}"
    return f"There was an error searching jobs by date: {text}"


def _milliseconds(text: str) -> Check:
    def check(value: Any, label: str) -> float:
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise Invalid(text) from None
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * 1000

    return check


_BAD_FROM, _BAD_TO = _invalid_date("from", "."), _invalid_date("to", "")

OPERATIONS = (
    Operation("get_job", get_job, EVERYBODY, (Member("id", _job_id, required=True),)),
    Operation(
        "search_jobs_by_start_date",
        search_jobs_by_start_date,
        super_user("handleGetJobsByStartDate"),
        (
            Member("from_date", _milliseconds(_BAD_FROM), required=True, absent=_BAD_FROM),
            Member("to_date", _milliseconds(_BAD_TO), required=True, absent=_BAD_TO),
        ),
        only_first_problem=True,
    ),
)
