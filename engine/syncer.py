"""The thread that makes commits durable at intervals, where `storage.durability` is `interval`.

Each process that writes has one: whoever comes first syncs for all, so what a process leaves behind when it dies is
synced by the next.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from engine.errors import KennelError
from engine.store import Store

log = logging.getLogger(__name__)


class Syncer:
    """Syncs the stores that `stores` gives, every `seconds`, until it is closed."""

    def __init__(self, stores: Callable[[], Iterable[Store]], seconds: float) -> None:
        self._stores = stores
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="syncer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Syncs once more and ends the thread."""
        self._stopping.set()
        self._thread.join()
        self._sync_all()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._sync_all()

    def _sync_all(self) -> None:
        for store in self._stores():
            try:
                if store.is_behind:
                    store.sync()
            except KennelError:
                log.exception("commits of %s could not be made durable", store.directory)
