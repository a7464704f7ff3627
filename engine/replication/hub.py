"""The hub of a node: the thread that owns the sockets and feeds the protocol core.

    sockets, doorbell, workers, callers --events--> core --actions--> sockets, workers, callers

The core runs in this thread only. Works on tables go to other threads, so that a slow disk does not keep signs of life
from leaving; their results come back as events. One more thread waits on the node's doorbell and reports commits of the
tables that are published.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from itertools import count
from queue import SimpleQueue
from typing import Any

import zmq

from engine.api import Node
from engine.errors import KennelError, Unreachable
from engine.process import CannotStart
from engine.replication.apply import Storage
from engine.replication.events import (
    Action,
    Asked,
    Committed,
    Done,
    Event,
    Failed,
    Hang,
    Note,
    Perform,
    Reply,
    Rerouted,
    Retain,
    Send,
    Tick,
    Watch,
)
from engine.replication.events import (
    Closed as ChannelClosed,
)
from engine.replication.identity import Identity
from engine.replication.keys import ClusterKeys
from engine.replication.lanes import Lanes
from engine.replication.messages import Stream
from engine.replication.protocol import Protocol
from engine.replication.routes import Route
from engine.replication.transport import FAREWELL_MS, Dial, Listener
from engine.replication.works import WRITING

TICK = 0.1
WORKERS = 8
DOORBELL_TIMEOUT = 0.2
GATHER = 0.001  # commits within a millisecond are reported together

log = logging.getLogger(__name__)
LEVELS = logging.getLevelNamesMapping()


class Hub:
    """Running from construction to `close`. CannotStart when the cluster port cannot be had."""

    def __init__(
        self,
        node: Node,
        storage: Storage,
        identity: Identity,
        keys: ClusterKeys,
        host: str | None,
        routes: Iterable[Route],
    ) -> None:
        self._node = node
        self._storage = storage
        self._keys = keys
        self._core = Protocol(identity, storage.neighbours(), routes)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._listener = Listener(self._context, keys, host, identity.clustering_port)
        except CannotStart:
            self._context.destroy(0)
            raise
        self._dials: dict[Route, Dial] = {}
        self._poller = zmq.Poller()
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._requests = count(1)
        self._futures: dict[int, Future[Any]] = {}
        self._watched: frozenset[Stream] = frozenset()
        self._needed: dict[str, int] | None = None  # until the core has told
        self._stopping = threading.Event()
        self._next_tick = 0.0
        self._lanes = Lanes(WORKERS, "hub-work")
        for socket in (self._listener.socket, self._listener.authenticator):
            self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._wake, zmq.POLLIN)
        self._reroute(tuple(routes))
        self._threads = [
            threading.Thread(target=self._run, name="hub", daemon=True),
            threading.Thread(target=self._listen_for_commits, name="hub-doorbell", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # --- from other threads ---

    def ask(self, operation: str, body: dict[str, Any], timeout: float) -> Any:
        """Call a cluster operation. Raises what it raises, Unreachable when it takes longer than `timeout` seconds."""
        future: Future[Any] = Future()
        request = next(self._requests)
        self._futures[request] = future
        self._submit(Asked(request, operation, body))
        try:
            return future.result(timeout)
        except TimeoutError:
            raise Unreachable(f"The operation '{operation}' took too long.") from None
        finally:
            self._futures.pop(request, None)

    def reroute(self, routes: tuple[Route, ...]) -> None:
        """Dial these routes from now on, and no others."""
        self._submit(Rerouted(routes))

    def keeps(self, table_id: str) -> int | None:
        """The position from which on subscribers still need a table's log; None when nobody needs any of it."""
        return 1 if self._needed is None else self._needed.get(table_id)

    def close(self) -> None:
        """Take leave of the peers and end all threads."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._submit(None)
        for thread in self._threads:
            thread.join()
        self._lanes.close()
        for future in list(self._futures.values()):
            future.set_exception(Unreachable("The node stops."))
        os.close(self._wake)

    def _submit(self, event: Event | None) -> None:
        self._events.put(event)
        os.eventfd_write(self._wake, 1)

    # --- the hub's thread ---

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception:
                # Whatever it was: without this thread the node would be cut off for good.
                log.exception("Replication met a fault of its own")
                self._stopping.wait(TICK)
        for action in self._core.close():
            self._carry_out(action)
        for dial in self._dials.values():
            dial.close(FAREWELL_MS)
        self._listener.close()
        self._context.term()

    def _turn(self) -> None:
        ready = dict(self._poller.poll(max(0, round((self._next_tick - time.monotonic()) * 1000))))
        self._take_sockets(ready)
        if self._wake in ready:
            os.eventfd_read(self._wake)
        self._take_events()
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK
            self._tick()

    def _take_sockets(self, ready: dict[Any, int]) -> None:
        if self._listener.authenticator in ready:
            self._listener.admit()
        if self._listener.socket in ready:
            for event in self._listener.receive():
                self._feed(event)
        for dial in list(self._dials.values()):
            # Frames first: what came before the connection broke still counts.
            if dial.socket in ready:
                for frame in dial.receive():
                    self._feed(frame)
            if dial.monitor in ready:
                self._watch_dial(dial)

    def _watch_dial(self, dial: Dial) -> None:
        before = (dial.socket, dial.monitor)
        for event in dial.watch(time.monotonic()):
            self._feed(event)
        if dial.socket is None:
            self._unregister(*before)

    def _take_events(self) -> None:
        while not self._events.empty():
            event = self._events.get()
            if event is None:
                return
            if isinstance(event, Rerouted):
                self._reroute(tuple(Route(*route) for route in event.routes))
            self._feed(event)

    def _tick(self) -> None:
        now = time.monotonic()
        for dial in self._dials.values():
            if dial.due is not None and dial.due <= now:
                dial.connect()
                self._poller.register(dial.socket, zmq.POLLIN)
                self._poller.register(dial.monitor, zmq.POLLIN)
        self._feed(Tick())

    def _feed(self, event: Event) -> None:
        try:
            actions = self._core.handle(event, time.monotonic(), time.time_ns() // 1000)
        except Exception:
            # One event that the core cannot take must not end replication with everybody.
            log.exception("Replication met a fault of its own at %s", type(event).__name__)
            return
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Send(channel, frame) if channel[0] == "<":
                self._listener.send(channel, frame)
            case Send(channel, frame):
                dial = self._dial_of(channel)
                if dial is not None:
                    dial.send(frame)
            case Perform():
                lane = (isinstance(action.work, WRITING), getattr(action.work, "stream", None))
                self._lanes.put(lane, partial(self._work, action))
            case Hang():
                self._hang_up(action)
            case Watch(streams):
                self._watched = streams
            case Retain(needed):
                self._needed = needed
            case Reply():
                self._reply(action)
            case Note(level, text):
                log.log(LEVELS[level.upper()], "%s", text)

    def _reply(self, reply: Reply) -> None:
        future = self._futures.get(reply.request)
        if future is None:
            return
        if reply.error is not None:
            future.set_exception(reply.error)
        else:
            future.set_result(reply.result)

    # --- dials ---

    def _dial_of(self, channel: str) -> Dial | None:
        return next((dial for dial in self._dials.values() if dial.channel == channel), None)

    def _hang_up(self, hang: Hang) -> None:
        if hang.channel[0] == "<":
            self._listener.hang_up(hang.channel)
            return
        dial = self._dial_of(hang.channel)
        if dial is not None:
            sockets = (dial.socket, dial.monitor)
            dial.hang_up(time.monotonic(), hang.refused)
            self._unregister(*sockets)

    def _reroute(self, routes: tuple[Route, ...]) -> None:
        for route in self._dials.keys() - set(routes):
            dial = self._dials.pop(route)
            channel, sockets = dial.channel, (dial.socket, dial.monitor)
            dial.close(0)
            self._unregister(*sockets)
            if channel is not None:
                self._feed(ChannelClosed(channel))
        for route in routes:
            if route not in self._dials:
                self._dials[route] = Dial(self._context, self._keys, route, time.monotonic())

    def _unregister(self, *sockets: zmq.Socket[bytes] | None) -> None:
        for socket in sockets:
            if socket is not None and socket in self._poller:
                self._poller.unregister(socket)

    # --- the other threads ---

    def _work(self, perform: Perform) -> None:
        try:
            event: Event = Done(perform.token, self._storage.perform(perform.work))
        except KennelError as error:
            event = Failed(perform.token, error)
        except Exception as error:
            log.exception("%s failed", type(perform.work).__name__)
            event = Failed(perform.token, KennelError(f"{type(error).__name__}: {error}"))
        if not self._stopping.is_set():
            self._submit(event)

    def _listen_for_commits(self) -> None:
        rung = 0
        known: dict[Stream, int] = {}
        while not self._stopping.is_set():
            try:
                rung = self._node.wait_for_commit(rung, DOORBELL_TIMEOUT)
                heads = {stream: self._storage.head(stream) for stream in self._watched}
            except Exception:
                log.exception("Commits cannot be seen; trying again")
                self._stopping.wait(DOORBELL_TIMEOUT)
                continue
            news = {stream: head for stream, head in heads.items() if head is not None and head != known.get(stream)}
            if news:
                self._submit(Committed(news))
            known = {stream: head for stream, head in heads.items() if head is not None}
            self._stopping.wait(GATHER)
