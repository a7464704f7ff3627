"""Channels over real sockets: who gets in, and who gets what."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from nodes import eventually, free_ports

from engine.process import CannotStart
from engine.replication.events import Closed, Opened, Received
from engine.replication.keys import ClusterKeys, derive_cluster_keys, load_keys
from engine.replication.routes import Backoff, Route
from engine.replication.transport import SUBSCRIBED, TOPIC_BYTES, UNSUBSCRIBED, UPSTREAM, Dial, Listener, transport_key


class Ends:
    """A listener and whatever dials it, driven by hand."""

    def __init__(self, keys: ClusterKeys) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        (self.port,) = free_ports(1)
        self.listener = Listener(self.context, keys, "127.0.0.1", self.port)
        self.dials: list[Dial] = []
        self.heard: list[Any] = []
        self.told: list[Any] = []

    def dial(self, keys: ClusterKeys) -> Dial:
        dial = Dial(self.context, keys, Route("127.0.0.1", self.port), 0.0)
        dial.connect()
        self.dials.append(dial)
        return dial

    def turn(self) -> None:
        self.listener.admit()
        self.heard += self.listener.receive()
        for dial in self.dials:
            self.told += dial.receive()
            self.told += dial.watch(time.monotonic())

    def until(self, holds: Callable[[], Any]) -> Any:
        def probe() -> Any:
            self.turn()
            return holds()

        return eventually(probe)

    def close(self) -> None:
        for dial in self.dials:
            dial.close(0)
        self.listener.close()
        self.context.term()


def keys_in(root: Path, password: str = "secret") -> ClusterKeys:
    root.mkdir()
    derive_cluster_keys(root, "cluster_user", password)
    keys = load_keys(root)
    assert keys is not None
    return keys


@pytest.fixture
def keys(tmp_path: Path) -> list[ClusterKeys]:
    return [keys_in(tmp_path / name) for name in ("north", "south", "third")]


@pytest.fixture
def ends(keys: list[ClusterKeys]) -> Iterator[Ends]:
    made = Ends(keys[0])
    yield made
    made.close()


def test_frames_travel_both_ways_under_a_proven_key(ends: Ends, keys: list[ClusterKeys]) -> None:
    dial = ends.dial(keys[1])
    assert ends.until(lambda: ends.heard and ends.told)
    key = transport_key(keys[1].node_public)
    assert dial.channel is not None
    name = dial.channel[1:]
    assert ends.heard == [Opened(f"<{name}", False, key)]
    assert ends.told == [Opened(f">{name}", True, key)]
    dial.send(b"\x00up")
    ends.listener.send(f"<{name}", b"\x01down")
    assert ends.until(lambda: len(ends.heard) + len(ends.told) == 4)
    assert ends.heard[1] == Received(f"<{name}", b"\x00up")
    assert ends.told[1] == Received(f">{name}", b"\x01down")


def test_a_dialler_that_goes_is_noticed(ends: Ends, keys: list[ClusterKeys]) -> None:
    dial = ends.dial(keys[1])
    assert ends.until(lambda: dial.channel)
    name = str(dial.channel)[1:]
    dial.close(0)
    assert ends.until(lambda: Closed(f"<{name}") in ends.heard)


def test_a_listener_that_goes_is_noticed_and_dialled_again(ends: Ends, keys: list[ClusterKeys]) -> None:
    dial = ends.dial(keys[1])
    assert ends.until(lambda: dial.channel)
    channel = dial.channel
    ends.listener.socket.unbind(f"tcp://127.0.0.1:{ends.port}")
    ends.listener.close()
    assert eventually(lambda: list(dial.watch(1.0)) == [Closed(str(channel))])
    assert dial.socket is None
    assert dial.due is not None and dial.due > 1.0


def test_nobody_gets_what_is_meant_for_another(ends: Ends, keys: list[ClusterKeys]) -> None:
    victim, spy = ends.dial(keys[1]), ends.dial(keys[2])
    assert ends.until(lambda: victim.channel and spy.channel)
    assert spy.socket is not None
    topic = bytes.fromhex(str(victim.channel)[1:])
    for overheard in (b"", topic[:4], topic):
        spy.socket.send(bytes([SUBSCRIBED]) + overheard)
    spy.socket.send(bytes([UNSUBSCRIBED]) + topic)
    spy.socket.send(UPSTREAM + topic + b"forged")
    spy.send(b"genuine")
    assert ends.until(lambda: Received(f"<{str(spy.channel)[1:]}", b"genuine") in ends.heard)
    ends.listener.send(f"<{topic.hex()}", b"secret")
    assert ends.until(lambda: Received(str(victim.channel), b"secret") in ends.told)
    ends.turn()
    assert spy.socket.poll(200) == 0
    assert not any(isinstance(event, Closed) or getattr(event, "frame", None) == b"forged" for event in ends.heard)


def test_who_does_not_know_the_password_does_not_get_in(ends: Ends, tmp_path: Path) -> None:
    dial = ends.dial(keys_in(tmp_path / "stranger", "guess"))
    assert ends.until(lambda: dial.due)
    assert ends.heard == ends.told == []


def test_noise_on_the_port_harms_nobody(ends: Ends, keys: list[ClusterKeys]) -> None:
    with socket.create_connection(("127.0.0.1", ends.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(100_000))
        dial = ends.dial(keys[1])
        assert ends.until(lambda: dial.channel)
    assert dial.socket is not None
    for noise in (b"", b"\x02", b"\x02short", b"\x03" + bytes(TOPIC_BYTES), b"\x01" + bytes(TOPIC_BYTES), bytes(100)):
        dial.socket.send(noise)
    dial.send(b"fine")
    assert ends.until(lambda: len(ends.heard) == 2)
    assert isinstance(ends.heard[1], Received)


def test_a_port_in_use_is_told(ends: Ends, keys: list[ClusterKeys]) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with pytest.raises(CannotStart, match=f"the cluster port {ends.port} cannot be opened"):
        Listener(context, keys[0], "127.0.0.1", ends.port)
    context.destroy(0)


def test_pauses_grow_up_to_a_limit_and_begin_again() -> None:
    backoff = Backoff(1.0, 8.0)
    pauses = [backoff.pause() for _ in range(10)]
    assert all(0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(pauses[:4]))
    assert all(4 <= pause <= 8 for pause in pauses[4:])
    backoff.reset()
    assert backoff.pause() <= 1
