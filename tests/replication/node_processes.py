"""Node processes without the HTTP API, and what is in their tables as seen from the test's own process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from nodes import eventually, free_ports

import engine
from engine import configuration, control
from engine.replication.keys import derive_cluster_keys

USER, PASSWORD = "cluster_user", "password"


class NodeProcess:
    """One node in a root directory of its own. `node` is the same node opened in this process."""

    def __init__(self, root: Path, name: str, password: str = PASSWORD, **parameters: Any) -> None:
        self.root = root
        self.name = name
        (self.port,) = free_ports(1)
        self.node = engine.open_node(root)
        derive_cluster_keys(root, USER, password)
        self.configure(
            **{"clustering_enabled": True, "logging_auditLog": True, **parameters},
            clustering_user=USER,
            clustering_nodeName=name,
            clustering_hubServer_cluster_network_port=self.port,
            clustering_hubServer_cluster_network_host="127.0.0.1",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, **parameters: Any) -> None:
        configuration.change(self.root, parameters)

    def set_routes(self, *others: NodeProcess) -> None:
        routes = [{"host": "127.0.0.1", "port": other.port} for other in others]
        self.configure(clustering_hubServer_cluster_network_routes=routes)

    def start(self) -> None:
        with (self.root / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "engine.node", "--root", str(self.root)], stdout=output, stderr=output
            )
        assert eventually(self.answers), self.log()

    def answers(self) -> bool:
        try:
            return bool(control.call(self.root, "status", timeout=5))
        except engine.Unreachable:
            return False

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(30)

    def log(self) -> str:
        files = [self.root / "output", *sorted((self.root / "log").glob("*"))]
        return "\n".join(f"{self.name}: {path.read_text()}" for path in files if path.exists())

    def call(self, operation: str, **body: Any) -> Any:
        return control.call(self.root, operation, body, timeout=60)

    def connected(self) -> set[str]:
        return set(self.call("cluster_network", timeout=1000)["nodes"][0]["connected_nodes"])

    def connection(self, name: str) -> dict[str, Any] | None:
        found = [c for c in self.call("cluster_status")["connections"] if c["node_name"] == name]
        return found[0] if found else None

    # --- tables ---

    def table(self, name: str = "dog") -> engine.Table:
        return self.node.table("dev", name)

    def rows(self, name: str = "dog") -> dict[Any, dict[str, Any]]:
        """All records, with both times; none when there is no such table."""
        try:
            table = self.table(name)
        except engine.NotFound:
            return {}
        with table.view() as view:
            return {row[table.primary_key]: row for row in view.scan(table.primary_key)}

    def applied_more_than_once(self, name: str = "dog") -> list[Any]:
        """Transactions of any origin that the log has twice."""
        return [what for what, times in Counter(self.history(name)).items() if times > 1]

    def history(self, name: str = "dog") -> list[tuple[str, int, int]]:
        """(origin, epoch, number) of every transaction in the log, in its order."""
        feed, after, found = self.table(name).feed, 0, []
        while transactions := feed.read(after, 1 << 20):
            after = transactions[-1].seq
            found += [(t.origin or self.node.id, t.epoch, t.origin_seq) for t in transactions if t.origin_seq]
        return found


def subscription(table: str = "dog", publish: bool = True, subscribe: bool = True, **more: Any) -> dict[str, Any]:
    return {"schema": "dev", "table": table, "publish": publish, "subscribe": subscribe, **more}


def in_step(*nodes: NodeProcess, table: str = "dog") -> bool:
    """Whether the nodes have equal rows, times included."""
    first = nodes[0].rows(table)
    return bool(first) and all(node.rows(table) == first for node in nodes[1:])
