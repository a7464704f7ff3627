"""What one statement may use: time, rows and memory held at once, and disk for what does not fit there.

Operators tell what they keep; sizes are taken from a sample of the rows. A sort or a hash join that finds no room goes
on with files (spill.py); everything else that would hold too much is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from sys import getsizeof
from typing import Any, TypeVar

from engine import Cancelled, OutOfTime
from grammar.errors import SqlError

Row = TypeVar("Row")

FIRST_CHUNK, CHUNK = 16, 1024  # rows between two looks at the clock: few at first, since few may be wanted
LOOK_INTERVAL = 0.1  # seconds between two calls of `watch`
SAMPLED = 64  # one row in so many is measured
POINTER = 8  # bytes
USUAL_SIZE = 128  # bytes of a row that nobody showed
MEBIBYTE = 1 << 20


class Budget:
    """Limits for one run of a statement; None is no limit.

    `rows` and `memory` (bytes) count what sorts, groups, hash tables and the result itself keep; `disk` (bytes) what
    is `written` to files in `directory`, without which there are none. `watch` is called now and then, and may raise
    to end the statement. A budget that is not `watched` has no limits and cannot be stopped, and so costs nothing.
    """

    def __init__(
        self,
        seconds: float | None = None,
        rows: int | None = None,
        *,
        memory: int | None = None,
        disk: int | None = None,
        directory: Path | None = None,
        watch: Callable[[], None] | None = None,
        watched: bool = True,
    ) -> None:
        self.seconds = seconds
        self.rows = rows
        self.memory = memory
        self.disk = disk
        self.directory = directory
        self.watched = watched
        self._watch = watch
        now = time.monotonic()
        self._deadline = None if seconds is None else now + seconds
        self._next_look = now + LOOK_INTERVAL
        self._held_rows = 0
        self._held_bytes = 0
        self.written = 0
        self._stopped = False

    def stop(self) -> None:
        """Makes the statement fail at its next look at the budget; for other threads."""
        self._stopped = True

    def tick(self) -> None:
        """Raises OutOfTime when the time is up, Cancelled when the statement was stopped, and what `watch` raises."""
        if self._stopped:
            raise Cancelled("The statement was cancelled.")
        if self._deadline is None and self._watch is None:
            return
        now = time.monotonic()
        if self._deadline is not None and now > self._deadline:
            raise OutOfTime(f"The statement takes longer than {self.seconds:g} seconds.")
        if self._watch is not None and now > self._next_look:
            self._next_look = now + LOOK_INTERVAL
            self._watch()

    # --- memory

    def hold(self, rows: int, like: Any = None) -> None:
        """So many more rows are kept, each about as large as `like`. Raises SqlError when that is too much."""
        if self.watched and not self._take(rows, rows * (USUAL_SIZE if like is None else size_of(like))):
            raise self.exceeded()

    def keep(self, rows: Sequence[Any]) -> None:
        """These rows are kept. Raises SqlError when that is too much."""
        if self.watched and not self._take(len(rows), size_of_all(rows)):
            raise self.exceeded()

    def exceeded(self) -> SqlError:
        """The error for a statement that needs more than it may hold: it names the limit that is nearer."""
        of_rows = 0.0 if self.rows is None else self._held_rows / self.rows
        of_memory = 0.0 if self.memory is None else self._held_bytes / self.memory
        if self.memory is None or of_rows > of_memory:
            return SqlError(f"The statement needs more than {self.rows} rows in memory.")
        return SqlError(f"The statement needs more than {_shown(self.memory)} of memory.")

    def holding(self) -> Holding:
        """For an operator that can let go of what it holds."""
        return Holding(self)

    def _take(self, rows: int, size: int) -> bool:
        """Whether there is room; what is refused counts all the same."""
        self._held_rows += rows
        self._held_bytes += size
        too_many = self.rows is not None and self._held_rows > self.rows
        return not too_many and not (self.memory is not None and self._held_bytes > self.memory)

    def write(self, size: int) -> None:
        """So many bytes more go to disk. Raises SqlError when that is too much."""
        self.written += size
        if self.disk is not None and self.written > self.disk:
            raise SqlError(f"The statement needs more than {_shown(self.disk)} of disk.")

    # --- rows on their way

    def ticking(self, steps: Iterable[Row]) -> Iterator[Row]:
        """The steps of something, with a look at the clock after each."""
        for step in steps:
            self.tick()
            yield step

    def metered(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, with a look at the clock between chunks of them."""
        return chain.from_iterable(self.chunks(rows)) if self.watched else iter(rows)

    def chunks(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """The rows in lists, with a look at the clock after each was read."""
        source, size = iter(rows), FIRST_CHUNK
        while chunk := list(islice(source, size)):
            self.tick()
            yield chunk
            size = min(size * 2, CHUNK)

    def held(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, which whoever asks for them keeps."""
        if not self.watched:
            yield from rows
            return
        for chunk in self.chunks(rows):
            self.keep(chunk)
            yield from chunk

    def collected(self, rows: Iterable[Row]) -> list[Row]:
        """The rows as a list that is held."""
        return list(self.held(rows)) if self.watched else list(rows)


class Holding:
    """What one operator holds, and can let go of again."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._rows = 0
        self._bytes = 0

    def add(self, rows: Sequence[Any]) -> bool:
        """Whether there is room for these rows; if not, they are not held."""
        return not self._budget.watched or self.grow(len(rows), size_of_all(rows))

    def resize(self, rows: int, size: int) -> bool:
        """Whether there is room for so many rows of so many bytes in place of what is held; if not, that stays."""
        return self.grow(rows - self._rows, size - self._bytes)

    def grow(self, rows: int, size: int) -> bool:
        """Whether there is room for so many more rows and bytes; if not, they are not held."""
        budget = self._budget
        if not budget.watched:
            return True
        if not budget._take(rows, size):
            budget._take(-rows, -size)
            return False
        self._rows += rows
        self._bytes += size
        return True

    def clear(self) -> None:
        """Nothing is held any more."""
        self._budget._take(-self._rows, -self._bytes)
        self._rows = self._bytes = 0


def _shown(size: int) -> str:
    return f"{size / MEBIBYTE:g} MiB" if size >= MEBIBYTE else f"{size} bytes"


def size_of_all(rows: Sequence[Any]) -> int:
    """About how many bytes the rows take, from some of them."""
    sample = rows[::SAMPLED]
    return sum(map(size_of, sample)) * len(rows) // len(sample) if sample else 0


def size_of(value: Any) -> int:
    """About how many bytes a value takes, with all that it contains, and with the pointer to it."""
    kind = type(value)
    if kind is dict:
        return POINTER + getsizeof(value) + sum(map(size_of, value.values()))
    if kind is tuple or kind is list or kind is frozenset:
        return POINTER + getsizeof(value) + sum(map(size_of, value))
    return POINTER if value is None or kind is bool else POINTER + getsizeof(value)


UNWATCHED = Budget(watched=False)
