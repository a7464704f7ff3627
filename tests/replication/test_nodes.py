"""Replication between real node processes over loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_processes import NodeProcess, in_step, subscription
from nodes import eventually

import engine

Make = Callable[..., NodeProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes nodes; at the end none of their processes is left."""
    made: list[NodeProcess] = []

    def make(name: str, **parameters: object) -> NodeProcess:
        made.append(NodeProcess(tmp_path / f"{len(made)}-{name}", name, **parameters))
        return made[-1]

    yield make
    for node in made:
        node.kill()
        node.node.close()


def linked(*nodes: NodeProcess) -> None:
    names = {node.name for node in nodes}
    for node in nodes:
        assert eventually(lambda node=node: names - {node.name} <= node.connected()), node.log()


@pytest.fixture
def pair(make: Make) -> tuple[NodeProcess, NodeProcess]:
    """Two nodes, linked by a route of the first, with dev.dog on the first subscribed both ways."""
    north, south = make("north"), make("south")
    north.set_routes(south)
    north.start()
    south.start()
    linked(north, south)
    north.node.create_table("dev", "dog")
    reply = north.call("add_node", node_name="south", subscriptions=[subscription()])
    assert reply["added"] == [subscription()]
    return north, south


def test_records_travel_both_ways_with_the_times_of_their_origin(pair: tuple[NodeProcess, NodeProcess]) -> None:
    north, south = pair
    north.table().insert([{"id": 1, "dog_name": "Penny", "tags": [1, "a", None], "more": {"x": 1.5}}])
    assert eventually(lambda: in_step(north, south)), north.log() + south.log()
    south.table().update([{"id": 1, "dog_name": "Penny II"}])
    south.table().insert([{"id": "two", "weight": 2**60 + 1}])
    assert eventually(lambda: in_step(north, south) and len(north.rows()) == 2)
    assert north.rows()[1]["dog_name"] == "Penny II"
    north.table().delete([1], user="alice")
    assert eventually(lambda: set(south.rows()) == {"two"})
    assert south.table().transactions()[-1].user == "alice"
    for node in pair:
        node.table()._store.check()


def test_status_and_network(pair: tuple[NodeProcess, NodeProcess]) -> None:
    north, south = pair
    route = {"host": "127.0.0.1", "port": south.port}
    status = north.call("cluster_status")
    (connection,) = status["connections"]
    assert (status["node_name"], status["is_enabled"]) == ("north", True)
    assert list(connection) == ["node_name", "status", "ports", "latency_ms", "uptime", "subscriptions"]
    assert connection["status"] == "open"
    assert connection["ports"] == {"clustering": south.port, "operations_api": 9925}
    assert connection["latency_ms"] >= 1
    assert connection["uptime"].endswith("s")
    assert connection["subscriptions"] == [subscription()]
    nodes = south.call("cluster_network")["nodes"]
    assert [(n["name"], n["connected_nodes"], n["routes"]) for n in nodes] == [
        ("south", ["north"], []),
        ("north", ["south"], [route]),
    ]


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("which", [0, 1])
def test_catching_up_after_an_outage_of_either_side(
    pair: tuple[NodeProcess, NodeProcess], which: int, how: str
) -> None:
    north, south = pair
    north.table().insert([{"id": 0}])
    assert eventually(lambda: in_step(north, south))
    down, up = pair[which], pair[1 - which]
    getattr(down, how)()
    assert eventually(lambda: (up.connection(down.name) or {})["status"] == "closed")
    for key in range(1, 50):
        north.table().upsert([{"id": key, "from": "north"}])
        south.table().upsert([{"id": key + 25, "from": "south"}])
    down.start()
    assert eventually(lambda: in_step(north, south)), north.log() + south.log()
    assert len(north.rows()) == 75
    assert north.applied_more_than_once() == south.applied_more_than_once() == []


def numbers_of(writer: NodeProcess, node: NodeProcess) -> list[int]:
    """The transactions of `writer` in the log of `node`."""
    return [number for origin, _, number in node.history() if origin == writer.node.id]


def first_after_the_join(node: NodeProcess, other: NodeProcess) -> int:
    """Writes to `other` until that arrives at `node` as a transaction: what comes before, comes as rows of the join."""

    def arrived() -> list[int]:
        other.table().upsert([{"id": "join"}])
        return numbers_of(other, node)

    assert eventually(lambda: bool(arrived())), node.log()
    return numbers_of(other, node)[0]


