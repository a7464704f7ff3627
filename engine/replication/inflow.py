"""The receiving side of a stream: from whom each origin's transactions are taken, and their way into the table.

Several peers may offer one table, each with the transactions of several origins. Every origin is taken from one peer at
a time: from the origin itself when it is linked, otherwise from whoever has it. Transactions are taken strictly in
number order per origin, queued, applied in batches, and acknowledged when they are durable.

A peer newly subscribed to is *joined* first: its rows are merged in (or, with a start time, its vector of that time is
taken over), and from there on its transactions are followed. The same is done again when a peer's log turns out not to
reach back far enough.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from engine.errors import KennelError, NotFound, Unreachable
from engine.replication.effects import Ask, Sleep
from engine.replication.messages import (
    Ack,
    Data,
    Entry,
    Fetch,
    Follow,
    Head,
    Heads,
    Origin,
    Rows,
    Short,
    Stream,
    Vector,
    Want,
)
from engine.replication.tasks import PARK, Steps, Task
from engine.replication.works import Apply, Look, MergeRows, RaiseVector, Shelf

if TYPE_CHECKING:
    from engine.replication.protocol import Protocol
    from engine.replication.session import Session

BATCH_BYTES = 1 << 20
RETRY_INTERVAL = 1.0
STALL_LIMIT = 3.0
CLOCK_LIMIT = 60.0  # seconds by which an origin's clock may be ahead
ROWS_TIMEOUT = 60.0


class Source:
    """One peer that offers the stream: how far it reaches, and which origins it was last told to send (None: nothing
    was said yet). `ready` once it has been joined; `rejoin` when its rows are needed whatever was joined before."""

    def __init__(self) -> None:
        self.heads: dict[Origin, int] = {}
        self.followed: frozenset[Origin] | None = None
        self.join: Task | None = None
        self.ready = False
        self.rejoin = False


class Inflow:
    """One table as it is filled from the sessions it is subscribed to."""

    def __init__(self, core: Protocol, stream: Stream, table_id: str) -> None:
        self.stream = stream
        self.table_id = table_id
        self.halted: str | None = None
        self.ahead: dict[Origin, int] = {}
        self.set_aside = 0
        self.duplicates = 0
        self._core = core
        self._sources: dict[Session, Source] = {}
        self._taken: dict[Origin, Session] = {}
        self._behind: dict[Origin, float] = {}
        self._received: Vector | None = None
        self._own: Origin | None = None
        self._own_known = 0
        self._left_out: set[Origin] = set()
        self._queue: deque[tuple[Session, list[Entry]]] = deque()
        self._task = core.tasks.start(self._run())

    # --- who is there ---

    @property
    def idle(self) -> bool:
        return not self._sources

    def admit(self, session: Session) -> None:
        """Take the stream from this session too, once it announces it."""
        if session not in self._sources:
            self._sources[session] = Source()

    def dismiss(self, session: Session) -> None:
        source = self._sources.pop(session, None)
        if source is None:
            return
        if source.join is not None:
            source.join.cancel()
        self._leave(session)
        self._choose()

    def close(self) -> None:
        for session in list(self._sources):
            self.dismiss(session)
        self._task.cancel()

    # --- what sessions say ---

    def announced(self, session: Session, heads: Heads) -> None:
        source = self._sources.get(session)
        if source is None:
            return
        if heads.fresh:
            source.heads.clear()
            source.followed = None
            self._leave(session)
            self._start_join(session, source)
        source.heads.update((head.origin, head.last) for head in heads.heads)
        self._check_own(heads.heads)
        self._choose()

    def received(self, session: Session, data: Data) -> None:
        expected = session in self._sources and self._received is not None
        kept = [entry for entry in data.entries if self._next(entry)] if expected else []
        if kept:
            self._queue.append((session, kept))
            self._task.wake()
        else:
            session.send(Ack(self.stream, 1))

    def cut_short(self, session: Session, short: Short) -> None:
        """The peer's log does not reach back: its rows make up for it."""
        source = self._sources.get(session)
        if source is None or source.join is not None:
            return
        self._core.note("info", f"{self._title} is brought up by its rows from '{session.card.name}'")
        source.rejoin = True
        self._leave(session)
        self._start_join(session, source)
        self._choose()

    def review(self) -> None:
        """From time to time: move origins away from peers that no longer get them, ask again for what was left out."""
        limit = self._core.wall + int(CLOCK_LIMIT * 1e6)
        for origin in [origin for origin, version in self.ahead.items() if version <= limit]:
            del self.ahead[origin]
            self._left_out.add(origin)
        for origin in self._left_out - self.ahead.keys():
            session = self._taken.get(origin)
            if session is not None:
                self._sources[session].followed = None
        stalled = self._stalled()
        if self._left_out or stalled:
            self._left_out.clear()
            self._choose()

    # --- from whom ---

    def _leave(self, session: Session) -> None:
        self._taken = {origin: taken for origin, taken in self._taken.items() if taken is not session}

    def _choose(self) -> None:
        """Decide for each origin from whom it is taken, and tell those for whom that changes."""
        if self._received is None or self.halted is not None:
            return
        joined = [session for session, source in self._sources.items() if source.ready]
        offered: dict[Origin, list[Session]] = {}
        for session in joined:
            for origin in self._sources[session].heads:
                if origin != self._own:
                    offered.setdefault(origin, []).append(session)
        for origin, sessions in offered.items():
            self._taken[origin] = self._best(origin, sessions)
        for session in joined:
            self._tell(session)

    def _best(self, origin: Origin, sessions: list[Session]) -> Session:
        for session in sessions:
            if session.card.uuid == origin.node:
                return session
        current = self._taken.get(origin)
        if current in sessions and self._core.now - self._behind.get(origin, self._core.now) < STALL_LIMIT:
            return current
        self._behind.pop(origin, None)
        return max(sessions, key=lambda session: (self._sources[session].heads[origin], session.card.uuid))

    def _tell(self, session: Session) -> None:
        source = self._sources[session]
        origins = frozenset(origin for origin, taken in self._taken.items() if taken is session)
        if origins == source.followed:
            return
        assert self._received is not None
        source.followed = origins
        session.send(Follow(self.stream, [Want(o.node, o.epoch, self._received.get(o, 0)) for o in sorted(origins)]))

    def _stalled(self) -> bool:
        """Note origins of which others have more than the peer they are taken from; True when that lasts too long."""
        stalled = False
        for origin, session in self._taken.items():
            have = (self._received or {}).get(origin, 0)
            best = max((source.heads.get(origin, 0) for source in self._sources.values()), default=0)
            if best <= have or self._sources[session].heads.get(origin, 0) > have:
                self._behind.pop(origin, None)
                continue
            since = self._behind.setdefault(origin, self._core.now)
            stalled |= self._core.now - since >= STALL_LIMIT
        return stalled

    def _check_own(self, heads: list[Head]) -> None:
        for head in heads:
            if head.origin == self._own and head.last > self._own_known:
                self._own_known = head.last
                self._core.check_own(self.stream, head.origin, head.last)

    # --- into the table ---

    def _next(self, entry: Entry) -> bool:
        """Whether this is the transaction that comes next from its origin; takes it as received if so."""
        assert self._received is not None
        origin = entry.origin
        have = self._received.get(origin, 0)
        if entry.number <= have or origin == self._own or origin in self.ahead:
            self.duplicates += entry.number <= have
            return False
        if entry.number > have + 1:
            self._left_out.add(origin)
            return False
        if entry.version > self._core.wall + int(CLOCK_LIMIT * 1e6):
            self.ahead[origin] = entry.version
            self._core.note("warning", f"{self._title}: the clock of node '{entry.name}' is far ahead; its writes wait")
            return False
        self._received[origin] = entry.number
        return True

    def _run(self) -> Steps:
        while self.halted is None:
            try:
                yield from self._load()
                yield from self._apply_all()
            except NotFound as error:
                self._halt(str(error))
            except KennelError as error:
                self._core.note("warning", f"{self._title} halts for a while: {error}")
                self._let_go()
                yield Sleep(RETRY_INTERVAL)

    def _load(self) -> Steps:
        shelf: Shelf = yield Look(self.stream)
        if shelf.table_id != self.table_id:
            raise NotFound(f"Table '{self.stream.schema}.{self.stream.table}' was made anew; subscribe again")
        self._own = shelf.own
        self._own_known = shelf.vector[shelf.own]
        self.set_aside = shelf.set_aside
        self._received = dict(shelf.vector)
        self._choose()

    def _apply_all(self) -> Steps:
        """Apply what comes, until a gap shows that what was received and what is applied have parted."""
        while True:
            while not self._queue:
                yield PARK
            taken, entries = self._batch()
            outcomes: list[str] = yield Apply(self.stream, self.table_id, entries)
            for session in taken:
                self._queue.popleft()
                session.send(Ack(self.stream, 1))
            self.set_aside += outcomes.count("aside")
            if "gap" in outcomes:
                self._core.note("warning", f"{self._title}: transactions are missing; asking for them again")
                self._let_go()
                return

    def _batch(self) -> tuple[list[Session], list[Entry]]:
        """Frames from the head of the queue, one at least; they stay in the queue until they are applied."""
        sessions: list[Session] = []
        entries: list[Entry] = []
        size = 0
        for session, frame in self._queue:
            size += sum(len(entry.payload) for entry in frame)
            if sessions and size > BATCH_BYTES:
                break
            sessions.append(session)
            entries += frame
        return sessions, entries

    def _let_go(self) -> None:
        """Drop what is queued and have nobody send any more; the next `_load` takes up what is durable."""
        for session, _ in self._queue:
            session.send(Ack(self.stream, 1))
        self._queue.clear()
        self._received = None
        self._taken.clear()
        for session, source in self._sources.items():
            if source.followed:
                session.send(Follow(self.stream, []))
            source.followed = None

    def _halt(self, reason: str) -> None:
        self.halted = reason
        self._core.note("warning", f"{self._title} is not filled any more: {reason}")
        self._let_go()
        for source in self._sources.values():
            if source.join is not None:
                source.join.cancel()

    @property
    def _title(self) -> str:
        return f"Table '{self.stream.schema}.{self.stream.table}'"

    # --- joining ---

    def _start_join(self, session: Session, source: Source) -> None:
        if source.join is not None:
            source.join.cancel()
            source.join = None
        subscription = session.neighbour.subscriptions.get(self.stream)
        source.ready = subscription is not None and subscription.joined and not source.rejoin
        if subscription is None or source.ready or self.halted is not None:
            return
        source.join = self._core.tasks.start(self._join(session, source, subscription.start_time))

    def _join(self, session: Session, source: Source, since: int | None) -> Steps:
        while True:
            try:
                vector = yield from self._bring_over(session, since, rows=since is None or source.rejoin)
                break
            except (NotFound, Unreachable) as error:
                # The peer announces the stream afresh when it has it again, and that starts another join.
                self._core.note(
                    "warning", f"{self._title} could not be brought over from '{session.card.name}': {error}"
                )
                return
            except KennelError as error:
                self._core.note("warning", f"{self._title} is brought over later: {error}")
                yield Sleep(RETRY_INTERVAL)
        source.rejoin = False
        source.join = None
        source.ready = True
        source.followed = None
        if self._received is not None:
            for origin, last in vector.items():
                if origin != self._own:
                    self._received[origin] = max(last, self._received.get(origin, 0))
        self._core.joined(session, self.stream)
        self._choose()

    def _bring_over(self, session: Session, since: int | None, rows: bool) -> Steps:
        """Merge the peer's rows in, and take its vector over. -> the vector"""
        after: bytes | None = None
        heads: list[Head] | None = None
        while True:
            answer: Rows = yield Ask(session, Fetch(0, self.stream, since, rows, after), ROWS_TIMEOUT)
            heads = answer.vector if heads is None else heads
            if answer.rows:
                yield MergeRows(self.stream, self.table_id, answer.rows)
            after = answer.after
            if after is None:
                break
        vector = {head.origin: head.last for head in heads}
        yield RaiseVector(self.stream, self.table_id, vector, {head.node: head.name for head in heads})
        return vector
