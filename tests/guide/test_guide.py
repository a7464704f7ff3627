"""The published guide, start to end, over two real nodes: two nodes, one table, replicated in both directions.

The steps follow the guide's order and build on one another, so a failure fails those after it; each compares what a
node answers with the guide's own output.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from nodes import RealNode, eventually

pytestmark = pytest.mark.guide

PENNY = {"id": 1, "dog_name": "Penny", "age": 7, "weight": 38}
REX = {"id": 2, "dog_name": "Rex", "age": 2, "weight": 68}
SPOT = {"id": 3, "dog_name": "Spot", "age": 4, "weight": 20}
LONE = {"id": 4, "dog_name": "Lone", "age": 1, "weight": 5}

PUBLISHING = {"schema": "dev", "table": "dog", "publish": True, "subscribe": False}
BOTH_WAYS = {**PUBLISHING, "subscribe": True}


def test_the_guide(make_node: Callable[[str], RealNode]) -> None:
    hdb1, hdb2 = make_node("hdb1"), make_node("hdb2")
    start_both(hdb1, hdb2)
    connect(hdb1, hdb2)
    make_the_table_and_publish_it(hdb1, hdb2)
    replicate_in_both_directions(hdb1, hdb2)
    catch_up_after_an_outage(hdb1, hdb2)
    part(hdb1, hdb2)


def start_both(*nodes: RealNode) -> None:
    for node in nodes:
        node.start_or_fail(*node.cluster_parameters())
        code, status = node.status()
        assert code == 0
        assert status["kennel"] == {"status": "running", "pid": node.supervisor().pid}
        for server in ("hub server", "leaf server"):
            assert status["clustering"][server] == {"status": "running", "pid": node.node_process().pid}
        assert status["clustering"]["replication"] == {"node name": node.name, "is enabled": True, "connections": []}
        assert [entry["name"] for entry in status["clustering"]["network"]] == [node.name]


def connect(hdb1: RealNode, hdb2: RealNode) -> None:
    """A route on one side is enough; it acts after a stop and a start, as the guide has it."""
    route = {"host": "127.0.0.1", "port": hdb2.hub_port}
    assert hdb1.post("cluster_set_routes", server="hub", routes=[route]) == (
        200,
        {"message": "cluster routes successfully set", "set": [route], "skipped": []},
    )
    assert hdb1.stop().returncode == 0
    assert hdb1.status()[0] == 3
    assert hdb1.start().returncode == 0
    assert eventually(lambda: network(hdb1).get("hdb1", {}).get("connected nodes") == ["hdb2"]), hdb1.log()
    assert eventually(lambda: network(hdb2).get("hdb2", {}).get("connected nodes") == ["hdb1"]), hdb2.log()
    for node in (hdb1, hdb2):
        assert eventually(lambda node=node: set(network(node)) == {"hdb1", "hdb2"})
        entries = network(node)
        assert (entries["hdb1"]["routes"], entries["hdb2"]["routes"]) == ([route], [])
        assert entries["hdb2"]["connected nodes"] == ["hdb1"]
        assert all(isinstance(entry["response time"], int | float) for entry in entries.values())


def make_the_table_and_publish_it(hdb1: RealNode, hdb2: RealNode) -> None:
    assert hdb1.post("create_schema", schema="dev") == (200, {"message": "schema 'dev' successfully created"})
    assert hdb1.post("create_table", schema="dev", table="dog", hash_attribute="id") == (
        200,
        {"message": "table 'dev.dog' successfully created."},
    )
    assert hdb1.post("add_node", node_name="hdb2", subscriptions=[PUBLISHING]) == (
        200,
        {"message": "Successfully added 'hdb2' to manifest", "added": [PUBLISHING], "skipped": []},
    )
    assert eventually(lambda: connection(hdb1, "hdb2").get("status") == "open")
    entry = connection(hdb1, "hdb2")
    assert entry["ports"] == {"clustering": hdb2.hub_port, "operations api": hdb2.port}
    assert entry["subscriptions"] == [PUBLISHING]
    assert isinstance(entry["latency ms"], int | float)
    assert entry["uptime"].endswith("s")
    assert eventually(lambda: hdb2.post("describe_table", schema="dev", table="dog")[0] == 200), "made on the peer too"


def replicate_in_both_directions(hdb1: RealNode, hdb2: RealNode) -> None:
    assert hdb1.post("update_node", node_name="hdb2", subscriptions=[BOTH_WAYS]) == (
        200,
        {"message": "Successfully updated 'hdb2'", "updated": [BOTH_WAYS], "skipped": []},
    )
    assert insert(hdb1, PENNY)
    (there,) = rows(hdb1)
    assert without_times([there]) == [PENNY]
    assert there["__createdtime__"] == there["__updatedtime__"]
    assert abs(there["__createdtime__"] / 1000 - time.time()) < 60
    assert eventually(lambda: rows(hdb2) == [there]), "the same row with the same times"
    assert insert(hdb2, REX)
    assert eventually(lambda: without_times(rows(hdb1)) == [PENNY, REX])


def catch_up_after_an_outage(hdb1: RealNode, hdb2: RealNode) -> None:
    assert hdb2.stop().returncode == 0
    assert eventually(lambda: connection(hdb1, "hdb2").get("status") == "closed")
    assert insert(hdb1, SPOT)
    assert hdb2.start().returncode == 0
    assert eventually(lambda: without_times(rows(hdb2)) == [PENNY, REX, SPOT]), hdb2.log()
    assert rows(hdb1) == rows(hdb2)


def part(hdb1: RealNode, hdb2: RealNode) -> None:
    assert hdb1.post("remove_node", node_name="hdb2") == (200, {"message": "Successfully removed 'hdb2' from manifest"})
    for node in (hdb1, hdb2):
        assert eventually(lambda node=node: connections(node) == [])
    assert insert(hdb1, LONE)
    # A second of its own table's traffic would have carried it over; there is no event to wait for instead.
    time.sleep(1)
    assert without_times(rows(hdb2)) == [PENNY, REX, SPOT]


# What the nodes say.


def insert(node: RealNode, record: dict[str, Any]) -> bool:
    return node.post("insert", schema="dev", table="dog", records=[record]) == (
        200,
        {"message": "inserted 1 of 1 records", "inserted_hashes": [record["id"]], "skipped_hashes": []},
    )


def rows(node: RealNode) -> list[dict[str, Any]]:
    status, found = node.sql("SELECT * FROM dev.dog ORDER BY id")
    assert status == 200, found
    return found


def without_times(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.startswith("__")} for row in found]


def network(node: RealNode) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in node.status()[1]["clustering"].get("network", [])}


def connections(node: RealNode) -> list[dict[str, Any]]:
    return node.status()[1]["clustering"]["replication"]["connections"]


def connection(node: RealNode, name: str) -> dict[str, Any]:
    return next((entry for entry in connections(node) if entry["node name"] == name), {})
