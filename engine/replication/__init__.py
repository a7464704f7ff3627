"""Replication: nodes of a cluster bring each other's tables up to date. Runs in the node process only.

replication = start(node, configuration)
server = control.Server(root, replication.operations())
...
replication.close()
"""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from engine.api import Node
from engine.configuration import Configuration
from engine.errors import InvalidRequest
from engine.replication.apply import Storage
from engine.replication.aside import Aside
from engine.replication.hub import Hub
from engine.replication.identity import Identity
from engine.replication.keys import load_keys
from engine.replication.requests import MAX_NAME
from engine.replication.routes import routes_of
from engine.replication.transport import transport_key
from engine.version import __version__

OPERATIONS = (
    "add_node",
    "update_node",
    "set_node_replication",
    "remove_node",
    "configure_cluster",
    "cluster_status",
    "cluster_network",
)
TIMEOUT = 90.0  # seconds an operation may take, behind others that wait for peers
DISABLED = "This operation requires clustering to be enabled."

Operation = Callable[[dict[str, Any]], Any]


class Replication:
    """What the node process holds of a running hub; without one (clustering is off) its operations say so."""

    def __init__(self, node: Node, name: str | None, hub: Hub | None) -> None:
        self._node = node
        self._name = name
        self._hub = hub

    def operations(self) -> dict[str, Operation]:
        """The cluster operations, by name, for the control socket."""
        operations: dict[str, Operation] = {name: partial(self._call, name) for name in OPERATIONS}
        return operations | {"routes_changed": self._routes_changed}

    def close(self) -> None:
        """Take leave of the peers; may be called twice."""
        if self._hub is not None:
            self._hub.close()

    def _call(self, name: str, body: dict[str, Any]) -> Any:
        if self._hub is not None:
            return self._hub.ask(name, body, TIMEOUT)
        if name == "cluster_status":
            return {"node_name": self._name, "is_enabled": False, "connections": []}
        raise InvalidRequest(DISABLED)

    def _routes_changed(self, body: dict[str, Any]) -> None:
        if self._hub is not None:
            self._hub.reroute(routes_of(Configuration.load(self._node.root)))


def start(node: Node, configuration: Configuration) -> Replication:
    """Start the hub if clustering is enabled. InvalidRequest when something that it needs is not set, Corrupt when keys
    or subscriptions are damaged, CannotStart when the cluster port cannot be had."""
    name = configuration.get("clustering.nodeName")
    if not configuration.get("clustering.enabled"):
        return Replication(node, name, None)
    if not name:
        raise InvalidRequest("Clustering is enabled, but 'clustering.nodeName' is not set.")
    if len(name) > MAX_NAME:
        raise InvalidRequest(f"'clustering.nodeName' is longer than {MAX_NAME} characters.")
    keys = load_keys(node.root)
    if keys is None:
        raise InvalidRequest("Clustering is enabled, but no cluster user's password was ever given.")
    network = "clustering.hubServer.cluster.network"
    identity = Identity(
        uuid=node.id,
        name=name,
        cluster=configuration.get("clustering.hubServer.cluster.name"),
        session=uuid.uuid4().hex,
        secret=keys.membership,
        key=transport_key(keys.node_public),
        clustering_port=configuration.get(f"{network}.port"),
        operations_port=configuration.get("operationsApi.network.port"),
        software=__version__,
        platform=platform.system().lower(),
        republish=configuration.get("clustering.republishMessages"),
        started=time.monotonic(),
    )
    storage = Storage(node, Aside(node.root))
    hub = Hub(node, storage, identity, keys, configuration.get(f"{network}.host"), routes_of(configuration))
    node.maintenance.keepers.append(hub.keeps)
    return Replication(node, name, hub)
