"""What holds through outages, over lines and meshes of nodes, in simulated clusters."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from scenes import has_rows, link, notes, rows, settled, subscription
from simulator import Simulator


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


def test_the_log_is_kept_as_far_back_as_a_subscriber_needs_it(pair: Any) -> None:
    simulator, north, south = pair
    table = north.data.table("dev", "dog")
    assert north.needed == {}
    north.call("add_node", node_name="south", subscriptions=[subscription(subscribe=False)])
    for key in range(10):
        north.write("dog", "put", key, {})
    assert simulator.run_until(lambda: north.needed == {table.id: table.head + 1})
    assert south.needed == {}
    simulator.run(40)  # long enough for it to be written down
    south.crash()
    first_missed = table.head + 1
    for key in range(10):
        north.write("dog", "put", key, {})
    simulator.run(5)
    north.crash()
    north.start()
    simulator.run(5)
    assert north.needed == {table.id: first_missed}
    south.start()
    assert simulator.run_until(lambda: north.needed == {table.id: table.head + 1})
    assert rows(south) == rows(north)
    north.call("remove_node", node_name="south")
    simulator.run(2)
    assert north.needed == {}
