"""The protocol core: everything that nodes say to each other, as a pure state machine.

    core = Protocol(identity, neighbours)
    actions = core.handle(event, now, wall)

It has no sockets, no clock and no files. Events come in with the time (`now`: seconds on a clock that never goes back,
`wall`: microseconds since 1970), actions go out; works on tables are actions whose results come back as events. The hub
(`engine.replication.hub`) and the simulator of the tests run the very same object.

The parts: `link` (numbered frames, handshake, signs of life), `session` (a peer in use: agreement, questions),
`publication` and `inflow` (the two sides of a stream), `operations` (what users ask for).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import replace

from engine.errors import InvalidRequest, KennelError
from engine.replication import operations
from engine.replication.effects import Ask, Sleep
from engine.replication.events import (
    Action,
    Asked,
    Closed,
    Committed,
    Done,
    Event,
    Failed,
    Note,
    Opened,
    Perform,
    Received,
    Reply,
    Rerouted,
    Retain,
    Tick,
    Watch,
)
from engine.replication.identity import Identity
from engine.replication.inflow import Inflow
from engine.replication.link import Link, Links
from engine.replication.messages import AnyMessage, Card, Origin, Stream
from engine.replication.publication import Publication
from engine.replication.session import Session
from engine.replication.tasks import Steps, Tasks
from engine.replication.terms import Neighbour
from engine.replication.works import Look, RenewEpoch, SaveNeighbour, Shelf, Work

REMEMBERED_SURVEYS = 1000
REVIEW_INTERVAL = 0.5
KEEPING_INTERVAL = 30.0


class Protocol:
    """One node's part in the cluster. The attributes are for the parts of the core; outside, only `handle` counts."""

    def __init__(
        self, identity: Identity, neighbours: Iterable[Neighbour], routes: Iterable[tuple[str, int]] = ()
    ) -> None:
        self.identity = identity
        self.now = identity.started
        self.wall = 0
        self.neighbours: dict[str, Neighbour] = {row.name: row for row in neighbours}
        self.routes = tuple(routes)
        self.sessions: dict[str, Session] = {}
        self.publications: dict[Stream, Publication] = {}
        self.inflows: dict[Stream, Inflow] = {}
        self.tasks = Tasks(self._request, self._crashed)
        self.links = Links(identity, self.emit, self._begun, self._ended, self._deliver)
        self._actions: list[Action] = []
        self._timers: list[tuple[float, int]] = []
        self._changes: deque[Asked] = deque()
        self._changing = False
        self._surveys: OrderedDict[str, None] = OrderedDict()
        self._survey_count = 0
        self._next_review = 0.0
        self._reached: dict[tuple[str, Stream], int] = {}
        self._next_keeping = 0.0
        self._needed: dict[str, int] | None = None
        self._watched: frozenset[Stream] = frozenset()

    def handle(self, event: Event, now: float, wall: int) -> list[Action]:
        """Take one event; the actions are to be carried out in their order."""
        self.now = self.links.now = now
        self.wall = wall
        self._take(event)
        actions, self._actions = self._actions, []
        return actions

    def close(self) -> list[Action]:
        """Take leave of all peers."""
        self._keep_reached()
        self.links.close()
        actions, self._actions = self._actions, []
        return actions

    def _take(self, event: Event) -> None:
        match event:
            case Received():
                self.links.received(event)
            case Done(token, result):
                self.tasks.finish(token, result)
            case Failed(token, error):
                self.tasks.fail(token, error)
            case Committed(heads):
                for stream, head in heads.items():
                    if stream in self.publications:
                        self.publications[stream].committed(head)
            case Opened():
                self.links.opened(event)
            case Closed():
                self.links.closed(event)
            case Asked():
                self._asked(event)
            case Rerouted(routes):
                self.routes = routes
            case Tick():
                self._tick()

    def _tick(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            self.tasks.finish(heapq.heappop(self._timers)[1], None)
        self.links.tick()
        for session in list(self.sessions.values()):
            session.tick()
        if self.now >= self._next_review:
            self._next_review = self.now + REVIEW_INTERVAL
            for inflow in self.inflows.values():
                inflow.review()
            self._retain()

    # --- for the parts ---

    def emit(self, action: Action) -> None:
        self._actions.append(action)

    def note(self, level: str, text: str) -> None:
        self.emit(Note(level, text))

    def session_named(self, name: str) -> Session | None:
        return next((session for session in self.sessions.values() if session.card.name == name), None)

    def keep(self, row: Neighbour, card: Card | None) -> Steps:
        """Take a neighbour's row as what holds from now on, and have it saved."""
        if card is not None:
            row = replace(row, clustering_port=card.clustering_port, operations_port=card.operations_port)
        self.neighbours[row.name] = row
        yield SaveNeighbour(row)

    def joined(self, session: Session, stream: Stream) -> None:
        """The rows of a stream have come over from a peer."""
        row = session.neighbour
        subscription = row.subscriptions.get(stream)
        if subscription is not None and not subscription.joined:
            row = row.with_terms([(stream, replace(subscription, joined=True))])
            self.tasks.start(self._note_down(row, session.card))

    def publishes(self, session: Session, stream: Stream) -> bool:
        publication = self.publications.get(stream)
        return publication is not None and publication.offered(session)

    def enter(self, session: Session) -> None:
        """Both sides agree: offer and take what the terms say, and nothing else."""
        live = {stream: s for stream, s in session.neighbour.subscriptions.items() if s.table_id is not None}
        self._leave(session, {n for n, s in live.items() if s.publish}, {n for n, s in live.items() if s.subscribe})
        for stream, subscription in live.items():
            table_id = subscription.table_id or ""
            if subscription.publish:
                self._publication(stream, table_id).admit(session)
            if subscription.subscribe:
                self._inflow(stream, table_id).admit(session)
        self._watch()

    def leave(self, session: Session) -> None:
        """Neither offer to nor take from this session anything more."""
        self._leave(session, set(), set())
        self._watch()

    def reached(self, session: Session, stream: Stream, position: int) -> None:
        """A subscriber has everything up to a position in this node's log."""
        self._reached[session.card.name, stream] = position

    def check_own(self, stream: Stream, own: Origin, last: int) -> None:
        """A peer has this node's own transactions up to `last`."""
        self.tasks.start(self._check_own(stream, own, last))

    def new_survey(self) -> str:
        self._survey_count += 1
        return f"{self.identity.session}.{self._survey_count}"

    def seen_survey(self, survey: str) -> bool:
        """Whether this node was asked before; it answers each survey once."""
        if survey in self._surveys:
            return True
        self._surveys[survey] = None
        if len(self._surveys) > REMEMBERED_SURVEYS:
            self._surveys.popitem(last=False)
        return False

    # --- streams ---

    def _publication(self, stream: Stream, table_id: str) -> Publication:
        publication = self.publications.get(stream)
        if publication is None or publication.table_id != table_id or publication.halted is not None:
            if publication is not None:
                publication.close()
            publication = self.publications[stream] = Publication(self, stream, table_id)
        return publication

    def _inflow(self, stream: Stream, table_id: str) -> Inflow:
        inflow = self.inflows.get(stream)
        if inflow is None or inflow.table_id != table_id or inflow.halted is not None:
            if inflow is not None:
                inflow.close()
            inflow = self.inflows[stream] = Inflow(self, stream, table_id)
        return inflow

    def _leave(self, session: Session, published: set[Stream], subscribed: set[Stream]) -> None:
        for stream, publication in list(self.publications.items()):
            if stream not in published:
                publication.dismiss(session)
                if publication.idle:
                    publication.close()
                    del self.publications[stream]
        for stream, inflow in list(self.inflows.items()):
            if stream not in subscribed:
                inflow.dismiss(session)
                if inflow.idle:
                    inflow.close()
                    del self.inflows[stream]

    def _watch(self) -> None:
        watched = frozenset(self.publications)
        if watched != self._watched:
            self._watched = watched
            self.emit(Watch(watched))

    def _check_own(self, stream: Stream, own: Origin, last: int) -> Steps:
        """What peers have and this node has not was lost here (a backup was restored): its numbers must not be used for
        other transactions, so a new epoch begins, and those lost are fetched like any other node's."""
        try:
            shelf: Shelf = yield Look(stream)
            if shelf.own != own or shelf.vector[own] >= last:
                return
            self.note("error", f"Peers have transactions of '{stream.schema}.{stream.table}' that this node has lost")
            yield RenewEpoch(stream)
        except KennelError as error:
            self.note("error", f"Table '{stream.schema}.{stream.table}' cannot begin a new epoch: {error}")
            return
        for part in (self.inflows.pop(stream, None), self.publications.pop(stream, None)):
            if part is not None:
                part.close()
        for session in self.sessions.values():
            if stream in session.neighbour.subscriptions:
                session.settle()

    def _retain(self) -> None:
        """Tell what subscribers still need of the logs; and from time to time keep how far they are."""
        needed: dict[str, int] = {}
        for row in self.neighbours.values():
            for stream, s in row.subscriptions.items():
                if s.publish and s.table_id is not None:
                    first = self._reached.get((row.name, stream), s.reached) + 1
                    needed[s.table_id] = min(first, needed.get(s.table_id, first))
        if needed != self._needed:
            self._needed = needed
            self.emit(Retain(needed))
        if self.now >= self._next_keeping:
            self._next_keeping = self.now + KEEPING_INTERVAL
            self._keep_reached()

    def _keep_reached(self) -> None:
        reached, self._reached = self._reached, {}
        for row in list(self.neighbours.values()):
            news = {
                stream: replace(s, reached=reached[row.name, stream])
                for stream, s in row.subscriptions.items()
                if s.publish and reached.get((row.name, stream), s.reached) != s.reached
            }
            if news:
                self.tasks.start(self._note_down(row.with_terms(news.items()), None))

    def _note_down(self, row: Neighbour, card: Card | None) -> Steps:
        """Keep a row; if that fails, more is done again after a restart than need be, and no harm comes of it."""
        try:
            yield from self.keep(row, card)
        except KennelError as error:
            self.note("warning", f"What node '{row.name}' has reached could not be kept: {error}")

    # --- links and sessions ---

    def _begun(self, link: Link) -> None:
        session = self.sessions[link.uuid] = Session(self, link)
        self.note("info", f"Node '{session.card.name}' is linked")

    def _ended(self, link: Link) -> None:
        session = self.sessions.pop(link.uuid, None)
        if session is not None:
            self.note("info", f"Node '{session.card.name}' is not linked any more")
            session.ended()

    def _deliver(self, link: Link, message: AnyMessage) -> None:
        session = self.sessions.get(link.uuid)
        if session is not None:
            session.take(message)

    # --- tasks ---

    def _request(self, token: int, effect: Ask | Sleep | Work) -> None:
        match effect:
            case Ask():
                effect.session.ask(token, effect)
            case Sleep(seconds):
                heapq.heappush(self._timers, (self.now + seconds, token))
            case _:
                self.emit(Perform(token, effect))

    def _crashed(self, error: Exception) -> None:
        self.note("error", f"Replication met a fault of its own: {type(error).__name__}: {error}")

    # --- operations ---

    def _asked(self, asked: Asked) -> None:
        if asked.operation in operations.CHANGES:
            self._changes.append(asked)
            self._next_change()
        else:
            self.tasks.start(self._view(asked))

    def _view(self, asked: Asked) -> Steps:
        try:
            if asked.operation == "cluster_status":
                self.emit(Reply(asked.request, operations.cluster_status(self)))
            elif asked.operation == "cluster_network":
                self.emit(Reply(asked.request, (yield from operations.cluster_network(self, asked.body))))
            else:
                raise InvalidRequest(f"Operation '{asked.operation}' is not known")
        except KennelError as error:
            self.emit(Reply(asked.request, error=error))

    def _next_change(self) -> None:
        if self._changes and not self._changing:
            self._changing = True
            self.tasks.start(self._change(self._changes.popleft()))

    def _change(self, asked: Asked) -> Steps:
        try:
            result = yield from operations.CHANGES[asked.operation](self, asked.body)
            self.emit(Reply(asked.request, result))
        except KennelError as error:
            self.emit(Reply(asked.request, error=error))
        finally:
            self._changing = False
        self._next_change()
