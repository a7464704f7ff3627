"""Operations on the cluster. Routes are configuration; everything else is asked of the node process."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import engine
from engine import configuration, control
from frontend.errors import Refused
from frontend.grants import SYSTEM
from frontend.operations.members import (
    DEFAULT_SCHEMA,
    SCHEMA_LABELS,
    Invalid,
    Member,
    array,
    boolean,
    iso_date,
    name,
    number,
    object_of,
    one_of,
    port,
    text,
)
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER

#: Seconds that the node process may take; it waits for peers.
TIMEOUT = 60

ROUTES = {
    "hub": "clustering.hubServer.cluster.network.routes",
    "leaf": "clustering.leafServer.network.routes",
}

_NOT_IN_NAMES = re.compile(r"[.,*>\s]")

Route = dict[str, Any]


# ------------------------------------------------------------------------------------------------------------ routes


def cluster_set_routes(call: Call) -> dict[str, Any]:
    setting = ROUTES[call["server"]]
    added: list[Route] = []
    skipped: list[Route] = []

    def extended(current: configuration.Configuration) -> dict[str, object]:
        known = list(current.get(setting) or ())
        for route in call["routes"]:
            (skipped if route in known + added else added).append(route)
        return {setting: known + added}

    _change_routes(call, extended)
    return {"message": "cluster routes successfully set", "set": added, "skipped": skipped}


def cluster_get_routes(call: Call) -> dict[str, Any]:
    current = configuration.Configuration.load(call.node.root)
    return {server: current.get(setting) or [] for server, setting in ROUTES.items()}


def cluster_delete_routes(call: Call) -> dict[str, Any]:
    deleted: list[Route] = []
    skipped: list[Route] = []

    def reduced(current: configuration.Configuration) -> dict[str, object]:
        kept = {setting: list(current.get(setting) or ()) for setting in ROUTES.values()}
        for route in call["routes"]:
            homes = [routes for routes in kept.values() if route in routes]
            (deleted if homes else skipped).append(route)
            for routes in homes:
                routes.remove(route)
        return dict(kept)

    _change_routes(call, reduced)
    return {"message": "cluster routes successfully deleted", "deleted": deleted, "skipped": skipped}


def _change_routes(call: Call, change: Callable[[configuration.Configuration], dict[str, object]]) -> None:
    configuration.change(call.node.root, change)
    # Without a node process there is nobody to tell: it reads the file when it starts.
    with contextlib.suppress(engine.Unreachable):
        control.call(call.node.root, "routes_changed", {})


# ------------------------------------------------------------------------------------------------------------- nodes


def cluster_status(call: Call) -> dict[str, Any]:
    settings = call.node.configuration
    if not settings.get("clustering.enabled"):
        return {"node_name": settings.get("clustering.nodeName"), "is_enabled": False, "connections": []}
    return dict(control.call(call.node.root, "cluster_status", {}, TIMEOUT))


def _asked_of_the_node_process(call: Call) -> Any:
    """Hand the members, as they were sent, to the operation of the same name in the node process."""
    if not call.node.configuration.get("clustering.enabled"):
        raise Refused(400, "This operation requires clustering to be enabled.")
    body = {member.name: call.request[member.name] for member in call.operation.members if member.name in call}
    return control.call(call.node.root, call.operation.name, body, TIMEOUT)


# ----------------------------------------------------------------------------------------------------------- members


def _node_name(value: Any, label: str) -> str:
    given = text(value, label)
    if _NOT_IN_NAMES.search(given):
        raise Invalid(f"'{label}' invalid, must not contain ., * or >")
    return given


_SUBSCRIPTION_MEMBERS = object_of(
    Member("schema", name, SCHEMA_LABELS, default=DEFAULT_SCHEMA),
    Member("table", name, required=True),
    Member("publish", boolean, required=True),
    Member("subscribe", boolean, required=True),
    Member("start_time", iso_date),
)


def _subscription(value: Any, label: str) -> dict[str, Any]:
    members = _SUBSCRIPTION_MEMBERS(value, label)
    if members["schema"] == SYSTEM:
        word = "database" if "database" in value else "schema"
        raise Invalid(f"'{label}' invalid {word} name, 'system' name is reserved")
    return members


def _route(value: Any, label: str) -> Route:
    members = _ROUTE_MEMBERS(value, label)
    return {"host": members["host"], "port": members["port"]}


_ROUTE_MEMBERS = object_of(Member("host", text, required=True), Member("port", port, required=True))
_ROUTES = Member("routes", array(_route), required=True)
_SUBSCRIPTIONS = Member("subscriptions", array(_subscription, least=1), required=True)
_NODE = Member("node_name", _node_name, required=True)
_CONNECTION = object_of(_NODE, _SUBSCRIPTIONS)

OPERATIONS = (
    Operation(
        "cluster_set_routes",
        cluster_set_routes,
        SUPER_USER,
        (Member("server", one_of(*ROUTES), required=True), _ROUTES),
    ),
    Operation("cluster_get_routes", cluster_get_routes, SUPER_USER),
    Operation("cluster_delete_routes", cluster_delete_routes, SUPER_USER, (_ROUTES,)),
    Operation("cluster_status", cluster_status, SUPER_USER),
    Operation(
        "cluster_network",
        _asked_of_the_node_process,
        SUPER_USER,
        (Member("timeout", number), Member("connected_nodes", boolean), Member("routes", boolean)),
    ),
    Operation("add_node", _asked_of_the_node_process, SUPER_USER, (_NODE, _SUBSCRIPTIONS)),
    Operation("update_node", _asked_of_the_node_process, SUPER_USER, (_NODE, _SUBSCRIPTIONS)),
    Operation("set_node_replication", _asked_of_the_node_process, SUPER_USER, (_NODE, _SUBSCRIPTIONS)),
    Operation("remove_node", _asked_of_the_node_process, SUPER_USER, (_NODE,)),
    Operation(
        "configure_cluster",
        _asked_of_the_node_process,
        SUPER_USER,
        (Member("connections", array(_CONNECTION), required=True),),
    ),
)
