"""Random histories of simulated clusters. `KENNEL_SEEDS=500` runs more of them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from scenes import faults, link, notes, settled, subscription
from simulator import SimNode, Simulator, Trouble

SEEDS = range(int(os.environ.get("KENNEL_SEEDS", "15")))


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
