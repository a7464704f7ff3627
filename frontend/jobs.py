"""Jobs as those see them who ask for one: they are started by the node process, and shown from system.hdb_job.

A job's row tells how it fares. What it was asked to do is not kept, since that may hold secrets: it goes to the node
process over the control socket. Only what is too large for that waits in a file of `<root>/jobs`, until the job begins.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

import engine
from engine import control
from engine.files import failure
from frontend.errors import Refused

JOBS = "hdb_job"
CREATED, IN_PROGRESS, COMPLETE, ERROR = "CREATED", "IN_PROGRESS", "COMPLETE", "ERROR"
START = "start_job"  # the control operation
DIRECTORY = "jobs"

#: What a job's work gives: a message, or a result with the members of an object.
Outcome = str | dict[str, Any]

_INSIDE = ("__createdtime__", "__updatedtime__")


class Order(msgspec.Struct, frozen=True):
    """What a job is to do: an operation with checked members, on behalf of a user. `spooled` names a file of
    `<root>/jobs`; `word` is what messages call a schema."""

    operation: str
    user: str
    word: str
    members: dict[str, Any]
    spooled: str | None = None


class Jobs:
    """The jobs of a node. Safe for threads."""

    def __init__(self, node: engine.Node) -> None:
        self._root = node.root
        self._rows = node.system(JOBS)

    def start(self, order: Order) -> str:
        """Have the node process do it; gives the id of the job. Unreachable without a node process, Busy when too many
        jobs are waiting; then what was spooled is gone."""
        try:
            return self._hand_over(order)
        except BaseException:
            if order.spooled is not None:
                (spool_directory(self._root) / order.spooled).unlink(missing_ok=True)
            raise

    def _hand_over(self, order: Order) -> str:
        try:
            body = msgspec.to_builtins(order, builtin_types=(bytes,))
            return str(control.call(self._root, START, body))
        except (TypeError, OverflowError, ValueError) as problem:
            raise Refused(400, f"A job cannot be given this: {problem}") from None

    def spool(self, text: str) -> str:
        """Put a text into a file for a job to come; gives its name. DiskFull."""
        file = spool_directory(self._root) / str(uuid.uuid4())
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(text.encode(errors="replace"))
        except OSError as error:
            file.unlink(missing_ok=True)
            raise failure(file, error) from error
        return file.name

    def find(self, job: str) -> dict[str, Any] | None:
        row = self._rows.get(job)
        return None if row is None else _shown(row)

    def between(self, start: float, end: float) -> list[dict[str, Any]]:
        """The jobs that were made between two times (ms, both exclusive), oldest first."""
        if "created_datetime" not in self._rows.attribute_names():
            return []
        rows = self._rows.search("created_datetime", "greater_than", start)
        return [_shown(row) for row in rows if row["created_datetime"] < end]


def spool_directory(root: Path) -> Path:
    directory = root / DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def now() -> int:
    return time.time_ns() // 1_000_000


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _INSIDE}
