"""Channels over ZeroMQ: one XPUB that listens, one XSUB per route that dials.

The dialler subscribes to one topic, the channel's name: 16 random bytes, and a digest of them and its transport key.
The listener takes a subscription only if the digest fits the key that CURVE has proven (XPUB_MANUAL), so nobody gets
what is meant for another. Downstream frames are topic and content; upstream frames are a tag byte (2: those that begin
with 0 or 1 are subscriptions to ZeroMQ), topic and content. A lost connection shows as an unsubscription here, and as
an event of the socket's monitor there. A dialler's socket serves one connection: ZeroMQ would reconnect it by itself
and then deliver what was queued for the former connection.

Both sockets drop what exceeds their high-water marks; the core notices by the numbers in the frames.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator

import zmq
import zmq.utils.z85
from zmq.utils.monitor import recv_monitor_message

from engine.process import CannotStart, Exit
from engine.replication.events import Closed, Opened, Received
from engine.replication.keys import ClusterKeys
from engine.replication.messages import MAX_FRAME
from engine.replication.routes import Backoff, Route

NONCE_BYTES, DIGEST_BYTES = 16, 16
TOPIC_BYTES = NONCE_BYTES + DIGEST_BYTES
UPSTREAM = b"\x02"
SUBSCRIBED, UNSUBSCRIBED = 1, 0

HIGH_WATER_MARK = 10_000  # frames; the windows of the streams keep far below it
HEARTBEAT_MS, HEARTBEAT_LIMIT_MS = 2000, 6000
HANDSHAKE_LIMIT_MS = 5000
FAREWELL_MS = 200  # for the last frames to leave when the node stops
STEADY = 10.0  # seconds that a connection must have lasted for the next pauses to be short again
TAKEN_AT_ONCE = 500  # frames from one socket before others have their turn

ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"kennel"

FAILED_HANDSHAKES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)

log = logging.getLogger(__name__)


def transport_key(public: bytes) -> str:
    """A CURVE public key (Z85) as events carry it."""
    return zmq.utils.z85.decode(public).hex()


def _digest(nonce: bytes, key: str) -> bytes:
    return hashlib.blake2b(bytes.fromhex(key), digest_size=DIGEST_BYTES, key=nonce).digest()


def _proven_key(frame: zmq.Frame) -> str | None:
    """The transport key of the connection that a frame came on; None when ZeroMQ itself tells that one has ended."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return None


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    options = {
        zmq.LINGER: 0,
        zmq.SNDHWM: HIGH_WATER_MARK,
        zmq.RCVHWM: HIGH_WATER_MARK,
        zmq.MAXMSGSIZE: MAX_FRAME + TOPIC_BYTES + 1,
        zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
        zmq.HEARTBEAT_TIMEOUT: HEARTBEAT_LIMIT_MS,
        zmq.HEARTBEAT_TTL: HEARTBEAT_LIMIT_MS,
        zmq.HANDSHAKE_IVL: HANDSHAKE_LIMIT_MS,
        zmq.TCP_KEEPALIVE: 1,
    }
    for option, value in options.items():
        socket.setsockopt(option, value)
    return socket


class Listener:
    """The hub's own port."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ClusterKeys, host: str | None, port: int) -> None:
        # Without somebody to answer for it, ZeroMQ does not tell under which key a frame came.
        self.authenticator = context.socket(zmq.REP)
        self.authenticator.bind(ZAP_ADDRESS)
        self.socket = _socket(context, zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_MANUAL, 1)
        self.socket.curve_server = True
        self.socket.curve_secretkey = keys.hub_secret
        self.socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        self._topics: dict[bytes, str] = {}
        self._bind(host, port)

    def _bind(self, host: str | None, port: int) -> None:
        places = [("*" if host is None else host, 1), ("*" if host is None else host, 0)]
        for place, six in places:
            self.socket.setsockopt(zmq.IPV6, six)
            try:
                self.socket.bind(Route(place, port).address)
                return
            except zmq.ZMQError as error:
                failure = error
        raise CannotStart(Exit.PORT, f"the cluster port {port} cannot be opened: {failure.strerror}")

    def admit(self) -> None:
        """Answer who asks whether a peer may connect: who knows the hub's key may; the key proven is its user id."""
        while self.authenticator.poll(0):
            version, request, *_, key = self.authenticator.recv_multipart()
            self.authenticator.send_multipart([version, request, b"200", b"OK", key.hex().encode(), b""])

    def receive(self) -> Iterator[Opened | Closed | Received]:
        """What has come, at most TAKEN_AT_ONCE frames of it."""
        for _ in range(TAKEN_AT_ONCE):
            try:
                frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            event = self._event(frame)
            if event is not None:
                yield event

    def send(self, channel: str, frame: bytes) -> None:
        self.socket.send(bytes.fromhex(channel[1:]) + frame, zmq.NOBLOCK)

    def hang_up(self, channel: str) -> None:
        """Forget a channel: the other end closes it when it hears why, or when it hears nothing more."""
        self._topics.pop(bytes.fromhex(channel[1:]), None)

    def close(self) -> None:
        self.authenticator.close(0)
        self.socket.close(FAREWELL_MS)

    def _event(self, frame: zmq.Frame) -> Opened | Closed | Received | None:
        content = frame.bytes
        topic = content[1 : TOPIC_BYTES + 1]
        if len(topic) < TOPIC_BYTES:
            return None
        key = _proven_key(frame)
        if content[0] == SUBSCRIBED and key is not None:
            return self._opened(topic, key) if len(content) == TOPIC_BYTES + 1 else None
        if content[0] == UNSUBSCRIBED and key is None:
            return Closed(f"<{topic.hex()}") if self._topics.pop(topic, None) is not None else None
        if content[0] == UNSUBSCRIBED or self._topics.get(topic) != key:
            return None
        return Received(f"<{topic.hex()}", content[TOPIC_BYTES + 1 :])

    def _opened(self, topic: bytes, key: str) -> Opened | None:
        if topic in self._topics or _digest(topic[:NONCE_BYTES], key) != topic[NONCE_BYTES:]:
            log.warning("A subscription to a channel of another node was refused")
            return None
        self._topics[topic] = key
        self.socket.setsockopt(zmq.SUBSCRIBE, topic)
        return Opened(f"<{topic.hex()}", False, key)


