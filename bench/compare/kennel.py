"""KennelDB through its embedded API."""

from __future__ import annotations

from pathlib import Path

import engine
from bench.records import Record


class Kennel:
    name = "KennelDB"

    def __init__(self, directory: Path) -> None:
        self.node = engine.open_node(directory)
        try:
            self.table = self.node.table("bench", "dog")
        except engine.NotFound:
            self.table = self.node.create_table("bench", "dog", primary_key="id")
        self.get = self.table.get  # no call of ours before the engine's own

    def insert(self, records: list[Record]) -> None:
        self.table.insert(records)

    def update(self, attribute: str, values: dict[int, object]) -> None:
        self.table.update([{"id": key, attribute: value} for key, value in values.items()])

    def delete(self, keys: list[int]) -> None:
        self.table.delete(keys)

    def range(self, attribute: str, low: int, limit: int) -> list[Record]:
        return list(self.table.search(attribute, "greater_than_equal", low, limit=limit))

    def containing(self, attribute: str, part: str) -> list[Record]:
        return list(self.table.search(attribute, "contains", part))

    def count(self) -> int:
        return self.table.count()

    def count_from(self, attribute: str, low: int) -> int:
        return self.table.count(attribute, "greater_than_equal", low)

    def commits_and_syncs(self) -> tuple[int, int]:
        """Of all processes since the table was made."""
        counters = self.table._store.counters()
        return counters["commits"], counters["syncs"]

    def close(self) -> None:
        self.node.close()
