"""Real nodes over real processes: the command line, HTTP, and a view of the processes."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml

from engine import control
from engine.errors import Unreachable

KENNEL = [sys.executable, "-m", "frontend.cli"]
ADMIN, PASSWORD = "HDB_ADMIN", "password"
T = TypeVar("T")
PATIENCE = 30.0  # seconds; a test that waits longer has failed


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different, and outside the range from which clients get theirs."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            holder = stack.enter_context(socket.socket())
            port = random.SystemRandom().randrange(15000, 32000)
            with contextlib.suppress(OSError):
                holder.bind(("127.0.0.1", port))
                found.append(port)
        return found


def eventually(probe: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Repeat `probe` until it gives something true (or the time is up), and give what it gave last."""
    deadline = time.monotonic() + seconds
    while not (found := probe()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def basic(username: str = ADMIN, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class RealNode:
    """A node in a root directory of its own, run by the command line."""

    def __init__(self, name: str, root: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.root = root
        self.environment = environment
        self.port, self.functions_port, self.hub_port = free_ports(3)

    # The command line.

    def kennel(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*KENNEL, *arguments],
            capture_output=True,
            text=True,
            timeout=90,
            env=self.environment if environment is None else environment,
            check=False,
        )

    def first_parameters(self) -> list[str]:
        values = {
            "TC_AGREEMENT": "yes",
            "HDB_ADMIN_USERNAME": ADMIN,
            "HDB_ADMIN_PASSWORD": PASSWORD,
            "OPERATIONSAPI_NETWORK_HOST": "127.0.0.1",
            "OPERATIONSAPI_NETWORK_PORT": str(self.port),
            "CUSTOMFUNCTIONS_NETWORK_HOST": "127.0.0.1",
            "CUSTOMFUNCTIONS_NETWORK_PORT": str(self.functions_port),
            "CLUSTERING_HUBSERVER_CLUSTER_NETWORK_HOST": "127.0.0.1",
            "CLUSTERING_HUBSERVER_CLUSTER_NETWORK_PORT": str(self.hub_port),
        }
        return [word for name, value in values.items() for word in (f"--{name}", value)]

    def cluster_parameters(self) -> list[str]:
        values = {
            "CLUSTERING_ENABLED": "true",
            "CLUSTERING_USER": "cluster_user",
            "CLUSTERING_PASSWORD": PASSWORD,
            "CLUSTERING_NODENAME": self.name,
        }
        return [word for name, value in values.items() for word in (f"--{name}", value)]

    def first_start(self, *extra: str) -> subprocess.CompletedProcess[str]:
        return self.kennel("start", "--ROOTPATH", str(self.root), *self.first_parameters(), *extra)

    def start_or_fail(self, *extra: str) -> None:
        done = self.first_start(*extra)
        assert done.returncode == 0, (done, self.log())

    def start(self, *extra: str) -> subprocess.CompletedProcess[str]:
        return self.kennel("start", "--ROOTPATH", str(self.root), *extra)

    def stop(self) -> subprocess.CompletedProcess[str]:
        return self.kennel("stop", "--ROOTPATH", str(self.root))

    def status(self) -> tuple[int, dict[str, Any]]:
        done = self.kennel("status", "--ROOTPATH", str(self.root))
        return done.returncode, yaml.safe_load(done.stdout) or {}

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.root / "log").glob("*")))

    # HTTP.

    def post(self, operation: str, **members: Any) -> tuple[int, Any]:
        """Status and decoded body of one operation as administrator; OSError when the node does not answer."""
        body = json.dumps({"operation": operation, **members}).encode()
        status, reply = self.request("POST", "/", body, {"Content-Type": "application/json", "Authorization": basic()})
        return status, json.loads(reply)

    def sql(self, text: str) -> tuple[int, Any]:
        return self.post("sql", sql=text)

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        port: int | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection
        if tls is None:
            connection = http.client.HTTPConnection(host, port or self.port, timeout=PATIENCE)
        else:
            connection = http.client.HTTPSConnection(host, port or self.port, timeout=PATIENCE, context=tls)
        with contextlib.closing(connection):
            try:
                connection.request(method, target, body, headers or {})
                reply = connection.getresponse()
                return reply.status, reply.read()
            except http.client.HTTPException as error:
                raise ConnectionError(str(error)) from error

    def answers(self) -> bool:
        try:
            return self.request("GET", "/health")[0] == 200 and self.post("describe_all")[0] == 200
        except OSError:
            return False

    def node_process_answers(self) -> bool:
        try:
            return control.call(self.root, "status", timeout=5)["pid"] == self.node_process().pid
        except Unreachable:
            return False

    # Processes.

    def processes(self) -> list[psutil.Process]:
        """Every process of the node, known by the root directory on its command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess):  # also of zombies, which have no command line
                if str(self.root) in process.cmdline():
                    found.append(process)
        return found

    def supervisor(self) -> psutil.Process:
        return psutil.Process(int((self.root / "kennel.pid").read_text()))

    def node_process(self) -> psutil.Process:
        return self._child("engine.node")

    def master(self) -> psutil.Process:
        return self._child("frontend.web")

    def workers(self) -> list[psutil.Process]:
        return self.master().children()

    def _child(self, module: str) -> psutil.Process:
        return next(process for process in self.processes() if module in process.cmdline() and self._is_child(process))

    def _is_child(self, process: psutil.Process) -> bool:
        return process.ppid() == self.supervisor().pid

    def kill_what_is_left(self) -> list[str]:
        """Kill, and name, the processes of the node that should not be there any more."""
        left = self.processes()
        described = [f"{process.pid}: {' '.join(process.cmdline())}" for process in left]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return described
