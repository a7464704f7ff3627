"""kennel status: the node and its cluster in HarperDB's shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine import control
from engine.configuration import FILE_NAME, Configuration
from engine.errors import Unreachable
from engine.process import Exit
from frontend import client, pidfile
from frontend.cli import output
from frontend.cli import root as roots

_LEFT_OUT = {"system_info"}


def status(parameters: Sequence[str], *, as_json: bool) -> int:
    root = roots.only_root(parameters)
    pid = pidfile.holder(root)
    if pid is None:
        state = "stopped" if (root / FILE_NAME).exists() else "not installed"
        output.show({"kennel": {"status": state}}, as_json=as_json)
        return Exit.STOPPED
    shown = {"kennel": {"status": "running", "pid": pid}, "clustering": _clustering(root)}
    output.show(shown, as_json=as_json)
    return Exit.OK


def _clustering(root: Path) -> dict[str, Any]:
    if not Configuration.load(root).get("clustering.enabled"):
        return {"status": "disabled"}
    try:
        process = client.node_status(root)
        network = control.call(root, "cluster_network")
        replication = control.call(root, "cluster_status")
    except Unreachable:
        return {"hub server": {"status": "errored"}, "leaf server": {"status": "errored"}}
    server = {"status": "running", "pid": process["pid"]}
    return {
        "hub server": server,
        "leaf server": dict(server),  # a second object, or YAML would print a reference to the first
        "network": _spaced(network["nodes"]),
        "replication": _spaced(replication),
    }


def _spaced(value: Any) -> Any:
    """With spaces for the underscores in names, as the status has them."""
    if isinstance(value, dict):
        return {name.replace("_", " "): _spaced(item) for name, item in value.items() if name not in _LEFT_OUT}
    if isinstance(value, list):
        return [_spaced(item) for item in value]
    return value
