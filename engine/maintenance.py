"""What one process of a node does for all: the upkeep of the tables.

It frees the snapshots of processes that died, makes checkpoints, and compacts logs. Only the holder of the maintenance lock
may do this. What a table's log must keep whole is asked from `keepers`: functions that give, for a table id, the sequence
number from which on somebody still needs it (None = nobody does).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.catalog import TableDefinition
from engine.compaction import compact, finish, seq_at
from engine.errors import KennelError
from engine.store import Store

CHECKPOINT_BYTES = 64 << 20  # of log since the last checkpoint
LARGEST_SEGMENT = 64 << 20
GROWTH = 8  # a log is looked at for compaction when it has grown by one part in so many
TOMBSTONE_DAYS = 3
DAY = 86_400_000_000  # µs

log = logging.getLogger(__name__)

Keeper = Callable[[str], int | None]


@dataclass(slots=True)
class _Progress:
    """Of one table: bytes appended to its log when it was last looked at."""

    appended: int = -1


class Maintenance:
    """Looks after the tables of one node, one call of `look_after` per table and round."""

    def __init__(self, audited: bool, audit_seconds: float) -> None:
        """`audited`: whether tables have an audit log unless they say otherwise, kept for so long."""
        self._audited = audited
        self._audit_seconds = audit_seconds
        self._progress: dict[str, _Progress] = {}
        self.keepers: list[Keeper] = []

    def look_after(
        self, definition: TableDefinition, store: Store, checkpoint_bytes: int = CHECKPOINT_BYTES
    ) -> None:
        """One table's round. A table in trouble is logged and left for the next."""
        try:
            store.reclaim_slots()
            store.checkpoint(checkpoint_bytes)
            self._compact(definition, store)
        except KennelError:
            log.exception("'%s.%s' could not be looked after; it will be tried again", definition.schema, definition.name)

    def forget(self, known: set[str]) -> None:
        """Drops what is remembered of tables that are gone."""
        for table_id in self._progress.keys() - known:
            del self._progress[table_id]

    def _compact(self, definition: TableDefinition, store: Store) -> None:
        removed = finish(store)
        if removed:
            log.info("'%s.%s': compaction freed %d bytes of log", definition.schema, definition.name, removed)
        counters = store.counters()
        progress = self._progress.setdefault(definition.id, _Progress())
        if progress.appended >= 0 and counters["appended"] - progress.appended < counters["log_bytes"] // GROWTH:
            return
        keep_from = self._keep_from(definition, store)
        forget_before = (time.time_ns() // 1000) - TOMBSTONE_DAYS * DAY
        if not compact(store, keep_from=keep_from, forget_before=forget_before, largest=LARGEST_SEGMENT):
            progress.appended = counters["appended"]

    def _keep_from(self, definition: TableDefinition, store: Store) -> int:
        """The sequence number from which on the log stays as it is."""
        needed = [keeper(definition.id) for keeper in self.keepers]
        wanted = [number for number in needed if number is not None]
        if self._audited if definition.audit is None else definition.audit:
            wanted.append(seq_at(store, time.time_ns() // 1000 - int(self._audit_seconds * 1_000_000)) + 1)
        return min(wanted, default=store.generation + 1)
