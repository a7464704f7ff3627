"""The HTTP service of a node: gunicorn's master and workers on the supervisor's listeners.

`python -m frontend.web --root DIR --parent PID --listeners ROLE,…` finds the listening sockets at descriptors 3 and up
in that order, which is systemd's convention; gunicorn then leaves their files alone. A worker opens the node after the
fork, and dispatches each connection to what its listener serves.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http import wsgi

import engine
from engine import logs
from engine.configuration import Configuration
from engine.process import CannotStart, Exit, die_with, explanation, status_of
from frontend.listeners import FIRST_DESCRIPTOR, FUNCTIONS, Role

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

GRACE = 20  # seconds for requests under way when the node stops
WORKER_TIMEOUT = 120  # seconds without a sign of life after which gunicorn replaces a worker
HANDSHAKE_TIMEOUT = 10  # seconds
MAX_HEADER = 16384  # bytes

_MAPPED = "::ffff:"


def main(arguments: list[str] | None = None) -> int:
    """Run the gunicorn master until it is told to stop; gives its exit status."""
    parser = argparse.ArgumentParser(prog="python -m frontend.web")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--listeners", required=True)
    given = parser.parse_args(arguments)
    die_with(given.parent)
    roles = [Role.parse(text) for text in given.listeners.split(",")]
    try:
        master = Master(given.root, _ports(roles))
    except (engine.KennelError, CannotStart) as error:
        print(f"kennel: {explanation(error)}", file=sys.stderr)
        return status_of(error)
    # Imported before the fork, so that the workers share it; it is opening the node that must wait.
    import frontend.app  # noqa: F401

    wsgi.SERVER = "KennelDB"  # gunicorn has no setting for the header of this name, and drops an application's
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(roles))
    try:
        Arbiter(master).run()
    except SystemExit as stop:
        return Exit.FAILED if stop.code else Exit.OK
    return Exit.OK


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a client may take for the head of a request, and for the whole of it."""

    head: float
    whole: float


class Master(BaseApplication):
    """gunicorn's application object: settings from the node's configuration, and a WSGI callable for each worker.

    `ports` says what the TCP listeners serve; every other listener is the Unix socket of the operations API.
    """

    def __init__(self, root: Path, ports: Mapping[int, Role]) -> None:
        self._root = root
        self._ports = ports
        self._configuration = Configuration.load(root)
        self._tls = Tls(self._configuration, ports) if any(role.tls for role in ports.values()) else None
        super().__init__(prog="kennel")

    def load_config(self) -> None:
        configuration = self._configuration
        chatty = configuration.get("logging.level") in ("info", "debug", "trace")
        settings = {
            "workers": configuration.get("http.workers") or len(os.sched_getaffinity(0)),
            "worker_class": "frontend.worker.Worker",
            "threads": configuration.get("http.threads"),
            "keepalive": max(1, round(configuration.get("operationsApi.network.keepAliveTimeout") / 1000)),
            "timeout": WORKER_TIMEOUT,
            "graceful_timeout": GRACE,
            "limit_request_field_size": MAX_HEADER,
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "forwarded_allow_ips": "",
            "control_socket_disable": True,
            "errorlog": None,
            "loglevel": "info" if chatty else "warning",
            "post_fork": lambda master, worker: die_with(worker.ppid),
        }
        if self._tls is not None:
            settings["certfile"] = configuration.get("tls.certificate")
            settings["ssl_context"] = lambda settings, default: self._tls
            settings["do_handshake_on_connect"] = True
        for name, value in settings.items():
            self.cfg.set(name, value)
        logging.getLogger("gunicorn.error").handlers[:] = logs.configure(configuration, "http")

    @property
    def patience(self) -> Patience:
        """How long clients may take to send a request: the operations API's settings, on all ports."""
        head, whole = (
            self._configuration.get(f"operationsApi.network.{name}") for name in ("headersTimeout", "timeout")
        )
        return Patience(head / 1000, whole / 1000)

    def load(self) -> Wsgi:
        """What a worker serves; called in the worker, so the node is opened after the fork."""
        from frontend.app import create_apps

        node = engine.open_node(self._root)
        self.cfg.set("worker_exit", lambda master, worker: node.close())
        function_ports = {port for port, role in self._ports.items() if role.name == FUNCTIONS}
        return dispatcher(*create_apps(node), function_ports)


class Tls:
    """Stands where gunicorn expects one TLS context for all listeners: those of a plain role stay plain."""

    def __init__(self, configuration: Configuration, ports: Mapping[int, Role]) -> None:
        certificate, key = configuration.get("tls.certificate"), configuration.get("tls.privateKey")
        self._ports = {port for port, role in ports.items() if role.tls}
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            self._context.load_cert_chain(certificate, key)
        except OSError as error:
            raise CannotStart(
                Exit.USAGE, f"the certificate {certificate} with key {key} is of no use: {error}"
            ) from error

    def wrap_socket(self, connection: socket.socket, **options: Any) -> socket.socket:
        if connection.family == socket.AF_UNIX or connection.getsockname()[1] not in self._ports:
            return connection
        connection.settimeout(HANDSHAKE_TIMEOUT)
        wrapped = self._context.wrap_socket(connection, **options)
        wrapped.settimeout(None)
        return wrapped


def dispatcher(operations: Wsgi, functions: Wsgi, function_ports: set[int]) -> Wsgi:
    """One WSGI callable over both, by the port of the listener that accepted the connection.

    Requests over the Unix socket carry `kennel.local_socket`, which no header can set.
    """

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection = environ["gunicorn.socket"]
        environ["wsgi.url_scheme"] = "https" if isinstance(connection, ssl.SSLSocket) else "http"
        if connection.family == socket.AF_UNIX:
            environ["kennel.local_socket"] = True
            return operations(environ, start_response)
        environ["REMOTE_ADDR"] = environ["REMOTE_ADDR"].removeprefix(_MAPPED)
        # gunicorn takes SERVER_PORT from the listener for TCP, never from a header.
        chosen = functions if int(environ["SERVER_PORT"]) in function_ports else operations
        return chosen(environ, start_response)

    return application


def _ports(roles: list[Role]) -> dict[int, Role]:
    """What each TCP port serves, from the sockets that were passed on."""
    ports: dict[int, Role] = {}
    for number, role in enumerate(roles):
        listener = socket.socket(fileno=FIRST_DESCRIPTOR + number)
        if listener.family != socket.AF_UNIX:
            ports[listener.getsockname()[1]] = role
        listener.detach()
    return ports


if __name__ == "__main__":
    sys.exit(main())
