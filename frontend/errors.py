"""Failures of requests: what the front end raises, and the one place that turns any exception into status and body."""

from __future__ import annotations

import logging
from typing import Any

import engine

log = logging.getLogger(__name__)

PRODUCT = "KennelDB"

#: What an unforeseen exception shows of itself; the traceback goes to the log.
FAULT = "There was an error processing your request. Check logs and try again."

#: The nearest class in the method resolution order decides. NotFound is missing: each operation has its own status.
STATUS: dict[type[BaseException], int] = {
    engine.InvalidRequest: 400,
    engine.AlreadyExists: 400,
    engine.Conflict: 409,
    engine.Busy: 503,
    engine.Cancelled: 503,
    engine.OutOfTime: 504,
    engine.Unreachable: 503,
    engine.ReadOnlyTable: 503,
    engine.DiskFull: 507,
}


class Refused(Exception):
    """A request that gets an answer other than 200. The body is `{"error": text}` and what `members` adds to it."""

    def __init__(self, status: int, text: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(text)
        self.status = status
        self.body = {"error": text, **members}
        self.headers = headers or {}


def refusal(error: Exception, word: str, absent: int) -> Refused:
    """Any exception of an operation, other than a Refused, as one.

    `word` is what the request called a schema ("schema" or "database"), `absent` the operation's status for schemas
    and tables that do not exist.
    """
    if isinstance(error, RecursionError):
        return Refused(400, "The request is nested too deeply.")
    if not isinstance(error, engine.KennelError):
        return fault(error)
    status = absent if isinstance(error, engine.NotFound) else _status(error)
    if status is None:
        return fault(error)
    return Refused(status, _text(error, word))


def fault(error: Exception) -> Refused:
    """The answer to an error of our own: logged in full, shown without detail."""
    log.error("an operation failed", exc_info=error)
    return Refused(500, FAULT)


def system_is_protected(word: str) -> Refused:
    """The answer to writes and drops in the system schema."""
    return Refused(
        403,
        f"The 'system' {word}, tables and records are used internally by {PRODUCT} and cannot be updated or removed.",
    )


def _status(error: engine.KennelError) -> int | None:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def _text(error: engine.KennelError, word: str) -> str:
    match error:
        case engine.NoSuchSchema():
            return f"{word} '{error.schema}' does not exist"
        case engine.SchemaExists():
            return f"{word} '{error.schema}' already exists"
    return error.message
