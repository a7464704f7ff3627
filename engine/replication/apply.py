"""Between the protocol core and the tables: carries out the works of `engine.replication.works`.

A transaction leaves a table as an Entry, whose payload is its content (`engine.replication.records`), and enters
another through `Table.feed`, which keeps in one log frame the rows and the fact that they were applied. What can never
be applied is set aside; what fails for a passing reason (a full disk, a busy table) raises, and the core tries again.

Positions are sequence numbers of the table's own log. Its transactions come in the order in which they were committed
here, so each origin's numbers rise along the log, and where to begin for a subscriber is found from the end: reading
back in growing steps costs no more than what is then to be sent.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from engine.catalog import SYSTEM
from engine.errors import Busy, InvalidRequest, NotFound, TableExists
from engine.feed import RemoteTransaction, Writer
from engine.history import Image, Transaction
from engine.replication import records
from engine.replication.messages import MAX_PAYLOAD, Entry, Malformed, Origin, Stream, Vector
from engine.replication.neighbours import TABLE, neighbour_of, row_of
from engine.replication.terms import Neighbour
from engine.replication.works import (
    Apply,
    Chunk,
    CreateTable,
    Describe,
    ForgetNeighbour,
    Locate,
    Located,
    Look,
    MergeRows,
    Past,
    RaiseVector,
    ReadLog,
    ReadPast,
    ReadRows,
    RenewEpoch,
    RowsChunk,
    SaveNeighbour,
    Shelf,
    Work,
)

FIRST_STEP = 64
STEP_BYTES = 1 << 20
CACHED_CHUNKS = 16
CHUNKS_A_READ = 8

log = logging.getLogger(__name__)


class Storage:
    """Performs works on the tables of one node. Threads may share it."""

    def __init__(self, node: Any, aside: Any) -> None:
        self._node = node
        self._aside = aside
        self._chunks: OrderedDict[tuple[str, int], list[_Logged]] = OrderedDict()
        self._caching = threading.Lock()

    def perform(self, work: Work) -> Any:
        """The result of a work as `engine.replication.works` has it; raises errors of `engine.errors`."""
        match work:
            case Apply():
                return self._apply(work)
            case ReadLog():
                return self._read_log(work)
            case Look(stream):
                return self._look(stream)
            case Locate():
                return self._locate(work)
            case ReadRows():
                return self._read_rows(work)
            case ReadPast():
                return self._read_past(work)
            case MergeRows():
                return self._merge_rows(work)
            case RaiseVector():
                return self._raise_vector(work)
            case RenewEpoch(stream):
                return self._renew_epoch(stream)
            case Describe(streams):
                return self._describe(streams)
            case CreateTable():
                return self._create_table(work)
            case SaveNeighbour(neighbour):
                return self._save(neighbour)
            case ForgetNeighbour(name):
                return self._forget(name)

    def head(self, stream: Stream) -> int | None:
        """The log position of a table's last transaction; None when there is no such table."""
        try:
            return self._table(stream).feed.head
        except NotFound:
            return None

    def neighbours(self) -> list[Neighbour]:
        table = self._node.system(TABLE)
        with table.view() as view:
            return [neighbour_of(row) for row in view.scan(table.primary_key)]

    # --- tables ---

    def _table(self, stream: Stream, table_id: str | None = None) -> Any:
        """NotFound when there is none, or when it is not the one meant. What the node keeps for itself is none."""
        if stream.schema == SYSTEM:
            raise NotFound("The system schema does not replicate")
        table = self._node.table(*stream)
        if table_id is not None and table.id != table_id:
            raise NotFound(f"Table '{stream.schema}.{stream.table}' was made anew; subscribe again")
        return table

    def _look(self, stream: Stream) -> Shelf:
        table = self._table(stream)
        vector, names = self._vector(table)
        head = table.feed.head  # after the vector: what is in it is up to there in the log
        own = _own(table)
        return Shelf(table.id, table.primary_key, head, vector, names, own, self._aside.counts[stream])

    def _vector(self, table: Any) -> tuple[Vector, dict[str, str]]:
        vector = {Origin(*origin): last for origin, last in table.feed.applied().items()}
        vector[_own(table)] = table.feed.last_own
        return vector, table.feed.names()

    def _describe(self, streams: tuple[Stream, ...]) -> dict[Stream, tuple[str, str]]:
        described = {}
        for stream in streams:
            try:
                table = self._table(stream)
            except NotFound:
                continue
            described[stream] = (table.id, table.primary_key)
        return described

    def _create_table(self, work: CreateTable) -> tuple[str, str]:
        try:
            table = self._node.create_table(*work.stream, work.primary_key)
        except TableExists:
            table = self._table(work.stream)
        return table.id, table.primary_key

    def _save(self, neighbour: Neighbour) -> None:
        self._node.system(TABLE).upsert([row_of(neighbour)])

    def _forget(self, name: str) -> None:
        self._node.system(TABLE).delete([name])

    # --- reading the log ---

    def _read_log(self, work: ReadLog) -> Chunk:
        table = self._table(work.stream)
        head = table.feed.head
        entries: list[Entry] = []
        position, size = work.after, 0
        for _ in range(CHUNKS_A_READ):
            if position >= head or size >= work.max_bytes:
                break
            logged = self._logged(table, position, work.max_bytes)
            if not logged:
                raise Busy(f"The log of '{table.schema}.{table.name}' cannot be read beyond {position}")
            for one in logged:
                position = one.seq
                if one.number and one.origin in work.origins:
                    entries.append(one.entry)
                    size += len(one.entry.payload)
        return Chunk(entries, position, head)

    def _logged(self, table: Any, after: int, max_bytes: int) -> list[_Logged]:
        """Transactions after a position. Subscribers who follow closely ask for the same ones: the latest are kept."""
        with self._caching:
            cached = self._chunks.get((table.id, after))
        if cached is not None:
            return cached
        logged = _read(table, after, max_bytes)
        with self._caching:
            if logged:
                self._chunks[table.id, after] = logged
            while len(self._chunks) > CACHED_CHUNKS:
                self._chunks.popitem(last=False)
        return logged

    def _locate(self, work: Locate) -> Located:
        table = self._table(work.stream)
        before = table.feed.head  # in this order: what the vector lacks comes after `before`, what it has up to `head`
        vector, _ = self._vector(table)
        head = table.feed.head
        lowest = {o: vector[o] + 1 for o, have in work.have.items() if vector.get(o, 0) > have}
        short: set[Origin] = set()
        position = before
        for logged in self._backwards(table, head):
            if not lowest:
                break
            low = lowest.get(logged.origin)
            if low is None or logged.number >= low:
                continue
            if logged.number < low - 1:  # the numbers between were never in this log
                short.add(logged.origin)
                del lowest[logged.origin]
                continue
            lowest[logged.origin] = low - 1
            if low - 1 == work.have[logged.origin] + 1:
                position = min(position, logged.seq - 1)
                del lowest[logged.origin]
        return Located(position, head, frozenset(short | lowest.keys()))

    def _read_past(self, work: ReadPast) -> Past:
        table = self._table(work.stream)
        vector, names = self._vector(table)
        past: Vector = dict(vector)
        pending = set(vector)
        for logged in self._backwards(table, table.feed.head):
            if not pending:
                break
            if logged.origin not in pending:
                continue
            if logged.version < work.since:
                pending.discard(logged.origin)
            else:
                past[logged.origin] = min(past[logged.origin], logged.number - 1)
        return Past(past, names)

    def _backwards(self, table: Any, head: int) -> Iterator[_Logged]:
        """Transactions from `head` to the beginning, read in growing steps; without those that bring rows over."""
        step = FIRST_STEP
        while head > 0:
            start = max(0, head - step)
            block: list[_Logged] = []
            position = start
            while position < head:
                logged = _read(table, position, STEP_BYTES)
                block += [one for one in logged if one.seq <= head and one.number]
                position = logged[-1].seq if logged else head
            yield from reversed(block)
            head, step = start, step * 2

    # --- rows ---

    def _read_rows(self, work: ReadRows) -> RowsChunk:
        table = self._table(work.stream)
        vector, names = self._vector(table)  # before the rows: what is in it is in them
        images, after = table.feed.images(work.after, work.max_bytes)
        own = table.feed.own
        encoded = [
            records.encode_row(_writer(image, own), image.change)
            for image in images
            if work.since is None or image.change.version >= work.since
        ]
        return RowsChunk(encoded, after, vector, names)

    def _merge_rows(self, work: MergeRows) -> None:
        table = self._table(work.stream, work.table_id)
        rows = []
        for encoded in work.rows:
            try:
                rows.append(records.decode_row(encoded))
            except Malformed as error:
                log.warning("A malformed row of '%s.%s' was left out: %s", *work.stream, error)
        table.feed.merge(rows)

    def _raise_vector(self, work: RaiseVector) -> None:
        table = self._table(work.stream, work.table_id)
        present, _ = self._vector(table)
        own = _own(table)
        higher = {o: last for o, last in work.vector.items() if o != own and last > present.get(o, 0)}
        table.feed.raise_applied({Writer(*o, work.names.get(o.node, "")): last for o, last in higher.items()})

    # --- applying ---

    def _apply(self, work: Apply) -> list[str]:
        table = self._table(work.stream, work.table_id)
        try:
            return [self._apply_one(table, work.stream, entry) for entry in work.entries]
        finally:
            table.feed.sync()  # one for all of them; nothing is acknowledged before

    def _apply_one(self, table: Any, stream: Stream, entry: Entry) -> str:
        try:
            return table.feed.apply(_remote(entry, table.primary_key), sync=False)
        except (Malformed, InvalidRequest) as error:
            return self._set_aside(table, stream, entry, str(error))

    def _set_aside(self, table: Any, stream: Stream, entry: Entry, reason: str) -> str:
        table.feed.sync()  # what was applied before it counts
        have = table.feed.applied().get(tuple(entry.origin), 0)
        if entry.number != have + 1:
            return "duplicate" if entry.number <= have else "gap"
        log.error("A transaction of node '%s' on '%s.%s' was set aside: %s", entry.name, *stream, reason)
        self._aside.keep(stream, entry, reason)
        table.feed.raise_applied({Writer(*entry.origin, entry.name): entry.number})
        return "aside"

    def _renew_epoch(self, stream: Stream) -> None:
        feed = self._table(stream).feed
        before, last = feed.own, feed.last_own
        feed.renew_epoch()
        feed.raise_applied({before: last})


