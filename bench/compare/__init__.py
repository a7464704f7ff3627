"""The contenders: KennelDB and its peers behind one face.

Each does the same work on the same records with the same promises: every scalar attribute indexed, a write on disk
before it returns, whole records as dictionaries. KennelDB also indexes the object and two times of each record, which
the peers are spared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bench.records import Record


class Contender(Protocol):
    """A table in a directory of its own, which other processes may have open too."""

    name: str

    def __init__(self, directory: Path) -> None: ...

    @property
    def get(self) -> Callable[[int], Record | None]:
        """Reads one record."""
        ...

    def insert(self, records: list[Record]) -> None:
        """One transaction, durable at return; so are `update` and `delete`."""

    def update(self, attribute: str, values: dict[int, object]) -> None:
        """Sets one attribute of each of these keys."""
        ...

    def delete(self, keys: list[int]) -> None: ...

    def range(self, attribute: str, low: int, limit: int) -> list[Record]:
        """The records from a value on, in the order of an indexed attribute."""
        ...

    def containing(self, attribute: str, part: str) -> list[Record]:
        """The records whose text holds `part` anywhere."""
        ...

    def count(self) -> int: ...

    def count_from(self, attribute: str, low: int) -> int:
        """How many records have at least this value."""
        ...

    def close(self) -> None: ...


def allocated_bytes(directory: Path) -> int:
    """What the files of a directory take on disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())
