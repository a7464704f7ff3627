"""Jobs in the node process: `engine.node --extension frontend.work` starts this beside replication and upkeep.

The engine hosts it without knowing it, so that jobs may use what stands above the engine: the operations with their one
permission check, and SQL in exports. What a job needs is imported with the first one.

A job runs in a thread, AT_ONCE of them at a time. Its row is written before the caller gets its id, again while it goes
on, and when it has ended. A node process that starts finds the rows of jobs that its predecessor did not finish, and
ends them with the reason. Rows of jobs that ended longer ago than `bulk.jobRetention` are removed.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

import engine
from engine.settings import seconds
from frontend.errors import Refused, refusal
from frontend.jobs import COMPLETE, CREATED, ERROR, IN_PROGRESS, JOBS, START, Order, now, spool_directory

if TYPE_CHECKING:
    from frontend.operations import Operations

AT_ONCE = 2  # jobs at work
WAITING = 100  # jobs taken on at most
REPORT_INTERVAL = 1.0  # seconds between two reports of progress
FORGOTTEN = 1000  # rows of old jobs that are removed at a time
GRACE = 5.0  # seconds for jobs to notice that the process ends

INTERRUPTED = "The job was interrupted by a restart of the node."

T = TypeVar("T")

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """The process ends before the job."""


def start(node: engine.Node) -> Work:
    """Begin to take jobs for a node: the entry for the node process."""
    return Work(node)


class Job:
    """A job as its work sees it."""

    def __init__(self, identity: str, report: Callable[[str], None], stopping: threading.Event, spooled: Path | None):
        self.id = identity
        self.spooled = spooled
        self._report = report
        self._stopping = stopping
        self._reported = time.monotonic()

    def progress(self, message: str) -> None:
        """Tell how far it is; to be called often, since here the job ends when the process does. Interrupted."""
        if self._stopping.is_set():
            raise Interrupted
        if time.monotonic() - self._reported >= REPORT_INTERVAL:
            self._reported = time.monotonic()
            self._report(message)

    def counting(self, chunks: Iterable[list[T]], what: str) -> Iterator[list[T]]:
        """The same chunks, with progress told as so many of `what`."""
        count = 0
        for chunk in chunks:
            yield chunk
            count += len(chunk)
            self.progress(f"{count} {what} so far")


class Work:
    """Takes and does the jobs of one node."""

    def __init__(self, node: engine.Node) -> None:
        self._node = node
        self._rows = node.system(JOBS)
        self._directory = spool_directory(node.root)
        self._stopping = threading.Event()
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._places = threading.BoundedSemaphore(WAITING)
        self._threads: set[threading.Thread] = set()
        self._kept_for = round(seconds(node.configuration.get("bulk.jobRetention")) * 1000)
        self._end_unfinished()
        self._forget_old()

    def operations(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """What this adds to the control socket."""
        return {START: lambda body: self.take(msgspec.convert(body, Order))}

    def take(self, order: Order) -> str:
        """Take a job on; gives its id. Busy."""
        if not self._places.acquire(blocking=False):
            raise engine.Busy("Too many jobs are waiting; try again later.")
        job = str(uuid.uuid4())
        try:
            row = {"id": job, "type": order.operation, "status": CREATED, "message": None, "user": order.user}
            self._rows.insert([{**row, "created_datetime": now()}])
            thread = threading.Thread(target=self._run, args=(job, order), name=f"job {job}", daemon=True)
            self._threads.add(thread)
            thread.start()
        except BaseException:
            self._places.release()
            raise
        return job

    def wait(self, timeout: float) -> bool:
        """Wait until all jobs have ended, but no longer than `timeout` seconds; whether they have."""
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in list(self._threads))

    def close(self) -> None:
        """Interrupt what is under way."""
        self._stopping.set()
        self.wait(GRACE)

    def _run(self, job: str, order: Order) -> None:
        try:
            with self._slots:
                self._change(job, status=IN_PROGRESS, start_datetime=now())
                self._change(job, **self._ended(job, order), end_datetime=now())
                self._forget_old()
        except engine.KennelError as problem:  # of its row, which is ended at the next start
            log.warning("job %s was cut off: %s", job, problem.message)
        finally:
            self._threads.discard(threading.current_thread())
            self._places.release()

    def _ended(self, job: str, order: Order) -> dict[str, Any]:
        """Do a job; gives the attributes of its row that tell how it ended."""
        spooled = self._directory / order.spooled if order.spooled is not None else None
        handle = Job(job, lambda message: self._change(job, message=message), self._stopping, spooled)
        try:
            handle.progress("")
            done = self._operations.work(order, handle)
        except (Interrupted, engine.Closed):
            return {"status": ERROR, "message": INTERRUPTED}
        except Exception as error:
            refused = error if isinstance(error, Refused) else refusal(error, order.word, 404)
            only_text = refused.body.keys() == {"error"}
            return {"status": ERROR, "message": refused.body["error"] if only_text else refused.body}
        finally:
            if spooled is not None:
                spooled.unlink(missing_ok=True)
        if isinstance(done, str):
            return {"status": COMPLETE, "message": done}
        return {"status": COMPLETE, "message": f"Successfully completed job: {job}", "result": done}

    @cached_property
    def _operations(self) -> Operations:
        from frontend.operations import Operations

        return Operations(self._node)

    def _change(self, job: str, **changes: Any) -> None:
        self._rows.update([{"id": job, **changes}])

    def _forget_old(self) -> None:
        """Remove some of the rows that were kept long enough; as often as jobs end, that is fast enough."""
        if "end_datetime" not in self._rows.attribute_names():
            return
        old = self._rows.search("end_datetime", "less_than", now() - self._kept_for, limit=FORGOTTEN, columns=["id"])
        gone = [row["id"] for row in old if row.get("id") is not None]
        if gone:
            self._rows.delete(gone)

    def _end_unfinished(self) -> None:
        for file in self._directory.iterdir():
            file.unlink(missing_ok=True)
        if "status" not in self._rows.attribute_names():
            return
        for status in (CREATED, IN_PROGRESS):
            for row in list(self._rows.search("status", "equals", status, columns=["id"])):
                self._change(row["id"], status=ERROR, message=INTERRUPTED, end_datetime=now())
