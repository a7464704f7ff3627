"""Files of records on their way into a table: read piece by piece, written in chunks, each of them atomic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import engine

CHUNK_RECORDS = 1000
CHUNK_CHARACTERS = 4 << 20  # of the file
ACTIONS = ("insert", "update", "upsert")

Record = dict[str, Any]


@dataclass(slots=True)
class Source:
    """A text in pieces, such as the lines of a file; `read` counts the characters that were taken from it."""

    pieces: Iterable[str]
    read: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[str]:
        for piece in self.pieces:
            self.read += len(piece)
            yield piece


def load(
    source: Source,
    records: Iterator[Record],
    table: engine.Table,
    action: str,
    user: str,
    before: Callable[[list[Record]], None],
    progress: Callable[[str], None],
) -> tuple[int, int]:
    """Write the records that are read from a source; gives how many were written, and found.

    `before` is called with each chunk and raises if the user may not write it; `progress` with what is done so far.
    """
    write = {"insert": table.insert, "update": table.update, "upsert": table.upsert}[action]
    found = written = 0
    for chunk in _chunks(source, records):
        before(chunk)
        found += len(chunk)
        written += len(write(chunk, user=user).written)
        progress(f"loaded {written} of {found} records so far")
    return written, found


def _chunks(source: Source, records: Iterator[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    start = source.read
    for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK_RECORDS or source.read - start >= CHUNK_CHARACTERS:
            yield chunk
            chunk, start = [], source.read
    if chunk:
        yield chunk
