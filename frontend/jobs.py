"""Work that outlasts its request: jobs, their rows in system.hdb_job, and the threads that carry them out.

A job runs in the process that took the request. Its row names that process, so that a job whose process ended before it
is told from one that is still at work, by whoever looks first. What a job was asked to do is not kept: it may hold
secrets.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psutil

import engine
from frontend.errors import Refused, refusal

JOBS = "hdb_job"
CREATED, IN_PROGRESS, COMPLETE, ERROR = "CREATED", "IN_PROGRESS", "COMPLETE", "ERROR"

AT_ONCE = 2  # jobs that a process works at
WAITING = 100  # jobs that a process has taken on at most

#: What a job's work gives: a message, or a result with the members of an object.
Outcome = str | dict[str, Any]

_INTERRUPTED = "The job was interrupted by a restart of the node."
_INSIDE = ("process", "__createdtime__", "__updatedtime__")


class Jobs:
    """The jobs of a node. Safe for threads."""

    def __init__(self, node: engine.Node) -> None:
        self._rows = node.system(JOBS)
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._places = threading.BoundedSemaphore(WAITING)
        self._threads: set[threading.Thread] = set()
        self._process = {"pid": os.getpid(), "started": psutil.Process().create_time()}

    def start(self, kind: str, user: str, word: str, work: Callable[[], Outcome]) -> str:
        """Have `work` done by a thread of this process; gives the id of the job. Busy when too many are waiting.

        `word` is what messages call a schema.
        """
        if not self._places.acquire(blocking=False):
            raise engine.Busy("Too many jobs are waiting; try again later.")
        job = str(uuid.uuid4())
        row = {
            "id": job,
            "type": kind,
            "status": CREATED,
            "message": None,
            "user": user,
            "created_datetime": _now(),
            "process": self._process,
        }
        try:
            self._rows.insert([row])
            thread = threading.Thread(target=self._run, args=(job, word, work), name=f"job {job}", daemon=True)
            self._threads.add(thread)
            thread.start()
        except BaseException:
            self._places.release()
            raise
        return job

    def wait(self, timeout: float) -> bool:
        """Wait until the jobs of this process have ended, but no longer than `timeout` seconds; whether they have."""
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in list(self._threads))

    def find(self, job: str) -> dict[str, Any] | None:
        row = self._rows.get(job)
        return None if row is None else self._shown(row)

    def between(self, start: float, end: float) -> list[dict[str, Any]]:
        """The jobs that were made between two times (ms, both exclusive), oldest first."""
        if "created_datetime" not in {attribute.name for attribute in self._rows.attributes()}:
            return []
        rows = self._rows.search("created_datetime", "greater_than", start)
        return [self._shown(row) for row in rows if row["created_datetime"] < end]

    def _run(self, job: str, word: str, work: Callable[[], Outcome]) -> None:
        try:
            with self._slots:
                self._rows.update([{"id": job, "status": IN_PROGRESS, "start_datetime": _now()}])
                change = _outcome(job, word, work)
                self._rows.update([{"id": job, "end_datetime": _now(), **change}])
        finally:
            self._threads.discard(threading.current_thread())
            self._places.release()

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["status"] in (CREATED, IN_PROGRESS) and not _is_alive(row["process"]):
            end = {"status": ERROR, "message": _INTERRUPTED, "end_datetime": _now()}
            self._rows.update([{"id": row["id"], **end}])
            row = {**row, **end}
        return {name: value for name, value in row.items() if name not in _INSIDE}


def _outcome(job: str, word: str, work: Callable[[], Outcome]) -> dict[str, Any]:
    """What becomes of a job: the attributes of its row that tell how it ended."""
    try:
        done = work()
    except Exception as error:
        refused = error if isinstance(error, Refused) else refusal(error, word, 404)
        only_text = refused.body.keys() == {"error"}
        return {"status": ERROR, "message": refused.body["error"] if only_text else refused.body}
    if isinstance(done, str):
        return {"status": COMPLETE, "message": done}
    return {"status": COMPLETE, "message": f"Successfully completed job: {job}", "result": done}


def _is_alive(process: dict[str, Any]) -> bool:
    try:
        return abs(psutil.Process(process["pid"]).create_time() - process["started"]) < 1
    except psutil.NoSuchProcess:
        return False


def _now() -> int:
    return time.time_ns() // 1_000_000
