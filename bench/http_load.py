"""A whole node under load over HTTP: `python -m bench.http_load`.

The node is a real one, started by the command line in a temporary root on free ports. The client is one thread over 32
connections that are kept alive; each sends its next request when it has the answer to the last. It shares the cores
with the node, so its own share of a core is told along with each figure; on a machine that is not idle, mind the time
that the node's processes computed for each request.
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import http.client
import itertools
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench import memory, records, results, scratch
from bench.results import Figure

CONNECTIONS = 32
STALLED = 10.0  # seconds without any answer, after which a load is given up
ADMIN, PASSWORD = "HDB_ADMIN", "bench"
AUTHORIZATION = "Basic " + base64.b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode()

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END_OF_HEADERS = b"\r\n\r\n"
_STATUS = slice(9, 12)  # in "HTTP/1.1 200 OK"


# --- the node


@contextlib.contextmanager
def running_node(directory: Path) -> Iterator[int]:
    """A node of this installation while the block runs; gives the port of its operations API."""
    port, functions_port, hub_port = _free_ports(3)
    root, environment = directory / "root", {**os.environ, "HOME": str(directory)}
    parameters = {
        "HDB_ADMIN_USERNAME": ADMIN,
        "HDB_ADMIN_PASSWORD": PASSWORD,
        "OPERATIONSAPI_NETWORK_HOST": "127.0.0.1",
        "OPERATIONSAPI_NETWORK_PORT": str(port),
        "CUSTOMFUNCTIONS_NETWORK_HOST": "127.0.0.1",
        "CUSTOMFUNCTIONS_NETWORK_PORT": str(functions_port),
        "CLUSTERING_HUBSERVER_CLUSTER_NETWORK_PORT": str(hub_port),
    }

    def kennel(verb: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "frontend.cli", verb, "--ROOTPATH", str(root), *arguments]
        subprocess.run(command, check=True, timeout=60, env=environment, stdout=subprocess.DEVNULL)

    try:
        kennel("start", *(word for name, value in parameters.items() for word in (f"--{name}", value)))
        yield port
    finally:
        kennel("stop")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]


def perform(port: int, operation: str, **members: Any) -> Any:
    """One operation, outside the load; its answer must be good."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        body = json.dumps({"operation": operation, **members})
        connection.request("POST", "/", body, {"Content-Type": "application/json", "Authorization": AUTHORIZATION})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
    if reply.status != 200:
        raise SystemExit(f"{operation}: {reply.status} {answer}")
    return answer


# --- the client


@dataclass(slots=True)
class Connection:
    """One request at a time, and when it was sent."""

    socket: socket.socket
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def send(self, request: bytes) -> None:
        self.received.clear()
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """The status of the answer once all of it is here."""
        received = self.socket.recv(1 << 16)
        if not received:
            raise ConnectionError("the node closed a connection")
        self.received += received
        end = self.received.find(_END_OF_HEADERS)
        length = _LENGTH.search(self.received, 0, end + 2) if end >= 0 else None
        if length is None or len(self.received) < end + len(_END_OF_HEADERS) + int(length[1]):
            return None
        return bytes(self.received[_STATUS])


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one load: durations in seconds, answers by status, and how much of a core the client took."""

    elapsed: float
    durations: list[float]
    statuses: dict[str, int]
    client_share: float

    def figure(self, work: str, node: float) -> Figure:
        """`node` is the time (s) that the node computed for all of it."""
        ordered = sorted(self.durations)
        more = {
            "node's µs per request": round(node / len(ordered) * 1e6),
            "median ms": round(statistics.median(ordered) * 1000, 2),
            "99 % below ms": round(ordered[len(ordered) * 99 // 100] * 1000, 2),
            "other than 200": sum(count for status, count in self.statuses.items() if status != "200"),
            "client's share of a core": f"{self.client_share:.0%}",
        }
        return Figure(work, "KennelDB", len(ordered) / self.elapsed, more)


def computed(root: Path) -> float:
    """Seconds that the processes of the node have computed so far."""
    supervisor = psutil.Process(int((root / "kennel.pid").read_text()))
    times = [process.cpu_times() for process in (supervisor, *supervisor.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def put_under_load(port: int, requests: Iterator[bytes], seconds: float, most: int) -> Outcome:
    """Send requests over all connections for some seconds, at the most `most` of them."""
    durations: list[float] = []
    statuses: collections.Counter[str] = collections.Counter()
    with contextlib.ExitStack() as stack:
        ready = stack.enter_context(selectors.DefaultSelector())
        connections = [
            Connection(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=STALLED)))
            for _ in range(min(CONNECTIONS, most))
        ]
        for connection in connections:
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(connection.socket, selectors.EVENT_READ, connection)
        cpu, started = time.process_time(), time.perf_counter()
        for connection in connections:
            connection.send(next(requests))
        waiting, left = len(connections), most - len(connections)
        while waiting:
            events = ready.select(STALLED)
            if not events:
                raise SystemExit(f"no answer for {STALLED} s")
            for key, _ in events:
                status = key.data.answer()
                if status is None:
                    continue
                now = time.perf_counter()
                durations.append(now - key.data.sent_at)
                statuses[status.decode()] += 1
                if left and now - started < seconds:
                    key.data.send(next(requests))
                    left -= 1
                else:
                    waiting -= 1
        elapsed = time.perf_counter() - started
        return Outcome(elapsed, durations, dict(statuses), (time.process_time() - cpu) / elapsed)


# --- the requests


def post(operation: str, **members: Any) -> bytes:
    body = json.dumps({"operation": operation, **members}).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def requests() -> dict[str, Iterator[bytes]]:
    """For each kind of load, its requests without end."""
    table = {"schema": "bench", "table": "dog"}
    keys, fresh = itertools.cycle(records.shuffled_keys(records.COUNT)), itertools.count(records.COUNT)
    draw = itertools.cycle(range(0, records.HIGHEST_SCORE, 977))
    return {
        "health, the floor of the HTTP layer": itertools.repeat(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        "search_by_hash": (post("search_by_hash", **table, hash_values=[key], get_attributes=["*"]) for key in keys),
        "sql: SELECT * … WHERE id =": (post("sql", sql=f"SELECT * FROM bench.dog WHERE id = {key}") for key in keys),
        "insert of one record": (post("insert", **table, records=[records.record(key)]) for key in fresh),
        "update of one attribute": (
            post("update", **table, records=[{"id": key, "score": next(draw)}]) for key in keys
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.http_load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--most", type=int, default=50_000, help="requests of each load")
    given = parser.parse_args()
    with scratch.directory() as made, running_node(made) as port:
        perform(port, "create_table", schema="bench", table="dog", hash_attribute="id")
        for batch in records.batches():
            perform(port, "insert", schema="bench", table="dog", records=batch)
        figures, root = [], made / "root"
        idle = sum(memory.of_node(root).values())
        with memory.Peak(root) as peak:
            for work, stream in requests().items():
                put_under_load(port, stream, 0.5, CONNECTIONS * 4)  # every worker has opened and verified all it needs
                before = computed(root)
                outcome = put_under_load(port, stream, given.seconds, given.most)
                figures.append(outcome.figure(work, computed(root) - before))
    title = f"A node over HTTP, {CONNECTIONS} connections"
    page = results.write(
        "http",
        title,
        figures,
        records=records.COUNT,
        seconds=given.seconds,
        **{"megabytes of memory idle": round(idle / 1e6), "megabytes of memory under load": round(peak.bytes / 1e6)},
    )
    print(page.read_text())


if __name__ == "__main__":
    main()
