"""Rows on disk, for what does not fit a statement's memory.

The file has no name from the start, so that it is gone when it is closed, or its process killed. It holds blocks of
rows in MessagePack, one after the other:

    block   array of arrays: the rows, each the values of a tuple
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from engine.files import failure
from grammar.budget import Budget, size_of_all
from grammar.frame import Row

BLOCK_ROWS = 256
BLOCK_SIZE = 1 << 18  # bytes in memory; what is larger is a block of its own

Place = tuple[int, int]  # of a block: where it starts, and how long it is, in bytes

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple]).decode


class Spill:
    """A file for the rows of one operator. DiskFull, RootError from whatever writes or reads it."""

    def __init__(self, budget: Budget, directory: Path) -> None:
        self._budget = budget
        self._directory = directory
        self._end = 0
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise failure(directory, error) from error

    def write(self, rows: list[Row]) -> list[Place]:
        """Append rows; gives where they are."""
        each = max(size_of_all(rows) // max(len(rows), 1), 1)
        step = max(1, min(BLOCK_ROWS, BLOCK_SIZE // each))
        places = []
        for start in range(0, len(rows), step):
            self._budget.tick()
            places.append(self._append(_encode(rows[start : start + step])))
        return places

    def _append(self, block: bytes) -> Place:
        self._budget.write(len(block))
        start, written = self._end, 0
        try:
            while written < len(block):
                written += os.pwrite(self._file.fileno(), block[written:], start + written)
        except OSError as error:
            raise failure(self._directory, error) from error
        self._end += len(block)
        return start, len(block)

    def read(self, places: Iterable[Place]) -> Iterator[Row]:
        """The rows of these blocks, one block in memory at a time."""
        for start, length in places:
            self._budget.tick()
            try:
                block = os.pread(self._file.fileno(), length, start)
            except OSError as error:
                raise failure(self._directory, error) from error
            yield from _decode(block)

    def close(self) -> None:
        self._file.close()
