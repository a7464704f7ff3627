"""What subscriptions promise, in simulated clusters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from scenes import are_linked, has_rows, rows, settled, subscription

from engine.errors import Conflict, InvalidRequest, NotFound, Unreachable


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
