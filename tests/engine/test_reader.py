"""Reads without a view: they see what other processes did, keep out of each other's way, give back what they took."""

from __future__ import annotations

import bisect
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import engine

SNAPSHOTS = 1024  # of a table at once


@pytest.fixture
def goats(node: engine.Node) -> engine.Table:
    table = node.create_table("farm", "goat")
    table.insert([{"id": key, "name": f"goat {key}"} for key in range(100)])
    return table


def in_another_process(root: Path, statement: str) -> None:
    code = f"import sys, engine\nwith engine.open_node(sys.argv[1]) as node:\n    {statement}\n"
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)


def test_another_process_writes_and_new_attributes_are_known(root: Path, goats: engine.Table) -> None:
    assert goats.get("new") is None
    in_another_process(root, "node.table('farm', 'goat').insert([{'id': 'new', 'horns': 2}])")
    found = goats.get("new") or {}
    assert (found["id"], found["horns"], goats.count()) == ("new", 2, 101)
    assert [record["horns"] for record in goats.get_many(["nobody", "new"])] == [2]


def test_another_process_drops_the_table(root: Path, node: engine.Node, goats: engine.Table) -> None:
    assert goats.count() == 100
    in_another_process(root, "node.drop_table('farm', 'goat')")
    for read in (lambda: goats.get(1), lambda: goats.get_many([1]), goats.count, goats.view):
        with pytest.raises(engine.NoSuchTable):
            read()
    in_another_process(root, "node.create_table('farm', 'goat')")
    with pytest.raises(engine.NoSuchTable):
        goats.get(1)
    assert node.table("farm", "goat").count() == 0


def test_other_tables_come_and_go(root: Path, node: engine.Node, goats: engine.Table) -> None:
    for _ in range(3):
        in_another_process(root, "node.create_table('farm', 'sheep')")
        assert (goats.get(5) or {})["name"] == "goat 5"
        node.drop_table("farm", "sheep")
        assert goats.count() == 100


def test_a_read_in_the_midst_of_another(goats: engine.Table) -> None:
    def keys() -> Iterator[int]:
        for key in range(100):
            assert goats.get(key) is not None
            goats.delete([key])
            assert goats.get(key) is None
            yield key

    assert len(goats.get_many(keys())) == 100  # as it was at first
    assert goats.count() == 0


def test_reads_of_threads(goats: engine.Table) -> None:
    wrong: list[Any] = []

    def read(first: int) -> None:
        for key in [*range(first, 100), *range(first)] * 20:
            name = f"goat {key}"
            found = [goats.get(key), *goats.get_many(iter([key, "nobody"]))]
            if [record and record["name"] for record in found] != [name, name] or goats.count() != 100:
                wrong.append(found)

    threads = [threading.Thread(target=read, args=(first,)) for first in range(0, 100, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_reads_that_fail_leave_no_snapshot_behind(goats: engine.Table) -> None:
    def interrupted() -> Iterator[int]:
        yield 1
        raise LookupError

    for _ in range(SNAPSHOTS + 1):
        with pytest.raises(engine.InvalidKey):
            goats.get(None)
        with pytest.raises(LookupError):
            goats.get_many(interrupted())
    assert goats.get(1)
    views = [goats.view() for _ in range(SNAPSHOTS - 2)]  # two were kept for the reads above
    for view in views:
        view.close()


def test_closing_in_the_midst_of_a_read(node: engine.Node, goats: engine.Table) -> None:
    def closing() -> Iterator[int]:
        yield 1
        node.close()
        yield 2

    with pytest.raises(engine.Closed):
        goats.get_many(closing())
    with pytest.raises(engine.Closed):
        goats.get(1)


def test_keys_of_every_kind(node: engine.Node) -> None:
    table = node.create_table("farm", "kind")
    numbers = [0, -1, 2**63, 2**64 - 1, -(2**70), 1.5, -0.25, 1e300]
    keys = [*numbers, "é", "a\0b", "z" * 598, "☃" * 199, ["a", 1, None], [True]]
    table.insert([{"id": key, "place": place} for place, key in enumerate(keys)])
    assert [(table.get(key) or {})["place"] for key in keys] == list(range(len(keys)))
    assert [record["id"] for record in table.get_many(keys)] == keys
    assert (table.get(1.0), table.get("0"), table.get(["a"])) == (None, None, None)
    for wrong in (None, True, {}, [], "z" * 599, "☃" * 200, float("nan"), 10**400, "\ud800", b"x"):
        with pytest.raises(engine.InvalidKey):
            table.get(wrong)


def test_counts_within_an_index_of_several_levels(node: engine.Node) -> None:
    table = node.create_table("farm", "counted")
    draw = random.Random(7)
    marks = [f"{draw.randrange(10**6):06} {'x' * 300}" for _ in range(1500)]  # a dozen to a page
    table.insert([{"id": key, "mark": mark} for key, mark in enumerate(marks)])
    table.delete(list(range(0, 300, 2)))
    left = sorted(mark for key, mark in enumerate(marks) if key >= 300 or key % 2)
    for end in ["", *(f"{place:06}" for place in range(0, 10**6, 9973)), "~"]:
        below = bisect.bisect_left(left, end)
        assert table.count("mark", "less_than", end) == below
        assert table.count("mark", "greater_than_equal", end) == len(left) - below
    for one, other in zip(left[::50], left[25::50], strict=False):
        assert table.count("mark", "between", [one, other]) == 26