def test_nothing_is_lost_or_repeated_when_node_processes_are_killed_under_load(
    pair: tuple[NodeProcess, NodeProcess],
) -> None:
    north, south = pair
    assert eventually(lambda: "dog" in south.node.tables("dev"))
    first = {other.name: first_after_the_join(node, other) for node, other in ((north, south), (south, north))}
    done = threading.Event()
    written: dict[str, int] = {}

    def load(node: NodeProcess) -> None:
        count = 0
        while not done.is_set():
            node.table().upsert([{"id": count % 40, "from": node.name, "count": count}])
            count += 1
            done.wait(0.002)
        written[node.name] = count

    threads = [threading.Thread(target=load, args=(node,)) for node in pair]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            victim, other = pair[turn % 2], pair[1 - turn % 2]
            before = len(victim.history())
            other.table().upsert([{"id": 1000 + turn}])
            assert eventually(lambda victim=victim, turn=turn: 1000 + turn in victim.rows()), victim.log()
            assert len(victim.history()) > before
            victim.kill()
            victim.start()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert eventually(lambda: in_step(north, south)), north.log() + south.log()
    for node in pair:
        assert node.applied_more_than_once() == []
        node.table()._store.check()
        for other in pair:
            numbers = numbers_of(other, node)
            start = 1 if node is other else first[other.name]
            assert numbers == list(range(start, start + len(numbers)))
            assert len(numbers) >= written[other.name]


def test_a_removed_node_gets_nothing_more(pair: tuple[NodeProcess, NodeProcess]) -> None:
    north, south = pair
    north.table().insert([{"id": 1}])
    assert eventually(lambda: in_step(north, south))
    assert north.call("remove_node", node_name="south") == {"message": "Successfully removed 'south' from manifest"}
    assert eventually(lambda: south.connection("north") is None)
    north.table().insert([{"id": 2}])
    south.node.create_table("dev", "marker")
    south.call("add_node", node_name="north", subscriptions=[subscription("marker")])
    south.table("marker").insert([{"id": 1}])  # what was written before would have arrived as well
    assert eventually(lambda: north.rows("marker") == south.rows("marker") != {})
    assert set(south.rows()) == {1}


def test_a_node_that_was_down_when_it_was_removed_is_taken_out_when_it_is_back(
    pair: tuple[NodeProcess, NodeProcess],
) -> None:
    north, south = pair
    south.kill()
    north.call("remove_node", node_name="south")
    assert north.call("cluster_status")["connections"] == []
    north.stop()
    north.start()
    south.start()
    linked(north, south)
    assert eventually(lambda: south.call("cluster_status")["connections"] == [])
    assert eventually(lambda: north.node.system("hdb_nodes").count() == south.node.system("hdb_nodes").count() == 0)


@pytest.mark.parametrize("which", [0, 1])
def test_a_third_node_joined_to_two_others_keeps_in_step_when_either_is_down(
    pair: tuple[NodeProcess, NodeProcess], make: Make, which: int
) -> None:
    north, south = pair
    third = make("third")
    third.set_routes(north, south)
    third.start()
    linked(third, north, south)
    north.table().insert([{"id": 0}])
    for other in pair:
        third.call("add_node", node_name=other.name, subscriptions=[subscription()])
    assert eventually(lambda: in_step(north, south, third))
    down, up = pair[which], pair[1 - which]
    down.kill()
    for key in range(1, 20):
        for node in (up, third, down):
            node.table().upsert([{"id": key, "from": node.name}])
    assert eventually(lambda: in_step(up, third)), up.log() + third.log()
    down.start()
    assert eventually(lambda: in_step(north, south, third)), north.log() + south.log() + third.log()
    assert [node.applied_more_than_once() for node in (north, south, third)] == [[], [], []]


def test_a_line_of_three_passes_on_what_comes_from_either_end(
    pair: tuple[NodeProcess, NodeProcess], make: Make
) -> None:
    north, south = pair
    far = make("far")
    south.set_routes(far)
    south.call("routes_changed")
    far.start()
    linked(south, far)
    north.table().insert([{"id": 1, "from": "north"}])
    south.call("add_node", node_name="far", subscriptions=[subscription()])
    assert eventually(lambda: in_step(north, south, far))
    far.table().insert([{"id": 2, "from": "far"}])
    north.table().insert([{"id": 3, "from": "north"}])
    assert eventually(lambda: in_step(north, south, far) and len(north.rows()) == 3)
    assert [n["name"] for n in north.call("cluster_network")["nodes"]] == ["north", "south", "far"]


