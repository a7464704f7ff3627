"""HTTP over a node's Unix socket, for the command line and the supervisor: who may open the socket is super user."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

from engine import control
from engine.configuration import Configuration
from engine.errors import Unreachable

REQUEST_TIMEOUT = 600.0  # seconds; operations on large tables take their time
HEALTH_TIMEOUT = 5.0  # seconds


def request(
    socket_path: Path, method: str, target: str, body: bytes | None = None, *, timeout: float = REQUEST_TIMEOUT
) -> tuple[int, bytes]:
    """Status and body of one request; Unreachable when nobody answers. The body is JSON, and so is the reply."""
    connection = http.client.HTTPConnection("localhost")
    headers = {"Content-Type": "application/json"} if body is not None else {}
    try:
        connection.sock = control.connect(socket_path, timeout)
        connection.request(method, target, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"no answer from {socket_path}: {error}") from error
    finally:
        connection.close()


def answers(configuration: Configuration) -> bool:
    """Whether the node serves: its HTTP service on the Unix socket, its node process on the control socket."""
    try:
        status, _ = request(domain_socket(configuration), "GET", "/health", timeout=HEALTH_TIMEOUT)
        return status == 200 and bool(node_status(configuration.root))
    except Unreachable:
        return False


def node_status(root: Path) -> dict[str, Any]:
    """What the node process says about itself: pid, uptime in seconds, version. Unreachable without one."""
    return control.call(root, "status", timeout=HEALTH_TIMEOUT)


def domain_socket(configuration: Configuration) -> Path:
    return Path(configuration.get("operationsApi.network.domainSocket"))