class Dial:
    """One route being dialled, connected, or waited with. `due` is when to dial again, None while there is a socket."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ClusterKeys, route: Route, now: float) -> None:
        self.route = route
        self.due: float | None = now
        self.socket: zmq.Socket[bytes] | None = None
        self.monitor: zmq.Socket[bytes] | None = None
        self.channel: str | None = None
        self._context = context
        self._keys = keys
        self._key = transport_key(keys.node_public)
        self._topic = b""
        self._soon = Backoff(0.1, 2.0)
        self._late = Backoff(1.0, 30.0)
        self._since = 0.0
        self._complained = False

    def connect(self) -> None:
        nonce = os.urandom(NONCE_BYTES)
        self._topic = nonce + _digest(nonce, self._key)
        self.socket = _socket(self._context, zmq.XSUB)
        self.socket.setsockopt(zmq.IPV6, 1)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self.socket.setsockopt(zmq.CONNECT_TIMEOUT, HANDSHAKE_LIMIT_MS)
        self.socket.curve_serverkey = self._keys.hub_public
        self.socket.curve_publickey = self._keys.node_public
        self.socket.curve_secretkey = self._keys.node_secret
        self.monitor = self.socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | sum(FAILED_HANDSHAKES)
        )
        self.socket.send(bytes([SUBSCRIBED]) + self._topic)
        self.socket.connect(self.route.address)
        self.due = None

    def watch(self, now: float) -> Iterator[Opened | Closed]:
        """What the monitor says of the connection."""
        while self.monitor is not None and self.monitor.poll(0):
            event = recv_monitor_message(self.monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED and self.channel is None:
                self.channel = f">{self._topic.hex()}"
                self._since = now
                yield Opened(self.channel, True, self._key)
            elif event in FAILED_HANDSHAKES:
                self._complain()
                self.hang_up(now, refused=True)
            elif event == zmq.EVENT_DISCONNECTED:
                lost = self.channel
                self.hang_up(now)
                if lost is not None:
                    yield Closed(lost)

    def receive(self) -> Iterator[Received]:
        """What has come, at most TAKEN_AT_ONCE frames of it."""
        for _ in range(TAKEN_AT_ONCE):
            if self.socket is None or self.channel is None:
                return
            try:
                frame = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if frame.startswith(self._topic):
                yield Received(self.channel, frame[TOPIC_BYTES:])

    def send(self, frame: bytes) -> None:
        if self.socket is not None:
            self.socket.send(UPSTREAM + self._topic + frame, zmq.NOBLOCK)

    def hang_up(self, now: float, refused: bool = False) -> None:
        """Close what there is, and dial again after a while."""
        if self.channel is not None and now - self._since > STEADY:
            self._soon.reset()
            self._late.reset()
            self._complained = False
        self.close(0)
        self.due = now + (self._late if refused else self._soon).pause()

    def close(self, linger: int) -> None:
        self.channel = None
        if self.socket is not None:
            self.socket.disable_monitor()
            self.socket.close(linger)
        if self.monitor is not None:
            self.monitor.close(0)
        self.socket = self.monitor = None

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            log.error("%s:%d refuses the link: wrong cluster user or password, or not a node", *self.route)