def test_routes_may_change_while_the_node_runs(make: Make) -> None:
    north, south = make("north"), make("south")
    north.start()
    south.start()
    assert north.connected() == set()
    north.set_routes(south)
    north.call("routes_changed")
    linked(north, south)
    north.set_routes()
    north.call("routes_changed")
    assert eventually(lambda: not north.connected() and not south.connected())


def test_nodes_that_dial_each_other_and_themselves_stay_linked_once(make: Make) -> None:
    north, south = make("north"), make("south")
    for node in (north, south):
        node.set_routes(north, south)
        node.start()
    linked(north, south)
    assert north.connected() == {"south"}
    north.kill()
    assert eventually(lambda: not south.connected())
    north.start()
    linked(north, south)


def test_a_wrong_password_is_refused_and_not_told_to_callers(make: Make) -> None:
    north, south = make("north"), make("south", password="guess")
    south.set_routes(north)
    north.start()
    south.start()
    assert eventually(lambda: "refuses the link" in south.log())
    south.node.create_table("dev", "dog")
    with pytest.raises(engine.Unreachable) as caught:
        south.call("add_node", node_name="north", subscriptions=[subscription()])
    assert str(caught.value) == "Unable to add 'north'. The node cannot be reached; check the name and the routes."
    assert north.connected() == south.connected() == set()


def test_a_second_node_of_one_name_is_refused(make: Make) -> None:
    north, south, twin = make("north"), make("south"), make("south")
    for node in (south, twin):
        node.set_routes(north)
    north.start()
    south.start()
    linked(north, south)
    twin.start()
    reason = "the node name 'south' is taken by another node"
    for node in (north, twin):
        assert eventually(lambda node=node: reason in node.call("cluster_status").get("refused", [])), node.log()
        assert reason in node.log()
    assert twin.connected() == set()
    assert north.connected() == {"south"}


def test_a_node_whose_process_hangs_is_shown_as_closed_and_caught_up_with(
    pair: tuple[NodeProcess, NodeProcess],
) -> None:
    north, south = pair
    south.pause()
    try:
        assert eventually(lambda: (north.connection("south") or {})["status"] == "closed")
        north.table().insert([{"id": 1}])
    finally:
        south.resume()
    assert eventually(lambda: in_step(north, south)), north.log() + south.log()
    assert (north.connection("south") or {})["status"] == "open"


def test_different_key_attributes_on_the_two_nodes_are_refused(make: Make) -> None:
    north, south = make("north"), make("south")
    north.set_routes(south)
    north.node.create_table("dev", "dog", "id")
    south.node.create_table("dev", "dog", "uid")
    north.start()
    south.start()
    linked(north, south)
    with pytest.raises(engine.Conflict, match=r"Table 'dev\.dog' exists with different hash attributes"):
        north.call("add_node", node_name="south", subscriptions=[subscription()])
    assert north.call("cluster_status")["connections"] == south.call("cluster_status")["connections"] == []


def test_ten_thousand_rows_that_were_there_before_come_over(make: Make) -> None:
    north, south = make("north"), make("south")
    north.set_routes(south)
    table = north.node.create_table("dev", "dog")
    for start in range(0, 10_000, 1000):
        table.insert([{"id": key, "name": f"dog {key}", "age": key % 15} for key in range(start, start + 1000)])
    table.delete(list(range(0, 10_000, 7)))
    north.start()
    south.start()
    linked(north, south)
    north.call("add_node", node_name="south", subscriptions=[subscription(subscribe=False)])
    assert eventually(lambda: in_step(north, south))


def test_without_clustering_the_operations_say_so(make: Make) -> None:
    node = make("north", clustering_enabled=False)
    from engine import replication

    operations = replication.start(node.node, engine.configuration.Configuration.load(node.root)).operations()
    assert operations["cluster_status"]({}) == {"node_name": "north", "is_enabled": False, "connections": []}
    with pytest.raises(engine.InvalidRequest, match="This operation requires clustering to be enabled"):
        operations["add_node"]({"node_name": "south", "subscriptions": [subscription()]})
