"""Who looks after the tables: whoever holds the maintenance lock of the root directory.

That is the node process for as long as it runs (node.py). Where none runs, a process that writes a lot takes the lock
for as long as checkpoints are due, so that what a recovery has to replay stays bounded then, too. What is done
meanwhile is told in maintenance.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import KennelError
from engine.locks import lock

LOCK_NAME = "maintenance.lock"
PAUSE = 1.0  # seconds until somebody else who had the lock is asked again

log = logging.getLogger(__name__)


class Upkeep:
    """The upkeep by a process that writes: a thread that is there only while it is needed."""

    def __init__(self, root: Path, maintain: Callable[[], object]) -> None:
        """`maintain` is one round of upkeep, see Node.maintain."""
        self._root = root
        self._maintain = maintain
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = 0.0

    def request(self, is_due: Callable[[], bool]) -> None:
        """Has rounds of upkeep made, in the background, for as long as `is_due` says so; returns at once."""
        if time.monotonic() < self._again or not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None or not self._thread.is_alive():
                self._again = time.monotonic() + PAUSE
                thread = threading.Thread(target=self._run, args=(is_due,), name="upkeep", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError as error:  # no more threads; what was written is written
            log.error("tables cannot be looked after; it will be tried again: %s", error)
        finally:
            self._starting.release()

    def close(self) -> None:
        """Waits for the round that is under way; asked for after the node says that it is closed, it is the last."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, is_due: Callable[[], bool]) -> None:
        try:
            with lock(self._root / LOCK_NAME) as held:
                while held and is_due():
                    self._maintain()
        except (KennelError, OSError):
            log.exception("tables could not be looked after; it will be tried again")
