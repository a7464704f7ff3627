"""Joins that the engine groups without rows give what rows give, whatever their keys are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ways import other_ways, texts

import engine
import grammar

LONG = "long " * 100
KEYS = [None, False, True, 0, 1, 2, 2.5, 2**60, "", "1", "a", "a\x00b", "b", LONG, LONG + "er"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Node]:
    """`k` holds scalars of all kinds, or is missing; `n` few numbers, `s` few texts; `l` has lists in b only."""
    with engine.open_node(tmp_path_factory.mktemp("node") / "root") as node:
        for table, rows, step in (("a", 90, 7), ("b", 60, 4), ("c", 25, 3), ("none", 0, 1)):
            records: list[dict[str, Any]] = [
                {
                    "id": key,
                    "k": KEYS[key * step % 15],
                    "n": key * step % 5,
                    "s": f"s{key % 4}",
                    "l": key % 3,
                    "m": key / 4,
                }
                for key in range(rows)
            ]
            for record in records[::6]:
                del record["k"]
            for record in records[::8] if table == "b" else ():
                record["l"] = [1, {"x": 2}]
            made = node.create_table("d", table)
            made.insert(records)
            for name in ("k", "n", "s", "l", "m"):
                if not rows:
                    made.create_attribute(name)
        yield node


TABLES = ["a", "b", "c", "none"]
KINDS = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
TIES = ["{0}.id = {1}.id", "{0}.k = {1}.k", "{0}.n = {1}.n", "{1}.s = {0}.s", "{0}.l = {1}.l", "{0}.id = {1}.m"]
TIED = st.lists(st.sampled_from(TIES), min_size=1, max_size=2, unique=True).map(" AND ".join)
GROUPED = ["", "x.s", "y.n", "x.k", "y.k, x.n", "y.l"]
REDUCED = ["COUNT(*)", "COUNT(y.k)", "SUM(y.m)", "AVG(x.m)", "MIN(y.k)", "MAX(x.k)", "COUNT(DISTINCT y.n)", "MAX(y.s)"]
WHERE = [
    "",
    "WHERE x.n > 1",
    "WHERE y.m * 2 > 9",
    "WHERE x.n = 2 AND y.s <> 's1'",
    "WHERE x.m > y.m",
    "WHERE y.id IS NULL",
]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_groups_of_a_join_are_those_of_its_rows(node: engine.Node, data: st.DataObject) -> None:
    one, other, third = (data.draw(st.sampled_from(TABLES)) for _ in range(3))
    source = f"d.{one} x {data.draw(st.sampled_from(KINDS))} d.{other} y ON {data.draw(TIED).format('x', 'y')}"
    if data.draw(st.booleans()):
        tie = data.draw(TIED).format(data.draw(st.sampled_from("xy")), "z")
        source += f" {data.draw(st.sampled_from(KINDS))} d.{third} z ON {tie}"
    by = data.draw(st.sampled_from(GROUPED))
    wanted = data.draw(st.lists(st.sampled_from(REDUCED), min_size=1, max_size=3, unique=True))
    shown = ", ".join([*filter(None, by.split(", ")), *wanted])
    sql = f"SELECT {shown} FROM {source} {data.draw(st.sampled_from(WHERE))}" + (f" GROUP BY {by}" if by else "")
    rows = sorted(texts(node, sql, pushdown=False))
    for found in other_ways(node, sql):
        assert sorted(found) == rows, sql


@pytest.fixture(scope="module")
def large(node: engine.Node) -> engine.Node:
    records = [{"id": key, "twin": key * 3 % 8_000, "g": key % 7, "s": f"{'text' * 20} {key}"} for key in range(8_000)]
    node.create_table("d", "large").insert(records)
    return node


SELF = "SELECT x.g AS g, COUNT(*) AS c, MAX(y.s) AS s FROM d.large x JOIN d.large y ON x.s = y.s GROUP BY x.g"


def test_a_join_without_room_in_memory_goes_to_disk(large: engine.Node, tmp_path: Path) -> None:
    budget = grammar.Budget(memory=1 << 19, disk=1 << 26, directory=tmp_path / "spill")
    assert sorted(texts(large, SELF, budget=budget)) == sorted(texts(large, SELF, pushdown=False))
    assert budget.written > 0


def test_rows_to_be_joined_with_are_held(large: engine.Node) -> None:
    with pytest.raises(grammar.SqlError, match="more than 1000 rows in memory"):
        grammar.prepare(large, SELF).run(budget=grammar.Budget(rows=1000))


def test_a_join_that_multiplies_ends_when_its_time_is_up(large: engine.Node) -> None:
    sql = "SELECT COUNT(*) AS c FROM d.large x JOIN d.large y ON x.g = y.g JOIN d.large z ON z.g = y.g"
    with pytest.raises(engine.OutOfTime):
        grammar.prepare(large, sql).run(budget=grammar.Budget(seconds=0.2))
    sql = "SELECT COUNT(*) AS c FROM d.large x JOIN d.large y ON x.g = y.g JOIN d.large z ON z.twin = y.s"
    with pytest.raises(engine.OutOfTime):
        grammar.prepare(large, sql).run(budget=grammar.Budget(seconds=0.2))


def test_many_rows_with_one_value_are_not_looked_up_one_by_one(large: engine.Node) -> None:
    plans = {}
    for tie in ("x.n = y.g", "x.id = y.id", "x.id = y.twin"):
        sql = f"EXPLAIN SELECT COUNT(*) FROM d.c x JOIN d.large y ON {tie}"
        plans[tie] = [step["operation"] for step in grammar.query(large, sql)]
    assert [name for name in chain.from_iterable(plans.values()) if "join" in name] == [
        "hash join", "lookup join", "lookup join",
    ]  # fmt: skip
