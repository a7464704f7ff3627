"""Results that may be too long to hold as a whole: rows and files that are read while they are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

CHUNK = 1000  # rows

Row = dict[str, Any]


class Rows:
    """A long result. It is read once, in chunks, or closed; either lets go of the snapshot behind it.

    `columns` gives the attributes that its rows may have, in order.
    """

    def __init__(
        self, head: list[Row], rest: Iterator[Row], columns: Callable[[], tuple[str, ...]], close: Callable[[], None]
    ) -> None:
        self.columns = columns
        self._head = head
        self._rest = rest
        self._close = close

    @classmethod
    def of(cls, rows: list[Row]) -> Rows:
        """Rows that are all there."""

        def columns() -> tuple[str, ...]:
            return tuple(dict.fromkeys(name for row in rows for name in row))

        return cls(rows[:CHUNK], islice(rows, CHUNK, None), columns, lambda: None)

    def chunks(self) -> Iterator[list[Row]]:
        try:
            chunk = self._head
            while chunk:
                yield chunk
                chunk = list(islice(self._rest, CHUNK))
        finally:
            self._close()

    def close(self) -> None:
        self._close()


@dataclass(frozen=True, slots=True)
class Download:
    """A result that is no data of the API's formats, with the headers that say what it is."""

    headers: tuple[tuple[str, str], ...]
    pieces: Iterator[bytes]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Headed:
    """A result with headers of its own."""

    body: Any
    headers: tuple[tuple[str, str], ...]


def begun(rows: Iterator[Row], columns: tuple[str, ...], close: Callable[[], None]) -> list[Row] | Rows:
    """The result that `rows` make: a list if they are few, else Rows. `close` lets go of what they are read from."""
    try:
        head = list(islice(rows, CHUNK))
    except BaseException:
        close()
        raise
    if len(head) == CHUNK:
        return Rows(head, rows, lambda: columns, close)
    close()
    return head


def complete(result: Any) -> Any:
    """A result of an operation with nothing left to be read."""
    if isinstance(result, Headed):
        return result.body
    return [row for chunk in result.chunks() for row in chunk] if isinstance(result, Rows) else result
