"""Lanes: works that must keep their order wait for each other, all others do not.

Each lane has one work at a time under way, in the order in which they came; the lanes share a few threads. So a table
that is held up (a lock, a slow disk) holds up itself only.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor


class Lanes:
    """`put` may be called from any thread, `close` once."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: dict[Hashable, deque[Callable[[], None]]] = {}
        self._lock = threading.Lock()

    def put(self, lane: Hashable, work: Callable[[], None]) -> None:
        """Run `work`, which must not raise, after all that was put into the lane before."""
        with self._lock:
            if lane in self._waiting:
                self._waiting[lane].append(work)
                return
            self._waiting[lane] = deque()
        self._pool.submit(self._run, lane, work)

    def close(self) -> None:
        """Wait for the works that are under way; those that wait are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, lane: Hashable, work: Callable[[], None]) -> None:
        work()
        with self._lock:
            if not self._waiting[lane]:
                del self._waiting[lane]
                return
            following = self._waiting[lane].popleft()
        try:
            self._pool.submit(self._run, lane, following)
        except RuntimeError:
            return  # closed meanwhile
