"""What replication promises, in simulated clusters. `KENNEL_SEEDS=500` runs more of the random histories."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from simulator import SimNode, Simulator, Trouble

from engine.errors import Conflict, InvalidRequest, NotFound, Unreachable
from engine.replication import records
from engine.replication.events import Received

SEEDS = range(int(os.environ.get("KENNEL_SEEDS", "15")))


def subscription(table: str = "dog", publish: bool = True, subscribe: bool = True, **more: Any) -> dict[str, Any]:
    return {"schema": "dev", "table": table, "publish": publish, "subscribe": subscribe, **more}


def link(simulator: Simulator, *pairs: tuple[SimNode, SimNode]) -> None:
    """Route the first of each pair to the second, and wait until all are linked."""
    for dialler, listener in pairs:
        simulator.route(dialler, listener)
    assert simulator.run_until(lambda: all(are_linked(a, b) and are_linked(b, a) for a, b in pairs))


def are_linked(node: SimNode, peer: SimNode) -> bool:
    return node.core is not None and peer.data.id in node.core.sessions


def rows(node: SimNode, table: str = "dog") -> dict[Any, Any]:
    return node.data.table("dev", table).rows()


def has_rows(*nodes: SimNode, table: str = "dog") -> Callable[[], bool]:
    """Whether the nodes have the table, with equal rows."""

    def same() -> bool:
        if any(("dev", table) not in node.data.tables for node in nodes):
            return False
        return all(rows(node, table) == rows(nodes[0], table) for node in nodes)

    return same


def settled(simulator: Simulator, *nodes: SimNode, table: str = "dog") -> Callable[[], bool]:
    return lambda: simulator.settled(table, nodes)


def notes(simulator: Simulator) -> str:
    return "\n".join(sorted(note for node in simulator.nodes.values() for note in node.notes)[-80:])


def faults(nodes: Iterable[SimNode]) -> list[str]:
    return [note for node in nodes for note in node.notes if "fault of its own" in note]


@pytest.fixture
def pair() -> tuple[Simulator, SimNode, SimNode]:
    """Two nodes, linked by a route from the second; the first has the table dev.dog."""
    simulator = Simulator(7)
    north, south = simulator.node("north"), simulator.node("south")
    north.data.create_table("dev", "dog")
    link(simulator, (south, north))
    return simulator, north, south


# --- subscriptions ---------------------------------------------------------------------------------------------------


def test_rows_that_were_there_before_and_later_writes_reach_a_new_subscriber(pair: Any) -> None:
    simulator, north, south = pair
    for key in range(10):
        north.write("dog", "put", key, {"name": f"dog {key}"})
    north.write("dog", "delete", 3, None)
    reply = north.call("add_node", node_name="south", subscriptions=[subscription(subscribe=False)])
    assert reply == {
        "message": "Successfully added 'south' to manifest",
        "added": [subscription(subscribe=False)],
        "skipped": [],
    }
    north.write("dog", "put", 11, {"name": "later"})
    assert simulator.run_until(has_rows(north, south))
    assert len(rows(south)) == 10
    assert simulator.echoes == 0


def test_one_direction_only_carries_nothing_back(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription(subscribe=False)])
    south.write("dog", "put", 1, {"name": "stays"})
    north.write("dog", "put", 2, {"name": "goes"})
    simulator.run(10)
    assert set(rows(north)) == {2}
    assert set(rows(south)) == {1, 2}


def test_both_directions_after_update_node(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription(subscribe=False)])
    reply = north.call("update_node", node_name="south", subscriptions=[subscription()])
    assert reply == {"message": "Successfully updated 'south'", "updated": [subscription()], "skipped": []}
    north.write("dog", "put", 1, {"name": "Penny"})
    south.write("dog", "put", 2, {"name": "Rex"})
    assert simulator.run_until(settled(simulator, north, south))
    assert rows(north)[2] == rows(south)[2]
    assert simulator.echoes == 0


def test_the_table_is_created_on_whichever_side_lacks_it(pair: Any) -> None:
    simulator, north, south = pair
    south.data.create_table("dev", "cat", "uid")
    south.write("cat", "put", 1, {"name": "Tom"})
    reply = north.call(
        "add_node", node_name="south", subscriptions=[subscription("cat"), subscription("dog"), subscription("cow")]
    )
    assert reply["added"] == [subscription("cat"), subscription("dog")]
    assert reply["skipped"] == [subscription("cow")]
    assert north.data.table("dev", "cat").primary_key == "uid"
    assert south.data.table("dev", "dog").primary_key == "id"
    assert simulator.run_until(has_rows(north, south, table="cat"))
    shown = [
        [s["table"] for s in c["subscriptions"]]
        for n in (north, south)
        for c in n.call("cluster_status")["connections"]
    ]
    assert shown == [["cat", "dog"], ["cat", "dog"]]


def test_different_key_attributes_are_refused_and_nothing_is_kept(pair: Any) -> None:
    simulator, north, south = pair
    south.data.create_table("dev", "dog", "uid")
    with pytest.raises(Conflict, match=r"Table 'dev\.dog' exists with different hash attributes on the two nodes\."):
        north.call("add_node", node_name="south", subscriptions=[subscription()])
    simulator.run(5)
    assert north.call("cluster_status")["connections"] == south.call("cluster_status")["connections"] == []


def test_the_texts_of_refused_operations(pair: Any) -> None:
    _, north, _ = pair
    sub = [subscription()]
    bad_name = "'node_name' invalid, must not contain ., * or >"
    own_name = "The node name 'north' is this node's own name."
    for operation, body, error, text in [
        ("add_node", {"subscriptions": sub}, InvalidRequest, "'node_name' is required"),
        ("add_node", {"node_name": "south"}, InvalidRequest, "'subscriptions' is required"),
        ("add_node", {"node_name": "south", "subscriptions": {}}, InvalidRequest, "'subscriptions' must be an array"),
        ("add_node", {"node_name": "south", "subscriptions": []}, InvalidRequest,
         "'subscriptions' must contain at least 1 items"),
        ("add_node", {"node_name": "a.b", "subscriptions": sub}, InvalidRequest, bad_name),
        ("add_node", {"node_name": "north", "subscriptions": sub}, InvalidRequest, own_name),
        ("add_node", {"node_name": "west", "subscriptions": sub}, Unreachable,
         "Unable to add 'west'. The node cannot be reached; check the name and the routes."),
        ("add_node", {"node_name": "south", "subscriptions": [{"schema": "dev", "publish": True, "subscribe": True}]},
         InvalidRequest, "'subscriptions[0].table' is required"),
        ("add_node", {"node_name": "south", "subscriptions": [{**sub[0], "publish": "yes"}]},
         InvalidRequest, "'subscriptions[0].publish' must be a boolean"),
        ("add_node", {"node_name": "south", "subscriptions": [{**sub[0], "start_time": "noon"}]},
         InvalidRequest, "'subscriptions[0].start_time' must be in ISO 8601 date format"),
        ("add_node", {"node_name": "south", "subscriptions": [{**sub[0], "schema": "system"}]},
         InvalidRequest, "'subscriptions[0]' invalid schema name, 'system' name is reserved"),
        ("update_node", {"node_name": "west", "subscriptions": sub}, NotFound,
         "Node 'west' was not found, perform add_node to proceed."),
        ("remove_node", {"node_name": "west"}, NotFound, "Node 'west' was not found."),
        ("configure_cluster", {}, InvalidRequest, "'connections' is required"),
    ]:  # fmt: skip
        with pytest.raises(error) as caught:
            north.call(operation, **body)
        assert str(caught.value) == text


def test_a_node_cannot_be_added_twice(pair: Any) -> None:
    _, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    for node, other in ((north, "south"), (south, "north")):
        with pytest.raises(InvalidRequest, match=f"Node '{other}' has already been added, perform update to proceed."):
            node.call("add_node", node_name=other, subscriptions=[subscription()])


def test_a_start_time_leaves_out_what_was_before(pair: Any) -> None:
    simulator, north, south = pair
    north.write("dog", "put", 1, {"name": "old"})
    north.write("dog", "put", 2, {"name": "old, then changed"})
    simulator.run(5)
    start = north.data.table("dev", "dog").write("put", 2, {"name": "changed"})
    north.write("dog", "put", 3, {"name": "new"})
    moment = datetime.fromtimestamp(start / 1e6, UTC).isoformat()
    north.call("add_node", node_name="south", subscriptions=[subscription(start_time=moment)])
    north.write("dog", "put", 4, {"name": "newer"})
    assert simulator.run_until(lambda: len(rows(south)) == 3)
    simulator.run(5)
    assert {key: row[0]["name"] for key, row in rows(south).items()} == {2: "changed", 3: "new", 4: "newer"}


def test_a_removed_node_gets_nothing_more_and_keeps_its_data(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    north.write("dog", "put", 1, {"name": "stays"})
    assert simulator.run_until(has_rows(north, south))
    assert north.call("remove_node", node_name="south") == {"message": "Successfully removed 'south' from manifest"}
    north.write("dog", "put", 2, {"name": "alone"})
    south.write("dog", "put", 3, {"name": "alone too"})
    simulator.run(10)
    assert (set(rows(north)), set(rows(south))) == ({1, 2}, {1, 3})
    assert north.call("cluster_status")["connections"] == south.call("cluster_status")["connections"] == []
    assert north.storage.neighbours() == south.storage.neighbours() == []


def test_a_node_that_is_down_when_it_is_removed_learns_of_it_when_it_is_back(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    simulator.run(1)
    south.crash()
    simulator.run(10)
    (connection,) = north.call("cluster_status")["connections"]
    assert (connection["status"], connection["latency_ms"], connection["uptime"]) == ("closed", None, None)
    assert connection["subscriptions"] == [subscription()]
    north.call("remove_node", node_name="south")
    north.write("dog", "put", 1, {"name": "alone"})
    north.crash()
    simulator.run(2)
    north.start()
    south.start()
    assert simulator.run_until(lambda: are_linked(north, south))
    simulator.run(10)
    assert rows(south) == {}
    assert south.call("cluster_status")["connections"] == []
    assert north.storage.neighbours() == south.storage.neighbours() == []


def test_rows_come_over_again_when_a_removed_node_is_added_again(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    north.call("remove_node", node_name="south")
    north.write("dog", "put", 1, {"name": "meanwhile"})
    south.write("dog", "put", 1, {"name": "meanwhile, later"})
    south.write("dog", "put", 2, {"name": "meanwhile"})
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    assert simulator.run_until(settled(simulator, north, south))
    assert rows(north)[1][0] == {"name": "meanwhile, later"}


def test_a_row_deleted_on_one_side_before_they_met_does_not_come_back(pair: Any) -> None:
    simulator, north, south = pair
    south.data.create_table("dev", "dog")
    south.write("dog", "put", 1, {"name": "old"})
    simulator.run(1)
    north.write("dog", "put", 1, {"name": "newer"})
    north.write("dog", "delete", 1, None)
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    assert simulator.run_until(settled(simulator, north, south))
    simulator.run(5)
    assert rows(north) == rows(south) == {}


def test_configure_cluster_puts_the_new_subscriptions_in_place_of_all_others(pair: Any) -> None:
    simulator, north, south = pair
    north.data.create_table("dev", "cat")
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    reply = north.call(
        "configure_cluster", connections=[{"node_name": "south", "subscriptions": [subscription("cat")]}]
    )
    assert reply["message"] == "Cluster successfully configured."
    simulator.run(2)
    for node in (north, south):
        (connection,) = node.call("cluster_status")["connections"]
        assert connection["subscriptions"] == [subscription("cat")]
    north.call("configure_cluster", connections=[])
    simulator.run(2)
    assert north.call("cluster_status")["connections"] == south.call("cluster_status")["connections"] == []


def test_both_nodes_may_set_different_tables_at_the_same_time(pair: Any) -> None:
    simulator, north, south = pair
    north.data.create_table("dev", "cat")
    first = north.ask("set_node_replication", node_name="south", subscriptions=[subscription("dog")])
    second = south.ask("set_node_replication", node_name="north", subscriptions=[subscription("cat")])
    assert simulator.run_until(lambda: first in north.replies and second in south.replies)
    assert north.replies[first].error is south.replies[second].error is None
    simulator.run(3)
    for node in (north, south):
        (connection,) = node.call("cluster_status")["connections"]
        assert connection["subscriptions"] == [subscription("cat"), subscription("dog")]


def test_a_peer_that_dies_while_it_is_added_is_not_left_half_added(pair: Any) -> None:
    simulator, north, south = pair
    request = north.ask("add_node", node_name="south", subscriptions=[subscription()])
    simulator.run_until(lambda: bool(south.data.systems.get("hdb_nodes")), 5)
    south.crash()
    assert simulator.run_until(lambda: request in north.replies)
    error = north.replies[request].error
    south.start()
    assert simulator.run_until(lambda: are_linked(north, south))
    simulator.run(10)
    views = [[c["node_name"] for c in n.call("cluster_status")["connections"]] for n in (north, south)]
    assert views == ([[], []] if isinstance(error, Unreachable) else [["south"], ["north"]])


# --- outages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("down", ["north", "south"])
def test_catching_up_after_an_outage_of_either_side(pair: Any, down: str) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    north.write("dog", "put", 0, {"name": "before"})
    assert simulator.run_until(settled(simulator, north, south))
    simulator.nodes[down].crash()
    for key in range(1, 30):
        north.write("dog", "put", key, {"name": "north"})
        south.write("dog", "put", key + 100, {"name": "south"})
        simulator.run(0.1)
    simulator.nodes[down].start()
    assert simulator.run_until(settled(simulator, north, south)), notes(simulator)
    assert simulator.applied_twice() == []


def test_an_outage_does_not_bring_rows_over_again(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    for key in range(50):
        north.write("dog", "put", key, {})
    assert simulator.run_until(settled(simulator, north, south))
    before = simulator.sent_entries
    south.crash()
    north.write("dog", "put", 1, {"name": "changed"})
    simulator.run(3)
    south.start()
    assert simulator.run_until(settled(simulator, north, south))
    assert simulator.sent_entries <= before + 2  # once before the outage is noticed, once after it


def test_a_line_of_three_relays_in_both_directions() -> None:
    simulator = Simulator(3)
    a, b, c = (simulator.node(name) for name in "abc")
    a.data.create_table("dev", "dog")
    link(simulator, (a, b), (c, b))
    a.call("add_node", node_name="b", subscriptions=[subscription()])
    b.call("add_node", node_name="c", subscriptions=[subscription()])
    for key, node in enumerate((a, b, c) * 5):
        node.write("dog", "put", key, {"from": node.name})
    assert simulator.run_until(settled(simulator, a, b, c)), notes(simulator)
    assert len(rows(a)) == 15
    assert simulator.echoes == 0
    assert simulator.applied_twice() == []


def test_rows_reach_the_end_of_a_line_that_was_joined_before_its_beginning() -> None:
    simulator = Simulator(4)
    a, b, c = (simulator.node(name) for name in "abc")
    a.data.create_table("dev", "dog")
    for key in range(20):
        a.write("dog", "put", key, {"name": "from the beginning"})
    b.data.create_table("dev", "dog")
    link(simulator, (a, b), (c, b))
    b.call("add_node", node_name="c", subscriptions=[subscription()])
    simulator.run(3)
    a.call("add_node", node_name="b", subscriptions=[subscription()])
    a.write("dog", "put", 100, {"name": "later"})
    assert simulator.run_until(settled(simulator, a, b, c)), notes(simulator)
    assert len(rows(c)) == 21


def test_without_republishing_a_line_does_not_relay() -> None:
    simulator = Simulator(5)
    a, b, c = (simulator.node(name) for name in "abc")
    a.data.create_table("dev", "dog")
    b.crash()
    b.options["republish"] = False
    b.start()
    link(simulator, (a, b), (c, b))
    a.call("add_node", node_name="b", subscriptions=[subscription()])
    b.call("add_node", node_name="c", subscriptions=[subscription()])
    simulator.run(3)
    a.write("dog", "put", 1, {"from": "a"})
    b.write("dog", "put", 2, {"from": "b"})
    simulator.run(10)
    assert set(rows(b)) == {1, 2}
    assert set(rows(c)) == {2}


@pytest.mark.parametrize("down", ["a", "b"])
def test_a_third_node_joined_to_two_keeps_in_step_when_either_is_down(down: str) -> None:
    simulator = Simulator(6)
    a, b, c = (simulator.node(name) for name in "abc")
    a.data.create_table("dev", "dog")
    link(simulator, (a, b), (c, a), (c, b))
    a.call("add_node", node_name="b", subscriptions=[subscription()])
    c.call("add_node", node_name="a", subscriptions=[subscription()])
    c.call("add_node", node_name="b", subscriptions=[subscription()])
    up = [node for node in (a, b, c) if node.name != down]
    a.write("dog", "put", 1, {})
    assert simulator.run_until(settled(simulator, a, b, c)), notes(simulator)
    sent = simulator.sent_entries
    simulator.nodes[down].crash()
    for key in range(10, 30):
        for node in (a, b, c):
            node.write("dog", "put", key, {"from": node.name})
        simulator.run(0.2)
    assert simulator.run_until(settled(simulator, *up)), notes(simulator)
    simulator.nodes[down].start()
    assert simulator.run_until(settled(simulator, a, b, c)), notes(simulator)
    assert simulator.sent_entries - sent < 3 * 60 * 1.2  # every entry goes to each of two others about once
    assert simulator.echoes == 0
    assert simulator.applied_twice() == []


def test_a_cut_between_two_of_three_is_bridged_by_the_third() -> None:
    simulator = Simulator(8)
    a, b, c = (simulator.node(name) for name in "abc")
    a.data.create_table("dev", "dog")
    link(simulator, (a, b), (c, a), (c, b))
    a.call("add_node", node_name="b", subscriptions=[subscription()])
    c.call("add_node", node_name="a", subscriptions=[subscription()])
    c.call("add_node", node_name="b", subscriptions=[subscription()])
    assert simulator.run_until(settled(simulator, a, b, c))
    simulator.severed.add(frozenset("ab"))
    a.write("dog", "put", 1, {"from": "a"})
    b.write("dog", "put", 2, {"from": "b"})
    assert simulator.run_until(settled(simulator, a, b, c), 30), notes(simulator)


def test_a_dropped_table_stays_dropped_until_it_is_subscribed_again(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    north.write("dog", "put", 1, {})
    assert simulator.run_until(settled(simulator, north, south))
    south.data.drop_table("dev", "dog")
    north.write("dog", "put", 2, {})
    simulator.run(5)
    assert ("dev", "dog") not in south.data.tables
    south.data.create_table("dev", "dog")
    north.write("dog", "put", 3, {})
    simulator.run(5)
    assert rows(south) == {}
    (connection,) = south.call("cluster_status")["connections"]
    assert "halted" in connection["subscriptions"][0]
    north.call("update_node", node_name="south", subscriptions=[subscription()])
    assert simulator.run_until(settled(simulator, north, south)), notes(simulator)
    assert set(rows(south)) == {1, 2, 3}


def test_a_table_made_again_on_the_publishing_side_begins_anew(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    for key in range(5):
        north.write("dog", "put", key, {})
    assert simulator.run_until(settled(simulator, north, south))
    north.data.drop_table("dev", "dog")
    north.data.create_table("dev", "dog")
    north.call("update_node", node_name="south", subscriptions=[subscription()])
    north.write("dog", "put", 10, {"name": "first of the new table"})
    assert simulator.run_until(lambda: 10 in rows(south)), notes(simulator)


def test_a_node_whose_log_went_back_gets_its_own_writes_from_its_peers(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    north.write("dog", "put", 1, {})
    assert simulator.run_until(settled(simulator, north, south))
    backup = copy.deepcopy({name: vars(table) for name, table in north.data.tables.items() if table})
    north.write("dog", "put", 2, {"name": "after the backup"})
    assert simulator.run_until(settled(simulator, north, south))
    north.crash()
    table = north.data.table("dev", "dog")
    vars(table).update({k: v for k, v in backup["dev", "dog"].items() if k != "_node"})
    north.start()
    assert simulator.run_until(lambda: 2 in rows(north)), notes(simulator)
    north.write("dog", "put", 3, {"name": "in the new epoch"})
    assert simulator.run_until(lambda: 3 in rows(south)), notes(simulator)
    assert simulator.run_until(has_rows(north, south))


def test_a_clock_far_ahead_holds_that_node_back_and_nothing_else(pair: Any) -> None:
    simulator, north, south = pair
    north.call("add_node", node_name="south", subscriptions=[subscription()])
    simulator.run(2)
    south.skew = 100.0
    south.write("dog", "put", 1, {"from": "the future"})
    south.write("dog", "put", 2, {"from": "the future"})
    north.write("dog", "put", 3, {"from": "now"})
    assert simulator.run_until(lambda: 3 in rows(south))
    simulator.run(2)
    assert 1 not in rows(north)
    (connection,) = north.call("cluster_status")["connections"]
    assert connection["subscriptions"][0]["clock_ahead"] == [south.data.id]
    assert simulator.run_until(lambda: {1, 2} <= set(rows(north)), 90), notes(simulator)


# --- links -----------------------------------------------------------------------------------------------------------


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


# --- random histories ------------------------------------------------------------------------------------------------


def shaken(seed: int) -> None:
    """Four nodes in a random connected topology; writes, losses, cuts and crashes at random; then peace."""
    simulator = Simulator(seed)
    random = simulator.random
    names = "abcd"[: random.choice((2, 3, 3, 4))]
    nodes = [simulator.node(name, tick=random.choice((1, 1000, 500_000))) for name in names]
    nodes[0].data.create_table("dev", "dog")
    pairs = [(random.choice(nodes[:place]), node) for place, node in enumerate(nodes) if place]
    extra = [(a, b) for a in nodes for b in nodes if a is not b and random.random() < 0.2]
    link(simulator, *[pair if random.random() < 0.5 else pair[::-1] for pair in pairs + extra])
    for one, other in {frozenset(p): p for p in pairs + extra}.values():
        if random.random() < 0.5:
            change(simulator, random, nodes, 10)
        one.call("set_node_replication", node_name=other.name, subscriptions=[subscription()])
    simulator.trouble = Trouble(loss=random.choice((0, 0.01, 0.05)), repeat=0.05, longest=random.choice((0.01, 0.3)))
    for _ in range(random.randrange(20, 60)):
        change(simulator, random, nodes, random.randrange(6))
        harm(simulator, random, nodes)
        simulator.run(random.random() * 2)
    simulator.trouble = Trouble()
    simulator.severed.clear()
    for node in nodes:
        if node.core is None:
            node.start()
    assert simulator.run_until(settled(simulator, *nodes), 120), f"seed {seed}\n{notes(simulator)}"
    assert simulator.applied_twice() == []
    assert simulator.echoes == 0
    assert faults(nodes) == []


def change(simulator: Simulator, random: Any, nodes: list[SimNode], count: int) -> None:
    for _ in range(count):
        node = random.choice(nodes)
        if ("dev", "dog") not in node.data.tables:
            continue
        key = random.randrange(8)
        if random.random() < 0.3:
            node.write("dog", "delete", key, None)
        else:
            node.write("dog", "put", key, {"from": node.name, "value": random.randrange(1000)})


def harm(simulator: Simulator, random: Any, nodes: list[SimNode]) -> None:
    lot = random.random()
    node, other = random.choice(nodes), random.choice(nodes)
    if lot < 0.15:
        if node.core is None:
            node.start()
        else:
            node.crash()
    elif lot < 0.3:
        for channel in random.sample(simulator.channels(), min(1, len(simulator.channels()))):
            simulator.cut(channel)
    elif lot < 0.4:
        simulator.severed ^= {frozenset((node.name, other.name))}


@pytest.mark.parametrize("seed", SEEDS)
def test_after_peace_returns_all_nodes_are_equal_and_nothing_was_applied_twice(seed: int) -> None:
    shaken(seed)


def regrouped(seed: int) -> None:
    """Three nodes, two tables; subscriptions come, change and go while links break and processes die. In the end all
    nodes are subscribed both ways again, and equal."""
    simulator = Simulator(seed)
    random = simulator.random
    nodes = [simulator.node(name) for name in "abc"]
    tables = ("cat", "dog")
    for table in tables:
        random.choice(nodes).data.create_table("dev", table)
    link(simulator, (nodes[0], nodes[1]), (nodes[2], nodes[1]), (nodes[0], nodes[2]))
    simulator.trouble = Trouble(loss=0.02, repeat=0.02, longest=0.1)
    for _ in range(40):
        node, other = random.sample(nodes, 2)
        table = random.choice(tables)
        if random.random() < 0.35 and node.core is not None:
            both = {"publish": random.random() < 0.7, "subscribe": random.random() < 0.7}
            operation = random.choice(
                ("set_node_replication", "set_node_replication", "remove_node", "configure_cluster")
            )
            wanted = {"node_name": other.name, "subscriptions": [subscription(table, **both)]}
            node.ask(operation, **({"connections": [wanted]} if operation == "configure_cluster" else wanted))
        harm(simulator, random, nodes)
        for writer in random.sample(nodes, 2):
            if ("dev", table) in writer.data.tables:
                kind = random.choice(("put", "put", "delete"))
                writer.write(table, kind, random.randrange(5), {"by": writer.name} if kind == "put" else None)
        simulator.run(random.random() * 3)
    simulator.trouble = Trouble()
    simulator.severed.clear()
    for node in nodes:
        if node.core is None:
            node.start()
    assert simulator.run_until(lambda: all(len(node.core.sessions) == 2 for node in nodes if node.core)), seed
    simulator.run(30)
    for one, other in ((0, 1), (1, 2), (2, 0)) * 2:  # at first, a table may be on the third node only
        wanted = [subscription(table) for table in tables]
        nodes[one].call("set_node_replication", 90, node_name=nodes[other].name, subscriptions=wanted)
    for table in tables:
        assert simulator.run_until(settled(simulator, *nodes, table=table), 120), f"seed {seed}\n{notes(simulator)}"
    assert simulator.applied_twice() == []
    assert simulator.echoes == 0
    assert faults(nodes) == []
    for node in nodes:
        shown = node.call("cluster_status")["connections"]
        assert [c["subscriptions"] for c in shown] == [[subscription(table) for table in tables]] * 2, seed


@pytest.mark.parametrize("seed", SEEDS)
def test_subscriptions_may_change_in_the_midst_of_trouble(seed: int) -> None:
    regrouped(seed)
