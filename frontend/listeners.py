"""The listening sockets of a node: opened by the supervisor, inherited by the processes that accept on them.

The supervisor keeps them open as long as it lives, so a port is never lost while servers come and go, and never held
by an orphan. A listener is described to a child by its role, since the configuration may have changed in between.
"""

from __future__ import annotations

import errno
import fcntl
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import control
from engine.configuration import Configuration
from engine.process import CannotStart, Exit

BACKLOG = 2048
FIRST_DESCRIPTOR = 3  # where a child finds its first listener, as systemd would pass it on
_PARKED = 64  # the supervisor keeps its own descriptors of them from here on, clear of the child's

OPERATIONS = "operations"
FUNCTIONS = "functions"


@dataclass(frozen=True)
class Role:
    """What is served on a listener: operations or functions, and whether over TLS. Its text form is `name` or
    `name+tls`."""

    name: str
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.name}+tls" if self.tls else self.name

    @classmethod
    def parse(cls, text: str) -> Role:
        name, _, tls = text.partition("+")
        return cls(name, tls == "tls")


@dataclass(frozen=True)
class Listener:
    role: Role
    socket: socket.socket


def open_all(configuration: Configuration) -> list[Listener]:
    """Open every listener that the configuration asks for, or (CannotStart) none."""
    opened: list[Listener] = []
    try:
        for role, setting in _wanted(configuration):
            host, port = configuration.get(f"{setting.rpartition('.')[0]}.host"), configuration.get(setting)
            opened += [Listener(role, _parked(bound)) for bound in _tcp(host, port, setting)]
        unix = _unix(configuration.get("operationsApi.network.domainSocket"))
        opened.append(Listener(Role(OPERATIONS), _parked(unix)))
    except BaseException:
        close_all(opened)
        raise
    return opened


def close_all(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.socket.close()


def _parked(listener: socket.socket) -> socket.socket:
    with listener:
        return socket.socket(fileno=fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, _PARKED))


def _wanted(configuration: Configuration) -> Iterator[tuple[Role, str]]:
    networks = {OPERATIONS: "operationsApi.network"}
    if configuration.get("customFunctions.enabled"):
        networks[FUNCTIONS] = "customFunctions.network"
    for name, network in networks.items():
        yield Role(name, tls=configuration.get(f"{network}.https")), f"{network}.port"
        if configuration.get(f"{network}.securePort") is not None:
            yield Role(name, tls=True), f"{network}.securePort"


def _tcp(host: str | None, port: int, setting: str) -> list[socket.socket]:
    """Sockets listening on a port: one for all interfaces and both families, or one per address of the host."""
    opened: list[socket.socket] = []
    try:
        if host is None:
            opened.append(_everywhere(port))
        else:
            for family, address in _addresses(host, port):
                opened.append(socket.create_server(address, family=family, backlog=BACKLOG))
    except OSError as error:
        for listener in opened:
            listener.close()
        raise CannotStart(Exit.PORT, _reason(error, host, port, setting)) from error
    return opened


def _everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    return socket.create_server(("", port), backlog=BACKLOG)


def _addresses(host: str, port: int) -> dict[tuple[socket.AddressFamily, tuple[str, int]], None]:
    """The distinct addresses of a host, in the resolver's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return {(family, (str(address[0]), port)): None for family, *_, address in found}


def _reason(error: OSError, host: str | None, port: int, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} ({setting}) is already in use"
    place = f"{host}:{port}" if host else f"port {port}"
    return f"{place} ({setting}) cannot be opened: {error.strerror}"


def _unix(path: str) -> socket.socket:
    try:
        return control.listen(Path(path), BACKLOG)
    except OSError as error:
        raise CannotStart(Exit.PORT, f"the domain socket {path} cannot be opened: {error.strerror}") from error
