"""Failed logins, counted per user and address, so that guessing passwords is slow and nobody else is locked out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from frontend.errors import Refused

#: Failures of one user from one address that are answered in a window of so many seconds; per process.
LIMIT = 60
WINDOW = 60.0

#: Pairs kept at most; when there are more, those whose window has passed go, and else all.
MAX_PAIRS = 10_000


@dataclass(slots=True)
class _Failures:
    since: float
    count: int = 0


class FailedLogins:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[tuple[str, str], _Failures] = {}

    def check(self, username: str, address: str) -> None:
        """Raise 429 with Retry-After when this user failed too often from this address."""
        with self._lock:
            failures = self._failures.get((username, address))
            left = 0.0 if failures is None else failures.since + WINDOW - self._clock()
            if failures is None or failures.count < LIMIT or left <= 0:
                return
        raise Refused(429, "Too many failed logins. Try again later.", headers={"Retry-After": str(int(left) + 1)})

    def add(self, username: str, address: str) -> None:
        now = self._clock()
        with self._lock:
            failures = self._failures.get((username, address))
            if failures is None or failures.since + WINDOW <= now:
                self._make_room(now)
                failures = self._failures[(username, address)] = _Failures(now)
            failures.count += 1

    def _make_room(self, now: float) -> None:
        if len(self._failures) < MAX_PAIRS:
            return
        current = {pair: failures for pair, failures in self._failures.items() if failures.since + WINDOW > now}
        self._failures = current if len(current) < MAX_PAIRS else {}
