"""A cluster in one thread and in virtual time: real protocol cores and real `apply` on model tables, joined by a
network that loses, delays, repeats and breaks, and run by a scheduler that crashes nodes between any two steps.
Everything follows from one seed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from memory_tables import ModelNode

from engine.errors import KennelError
from engine.replication.apply import Storage
from engine.replication.events import (
    Asked,
    Closed,
    Committed,
    Done,
    Event,
    Failed,
    Hang,
    Note,
    Opened,
    Perform,
    Received,
    Reply,
    Retain,
    Send,
    Tick,
    Watch,
)
from engine.replication.identity import Identity
from engine.replication.messages import Data, Entry, Stream, decode_frame
from engine.replication.protocol import Protocol
from engine.replication.works import (
    Apply,
    CreateTable,
    ForgetNeighbour,
    MergeRows,
    RaiseVector,
    RenewEpoch,
    SaveNeighbour,
)

TICK = 0.1
WRITING = Apply | MergeRows | RaiseVector | RenewEpoch | CreateTable | SaveNeighbour | ForgetNeighbour


@dataclass
class Trouble:
    """How bad the network is."""

    loss: float = 0.0
    repeat: float = 0.0
    longest: float = 0.02  # seconds on the way


@dataclass
class Channel:
    name: str
    dialler: SimNode
    listener: SimNode
    alive: bool = True
    arrivals: dict[str, float] = field(default_factory=dict)

    def end(self, dialled: bool) -> tuple[SimNode, str]:
        return (self.dialler, f">{self.name}") if dialled else (self.listener, f"<{self.name}")


class MemoryAside:
    def __init__(self) -> None:
        self.counts: Counter[Stream] = Counter()
        self.kept: list[tuple[Entry, str]] = []

    def keep(self, stream: Stream, entry: Entry, reason: str) -> None:
        self.counts[stream] += 1
        self.kept.append((entry, reason))


class SimNode:
    """One node: its disk (`data`) outlives its process (`core`)."""

    def __init__(self, simulator: Simulator, name: str, **model: Any) -> None:
        self.simulator = simulator
        self.name = name
        self.data = ModelNode(name, simulator.random, **model)
        self.aside = MemoryAside()
        self.core: Protocol | None = None
        self.life = 0
        self.storage = Storage(self.data, self.aside)
        self.watched: frozenset[Stream] = frozenset()
        self.heads: dict[Stream, int | None] = {}
        self.channels: dict[str, Channel] = {}
        self.ready: dict[bool, float] = {}
        self.replies: dict[int, Reply] = {}
        self.notes: list[str] = []
        self.needed: dict[str, int] = {}
        self.skew = 0.0
        self.options: dict[str, Any] = {}

    def start(self) -> None:
        self.life += 1
        self.storage = Storage(self.data, self.aside)
        given: dict[str, Any] = {"cluster": "kennel", "secret": b"secret", "started": self.simulator.now + self.skew}
        session, key = f"{self.name}#{self.life}", f"key of {self.name}"
        identity = Identity(self.data.id, self.name, session=session, key=key, **given | self.options)
        self.core = Protocol(identity, self.storage.neighbours())
        self.watched, self.heads = frozenset(), {}
        self.ready = {}
        life = self.life
        self.simulator.after(TICK, lambda: self._tick(life))

    def crash(self) -> None:
        self.core = None
        for end, channel in list(self.channels.items()):
            self.simulator.cut(channel, end)

    def _tick(self, life: int) -> None:
        if life == self.life and self.core is not None:
            self.feed(Tick())
            self.simulator.after(TICK, lambda: self._tick(life))

    def feed(self, event: Event) -> None:
        if self.core is None:
            return
        now = self.simulator.now + self.skew
        self.data.now = max(self.data.now, 1_700_000_000_000_000 + int(self.simulator.now * 1e6))
        for action in self.core.handle(event, now, self.data.now):
            self._carry_out(action)

    def _carry_out(self, action: Any) -> None:
        match action:
            case Send(channel, frame):
                if channel in self.channels:
                    self.simulator.transmit(self.channels[channel], channel, frame)
            case Hang(channel, _, refused):
                if channel in self.channels:
                    self.simulator.cut(self.channels[channel], channel, refused)
            case Perform():
                self._perform(action)
            case Watch(streams):
                self.watched = streams
                self._report()
            case Retain(needed):
                self.needed = needed
            case Reply():
                self.replies[action.request] = action
            case Note():
                self.notes.append(f"{self.simulator.now:9.3f} {self.name} {action.level}: {action.text}")

    def _perform(self, action: Perform) -> None:
        """Works that write run one after the other, and so do those that read; a crash may fall in between."""
        life, writes = self.life, isinstance(action.work, WRITING)
        begin = max(self.simulator.now, self.ready.get(writes, 0.0)) + self.simulator.random.random() * 0.003
        self.ready[writes] = begin

        def run() -> None:
            if life != self.life or self.core is None:
                return
            try:
                event: Event = Done(action.token, self.storage.perform(action.work))
            except KennelError as error:
                event = Failed(action.token, error)
            self._report()
            self.simulator.after(self.simulator.random.random() * 0.003, lambda: life == self.life and self.feed(event))

        self.simulator.after(begin - self.simulator.now, run)

    # --- what users do ---

    def write(self, table: str, kind: str, key: int, record: dict[str, Any] | None) -> None:
        self.data.now = max(self.data.now, 1_700_000_000_000_000 + int((self.simulator.now + self.skew) * 1e6))
        self.data.table("dev", table).write(kind, key, record)
        self._report()

    def _report(self) -> None:
        """What the doorbell does."""
        heads = {stream: self.storage.head(stream) for stream in self.watched}
        if self.core is not None and heads != self.heads:
            self.heads = heads
            event = Committed({stream: head for stream, head in heads.items() if head is not None})
            life = self.life
            self.simulator.after(0.001, lambda: life == self.life and self.feed(event))

    def ask(self, operation: str, **body: Any) -> int:
        request = self.simulator.request = self.simulator.request + 1
        self.feed(Asked(request, operation, body))
        return request

    def call(self, operation: str, seconds: float = 30.0, **body: Any) -> Any:
        """The result of an operation; its error is raised."""
        request = self.ask(operation, **body)
        self.simulator.run_until(lambda: request in self.replies, seconds)
        reply = self.replies[request]
        if reply.error is not None:
            raise reply.error
        return reply.result


class Simulator:
    """`route(a, b)`: a dials b, again and again."""

    def __init__(self, seed: int, trouble: Trouble | None = None) -> None:
        self.random = Random(seed)
        self.trouble = trouble or Trouble()
        self.now = 0.0
        self.request = 0
        self.nodes: dict[str, SimNode] = {}
        self.severed: set[frozenset[str]] = set()
        self.echoes = 0
        self.sent_entries = 0
        self._events: list[tuple[float, int, Callable[[], Any]]] = []
        self._count = 0

    def node(self, name: str, **model: Any) -> SimNode:
        node = self.nodes[name] = SimNode(self, name, **model)
        node.start()
        return node

    def after(self, seconds: float, what: Callable[[], Any]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + max(0.0, seconds), self._count, what))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = end

    def run_until(self, holds: Callable[[], bool], seconds: float = 60.0) -> bool:
        end = self.now + seconds
        while not holds() and self.now < end:
            self.run(TICK)
        return holds()

    # --- the network ---

    def route(self, dialler: SimNode, listener: SimNode) -> None:
        self.after(self.random.random() * 0.1, lambda: self._dial(dialler, listener))

    def _dial(self, dialler: SimNode, listener: SimNode) -> None:
        if dialler.core is None or listener.core is None or frozenset((dialler.name, listener.name)) in self.severed:
            self.after(0.1 + self.random.random() * 0.2, lambda: self._dial(dialler, listener))
            return
        channel = Channel(f"{self.random.getrandbits(64):016x}", dialler, listener)
        for dialled in (False, True):
            node, end = channel.end(dialled)
            node.channels[end] = channel
            node.feed(Opened(end, dialled, f"key of {dialler.name}"))

    def transmit(self, channel: Channel, end: str, frame: bytes) -> None:
        receiver, far_end = channel.end(end[0] == "<")
        self._inspect(receiver, frame)
        if not channel.alive or self.random.random() < self.trouble.loss or self._are_severed(channel):
            return
        arrival = max(channel.arrivals.get(end, 0.0), self.now + 0.0002 + self.random.random() * self.trouble.longest)
        channel.arrivals[end] = arrival
        for _ in range(1 + (self.random.random() < self.trouble.repeat)):
            self.after(arrival - self.now, lambda: self._deliver(channel, receiver, far_end, frame))

    def _deliver(self, channel: Channel, receiver: SimNode, end: str, frame: bytes) -> None:
        if end in receiver.channels and not self._are_severed(channel):
            receiver.feed(Received(end, frame))

    def _inspect(self, receiver: SimNode, frame: bytes) -> None:
        message = decode_frame(frame)
        if not isinstance(message, Data):
            return
        table = receiver.data.tables.get(tuple(message.stream))
        for entry in message.entries:
            self.sent_entries += 1
            self.echoes += table is not None and (entry.node, entry.epoch) == (receiver.data.id, table.epoch)

    def cut(self, channel: Channel, end: str = "", refused: bool = False) -> None:
        """Break a channel: the given end knows at once, the other after a while, or only from the silence."""
        if not channel.alive:
            return
        channel.alive = False
        for dialled in (False, True):
            node, name = channel.end(dialled)
            if name == end:
                del node.channels[name]
            else:
                wait = self.random.choice((0.01, 0.3, 20.0))
                self.after(wait, lambda node=node, name=name: self._notice(node, name))
        pause = 2.0 if refused else 0.1 + self.random.random() * 0.3
        self.after(pause, lambda: self._dial(channel.dialler, channel.listener))

    def _notice(self, node: SimNode, end: str) -> None:
        if node.channels.pop(end, None) is not None:
            node.feed(Closed(end))

    def _are_severed(self, channel: Channel) -> bool:
        return frozenset((channel.dialler.name, channel.listener.name)) in self.severed

    def channels(self) -> list[Channel]:
        return list({c.name: c for node in self.nodes.values() for c in node.channels.values() if c.alive}.values())

    # --- checks ---

    def settled(self, table: str, nodes: Sequence[SimNode]) -> bool:
        """Whether these nodes have the same rows, and each has every transaction of every other."""
        tables = [node.data.tables.get(("dev", table)) for node in nodes]
        if any(t is None for t in tables):
            return False
        if any(t.rows() != tables[0].rows() for t in tables):
            return False
        own = {(node.data.id, t.epoch): t.last_own for node, t in zip(nodes, tables, strict=True)}
        return all(
            t.applied().get(origin, 0) >= last
            for node, t in zip(nodes, tables, strict=True)
            for origin, last in own.items()
            if origin[0] != node.data.id
        )

    def applied_twice(self) -> list[Any]:
        return [
            (n.name, what) for n in self.nodes.values() for what, count in n.data.applied_count.items() if count > 1
        ]
