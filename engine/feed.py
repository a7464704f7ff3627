"""What replication reads from a table and writes to it.

A feed is bound to one table of one node. Node ids are uuid texts; a node's own transactions are those of its id and
epoch.
Everything here is as durable as a write when it returns.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from engine.history import Change, History, Image, Transaction
from engine.store import Store


@dataclass(frozen=True, slots=True)
class Writer:
    """A node in one of its epochs."""

    node: str
    epoch: int
    name: str


@dataclass(frozen=True, slots=True)
class RemoteTransaction:
    """A transaction of another node, as it is to be applied here."""

    writer: Writer
    number: int  # its place among the writer's transactions on this table, from 1 without gaps
    version: int  # µs
    user: str | None
    operation: str
    changes: list[Change]


class Feed:
    """Safe for threads."""

    def __init__(self, store: Store, node: str, name: str) -> None:
        self._store = store
        self._node = node
        self._name = name
        self._history = History(store)
        self._reading = threading.Lock()

    @property
    def head(self) -> int:
        """Sequence number of the last visible transaction, whoever wrote it."""
        return self._store.generation

    @property
    def own(self) -> Writer:
        """This node, in the epoch that its transactions are now counted in."""
        return Writer(self._node, self._store.epoch, self._name)

    @property
    def last_own(self) -> int:
        """Number of this node's last visible transaction on the table, in its present epoch."""
        return self._store.local_seq

    def read(self, after: int, max_bytes: int) -> list[Transaction]:
        """Transactions after a sequence number, in the order of their commit here."""
        with self._reading:
            return self._history.read(after, max_bytes=max_bytes)

    def images(self, after: bytes | None, max_bytes: int) -> tuple[list[Image], bytes | None]:
        """Records and tombstones in key order, and where to go on; None behind the last."""
        with self._reading:
            return self._history.images(after, max_bytes=max_bytes)

    def applied(self) -> dict[tuple[str, int], int]:
        """(node, epoch) -> number of the last transaction applied here, of every other writer ever seen."""
        return {(str(UUID(bytes=node)), epoch): last for (node, epoch), last in self._store.applied().items()}

    def names(self) -> dict[str, str]:
        """Node id -> the name that the node had when it was first seen here."""
        with self._reading:
            return {**self._history.origin_names(), self._node: self._name}

    def sync(self) -> None:
        """Makes everything applied so far durable and visible."""
        self._store.sync()

    def apply(self, transaction: RemoteTransaction, *, sync: bool = True) -> str:
        """Exactly once and whole: gives "applied", "duplicate" or "gap". The later version of each record wins. Without
        `sync` it is neither durable nor visible before the next sync, and must not be acknowledged."""
        writer = transaction.writer
        return self._store.apply(
            [_plain(change) for change in transaction.changes],
            origin=UUID(writer.node).bytes,
            origin_name=writer.name,
            epoch=writer.epoch,
            origin_seq=transaction.number,
            version=transaction.version,
            user=transaction.user,
            operation=transaction.operation,
            sync=sync,
        )

    def merge(self, rows: Iterable[tuple[Writer, Change]]) -> int:
        """Rows of a snapshot: each wins over what is here if it is later. Returns how many did."""
        won = 0
        for writer, group in groupby(rows, key=lambda row: row[0]):
            changes = [_plain(change) for _, change in group]
            won += self._store.merge(
                changes, origin=UUID(writer.node).bytes, origin_name=writer.name, epoch=writer.epoch
            )
        return won

    def raise_applied(self, marks: Mapping[Writer, int]) -> None:
        """Transactions of these writers up to the numbers given count as applied."""
        for writer, number in marks.items():
            self._store.advance(
                origin=UUID(writer.node).bytes, origin_name=writer.name, epoch=writer.epoch, origin_seq=number
            )

    def renew_epoch(self) -> None:
        """This node's transactions are counted from 1 again, in a new epoch."""
        self._store.renew_epoch(1 + secrets.randbelow(2**32 - 1))


def _plain(change: Change) -> tuple[str, object, dict[str, object] | None, int, int]:
    return change.kind, change.key, change.record, change.version, change.created
