"""The sending side of a stream: what this node's table holds, announced and served to those who subscribe to it.

A subscriber *pulls*: it is told how far each origin's transactions reach (Heads), says which origins it wants from
which number on (Follow), and is then sent whatever the log has, up to a few unacknowledged frames. Catching up and live
delivery are the same loop; a commit only wakes it. From which node an origin's transactions are taken is the
subscriber's choice alone, so nothing is sent twice in a mesh, and nothing is sent to anyone who has not asked.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from engine.errors import KennelError, NotFound
from engine.replication.effects import Sleep
from engine.replication.messages import Ack, Data, Entry, Follow, Heads, Origin, Short, Stream, Vector, heads_of
from engine.replication.tasks import PARK, Steps, Task
from engine.replication.works import Chunk, Locate, Located, Look, ReadLog, Shelf

if TYPE_CHECKING:
    from engine.replication.protocol import Protocol
    from engine.replication.session import Session

WINDOW_FRAMES = 4
FRAME_BYTES = 256 << 10
HEADS_INTERVAL = 1.0
RETRY_INTERVAL = 1.0


class Publication:
    """One table as it is offered to the sessions admitted to it."""

    def __init__(self, core: Protocol, stream: Stream, table_id: str) -> None:
        self.stream = stream
        self.table_id = table_id
        self.head = 0
        self.halted: str | None = None
        self._core = core
        self._shelf: Shelf | None = None
        self._stale = False
        self._announced: dict[Session, Vector] = {}
        self._outflows: dict[Session, Outflow] = {}
        self._task = core.tasks.start(self._look())

    @property
    def idle(self) -> bool:
        return not self._announced

    def offered(self, session: Session) -> bool:
        return session in self._announced

    def admit(self, session: Session) -> None:
        """Offer the table to a session, from the beginning if it was offered before."""
        self.dismiss(session)
        self._announced[session] = {}
        if self._shelf is not None:
            self._announce(session, fresh=True)

    def dismiss(self, session: Session) -> None:
        self._announced.pop(session, None)
        outflow = self._outflows.pop(session, None)
        if outflow is not None:
            outflow.close()

    def close(self) -> None:
        self._task.cancel()

    def follow(self, session: Session, follow: Follow) -> None:
        if session not in self._announced:
            return  # it will be announced afresh once both sides agree, and followed again then
        before = self._outflows.pop(session, None)
        if before is not None:
            before.close()
        wants = {Origin(want.node, want.epoch): want.have for want in follow.wants}
        if wants:
            frames_before = len(before.unacknowledged) if before is not None else 0
            self._outflows[session] = Outflow(self._core, self, session, wants, frames_before)

    def acknowledged(self, session: Session, ack: Ack) -> None:
        outflow = self._outflows.get(session)
        if outflow is not None:
            outflow.acknowledged(ack.frames)

    def committed(self, head: int) -> None:
        """The log has grown to `head`, as the doorbell or a read of the log tells."""
        if head > self.head:
            self._stale = True
            self._reach(head)
            self._task.wake()

    def _reach(self, head: int) -> None:
        if head > self.head:
            self.head = head
            for outflow in list(self._outflows.values()):
                outflow.wake()

    def _look(self) -> Steps:
        while self.halted is None:
            self._stale = False
            try:
                shelf: Shelf = yield Look(self.stream)
            except NotFound as error:
                self._halt(str(error))
                return
            except KennelError as error:
                self._core.note("warning", f"{self._title} is not published for a while: {error}")
                yield Sleep(RETRY_INTERVAL)
                continue
            if shelf.table_id != self.table_id:
                self._halt("the table was made anew; subscribe again")
                return
            self._learn(shelf)
            yield Sleep(HEADS_INTERVAL)
            while not self._stale:
                yield PARK

    def _halt(self, reason: str) -> None:
        self.halted = reason
        self._core.note("warning", f"{self._title} is not published any more: {reason}")

    @property
    def _title(self) -> str:
        return f"Table '{self.stream.schema}.{self.stream.table}'"

    def _learn(self, shelf: Shelf) -> None:
        first = self._shelf is None
        self._shelf = shelf
        self._reach(shelf.head)
        for outflow in list(self._outflows.values()):
            outflow.compare(shelf)
        for session in list(self._announced):
            self._announce(session, fresh=first)

    def _announce(self, session: Session, fresh: bool) -> None:
        """Tell a session what it has not been told yet."""
        assert self._shelf is not None
        told = self._announced[session]
        mine = self._core.identity.uuid
        news = {
            origin: last
            for origin, last in self._shelf.vector.items()
            if told.get(origin) != last and (self._core.identity.republish or origin.node == mine)
        }
        if not news and not fresh:
            return
        told.update(news)
        session.send(Heads(self.stream, fresh, heads_of(news, self._shelf.names)))


class Outflow:
    """What one session follows of a publication: a position in the log, and how far it has been sent each origin.

    `unacknowledged` has, for each frame on its way, the position up to which the subscriber has all when it is
    acknowledged; 0 for frames of an outflow before this one."""

    def __init__(
        self, core: Protocol, publication: Publication, session: Session, wants: Vector, frames_before: int
    ) -> None:
        self.unacknowledged: deque[int] = deque([0] * frames_before)
        self._core = core
        self._publication = publication
        self._session = session
        self._wants = wants
        self._position = 0
        self._shelf: Shelf | None = None
        self._task: Task = core.tasks.start(self._run())

    def close(self) -> None:
        self._task.cancel()

    def wake(self) -> None:
        self._task.wake()

    def acknowledged(self, frames: int) -> None:
        for _ in range(min(frames, len(self.unacknowledged))):
            reached = self.unacknowledged.popleft()
            if reached:
                self._core.reached(self._session, self._publication.stream, reached)
        self._task.wake()

    def compare(self, shelf: Shelf) -> None:
        """What the table has without having it in its log (rows were brought over) can only be had as rows."""
        self._shelf = shelf
        self._task.wake()

    def _run(self) -> Steps:
        stream = self._publication.stream
        while True:
            try:
                yield from self._stream(stream)
                return
            except NotFound as error:
                self._core.note("warning", f"Publishing '{stream.schema}.{stream.table}' ends: {error}")
                return
            except KennelError as error:
                self._core.note("warning", f"Publishing '{stream.schema}.{stream.table}' halts for a while: {error}")
                yield Sleep(RETRY_INTERVAL)

    def _stream(self, stream: Stream) -> Steps:
        located: Located = yield Locate(stream, dict(self._wants))
        self._cut_short(located.short)
        self._position = located.position
        self._publication.committed(located.head)
        while self._wants:
            if len(self.unacknowledged) >= WINDOW_FRAMES or self._position >= self._publication.head:
                self._rest()
                yield PARK
                continue
            chunk: Chunk = yield ReadLog(stream, self._position, frozenset(self._wants), FRAME_BYTES)
            self._position = max(self._position, chunk.position)
            self._publication.committed(chunk.head)
            entries = self._due(chunk.entries)
            if entries:
                self.unacknowledged.append(self._position)
                self._session.send(Data(stream, entries))

    def _rest(self) -> None:
        """Before waiting: what has been reached, and whether that is all there is to be had from the log."""
        if not self.unacknowledged:
            self._core.reached(self._session, self._publication.stream, self._position)
        shelf = self._shelf
        if shelf is not None and self._position >= shelf.head:
            self._shelf = None
            self._cut_short(frozenset(o for o, sent in self._wants.items() if shelf.vector.get(o, 0) > sent))

    def _due(self, entries: list[Entry]) -> list[Entry]:
        """Those that continue what has been sent; an origin with a hole in it is served no further."""
        due = []
        holes = set()
        for entry in entries:
            sent = self._wants.get(entry.origin)
            if sent is None or entry.number <= sent:
                continue
            if entry.number != sent + 1:
                holes.add(entry.origin)
                del self._wants[entry.origin]
                continue
            self._wants[entry.origin] = entry.number
            due.append(entry)
        self._cut_short(frozenset(holes))
        return due

    def _cut_short(self, origins: frozenset[Origin]) -> None:
        if not origins:
            return
        for origin in origins:
            self._wants.pop(origin, None)
        self._session.send(Short(self._publication.stream, sorted(origins)))
