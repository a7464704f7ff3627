"""What is too large, too deep or too much is an error with a text, and nothing is changed by it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from engine.keybytes import MAX_PRIMARY_KEY

import engine
from engine.table import MAX_ATTRIBUTES

MIB = 1 << 20
SNAPSHOTS = 1024


@pytest.fixture
def table(node: engine.Node) -> engine.Table:
    table = node.create_table("dev", "dog")
    table.insert([{"id": 1, "name": "Penny"}])
    return table


def unharmed(table: engine.Table) -> bool:
    """It still has its one record, takes writes, and its indexes are sound."""
    found = table.count() == 1 and table.get(1) is not None
    table.insert([{"id": 2}])
    table.delete([2])
    with table.view() as view:
        view.snapshot.check()
    return found


def test_records_up_to_16_mib(table: engine.Table) -> None:
    table.upsert([{"id": 1, "text": "x" * (16 * MIB - 100)}])
    found = table.get(1)
    assert found is not None and len(found["text"]) == 16 * MIB - 100
    with pytest.raises(engine.InvalidRecord, match="A record is larger than 16"):
        table.update([{"id": 1, "text": "x" * (16 * MIB)}])
    with pytest.raises(engine.InvalidRecord, match="A record is larger than 16"):
        table.update([{"id": 1, "more": "x" * 200}])  # only the merged record is
    assert table.get(1) == found
    assert unharmed(table)


def test_requests_up_to_64_mib(table: engine.Table) -> None:
    with pytest.raises(engine.InvalidRecord, match="request larger than 64 MiB"):
        table.insert([{"id": number, "text": "x" * (13 * MIB)} for number in range(10, 15)])
    assert unharmed(table)


def test_10_000_attributes(table: engine.Table) -> None:
    room = MAX_ATTRIBUTES - 4  # the key, the times and a name are there
    table.update([{"id": 1, **{f"a{number}": number for number in range(room)}}])
    assert len(table.attributes()) == MAX_ATTRIBUTES
    with pytest.raises(engine.InvalidRecord, match="cannot have more than 10000 attributes"):
        table.update([{"id": 1, "one": 1}])
    with pytest.raises(engine.InvalidRecord, match="cannot have more than 10000 attributes"):
        table.create_attribute("one")
    table.update([{"id": 1, "a1": "known ones may change"}])
    assert unharmed(table)


@pytest.mark.parametrize(
    "key",
    ["x" * 600, ["x" * 300, "y" * 300], {"a": 1}, ["nested", ["key"]], [], True, float("nan"), float("inf"), 2**70],
    ids=lambda key: repr(key)[:20],
)
def test_keys_that_cannot_be(table: engine.Table, key: Any) -> None:
    for attempt in (lambda: table.insert([{"id": key}]), lambda: table.delete([key])):
        try:
            attempt()
        except engine.InvalidRequest as error:
            assert error.message
    assert unharmed(table) or table.get(key) is not None


def test_the_longest_key(table: engine.Table) -> None:
    longest = "x" * (MAX_PRIMARY_KEY - 2)
    assert table.insert([{"id": longest, "name": "y" * 10_000}]).written == [longest]
    with pytest.raises(engine.InvalidKey, match="Primary key size is too large"):
        table.insert([{"id": longest + "x"}])
    table.delete([longest])
    assert unharmed(table)


def test_long_values_are_found_though_the_index_cuts_them(table: engine.Table) -> None:
    long = "x" * MIB
    table.insert([{"id": 10, "name": long + "a"}, {"id": 11, "name": long + "b"}])
    assert [record["id"] for record in table.search("name", "equals", long + "b")] == [11]
    assert table.count("name", "starts_with", long) == 2
    table.delete([10, 11])
    assert unharmed(table)


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["arrays", "objects"])
def test_deep_nesting(table: engine.Table, make: Any) -> None:
    value: Any = 1
    for _ in range(100_000):
        value = make(value)
    with pytest.raises(engine.InvalidRecord, match="nest"):
        table.insert([{"id": 10, "value": value}])
    assert unharmed(table)
    while isinstance(value, list | dict):  # freed step by step: the interpreter would do it recursively
        value = value[0] if isinstance(value, list) else value["a"]


def test_names_of_attributes(table: engine.Table) -> None:
    table.insert([{"id": 10, "n" * 250: 1}])
    for name in ("", "n" * 257, "é" * 129):
        with pytest.raises(engine.InvalidRequest):
            table.insert([{"id": 11, name: 1}])
    table.delete([10])
    assert unharmed(table)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**64, "\ud800", {1: 2}, {"a", "b"}, object()])
def test_values_that_json_does_not_have(table: engine.Table, value: Any) -> None:
    try:
        table.insert([{"id": 10, "value": value}])
    except engine.InvalidRequest as error:
        assert error.message
    else:
        assert table.get(10) is not None
        table.delete([10])
    assert unharmed(table)


def test_1024_snapshots(table: engine.Table) -> None:
    views = []
    try:
        with pytest.raises(engine.TooManySnapshots):
            while len(views) <= SNAPSHOTS:
                views.append(table.view())
        assert len(views) == SNAPSHOTS
        views.pop().close()
        assert table.get(1) is not None
    finally:
        for view in views:
            view.close()
    assert unharmed(table)


def test_small_tables_cost_little_disk_and_no_thread(node: engine.Node) -> None:
    """Each has its files; so a thousand of them must not need two gigabytes, nor anything that runs."""
    threads = threading.active_count()
    for number in range(20):
        node.create_table("dev", f"t{number}").insert([{"id": 1, "name": "Penny"}])
    node.maintain()
    for number in range(20):
        directory = node.table("dev", f"t{number}").directory
        assert sum(path.stat().st_blocks * 512 for path in directory.iterdir()) < 2 * MIB
    assert threading.active_count() == threads


def test_an_empty_request_is_none_of_these(table: engine.Table) -> None:
    assert table.insert([]).written == table.delete([]).written == []
    assert unharmed(table)
