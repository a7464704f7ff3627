"""Operations on configuration and cluster; the node process is played by a control server."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ADMIN, PASSWORD, Api

import engine
from engine import configuration, control
from frontend import pidfile
from frontend.app import create_app
from frontend.authentication import create_first_user

PEER = {"host": "198.51.100.7", "port": 9932}
OTHER = {"host": "198.51.100.8", "port": 9932}
SUBSCRIPTION = {"schema": "farm", "table": "goat", "publish": True, "subscribe": False}


@contextmanager
def node_process(root: Path, **operations: control.Operation) -> Iterator[None]:
    server = control.Server(root, operations)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield
    finally:
        server.close()
        thread.join()


@pytest.fixture
def clustered(tmp_path: Path) -> Iterator[Api]:
    root = tmp_path / "node"
    with engine.open_node(root) as node:
        create_first_user(node, ADMIN, PASSWORD)
    configuration.change(root, {"clustering_enabled": True, "clustering_nodeName": "north"})
    with engine.open_node(root) as node:
        yield Api(create_app(node))


# ------------------------------------------------------------------------------------------------------- configuration


def test_configuration_is_read_and_set(api: Api) -> None:
    assert api.ok("get_configuration")["operationsApi"]["network"]["port"] == 9925
    answer = api.ok("set_configuration", logging_level="debug", operationsApi_network_port=9999, unknown_key=1)
    assert answer == {
        "message": "Configuration successfully set. You must restart KennelDB for new config settings to take effect."
    }
    shown = api.ok("get_configuration")
    assert shown["logging"]["level"] == "debug" and shown["operationsApi"]["network"]["port"] == 9999
    refused = api("set_configuration", logging_level="loud", logging_auditLog=True)
    assert refused.error == (
        400,
        "KennelDB config file validation error: 'logging.level' must be one of "
        "[notify, fatal, error, warn, info, debug, trace]",
    )
    assert api.ok("get_configuration")["logging"]["auditLog"] is False


def test_system_information_has_the_sections_that_are_asked_for(farm: Api) -> None:
    everything = farm.ok("system_information")
    assert {"system", "time", "cpu", "memory", "disk", "network", "harperdb_processes"} <= everything.keys()
    assert everything["memory"]["total"] > everything["memory"]["free"] > 0
    assert everything["harperdb_processes"]["core"][0]["pid"] > 0
    assert farm.ok("system_information", attributes=["time", "no such thing"]).keys() == {"time"}
    (goat,) = [
        row for row in farm.ok("system_information", attributes=["table_size"])["table_size"] if row["table"] == "goat"
    ]
    assert goat["schema"] == "farm" and goat["record_count"] == 3


# ------------------------------------------------------------------------------------------------------------- routes


def test_routes_are_set_got_and_deleted(api: Api) -> None:
    assert api.ok("cluster_get_routes") == {"hub": [], "leaf": []}
    assert api.ok("cluster_set_routes", server="hub", routes=[PEER]) == {
        "message": "cluster routes successfully set",
        "set": [PEER],
        "skipped": [],
    }
    assert api.ok("cluster_set_routes", server="hub", routes=[PEER, OTHER])["skipped"] == [PEER]
    assert api.ok("cluster_set_routes", server="leaf", routes=[PEER])["set"] == [PEER]
    assert api.ok("cluster_get_routes") == {"hub": [PEER, OTHER], "leaf": [PEER]}
    absent = {"host": "198.51.100.9", "port": 1}
    assert api.ok("cluster_delete_routes", routes=[PEER, absent]) == {
        "message": "cluster routes successfully deleted",
        "deleted": [PEER],
        "skipped": [absent],
    }
    assert api.ok("cluster_get_routes") == {"hub": [OTHER], "leaf": []}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "'server' is required. 'routes' is required"),
        ({"server": "x", "routes": {}}, "'server' must be one of [hub, leaf]. 'routes' must be an array"),
        ({"server": "hub", "routes": [{}]}, "'routes[0].host' is required. 'routes[0].port' is required"),
        ({"server": "hub", "routes": [{"host": "a", "port": "x"}]}, "'routes[0].port' must be a number"),
    ],
)
def test_malformed_routes(api: Api, members: dict[str, Any], text: str) -> None:
    assert api("cluster_set_routes", **members).error == (400, text)


def test_a_running_node_process_is_told_of_new_routes(node: engine.Node, api: Api) -> None:
    told: list[Any] = []
    with node_process(node.root, routes_changed=told.append):
        api.ok("cluster_set_routes", server="hub", routes=[PEER])
    assert told == [{}]


# -------------------------------------------------------------------------------------------------------------- nodes


def test_without_clustering_there_is_only_a_status(api: Api) -> None:
    assert api.ok("cluster_status") == {"node_name": None, "is_enabled": False, "connections": []}
    refused = (400, "This operation requires clustering to be enabled.")
    assert api("cluster_network").error == refused
    assert api("add_node", node_name="south", subscriptions=[SUBSCRIPTION]).error == refused
    assert api("remove_node", node_name="south").error == refused


def test_operations_on_nodes_go_to_the_node_process_as_they_were_sent(clustered: Api, tmp_path: Path) -> None:
    def added(body: dict[str, Any]) -> dict[str, Any]:
        return {"message": f"Successfully added '{body['node_name']}' to manifest", "added": body["subscriptions"]}

    def unknown(body: dict[str, Any]) -> None:
        raise engine.NotFound(f"Node '{body['node_name']}' was not found.")

    status = {"node_name": "north", "is_enabled": True, "connections": []}
    with node_process(tmp_path / "node", add_node=added, remove_node=unknown, cluster_status=lambda body: status):
        assert clustered.ok("cluster_status") == status
        sent = {"database": "farm", "table": "goat", "publish": True, "subscribe": False}
        assert clustered.ok("add_node", node_name="south", subscriptions=[sent], more=1)["added"] == [sent]
        assert clustered("remove_node", node_name="west").error == (404, "Node 'west' was not found.")


def test_a_node_process_that_is_away_is_a_503(clustered: Api) -> None:
    assert clustered("cluster_status").status == 503
    assert clustered("cluster_network").status == 503


@pytest.mark.parametrize(
    ("operation", "members", "text"),
    [
        ("add_node", {}, "'node_name' is required. 'subscriptions' is required"),
        (
            "add_node",
            {"node_name": "a.b", "subscriptions": []},
            "'node_name' invalid, must not contain ., * or >. 'subscriptions' must contain at least 1 items",
        ),
        (
            "update_node",
            {"node_name": "a", "subscriptions": [{"schema": "farm", "publish": 1}]},
            "'subscriptions[0].table' is required. 'subscriptions[0].publish' must be a boolean. "
            "'subscriptions[0].subscribe' is required",
        ),
        (
            "add_node",
            {"node_name": "a", "subscriptions": [{**SUBSCRIPTION, "schema": "system"}]},
            "'subscriptions[0]' invalid schema name, 'system' name is reserved",
        ),
        (
            "add_node",
            {"node_name": "a", "subscriptions": [{**SUBSCRIPTION, "start_time": "noon"}]},
            "'subscriptions[0].start_time' must be in ISO 8601 date format",
        ),
        ("configure_cluster", {}, "'connections' is required"),
        (
            "configure_cluster",
            {"connections": [{"node_name": "a"}]},
            "'connections[0].subscriptions' is required",
        ),
    ],
)
def test_malformed_requests_about_nodes(api: Api, operation: str, members: dict[str, Any], text: str) -> None:
    assert api(operation, **members).error == (400, text)


# ------------------------------------------------------------------------------------------------------- registration


def test_every_node_is_registered(api: Api) -> None:
    assert api.ok("registration_info") == {
        "registered": True,
        "version": engine.__version__,
        "ram_allocation": None,
        "license_expiration_date": None,
    }
    assert api.ok("get_fingerprint") == api.ok("get_fingerprint")
    assert api("set_license", key="k", company="c").status == 200


# ------------------------------------------------------------------------------------------------------------ restart


def test_a_restart_is_asked_of_the_supervisor(node: engine.Node, api: Api) -> None:
    assert api("restart").status == 503
    told: list[int] = []
    former = signal.signal(signal.SIGUSR1, lambda number, frame: told.append(number))
    try:
        with pidfile.held(node.root):
            assert api.ok("restart") == {"message": "Restarting KennelDB. This may take up to 60 seconds."}
            assert api.ok("restart_service", service="harperdb") == {"message": "Restarting harperdb"}
            assert api("restart_service", service="sshd").error == (400, "Invalid service")
            assert api("restart_service").error == (400, "Invalid service")
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert told == [signal.SIGUSR1, signal.SIGUSR1]
