"""Links between simulated nodes: who is let in, and what holds one up."""

from __future__ import annotations

from typing import Any

import pytest
from scenes import are_linked, link, notes, rows, settled, subscription
from simulator import SimNode, Simulator

from engine.replication import records
from engine.replication.events import Received


def test_cross_dialled_nodes_use_one_link_and_survive_its_loss() -> None:
    simulator = Simulator(9)
    north, south = simulator.node("north"), simulator.node("south")
    north.data.create_table("dev", "dog")
    link(simulator, (north, south), (south, north), (south, north))
    simulator.run(3)
    assert len(simulator.channels()) == 3
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    for key in range(20):
        north.write("dog", "put", key, {})
        simulator.cut(simulator.random.choice(simulator.channels()))
        simulator.run(0.5)
    assert simulator.run_until(settled(simulator, north, south)), notes(simulator)
    assert simulator.applied_twice() == []


def test_a_route_to_the_node_itself_is_closed() -> None:
    simulator = Simulator(10)
    north = simulator.node("north")
    simulator.route(north, north)
    simulator.run(5)
    assert north.core is not None
    assert north.core.sessions == {}
    assert any("the route leads to the node itself" in note for note in north.notes)


def test_a_second_node_of_the_same_name_is_refused_and_shown() -> None:
    simulator = Simulator(11)
    north, south = simulator.node("north"), simulator.node("south")
    link(simulator, (south, north))
    twin = SimNode(simulator, "south")
    simulator.nodes["twin"] = twin
    twin.start()
    simulator.route(twin, north)
    simulator.run(5)
    assert are_linked(north, south)
    assert not are_linked(twin, north)
    for node in (north, twin):
        assert "the node name 'south' is taken by another node" in node.call("cluster_status")["refused"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cluster": "other"}, "belongs to the cluster 'other'"),
        ({"secret": b"guess"}, "wrong cluster user or password"),
    ],
)
def test_nodes_of_another_cluster_or_password_are_refused(options: dict[str, Any], reason: str) -> None:
    simulator = Simulator(12)
    north, south = simulator.node("north"), simulator.node("south")
    south.crash()
    south.options = options
    south.start()
    simulator.route(south, north)
    simulator.run(5)
    assert not are_linked(south, north)
    assert any(reason in note for note in north.notes)


def test_cluster_network_finds_every_node_that_answers() -> None:
    simulator = Simulator(13)
    a, b, c, d = (simulator.node(name) for name in "abcd")
    link(simulator, (a, b), (b, c), (c, d), (a, c))
    nodes = a.call("cluster_network")["nodes"]
    assert nodes[0]["name"] == "a"
    assert {node["name"]: node["connected_nodes"] for node in nodes} == {
        "a": ["b", "c"],
        "b": ["a", "c"],
        "c": ["a", "b", "d"],
        "d": ["c"],
    }
    assert all(node["response_time"] >= 1 and node["routes"] == [] for node in nodes)
    assert set(a.call("cluster_network", routes=True, connected_nodes=True)["nodes"][0]) == {"name", "response_time"}
    c.crash()
    found = a.call("cluster_network", timeout=500)["nodes"]
    assert {node["name"] for node in found} <= {"a", "b"}


def test_a_malformed_message_is_dropped_and_the_stream_goes_on(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    simulator.run(1)
    link_of_north = north.core.sessions[south.data.id].link
    link_of_north.sent += 1
    (channel,) = simulator.channels()
    south.feed(Received(f">{channel.name}", link_of_north.sent.to_bytes(8, "big") + b"\xc1garbage"))
    assert south.core.links.malformed == 1
    north.write("dog", "put", 1, {})
    assert simulator.run_until(settled(simulator, north, south))
    assert are_linked(north, south)


def test_a_transaction_that_cannot_be_applied_is_set_aside_and_shown(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    simulator.run(1)
    encode = records.encode_content
    written = iter([b"", b"spoiled", b"", b""])
    monkeypatch.setattr(records, "encode_content", lambda *content: next(written) or encode(*content))
    for key in range(3):
        north.write("dog", "put", key, {"name": f"dog {key}"})
        simulator.run(1)
    assert set(rows(south)) == {0, 2}
    (connection,) = south.call("cluster_status")["connections"]
    assert connection["subscriptions"] == [subscription(set_aside=1)]
    assert [(entry.number, entry.payload) for entry, _ in south.aside.kept] == [(2, b"spoiled")]
    south.crash()
    south.start()
    assert simulator.run_until(lambda: are_linked(south, north))
    north.write("dog", "put", 3, {})
    simulator.run(2)
    assert len(south.aside.kept) == 1