class _Logged:
    """A transaction as the log has it, encoded for the wire when (and only if) somebody wants it."""

    def __init__(self, transaction: Transaction, own: Writer) -> None:
        self._transaction = transaction
        self._name = own.name if transaction.origin is None else transaction.origin_name
        self.seq = transaction.seq
        self.version = transaction.version
        self.number = transaction.origin_seq if transaction.whole else 0  # half of one is as good as none
        self.origin = Origin(transaction.origin or own.node, transaction.epoch)

    @cached_property
    def entry(self) -> Entry:
        it = self._transaction
        payload = records.encode_content(it.user, it.operation, it.changes)
        if len(payload) > MAX_PAYLOAD:
            log.error("Transaction %d of node '%s' is too large to be sent", self.number, self._name)
            payload = b""  # the number must not be missing; whoever gets it sets it aside
        return Entry(self.origin.node, self._name, self.origin.epoch, self.number, self.version, payload)


def _read(table: Any, after: int, max_bytes: int) -> list[_Logged]:
    own = table.feed.own
    return [_Logged(transaction, own) for transaction in table.feed.read(after, max_bytes)]


def _own(table: Any) -> Origin:
    own = table.feed.own
    return Origin(own.node, own.epoch)


def _writer(image: Image, own: Writer) -> Writer:
    return own if image.origin is None else Writer(image.origin, image.epoch, image.origin_name)


def _remote(entry: Entry, primary_key: str) -> RemoteTransaction:
    """The transaction as a table takes it; Malformed when its content makes no sense."""
    user, operation, changes = records.decode_content(entry.payload)
    for change in changes:
        if change.record is not None and change.record.get(primary_key, change.key) != change.key:
            raise Malformed(f"the record of key {change.key!r} has another key")
        if change.version > entry.version:
            raise Malformed(f"the record of key {change.key!r} is later than its transaction")
    return RemoteTransaction(
        writer=Writer(entry.node, entry.epoch, entry.name),
        number=entry.number,
        version=entry.version,
        user=user,
        operation=operation,
        changes=changes,
    )
