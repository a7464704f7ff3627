"""Operations that restart the node or a part of it, once the requests under way have been answered.

A part is a process: it is told to stop, and the supervisor starts it again, with its configuration read anew. Custom
functions are loaded anew by whoever serves them, at the next request.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

import psutil

import engine
from frontend import pidfile
from frontend.errors import PRODUCT
from frontend.operations.members import Invalid, Member
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER

FUNCTIONS = ("custom_functions", "custom functions")
ALL = "harperdb"
#: The other names of HarperDB's parts, and the modules that are processes of ours for them.
PROCESSES = {"http_workers": "frontend.web", "clustering": "engine.node", "clustering_config": "engine.node"}


def restart(call: Call) -> str:
    _tell_supervisor(call.node)
    return f"Restarting {PRODUCT}. This may take up to 60 seconds."


def restart_service(call: Call) -> str:
    service = call["service"]
    if service in FUNCTIONS:
        call.functions.projects.reload()
    elif service == ALL:
        _tell_supervisor(call.node)
    else:
        _stop_process(call.node, PROCESSES[service])
    return f"Restarting {service}"


def _tell_supervisor(node: engine.Node) -> None:
    os.kill(_supervisor(node), signal.SIGUSR1)


def _stop_process(node: engine.Node, module: str) -> None:
    """Have one of the supervisor's children end; one that is just not running is started again anyway."""
    for child in psutil.Process(_supervisor(node)).children():
        with suppress(psutil.NoSuchProcess):
            if module in child.cmdline():
                child.terminate()


def _supervisor(node: engine.Node) -> int:
    supervisor = pidfile.holder(node.root)
    if not supervisor:
        raise engine.Unreachable("The node has no supervisor that could restart it.")
    return supervisor


def _service(value: Any, label: str) -> str:
    if value not in (*FUNCTIONS, ALL, *PROCESSES):
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
