"""One peer while a link with it is in use: the agreement between the two, and who gets which message.

A session begins with both sides saying what they hold to be agreed (Agree) and merging the other's view until they
hold the same (`engine.replication.terms`). From then on the streams that this node publishes are announced, and those
that it subscribes to are taken. Every change of the terms starts this over; so a peer that was down while its
subscription was changed or removed learns of it when it is back. Nothing of a session survives its link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace as with_fields

from engine import errors
from engine.errors import Conflict, InvalidRequest, KennelError, NotFound, Unreachable
from engine.replication import operations
from engine.replication.effects import Ask, Sleep
from engine.replication.link import Link
from engine.replication.messages import (
    Ack,
    Agree,
    AnyMessage,
    Card,
    Data,
    Fetch,
    Follow,
    Found,
    Head,
    Heads,
    Origin,
    Propose,
    Rows,
    Short,
    Sorry,
    Stream,
    Survey,
    Term,
    Verdict,
    heads_of,
)
from engine.replication.tasks import Steps, Task
from engine.replication.terms import Neighbour, mirrored
from engine.replication.works import CreateTable, Describe, ForgetNeighbour, Past, ReadPast, ReadRows, RowsChunk

if TYPE_CHECKING:
    from engine.replication.protocol import Protocol

ROWS_BYTES = 1 << 20
RETRY_INTERVAL = 5.0
MAX_OFFERS = 100_000
MAX_QUESTIONS = 256  # of the peer's, under way


class Session:
    """The peer on the other end of the link in use."""

    def __init__(self, core: Protocol, link: Link) -> None:
        assert link.card is not None
        self.link = link
        self.card: Card = link.card
        self._core = core
        self._theirs: Agree | None = None
        self._said: Agree | None = None
        self._offers: dict[Stream, dict[Origin, Head]] = {}
        self._questions: dict[int, float] = {}
        self._tasks: list[Task] = []
        self._settling: Task | None = None
        self._is_over = False
        self.settle()

    @property
    def neighbour(self) -> Neighbour:
        """What is kept of this peer; a row that another node of this name left behind does not count."""
        kept = self._core.neighbours.get(self.card.name)
        if kept is None or kept.uuid != self.card.uuid:
            return Neighbour(self.card.name, self.card.uuid)
        return kept

    def send(self, message: AnyMessage) -> None:
        self._core.links.send(self.link, message)

    def ended(self) -> None:
        """The link is gone: nobody answers any more, and nothing is sent or taken."""
        self._is_over = True
        self._core.leave(self)
        for task in self._tasks:
            task.cancel()
        if self._settling is not None:
            self._settling.cancel()
        for token in list(self._questions):
            self._core.tasks.fail(token, self._gone())
        self._questions.clear()

    def _for_publication(self, message: Follow | Ack) -> None:
        publication = self._core.publications.get(message.stream)
        if publication is None:
            return
        if isinstance(message, Follow):
            publication.follow(self, message)
        else:
            publication.acknowledged(self, message)

    def _for_inflow(self, message: Heads | Data | Short) -> None:
        inflow = self._core.inflows.get(message.stream)
        if inflow is None:
            return
        if isinstance(message, Heads):
            inflow.announced(self, message)
        elif isinstance(message, Data):
            inflow.received(self, message)
        else:
            inflow.cut_short(self, message)

    def _gone(self) -> Unreachable:
        return Unreachable(f"Node '{self.card.name}' cannot be reached.")

    # --- questions and answers ---

    def ask(self, token: int, ask: Ask) -> None:
        if self._is_over:
            self._core.tasks.fail(token, self._gone())
            return
        self._questions[token] = self._core.now + ask.timeout
        self.send(with_fields(ask.question, request=token))

    def tick(self) -> None:
        for token in [token for token, deadline in self._questions.items() if deadline < self._core.now]:
            del self._questions[token]
            self._core.tasks.fail(token, Unreachable(f"Node '{self.card.name}' does not answer."))

    def take(self, message: AnyMessage) -> None:
        match message:
            case Agree():
                self._theirs = message
                self.settle()
            case Heads():
                self._offered(message)
            case Follow() | Ack():
                self._for_publication(message)
            case Data() | Short():
                self._for_inflow(message)
            case Rows() | Verdict() | Found():
                if self._questions.pop(message.request, None) is not None:
                    self._core.tasks.finish(message.request, message)
            case Sorry():
                if self._questions.pop(message.request, None) is not None:
                    self._core.tasks.fail(message.request, _error(message))
            case Fetch():
                self._answer(message.request, self._fetched(message))
            case Propose():
                self._answer(message.request, self._proposed(message))
            case Survey():
                self._answer(message.request, self._surveyed(message))
            case _:
                self._core.links.malformed += 1

    def _answer(self, request: int, steps: Steps) -> None:
        self._tasks = [task for task in self._tasks if not task.done]
        if len(self._tasks) >= MAX_QUESTIONS:
            steps.close()
            self.send(Sorry(request, "Busy", "Too many questions at once."))
            return
        self._tasks.append(self._core.tasks.start(self._answering(request, steps)))

    def _answering(self, request: int, steps: Steps) -> Steps:
        try:
            answer = yield from steps
        except KennelError as error:
            answer = Sorry(request, type(error).__name__, error.message[:2000])
        self.send(answer)

    def _fetched(self, fetch: Fetch) -> Steps:
        if not self._core.publishes(self, fetch.stream):
            raise NotFound(f"Table '{fetch.stream.schema}.{fetch.stream.table}' is not published")
        if not fetch.rows and fetch.since is not None:
            past: Past = yield ReadPast(fetch.stream, fetch.since)
            return Rows(fetch.request, [], None, heads_of(past.vector, past.names))
        chunk: RowsChunk = yield ReadRows(fetch.stream, fetch.since, fetch.after, ROWS_BYTES)
        return Rows(fetch.request, chunk.rows, chunk.after, heads_of(chunk.vector, chunk.names))

    def _proposed(self, propose: Propose) -> Steps:
        described = yield Describe(tuple(term.stream for term in propose.terms))
        for term in propose.terms:
            mine = described.get(term.stream)
            if mine is not None and term.primary_key is not None and mine[1] != term.primary_key:
                raise Conflict(operations.different_keys(term.stream))
        known = [term for term in propose.terms if term.stream in described or term.primary_key is not None]
        yield from self._take_terms(known, described)
        self.settle()
        keys = [described[term.stream][1] if term.stream in described else None for term in propose.terms]
        return Verdict(propose.request, keys)

    def _surveyed(self, survey: Survey) -> Steps:
        members = yield from operations.members(self._core, survey.survey, survey.asked, survey.timeout / 1000)
        return Found(survey.request, members)

    # --- agreement ---

    def settle(self) -> None:
        """Bring both views of the agreement together, and act on them where they are the same."""
        if self._settling is not None:
            self._settling.cancel()
        if not self._is_over:
            self._settling = self._core.tasks.start(self._settle())

    def _settle(self) -> Steps:
        while True:
            try:
                yield from self._agree()
                return
            except KennelError as error:
                self._core.note("error", f"Terms with node '{self.card.name}' cannot be kept: {error}")
                yield Sleep(RETRY_INTERVAL)

    def _agree(self) -> Steps:
        described = yield Describe(tuple(self.neighbour.subscriptions))
        theirs = self._theirs
        if theirs is not None and self.neighbour.merged(theirs) != self.neighbour:
            yield from self._adopt(theirs, described)
        mine = self.neighbour.agreement({stream: key for stream, (_, key) in described.items()})
        if mine != self._said:
            self._said = mine
            self.send(mine)
        if theirs is None or not self.neighbour.agrees(theirs):
            self._core.leave(self)
            return
        self._core.enter(self)
        for stream, heads in self._offers.items():
            self._for_inflow(Heads(stream, True, list(heads.values())))
        if not self.neighbour.subscriptions and self.card.name in self._core.neighbours:
            del self._core.neighbours[self.card.name]
            yield ForgetNeighbour(self.card.name)

    def _adopt(self, theirs: Agree, described: dict[Stream, tuple[str, str]]) -> Steps:
        """Take over what the other side knows later than this one."""
        described |= yield Describe(tuple(term.stream for term in theirs.terms if term.stream not in described))
        mine = self.neighbour.merged(theirs).subscriptions
        news = [term for term in theirs.terms if term.stream in mine and mine[term.stream].stamp == term.stamp]
        yield from self._take_terms(news, described, theirs.removed)

    def _take_terms(self, terms: list[Term], described: dict[Stream, tuple[str, str]], removed: int = 0) -> Steps:
        """Keep terms as the other side has them, with their tables, which are created where only the other side has
        them (`described` is added to)."""
        for term in terms:
            if term.stream not in described and term.primary_key is not None and (term.publish or term.subscribe):
                described[term.stream] = yield CreateTable(term.stream, term.primary_key)
        row = self.neighbour.merged(Agree(removed, []))
        news = {}
        for term in terms:
            before = row.subscriptions.get(term.stream)
            if term.stamp > max(removed, before.stamp if before is not None else 0):
                news[term.stream] = mirrored(term, before, self._table_for(term, described))
        yield from self._core.keep(row.with_terms(news.items()), self.card)

    def _table_for(self, term: Term, described: dict[Stream, tuple[str, str]]) -> str | None:
        """The id of the table that can replicate by this term, if there is one."""
        table_id, key = described.get(term.stream, (None, None))
        if term.primary_key is not None and key is not None and key != term.primary_key:
            self._core.note("error", operations.different_keys(term.stream))
            return None
        return table_id

    def _offered(self, heads: Heads) -> None:
        if heads.stream not in self._offers and len(self._offers) >= MAX_OFFERS:
            return
        offer = self._offers.setdefault(heads.stream, {})
        if heads.fresh:
            offer.clear()
        offer.update((head.origin, head) for head in heads.heads)
        self._for_inflow(heads)


def _error(sorry: Sorry) -> KennelError:
    """The peer's error as one of ours; classes with a signature of their own become their parent."""
    kind = getattr(errors, sorry.kind, None)
    if kind in (InvalidRequest, Conflict, NotFound, errors.Busy, errors.DiskFull, errors.ReadOnlyTable):
        return kind(sorry.text)
    if isinstance(kind, type) and issubclass(kind, NotFound):
        return NotFound(sorry.text)
    return KennelError(sorry.text)
