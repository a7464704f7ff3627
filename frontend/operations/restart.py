"""Operations that restart the node. Its supervisor does it, once the requests under way have been answered. Custom
functions are loaded anew by whoever serves them, at the next request."""

from __future__ import annotations

import os
import signal
from typing import Any

import engine
from frontend import pidfile
from frontend.errors import PRODUCT
from frontend.operations.members import Invalid, Member
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER

#: The names of HarperDB's parts. But for the custom functions they start together, so restarting one is restarting all.
FUNCTIONS = ("custom_functions", "custom functions")
SERVICES = (*FUNCTIONS, "http_workers", "harperdb", "clustering", "clustering_config")


def restart(call: Call) -> str:
    _tell_supervisor(call.node)
    return f"Restarting {PRODUCT}. This may take up to 60 seconds."


def restart_service(call: Call) -> str:
    if call["service"] in FUNCTIONS:
        call.functions.projects.reload()
    else:
        _tell_supervisor(call.node)
    return f"Restarting {call['service']}"


def _tell_supervisor(node: engine.Node) -> None:
    supervisor = pidfile.holder(node.root)
    if not supervisor:
        raise engine.Unreachable("The node has no supervisor that could restart it.")
    os.kill(supervisor, signal.SIGUSR1)


def _service(value: Any, label: str) -> str:
    if value not in SERVICES:
        raise Invalid("Invalid service")
    return str(value)


OPERATIONS = (
    Operation("restart", restart, SUPER_USER),
    Operation(
        "restart_service",
        restart_service,
        SUPER_USER,
        (Member("service", _service, required=True, absent="Invalid service"),),
    ),
)
