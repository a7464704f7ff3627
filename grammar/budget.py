"""What one statement may use: time, and rows held at once. It can also be stopped from another thread."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from grammar.errors import SqlError

Row = TypeVar("Row")

FIRST_CHUNK, CHUNK = 16, 1024  # rows between two looks at the clock: few at first, since few may be wanted


class Budget:
    """Limits for one run of a statement; None is no limit.

    `rows` counts what sorts, groups, hash tables and the result itself keep in memory. A budget that is not `watched`
    has no limits and cannot be stopped, and so costs nothing.
    """

    def __init__(self, seconds: float | None = None, rows: int | None = None, *, watched: bool = True) -> None:
        self.seconds = seconds
        self.rows = rows
        self.watched = watched
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._held = 0
        self._stopped = False

    def stop(self) -> None:
        """Makes the statement fail at its next look at the budget; for other threads."""
        self._stopped = True

    def tick(self) -> None:
        """Raises SqlError when the time is up or the statement was stopped."""
        if self._stopped:
            raise SqlError("The statement was cancelled.")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise SqlError(f"The statement takes longer than {self.seconds:g} seconds.")

    def hold(self, rows: int) -> None:
        """Raises SqlError when more rows would be kept than allowed."""
        if self.rows is None:
            return
        self._held += rows
        if self._held > self.rows:
            raise SqlError(f"The statement needs more than {self.rows} rows in memory.")

    def metered(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, with a look at the clock between chunks of them."""
        return self._metered(iter(rows)) if self.watched else iter(rows)

    def _metered(self, rows: Iterator[Row]) -> Iterator[Row]:
        size = FIRST_CHUNK
        while chunk := list(islice(rows, size)):
            self.tick()
            yield from chunk
            size = min(size * 2, CHUNK)

    def collected(self, rows: Iterable[Row]) -> list[Row]:
        """The rows as a list that is held."""
        if not self.watched:
            return list(rows)
        found: list[Row] = []
        source = iter(rows)
        while chunk := list(islice(source, CHUNK)):
            self.tick()
            self.hold(len(chunk))
            found += chunk
        return found


UNWATCHED = Budget(watched=False)
