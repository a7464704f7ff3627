"""Transactions of other nodes are applied once, in their order, and the latest version of each record wins."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from stores import Place, place, rows

from engine.feed import Feed, RemoteTransaction, Writer
from engine.history import Change
from engine.store import Store

HERE = str(uuid.UUID(int=1))
ANN = Writer(str(uuid.UUID(int=2)), 7, "ann")
ZOE = Writer(str(uuid.UUID(int=3)), 9, "zoe")


def put(key: Any, version: int, **record: Any) -> Change:
    return Change("put", key, record, version, version, False, None)


def gone(key: Any, version: int) -> Change:
    return Change("delete", key, None, version, version, False, None)


def sent(writer: Writer, number: int, *changes: Change, version: int = 0) -> RemoteTransaction:
    newest = max([version, *(change.version for change in changes)])
    return RemoteTransaction(writer, number, newest, "u", "upsert", list(changes))


class Node:
    """A table as node "mid" has it, between those of ann and zoe."""

    def __init__(self, here: Place) -> None:
        self._here = here
        self.open()

    def open(self) -> None:
        self.store = self._here.open(node_name="mid", epoch=5)
        self.feed = Feed(self.store, HERE, "mid")

    def recover(self) -> None:
        self.store.close()
        self._here.forget_index()
        self.open()

    def values(self) -> dict[Any, Any]:
        return {key: row.get("n") for key, row in rows(self.store).items()}


@pytest.fixture
def node() -> Iterator[Node]:
    with place() as here:
        node = Node(here)
        yield node
        node.store.check()
        node.store.close()


def again(node: Node, look: Callable[[], Any]) -> Any:
    """The same before and after a recovery from the log."""
    found = look()
    node.recover()
    assert look() == found
    return found


def test_a_transaction_is_applied_once_and_in_its_turn(node: Node) -> None:
    assert node.feed.apply(sent(ANN, 1, put(1, 100, n=1))) == "applied"
    assert node.feed.apply(sent(ANN, 1, put(1, 999, n=2))) == "duplicate"
    assert node.feed.apply(sent(ANN, 3, put(1, 999, n=3))) == "gap"
    assert node.feed.apply(sent(ZOE, 2, put(1, 999, n=4))) == "gap"
    assert again(node, lambda: (node.values(), node.feed.applied())) == ({1: 1}, {(ANN.node, 7): 1})
    assert node.feed.apply(sent(ANN, 1, put(1, 999, n=2))) == "duplicate"
    assert node.feed.apply(sent(ANN, 2, put(1, 200, n=5), put(2, 200, n=6))) == "applied"
    assert node.feed.apply(sent(ZOE, 1)) == "applied"  # one that changed nothing here still counts
    assert again(node, lambda: node.feed.applied()) == {(ANN.node, 7): 2, (ZOE.node, 9): 1}
    assert node.values() == {1: 5, 2: 6}


def test_a_new_epoch_of_a_node_is_counted_by_itself(node: Node) -> None:
    later = Writer(ANN.node, 8, "ann")
    node.feed.apply(sent(ANN, 1, put(1, 100, n=1)))
    assert node.feed.apply(sent(later, 1, put(1, 200, n=2))) == "applied"
    assert again(node, lambda: node.feed.applied()) == {(ANN.node, 7): 1, (ANN.node, 8): 1}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_later_version_wins_in_whatever_order_they_come(node: Node, order: tuple[int, int]) -> None:
    both = [sent(ANN, 1, put(1, 100, n="early")), sent(ZOE, 1, put(1, 200, n="late"))]
    for index in order:
        assert node.feed.apply(both[index]) == "applied"
    assert again(node, node.values) == {1: "late"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_on_a_tie_the_larger_node_name_wins(node: Node, order: tuple[int, int]) -> None:
    both = [sent(ANN, 1, put(1, 100, n="ann")), sent(ZOE, 1, put(1, 100, n="zoe"))]
    for index in order:
        node.feed.apply(both[index])
    assert again(node, node.values) == {1: "zoe"}


@pytest.mark.parametrize(("writer", "winner"), [(ANN, "mid"), (ZOE, "zoe")])
def test_a_tie_with_a_write_of_this_node(node: Node, writer: Writer, winner: str) -> None:
    version = node.store.write("insert", [{"id": 1, "n": "mid"}])[2]
    node.feed.apply(sent(writer, 1, put(1, version, n=writer.name)))
    assert again(node, node.values) == {1: winner}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("deleted", "left"), [(100, {1: "put"}), (300, {})])
def test_deletes_and_puts_are_judged_alike(
    node: Node, order: tuple[int, int], deleted: int, left: dict[Any, Any]
) -> None:
    both = [sent(ANN, 1, put(1, 200, n="put")), sent(ZOE, 1, gone(1, deleted))]
    for index in order:
        node.feed.apply(both[index])
    assert again(node, node.values) == left


def test_what_lost_is_in_the_log_and_says_so(node: Node) -> None:
    node.feed.apply(sent(ANN, 1, put(1, 200, n=1)))
    node.feed.apply(sent(ZOE, 1, put(1, 100, n=2), put(2, 100, n=3)))
    last = again(node, lambda: node.feed.read(1, 1 << 20))[-1]
    assert (last.origin, last.origin_name, last.epoch, last.origin_seq) == (ZOE.node, "zoe", 9, 1)
    assert [(change.key, change.superseded) for change in last.changes] == [(1, True), (2, False)]
    assert node.values() == {1: 1, 2: 3}


def test_a_write_here_is_later_than_everything_that_was_applied(node: Node) -> None:
    far = 10**17
    node.feed.apply(RemoteTransaction(ANN, 1, 5, None, "insert", [put(1, far, n=1)]))
    assert node.store.write("update", [{"id": 1, "n": 2}])[2] > far
    assert again(node, node.values) == {1: 2}
    node.feed.merge([(ZOE, gone(1, 2 * far))])
    assert node.store.write("insert", [{"id": 1, "n": 3}])[2] > 2 * far
    assert again(node, node.values) == {1: 3}


def test_rows_of_a_snapshot_win_where_they_are_later_and_do_not_count(node: Node) -> None:
    node.feed.apply(sent(ANN, 1, put(1, 200, n="here"), put(2, 200, n="here")))
    rows_of_it = [
        (ZOE, put(1, 100, n="old")),
        (ZOE, put(2, 300, n="new")),
        (ANN, gone(3, 50)),
        (ZOE, put(3, 40, n="dead")),
    ]
    assert node.feed.merge(rows_of_it) == 2
    assert node.feed.merge(rows_of_it) == 0
    assert again(node, node.values) == {1: "here", 2: "new"}
    assert node.feed.applied() == {(ANN.node, 7): 1, (ZOE.node, 9): 0}


def test_marks_are_raised_and_never_lowered(node: Node) -> None:
    node.feed.raise_applied({ANN: 10, ZOE: 3})
    node.feed.raise_applied({ANN: 4, ZOE: 5})
    assert again(node, lambda: node.feed.applied()) == {(ANN.node, 7): 10, (ZOE.node, 9): 5}
    assert node.feed.apply(sent(ANN, 10, put(1, 1, n=1))) == "duplicate"
    assert node.feed.apply(sent(ANN, 11, put(1, 1, n=1))) == "applied"


def test_own_transactions_count_from_one_in_every_epoch(node: Node) -> None:
    for key in range(3):
        node.store.write("insert", [{"id": key}])
    assert (node.feed.own, node.feed.last_own) == (Writer(HERE, 5, "mid"), 3)
    node.feed.renew_epoch()
    epoch = node.feed.own.epoch
    assert epoch != 5
    before = node.feed.last_own
    node.store.write("insert", [{"id": 3}])
    assert again(node, lambda: (node.feed.own.epoch, node.feed.last_own)) == (epoch, before + 1)
    own = [(each.epoch, each.origin_seq) for each in node.feed.read(0, 1 << 20)]
    assert own[:3] == [(5, 1), (5, 2), (5, 3)]
    assert [number for _, number in own[3:]] == list(range(1, len(own) - 2))


def test_nodes_that_exchange_everything_in_any_order_agree(node: Node) -> None:
    """Each writer's transactions come in order, mixed with the others' and with duplicates, and the end is the same."""
    choose = random.Random(3)

    def change(writer: Writer, key: int) -> Change:
        version = choose.randrange(90)
        return put(key, version, n=writer.name) if choose.random() < 0.5 else gone(key, version)

    def stream(writer: Writer) -> list[RemoteTransaction]:
        return [
            sent(writer, number, *(change(writer, key) for key in choose.sample(range(8), 3)))
            for number in range(1, 30)
        ]

    streams = {writer: stream(writer) for writer in (ANN, ZOE)}
    results = []
    for _ in range(3):
        with place() as here:
            other = Node(here)
            position = dict.fromkeys(streams, 0)
            while any(position[writer] < len(streams[writer]) for writer in streams):
                writer = choose.choice(list(streams))
                other.feed.apply(streams[writer][max(0, min(position[writer], 28) - choose.randrange(2))])
                if position[writer] < len(streams[writer]):
                    other.feed.apply(streams[writer][position[writer]])
                    position[writer] += 1
            results.append(again(other, other.values))
            other.store.check()
            other.store.close()
    assert results[0] == results[1] == results[2]


def test_the_feed_of_one_node_makes_another_equal(node: Node) -> None:
    node.store.write("insert", [{"id": key, "n": key} for key in range(5)])
    node.store.write("delete", [2])
    node.store.write("update", [{"id": 3, "n": "x", "more": [1, None]}])
    with place() as here:
        other: Store = here.open(node_name="other")
        feed = Feed(other, str(uuid.UUID(int=9)), "other")
        for each in node.feed.read(0, 1 << 20):
            copy = RemoteTransaction(
                node.feed.own, each.origin_seq, each.version, each.user, each.operation, each.changes
            )
            assert feed.apply(copy) == "applied"
        assert rows(other) == rows(node.store)
        other.check()
        other.close()
