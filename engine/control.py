"""How the processes of a node talk to its node process: a Unix socket, `<root>/control.sock`, one request a connection.

A message is a 4-byte big-endian length and as many bytes of MessagePack. Request: `{"operation": str, "body": {…}}`.
Reply: `{"ok": result}`, or `{"error": text, "kind": name of a class in engine.errors}`, which `call` raises again on
the caller's side. Only the user who owns the root directory can connect (mode 0600).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine import errors
from engine.errors import InvalidRequest, KennelError, Unreachable

SOCKET_NAME = "control.sock"
MAX_MESSAGE = 16 << 20  # bytes; what is larger is refused before memory is taken for it
MAX_CONNECTIONS = 64
REQUEST_TIMEOUT = 5.0  # seconds a client may take to hand over its request, or to take its reply
FAULT = "There was an error processing your request. Check logs and try again."
_LONGEST_ADDRESS = 107  # bytes in sockaddr_un.sun_path, less the closing NUL

Operation = Callable[[dict[str, Any]], Any]

log = logging.getLogger(__name__)


def call(root: str | os.PathLike[str], operation: str, body: dict[str, Any] | None = None, timeout: float = 30) -> Any:
    """Ask the node process of `root` for something and give its result.

    Raises Unreachable when no node process answers within `timeout` seconds, otherwise whatever the operation raised
    there.
    """
    request = _encoded({"operation": operation, "body": body or {}})
    deadline = time.monotonic() + timeout
    try:
        with connect(Path(root) / SOCKET_NAME, timeout) as connection:
            _send(connection, request, deadline)
            reply = _receive(connection, deadline)
    except TimeoutError:
        raise Unreachable(f"The node process did not answer '{operation}' within {timeout:g} seconds.") from None
    except (OSError, EOFError) as error:
        raise Unreachable("The node process does not answer; is the node running?") from error
    if "error" in reply:
        raise _error(reply.get("kind"), reply["error"])
    return reply.get("ok")


class Server:
    """Serves operations on the control socket of a root directory, each connection in a thread of its own.

    The caller holds the node's maintenance lock, so a socket file that is there already is a dead one. An operation
    gets the body of the request and gives anything that MessagePack can hold; KennelErrors travel to the caller.
    """

    def __init__(self, root: str | os.PathLike[str], operations: Mapping[str, Operation]) -> None:
        self._operations = operations
        self._path = Path(root) / SOCKET_NAME
        self._listener = listen(self._path)
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._closed = False

    def serve(self) -> None:
        """Accept connections until `close` is called from another thread."""
        while True:
            self._slots.acquire()
            connection = self._accepted()
            if connection is None:
                return
            threading.Thread(target=self._converse, args=(connection,), name="control", daemon=True).start()

    def close(self, grace: float = 5.0) -> None:
        """Take no more requests and give those under way up to `grace` seconds to end."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        deadline = time.monotonic() + grace
        # The accepting thread keeps the slot with which it waited, so all the others are those of connections.
        for _ in range(MAX_CONNECTIONS - 1):
            if not self._slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
                return

    def _accepted(self) -> socket.socket | None:
        """The next connection; None once the server is closed."""
        while True:
            try:
                return self._listener.accept()[0]
            except OSError as error:
                if self._closed:
                    return None
                log.warning("cannot accept a control connection: %s", error)
                time.sleep(0.1)  # out of descriptors, most likely; others give theirs back meanwhile

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection:
                request = _receive(connection, time.monotonic() + REQUEST_TIMEOUT)
                reply = self._reply(request.get("operation"), request.get("body"))
                _send(connection, reply, time.monotonic() + REQUEST_TIMEOUT)
        except (OSError, EOFError, KennelError) as error:
            log.debug("control connection dropped: %s", error)
        finally:
            self._slots.release()

    def _reply(self, name: Any, body: Any) -> bytes:
        operation = self._operations.get(name) if isinstance(name, str) else None
        try:
            if operation is None:
                raise InvalidRequest(f"Operation '{name}' not found")
            if not isinstance(body, dict):
                raise InvalidRequest("The body of a control request must be an object")
            return _encoded({"ok": operation(body)})
        except KennelError as error:
            return _encoded({"error": error.message, "kind": type(error).__name__})
        except Exception:
            log.exception("control operation '%s' failed", name)
            return _encoded({"error": FAULT, "kind": "KennelError"})


def listen(path: Path, backlog: int = 128) -> socket.socket:
    """A listening Unix socket at `path`, mode 0600, in place of whatever socket file was left there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        with _address(path) as address:
            listener.bind(address)
        path.chmod(0o600)  # before listen: until then nobody can connect
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path, timeout: float) -> socket.socket:
    """A connection to the Unix socket at `path`; OSError when nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with _address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """`path` as a socket address, which must be short: a long one is reached through a descriptor of its directory."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _encoded(message: dict[str, Any]) -> bytes:
    payload = msgspec.msgpack.encode(message)
    if len(payload) > MAX_MESSAGE:
        raise InvalidRequest(f"A control message of {len(payload)} bytes is too large")
    return len(payload).to_bytes(4, "big") + payload


def _send(connection: socket.socket, message: bytes, deadline: float) -> None:
    connection.settimeout(_left(deadline))
    connection.sendall(message)


def _receive(connection: socket.socket, deadline: float) -> dict[str, Any]:
    size = int.from_bytes(_exactly(connection, 4, deadline), "big")
    if size > MAX_MESSAGE:
        raise InvalidRequest(f"A control message of {size} bytes is too large")
    try:
        message = msgspec.msgpack.decode(_exactly(connection, size, deadline))
    except msgspec.DecodeError as error:
        raise InvalidRequest("A control message is not MessagePack") from error
    if not isinstance(message, dict):
        raise InvalidRequest("A control message must be an object")
    return message


def _exactly(connection: socket.socket, count: int, deadline: float) -> bytes:
    received = bytearray()
    while len(received) < count:
        connection.settimeout(_left(deadline))
        piece = connection.recv(min(count - len(received), 1 << 18))
        if not piece:
            raise EOFError("the other side closed the connection")
        received += piece
    return bytes(received)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _error(kind: Any, text: Any) -> KennelError:
    """An error of the class named `kind`, made without its constructor, whose arguments did not travel."""
    found = getattr(errors, str(kind), None)
    error_class = found if isinstance(found, type) and issubclass(found, KennelError) else KennelError
    return error_class.__new__(error_class, str(text))
