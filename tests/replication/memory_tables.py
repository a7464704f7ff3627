"""A node's tables in memory, with the part of the engine's API that replication stands on. A table is its own feed.

Written from the promises, in the plainest way: the simulator runs the real protocol core and the real
`engine.replication.apply` on it. What survives a crash is exactly what is in a `ModelNode`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from engine.errors import NoSuchTable, TableExists
from engine.feed import RemoteTransaction, Writer
from engine.history import Change, Image, Transaction

Key = Any


@dataclass(frozen=True)
class Cell:
    """A record or tombstone, and who wrote it."""

    change: Change
    writer: Writer


class ModelTable:
    def __init__(self, node: ModelNode, schema: str, name: str, primary_key: str) -> None:
        self.id = str(uuid.UUID(int=node.random.getrandbits(128)))
        self.schema, self.name, self.primary_key = schema, name, primary_key
        self.epoch = 1 + node.random.getrandbits(31)
        self._node = node
        self._log: list[Transaction] = []
        self._cells: dict[Key, Cell] = {}
        self._applied: dict[tuple[str, int], int] = {}
        self._names: dict[str, str] = {}
        self.last_own = 0
        self._clock = 0

    # --- users' side ---

    def write(self, kind: str, key: Key, record: dict[str, Any] | None, user: str | None = None) -> int:
        """One local transaction on one record; its version."""
        there = self._cells.get(key)
        version = max(self._node.clock(), self._clock + 1, there.change.version + 1 if there else 0)
        created = there.change.created if there and there.change.record is not None and kind == "put" else version
        change = Change(kind, key, record, version, created, False, None)
        self.last_own += 1
        self._append(version, self.own, self.last_own, user, kind, [change])
        self._cells[key] = Cell(change, self.own)
        return version

    def rows(self) -> dict[Key, tuple[dict[str, Any], int, int]]:
        """What a user sees: record, created, updated."""
        return {
            key: (cell.change.record, cell.change.created, cell.change.version)
            for key, cell in self._cells.items()
            if cell.change.record is not None
        }

    # --- the feed ---

    @property
    def feed(self) -> ModelTable:
        return self

    @property
    def head(self) -> int:
        return len(self._log)

    @property
    def own(self) -> Writer:
        return Writer(self._node.id, self.epoch, self._node.name)

    def applied(self) -> dict[tuple[str, int], int]:
        return dict(self._applied)

    def names(self) -> dict[str, str]:
        return {**self._names, self._node.id: self._node.name}

    def read(self, after: int, max_bytes: int) -> list[Transaction]:
        return self._log[after : after + self._node.entries_a_read]

    def images(self, after: bytes | None, max_bytes: int) -> tuple[list[Image], bytes | None]:
        keys = sorted(self._cells)
        start = 0 if after is None else sum(key <= int(after) for key in keys)
        some = keys[start : start + self._node.rows_a_read]
        images = [Image(*self._source(self._cells[key].writer), self._cells[key].change) for key in some]
        return images, str(some[-1]).encode() if start + len(some) < len(keys) else None

    def sync(self) -> None:
        pass  # everything is in memory at once

    def apply(self, transaction: RemoteTransaction, *, sync: bool = True) -> str:
        writer, number = transaction.writer, transaction.number
        origin = (writer.node, writer.epoch)
        have = self._applied.get(origin, 0)
        if number != have + 1:
            return "duplicate" if number <= have else "gap"
        self._applied[origin] = number
        self._names.setdefault(writer.node, writer.name)
        self._append(transaction.version, writer, number, transaction.user, transaction.operation, transaction.changes)
        for change in transaction.changes:
            self._judge(change, writer)
        self._node.applied_count[self.name, *origin, number] += 1
        return "applied"

    def merge(self, rows: Iterable[tuple[Writer, Change]]) -> int:
        won = [change.version for writer, change in rows if self._judge(change, writer)]
        if won:
            self._append(max(won), None, 0, None, "merge", [])
        return len(won)

    def raise_applied(self, marks: Mapping[Writer, int]) -> None:
        for writer, number in marks.items():
            origin = (writer.node, writer.epoch)
            self._applied[origin] = max(number, self._applied.get(origin, 0))
            self._names.setdefault(writer.node, writer.name)
            self._append(self._clock, None, 0, None, "", [])

    def renew_epoch(self) -> None:
        self.epoch = 1 + self._node.random.getrandbits(31)
        self.last_own = 1
        self._append(self._clock, self.own, 1, None, "", [])

    def _source(self, writer: Writer) -> tuple[str | None, str, int]:
        return (None, "", writer.epoch) if writer == self.own else (writer.node, writer.name, writer.epoch)

    def _append(
        self, version: int, writer: Writer | None, number: int, user: str | None, operation: str, changes: list[Change]
    ) -> None:
        self._clock = max(self._clock, version)
        source = self._source(writer) if writer is not None else ("nobody", "", 0)
        self._log.append(Transaction(len(self._log) + 1, version, *source, number, user, operation, changes, True))

    def _judge(self, change: Change, writer: Writer) -> bool:
        there = self._cells.get(change.key)
        if there is not None and (there.change.version, there.writer.name) >= (change.version, writer.name):
            return False
        self._cells[change.key] = Cell(change, writer)
        return True

    # --- the face of a system table ---

    def upsert(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self.write("put", row[self.primary_key], row)

    def delete(self, keys: list[Key]) -> None:
        for key in keys:
            self.write("delete", key, None)

    @contextmanager
    def view(self) -> Iterator[ModelTable]:
        yield self

    def scan(self, attribute: str) -> Iterator[dict[str, Any]]:
        return (record for record, _, _ in self.rows().values())


@dataclass
class ModelNode:
    """`clock` gives microseconds; `entries_a_read` and `rows_a_read` make chunks small, so that there are many."""

    name: str
    random: Random
    now: int = 1_700_000_000_000_000
    tick: int = 1000
    entries_a_read: int = 5
    rows_a_read: int = 3
    tables: dict[tuple[str, str], ModelTable] = field(default_factory=dict)
    systems: dict[str, ModelTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.id = str(uuid.UUID(int=self.random.getrandbits(128)))
        self.applied_count: Counter[Any] = Counter()

    def clock(self) -> int:
        """Coarse, so that several nodes often write in the same moment."""
        return self.now - self.now % self.tick

    def table(self, schema: str, name: str) -> ModelTable:
        if (schema, name) not in self.tables:
            raise NoSuchTable(schema, name)
        return self.tables[schema, name]

    def create_table(self, schema: str, name: str, primary_key: str = "id") -> ModelTable:
        if (schema, name) in self.tables:
            raise TableExists(schema, name)
        self.tables[schema, name] = ModelTable(self, schema, name, primary_key)
        return self.tables[schema, name]

    def drop_table(self, schema: str, name: str) -> None:
        del self.tables[schema, name]

    def system(self, name: str) -> ModelTable:
        if name not in self.systems:
            self.systems[name] = ModelTable(self, "system", name, "name")
        return self.systems[name]
