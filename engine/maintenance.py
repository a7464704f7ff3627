"""What one process of a node does for all: the upkeep of the tables.

It frees the snapshots of processes that died, makes damaged indexes anew, removes expired records, makes checkpoints,
and compacts logs. Only the holder of the maintenance lock may do this. What a table's log must keep whole is asked from
`keepers`: functions that give, for a table id, the sequence number from which on somebody still needs it (None = nobody
does).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engine.catalog import TableDefinition
from engine.compaction import compact, finish, seq_at
from engine.errors import KennelError
from engine.expiration import remove_expired
from engine.store import Store

CHECKPOINT_BYTES = 16 << 20  # of log since the last checkpoint, which a recovery has to replay
CHURNED = 4  # one is due, too, when one page of the index in so many is free: most of these wait for it
LEAST_BYTES = 1 << 20  # of log, however many are free; so much since the last round is reason for the next one
LARGEST_SEGMENT = 64 << 20
SHARE = 6  # of its log is copied by one compaction at most: until that has ended, both are there
GROWTH = 8  # a log is looked at for compaction when it has grown by one part in so many
WORTH = 64 << 10  # a compaction that frees less was the last until then
PATIENCE = 60.0  # seconds until a table that could not be opened is tried again
TOMBSTONE_DAYS = 3
DAY = 86_400_000_000  # µs

log = logging.getLogger(__name__)

Keeper = Callable[[str], int | None]


@dataclass(slots=True)
class _Progress:
    """Of one table: bytes appended to its log when it was last looked at for compaction, the size of the log before the
    last one, and whether another may be worth it when the table rests; bytes appended when the last round began, and
    when it came to its end; and whether its free pages are trimmed."""

    appended: int = -1
    size: int = 0
    again: bool = False
    begun: int = -1
    seen: int = -1
    trimmed: bool = False


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a table could not be opened, and when that is tried again; it may take long each time."""

    text: str
    again: float


class Maintenance:
    """Looks after the tables of one node, one call of `look_after` per table and round."""

    def __init__(self, audited: bool, audit_seconds: float) -> None:
        """`audited`: whether tables have an audit log unless they say otherwise, kept for so long."""
        self._audited = audited
        self._audit_seconds = audit_seconds
        self._progress: dict[str, _Progress] = {}
        self._troubles: dict[str, _Trouble] = {}
        self.keepers: list[Keeper] = []

    def due(self, definitions: Iterable[TableDefinition]) -> list[TableDefinition]:
        """The tables for this round: all but those that were given up a short time ago."""
        now = time.monotonic()
        return [item for item in definitions if item.id not in self._troubles or self._troubles[item.id].again < now]

    def give_up(self, definition: TableDefinition, error: KennelError) -> None:
        """A table that cannot be opened is told once, and left alone for a while; the others go on."""
        known = self._troubles.get(definition.id)
        if known is None or known.text != error.message:
            log.error("%s", error.message)
        self._troubles[definition.id] = _Trouble(error.message, time.monotonic() + PATIENCE)

    def look_after(self, definition: TableDefinition, store: Store, checkpoint_bytes: int = CHECKPOINT_BYTES) -> bool:
        """One table's round; whether it is worth while to have the next one soon. A table in trouble is logged and
        left for the next. Corrupt: both index and log are."""
        self._progress.setdefault(definition.id, _Progress()).begun = store.appended
        if store.rebuild():
            log.warning("'%s.%s': the index was damaged and is made anew", definition.schema, definition.name)
        try:
            store.reclaim_slots()
            remove_expired(definition, store)
            busy = self._checkpoint(store, checkpoint_bytes)
            busy |= self._compact(definition, store)
            self._trim(definition, store)
            return busy
        except KennelError:
            log.exception(
                "'%s.%s' could not be looked after; it will be tried again", definition.schema, definition.name
            )
            return False

    def is_due(self, stores: Iterable[tuple[str, Store]]) -> bool:
        """Whether one of these tables, by their ids, was written to so much since its round began that it needs another
        now. Also a round that failed counts, and a table that was given up needs none: else there were no end to them.
        """
        for table_id, store in stores:
            progress = self._progress.get(table_id)
            if progress is None or table_id in self._troubles:
                continue
            if store.appended - progress.begun >= LEAST_BYTES:
                return True
        return False

    def forget(self, known: set[str]) -> None:
        """Drops what is remembered of tables that are gone."""
        for remembered in (self._progress, self._troubles):
            for table_id in remembered.keys() - known:
                del remembered[table_id]

    def _checkpoint(self, store: Store, due_bytes: int) -> bool:
        counters = store.counters()
        if counters["free_pages"] * CHURNED > counters["pages"]:
            due_bytes = min(due_bytes, LEAST_BYTES)
        return store.checkpoint(due_bytes)

    def _compact(self, definition: TableDefinition, store: Store) -> bool:
        """Whether the log was compacted, or is being so."""
        progress = self._progress[definition.id]
        self._finish(definition, store, progress)
        counters = store.counters()
        grown = counters["appended"] - progress.appended
        rests = counters["appended"] == progress.seen
        if progress.appended >= 0 and grown < counters["log_bytes"] // GROWTH and not (rests and progress.again):
            return False
        keep_from = self._keep_from(definition, store)
        forget_before = (time.time_ns() // 1000) - TOMBSTONE_DAYS * DAY
        largest = min(LARGEST_SEGMENT, counters["log_bytes"] // SHARE)
        if not compact(store, keep_from=keep_from, forget_before=forget_before, largest=largest):
            progress.appended, progress.again = counters["appended"], False
            return False
        progress.size = counters["log_bytes"]
        progress.appended, progress.again = counters["appended"], True
        self._finish(definition, store, progress)
        return True

    def _finish(self, definition: TableDefinition, store: Store, progress: _Progress) -> None:
        """Takes a compaction to its end, as far as readers allow."""
        removed = finish(store)
        if not removed:
            return
        log.info("'%s.%s': compaction freed %d bytes of log", definition.schema, definition.name, removed)
        counters = store.counters()
        if counters["log_bytes"] + WORTH > progress.size:  # as small as it gets, for now
            progress.appended, progress.again = counters["appended"], False

    def _trim(self, definition: TableDefinition, store: Store) -> None:
        """A table that nobody has written to since the last round gives the blocks of its free pages back."""
        counters = store.counters()
        progress = self._progress[definition.id]
        if counters["appended"] == progress.seen and not progress.trimmed:
            store.checkpoint()
            store.trim()
            progress.trimmed = True
        elif counters["appended"] != progress.seen:
            progress.seen, progress.trimmed = counters["appended"], counters["free_pages"] * 4 < counters["pages"]

    def _keep_from(self, definition: TableDefinition, store: Store) -> int:
        """The sequence number from which on the log stays as it is."""
        needed = [keeper(definition.id) for keeper in self.keepers]
        wanted = [number for number in needed if number is not None]
        if self._audited if definition.audit is None else definition.audit:
            kept_from = max(time.time_ns() // 1000 - int(self._audit_seconds * 1_000_000), definition.log_from)
            wanted.append(seq_at(store, kept_from) + 1)
        return min(wanted, default=store.generation + 1)
