"""The control socket: requests and errors that cross it, and clients that misbehave."""

from __future__ import annotations

import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import control, errors
from engine.control import SOCKET_NAME

Serve = Callable[[dict[str, control.Operation]], control.Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    running: list[tuple[control.Server, threading.Thread]] = []

    def start(operations: dict[str, control.Operation]) -> control.Server:
        server = control.Server(tmp_path, operations)
        thread = threading.Thread(target=server.serve)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.close(grace=0.1)
        thread.join(10)
        assert not thread.is_alive()


def _raise(error: Exception) -> control.Operation:
    def operation(body: dict[str, Any]) -> Any:
        raise error

    return operation


def ended(connection: socket.socket) -> bool:
    """Whether the server closed the connection without a word (a reset when it had not read everything)."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_a_result_comes_back(tmp_path: Path, serve: Serve) -> None:
    serve({"echo": lambda body: {"got": body}})
    assert control.call(tmp_path, "echo", {"a": [1, None, "ü"]}) == {"got": {"a": [1, None, "ü"]}}
    assert control.call(tmp_path, "echo") == {"got": {}}


def test_only_the_owner_may_connect(tmp_path: Path, serve: Serve) -> None:
    serve({})
    assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "error",
    [
        errors.Unreachable("Unable to add 'south'."),
        errors.NoSuchTable("farm", "goat"),
        errors.UnknownAttribute("coat", "horns"),
        errors.Conflict("two ways"),
    ],
)
def test_an_error_keeps_its_class_and_text(tmp_path: Path, serve: Serve, error: errors.KennelError) -> None:
    serve({"fail": _raise(error)})
    with pytest.raises(type(error)) as caught:
        control.call(tmp_path, "fail")
    assert type(caught.value) is type(error)
    assert caught.value.message == error.message


def test_a_fault_is_told_without_its_inside(tmp_path: Path, serve: Serve) -> None:
    serve({"fail": _raise(ZeroDivisionError("secret")), "odd": lambda body: object(), "echo": lambda body: body})
    for operation in ("fail", "odd"):
        with pytest.raises(errors.KennelError) as caught:
            control.call(tmp_path, operation)
        assert caught.value.message == control.FAULT
    assert control.call(tmp_path, "echo", {"still": "here"}) == {"still": "here"}


def test_an_unknown_operation_is_refused(tmp_path: Path, serve: Serve) -> None:
    serve({})
    with pytest.raises(errors.InvalidRequest, match="Operation 'what' not found"):
        control.call(tmp_path, "what")


def test_no_node_process_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreachable):
        control.call(tmp_path, "status")


def test_a_socket_file_left_by_a_killed_process_is_unreachable_and_no_obstacle(tmp_path: Path, serve: Serve) -> None:
    dead = control.listen(tmp_path / SOCKET_NAME)
    dead.close()
    with pytest.raises(errors.Unreachable):
        control.call(tmp_path, "status")
    serve({"status": lambda body: "alive"})
    assert control.call(tmp_path, "status") == "alive"


def test_an_operation_that_takes_too_long_is_unreachable(tmp_path: Path, serve: Serve) -> None:
    release = threading.Event()
    serve({"wait": lambda body: release.wait(30)})
    with pytest.raises(errors.Unreachable, match=r"did not answer 'wait' within 0\.2 seconds"):
        control.call(tmp_path, "wait", timeout=0.2)
    release.set()


def test_slow_operations_do_not_hold_up_others(tmp_path: Path, serve: Serve) -> None:
    release = threading.Event()
    serve({"wait": lambda body: release.wait(30), "echo": lambda body: body})
    waiters = [threading.Thread(target=control.call, args=(tmp_path, "wait")) for _ in range(8)]
    for waiter in waiters:
        waiter.start()
    assert control.call(tmp_path, "echo", {"a": 1}) == {"a": 1}
    release.set()
    for waiter in waiters:
        waiter.join(10)
        assert not waiter.is_alive()


@pytest.mark.parametrize(
    "bytes_sent",
    [b"", b"\x00", b"\xff\xff\xff\xffxx", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x01\x05", b"\x00\x00\x00\x09\x81"],
)
def test_nonsense_on_the_socket_only_ends_its_connection(tmp_path: Path, serve: Serve, bytes_sent: bytes) -> None:
    serve({"echo": lambda body: body})
    with control.connect(tmp_path / SOCKET_NAME, 10) as connection:
        connection.sendall(bytes_sent)
        connection.shutdown(socket.SHUT_WR)
        assert ended(connection)
    assert control.call(tmp_path, "echo", {"a": 1}) == {"a": 1}


def test_a_silent_client_is_dropped(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_TIMEOUT", 0.1)
    serve({})
    with control.connect(tmp_path / SOCKET_NAME, 10) as connection:
        assert connection.recv(100) == b""


def test_messages_have_a_largest_size(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_MESSAGE", 1000)
    serve({"grow": lambda body: "x" * body["size"]})
    assert control.call(tmp_path, "grow", {"size": 900}) == "x" * 900
    with pytest.raises(errors.InvalidRequest, match="too large"):
        control.call(tmp_path, "grow", {"size": 1000})
    with pytest.raises(errors.InvalidRequest, match="too large"):
        control.call(tmp_path, "grow", {"text": "x" * 1000})


def test_closing_lets_a_request_under_way_end(tmp_path: Path, serve: Serve) -> None:
    started, release, replies = threading.Event(), threading.Event(), []

    def operation(body: dict[str, Any]) -> str:
        started.set()
        release.wait(30)
        return "done"

    server = serve({"wait": operation})
    client = threading.Thread(target=lambda: replies.append(control.call(tmp_path, "wait")))
    client.start()
    assert started.wait(10)
    closer = threading.Thread(target=server.close, kwargs={"grace": 30})
    closer.start()
    while (tmp_path / SOCKET_NAME).exists():
        time.sleep(0.01)
    release.set()
    for thread in (client, closer):
        thread.join(10)
        assert not thread.is_alive()
    assert replies == ["done"]
    with pytest.raises(errors.Unreachable):
        control.call(tmp_path, "wait")


def test_a_root_with_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    root = tmp_path / ("long" * 30)
    root.mkdir()
    server = control.Server(root, {"echo": lambda body: body})
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert control.call(root, "echo", {"a": 1}) == {"a": 1}
    finally:
        server.close()
        thread.join(10)
    assert not thread.is_alive()
