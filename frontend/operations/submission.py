"""The way of a request into a job: what was checked here is done by `Operation.work` in the node process."""

from __future__ import annotations

from frontend.jobs import Order
from frontend.operations.row import Call


def submit(call: Call, spooled: str | None = None, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """The answer to a request that became a job. The members `without` do not go with it."""
    members = {name: value for name, value in call.members.items() if name not in without}
    job = call.jobs.start(Order(call.operation.name, call.user.name, call.word, members, spooled))
    return {"message": f"Starting job with id {job}", "job_id": job}
