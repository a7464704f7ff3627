"""A third node joined to two others keeps in step with either while the other is down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nodes import RealNode, eventually

pytestmark = pytest.mark.guide

BOTH_WAYS = {"schema": "dev", "table": "dog", "publish": True, "subscribe": True}


def test_a_third_node_keeps_in_step_when_either_of_two_is_down(make_node: Callable[[str], RealNode]) -> None:
    first, second, third = nodes = [make_node(name) for name in ("hdb1", "hdb2", "hdb3")]
    for node in nodes:
        node.start_or_fail(*node.cluster_parameters())
    assert first.post("create_table", schema="dev", table="dog", hash_attribute="id")[0] == 200
    join(first, second)
    join(third, first, second)
    write(first, 1)
    assert all(comes_to_have(node, {1}) for node in nodes), logs(nodes)
    expected = {1}
    for number, absent in enumerate((first, second)):
        present = second if absent is first else first
        assert absent.stop().returncode == 0
        ours, theirs = 10 + number, 20 + number
        write(present, ours)
        write(third, theirs)
        expected |= {ours, theirs}
        assert all(comes_to_have(node, expected) for node in (present, third)), logs(nodes)
        assert absent.start().returncode == 0
        assert comes_to_have(absent, expected), logs(nodes)
    assert rows(first) == rows(second) == rows(third)


def join(node: RealNode, *others: RealNode) -> None:
    """Give a node routes to others, and subscriptions in both directions with each."""
    routes = [{"host": "127.0.0.1", "port": other.hub_port} for other in others]
    assert node.post("cluster_set_routes", server="hub", routes=routes)[0] == 200
    for other in others:
        assert eventually(lambda other=other: other.name in connected(node)), node.log()
        assert node.post("add_node", node_name=other.name, subscriptions=[BOTH_WAYS])[0] == 200


def connected(node: RealNode) -> list[str]:
    entries = node.status()[1]["clustering"]["network"]
    return next(entry["connected nodes"] for entry in entries if entry["name"] == node.name)


def write(node: RealNode, key: int) -> None:
    assert node.post("insert", schema="dev", table="dog", records=[{"id": key, "by": node.name}])[0] == 200


def rows(node: RealNode) -> list[dict[str, Any]]:
    status, found = node.sql("SELECT * FROM dev.dog ORDER BY id")
    return found if status == 200 else []


def comes_to_have(node: RealNode, keys: set[int]) -> bool:
    return eventually(lambda: {row["id"] for row in rows(node)} == keys)


def logs(nodes: list[RealNode]) -> str:
    return "\n".join(f"--- {node.name}\n{node.log()}" for node in nodes)
