"""Links: one channel to one peer as a numbered sequence of frames, with handshake and sign of life.

Frames of a link are numbered. A number left out means that the transport dropped something (ZeroMQ does when a queue is
full), and the link is then given up: the next one starts from what is durable on both sides. So everything above may
take a link for a reliable FIFO that ends at some moment, and nothing needs a retry of its own.

    dialler             listener
    Hello      ------>            who I am, proof that I know the cluster's secret
               <------  Welcome   the same from there          (or Refuse)
    Begin      <----->            the smaller uuid picks this link for use; until then it stands by

Two nodes may be connected several times (both dial, or a route is given under two names): one link per peer is in use.
Beats go over links that stand by as well, so that a dead one is known before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.replication.events import Action, Closed, Hang, Note, Opened, Received, Send
from engine.replication.identity import Identity
from engine.replication.messages import (
    PROTOCOL,
    AnyMessage,
    Beat,
    Begin,
    Bye,
    Card,
    Hello,
    Malformed,
    Refuse,
    Welcome,
    decode_frame,
    encode_frame,
    frame_number,
    prove,
    proves,
)

BEAT_INTERVAL = 1.0
SILENCE_LIMIT = 5.0
GREETING_LIMIT = 5.0
REFUSAL_SHOWN = 60.0


@dataclass(slots=True, eq=False)
class Link:
    """One channel, from Opened to Closed. `latency` is the last measured round trip in ms; `started`
    (and all other times, in seconds on this node's clock) is when the peer's process began."""

    channel: str
    dialled: bool
    key: str
    heard: float
    opened: float
    card: Card | None = None
    in_use: bool = False
    sent: int = 0
    received: int = 0
    next_beat: float = 0.0
    mark: float | None = None
    mark_at: float = 0.0
    latency: float | None = None
    started: float = 0.0

    @property
    def name(self) -> str:
        """The channel's name as both ends know it."""
        return self.channel[1:]

    @property
    def uuid(self) -> str:
        return self.card.uuid if self.card is not None else ""


class Links:
    """All links of a node. `begun` and `ended` hear of a peer's link coming into use and going out of it; `deliver`
    gets the messages of links in use."""

    def __init__(
        self,
        identity: Identity,
        emit: Callable[[Action], None],
        begun: Callable[[Link], None],
        ended: Callable[[Link], None],
        deliver: Callable[[Link, AnyMessage], None],
    ) -> None:
        self._identity = identity
        self._emit = emit
        self._begun = begun
        self._ended = ended
        self._deliver = deliver
        self._links: dict[str, Link] = {}
        self.now = 0.0
        self.malformed = 0
        self._refusals: dict[str, float] = {}

    # --- events ---

    def opened(self, event: Opened) -> None:
        link = Link(event.channel, event.dialled, event.key, heard=self.now, opened=self.now)
        self._links[link.channel] = link
        if link.dialled:
            card = self._identity.card(self.now)
            self.send(link, Hello(card, prove(self._identity.secret, "hello", link.name, self._identity.key, card)))

    def closed(self, event: Closed) -> None:
        link = self._links.get(event.channel)
        if link is not None:
            self._forget(link)

    def received(self, event: Received) -> None:
        link = self._links.get(event.channel)
        if link is None:
            return  # given up on this side already; the other learns it from the transport, or from our silence
        try:
            number = frame_number(event.frame)
            if number <= link.received:
                return
            if number != link.received + 1:
                self.hang_up(link, f"{number - link.received - 1} frames were lost on the way")
                return
            link.received = number
            link.heard = self.now
            message = decode_frame(event.frame)
        except Malformed as error:
            self.malformed += 1
            self._emit(Note("warning", f"A malformed message from {self.described(link)} was dropped: {error}"))
            return
        self._take(link, message)

    def tick(self) -> None:
        for link in list(self._links.values()):
            if link.card is None and self.now - link.opened > GREETING_LIMIT:
                self.hang_up(link, "no greeting")
            elif self.now - link.heard > SILENCE_LIMIT:
                self.hang_up(link, "no sign of life")
            elif link.card is not None and self.now >= link.next_beat:
                self._beat(link)

    # --- for the sessions ---

    def send(self, link: Link, message: AnyMessage) -> None:
        """Send on a link; on one that is no more, nothing happens (its session is about to end)."""
        if self._links.get(link.channel) is not link:
            return
        link.sent += 1
        self._emit(Send(link.channel, encode_frame(link.sent, message)))

    def hang_up(self, link: Link, reason: str, refused: bool = False) -> None:
        self.send(link, Bye(reason))
        self._emit(Note("info", f"The link with {self.described(link)} is closed: {reason}"))
        self._emit(Hang(link.channel, reason, refused))
        self._forget(link)

    def close(self) -> None:
        for link in list(self._links.values()):
            self.hang_up(link, "the node stops")

    def refusals(self) -> list[str]:
        """Why nodes were refused, or refused this one, lately."""
        return [reason for reason, at in self._refusals.items() if self.now - at < REFUSAL_SHOWN]

    def described(self, link: Link) -> str:
        return f"node '{link.card.name}'" if link.card is not None else "an unknown node"

    # --- the handshake ---

    def _take(self, link: Link, message: AnyMessage) -> None:
        match message:
            case Hello() if not link.dialled and link.card is None:
                self._greeted(link, message)
            case Welcome() if link.dialled and link.card is None:
                self._welcomed(link, message)
            case Refuse() if link.dialled and link.card is None:
                self._refused(link, message.reason)
            case Bye():
                self._emit(Note("info", f"{self.described(link)} closes the link: {message.reason}"))
                self._emit(Hang(link.channel, message.reason))
                self._forget(link)
            case _ if link.card is None:
                self.malformed += 1
            case Beat():
                self._beaten(link, message)
            case Begin():
                self._use(link)
            case _ if link.in_use:
                self._deliver(link, message)
            case _:
                pass  # sent before the other side learned that this link is not in use

    def _greeted(self, link: Link, hello: Hello) -> None:
        reason = self._objection(
            hello.card, proves(hello.proof, self._identity.secret, "hello", link.name, link.key, hello.card)
        )
        if reason is not None:
            self.send(link, Refuse(reason))
            self._object(link, hello.card, reason)
            return
        card = self._identity.card(self.now)
        self.send(link, Welcome(card, prove(self._identity.secret, "welcome", link.name, link.key, card)))
        self._known(link, hello.card)

    def _welcomed(self, link: Link, welcome: Welcome) -> None:
        secret, card = self._identity.secret, welcome.card
        reason = self._objection(card, proves(welcome.proof, secret, "welcome", link.name, self._identity.key, card))
        if reason is not None:
            self._object(link, card, reason)
            return
        link.latency = (self.now - link.opened) * 1000
        self._known(link, card)

    def _refused(self, link: Link, reason: str) -> None:
        self._refusals[reason] = self.now
        self._emit(Note("error", f"A node that a route leads to refuses the link: {reason}"))
        self._emit(Hang(link.channel, reason, refused=True))
        self._forget(link)

    def _objection(self, card: Card, proven: bool) -> str | None:
        """Why there can be no link with this node; None when there can."""
        mine = self._identity
        if card.protocol != PROTOCOL:
            return f"protocol {card.protocol} is not spoken here, but {PROTOCOL}"
        if not proven:
            return "wrong cluster user or password"
        if card.cluster != mine.cluster:
            return f"it belongs to the cluster '{card.cluster}', not to '{mine.cluster}'"
        if card.uuid == mine.uuid and card.session == mine.session:
            return "the route leads to the node itself"
        if card.uuid == mine.uuid:
            return f"node '{card.name}' has the id of node '{mine.name}'; one is a copy of the other"
        if card.name == mine.name or any(c.name == card.name and c.uuid != card.uuid for c in self._cards()):
            return f"the node name '{card.name}' is taken by another node"
        return None

    def _object(self, link: Link, card: Card, reason: str) -> None:
        self._refusals[reason] = self.now
        level = "info" if card.session == self._identity.session else "error"
        self._emit(Note(level, f"No link with node '{card.name}': {reason}"))
        self._emit(Hang(link.channel, reason, refused=True))
        self._forget(link)

    def _cards(self) -> Iterator[Card]:
        return (link.card for link in self._links.values() if link.card is not None)

    # --- which link is in use ---

    def _known(self, link: Link, card: Card) -> None:
        # A process that was started anew is not on its old links any more, even if nobody has told us.
        for other in list(self._links.values()):
            if other.card is not None and other.uuid == card.uuid and other.card.session != card.session:
                self.hang_up(other, "the node was started anew")
        link.card = card
        link.started = self.now - card.uptime / 1000
        self._beat(link)
        self._choose(card.uuid)

    def _choose(self, uuid: str) -> None:
        """Pick a link for use, if that is up to this node and none is."""
        standing = [link for link in self._links.values() if link.uuid == uuid]
        if not standing or self._identity.uuid > uuid or any(link.in_use for link in standing):
            return
        chosen = min(standing, key=lambda link: (not link.dialled, link.name))
        self.send(chosen, Begin())
        self._use(chosen)

    def _use(self, link: Link) -> None:
        for other in [other for other in self._links.values() if other.uuid == link.uuid and other.in_use]:
            other.in_use = False
            self._ended(other)
        link.in_use = True
        self._begun(link)

    def _forget(self, link: Link) -> None:
        del self._links[link.channel]
        if link.in_use:
            link.in_use = False
            self._ended(link)
        if link.card is not None:
            self._choose(link.card.uuid)

    # --- signs of life ---

    def _beat(self, link: Link) -> None:
        link.next_beat = self.now + BEAT_INTERVAL
        held = (self.now - link.mark_at) * 1000 if link.mark is not None else 0.0
        self.send(link, Beat(self.now * 1000, link.mark, held, (self.now - self._identity.started) * 1000))

    def _beaten(self, link: Link, beat: Beat) -> None:
        first = link.mark is None
        link.mark, link.mark_at = beat.mark, self.now
        link.started = self.now - beat.uptime / 1000
        if beat.echo is not None:
            link.latency = max(0.0, self.now * 1000 - beat.echo - beat.held)
        if first:
            self._beat(link)
