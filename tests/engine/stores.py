"""Stores outside a node, on a disk where syncing costs nothing, and what can happen to their files."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.keys import EVERYTHING
from engine.store import Store

MEMORY = Path("/dev/shm")


class Place:
    """The directory of one table, and what a test does to it between two lives of a store."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.table_id = uuid.uuid4().bytes
        self.options = options
        Store.create(str(directory), self.table_id)

    def open(self, **options: Any) -> Store:
        return Store(str(self.directory), self.table_id, **(self.options | options))

    def forget_coordination(self) -> None:
        """As after a reboot: recovery starts from the last checkpoint."""
        (self.directory / "shared.shm").unlink(missing_ok=True)

    def forget_index(self) -> None:
        """As if it had been damaged: recovery starts from nothing."""
        self.forget_coordination()
        (self.directory / "index.kbt").unlink(missing_ok=True)

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.log"))


@contextmanager
def place(**options: Any) -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="kennel-store-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield Place(directory / "table", **options)
    finally:
        shutil.rmtree(directory)


def rows(store: Store) -> dict[Any, dict[str, Any]]:
    """Every record by its primary key; lists as keys become tuples."""
    view = store.view()
    try:
        found = {}
        for row in view.scan(store.primary_key, EVERYTHING):
            key = row[store.primary_key]
            found[tuple(key) if isinstance(key, list) else key] = row
        return found
    finally:
        view.close()
