"""SQL against two oracles: SQLite, on what both speak, and ourselves without indexes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlgen import Both, Generator, fill, rows, statement

import engine
import grammar

LONG = os.environ.get("KENNEL_TORTURE") == "long"
SEEDS = 1_000_000 if LONG else 2_500  # statements, each on every size of data
SETTINGS = settings(max_examples=20_000 if LONG else 100, deadline=None, suppress_health_check=list(HealthCheck))
SIZES = ((0, 3), (1, 0), (12, 9), (60, 25))
CHANCE = st.randoms(use_true_random=False)

Pair = tuple[engine.Node, sqlite3.Connection]
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pair]]:
    """The same data in a node and in SQLite, in several sizes."""
    made = []
    for seed, (one, two) in enumerate(SIZES):
        node, database = engine.open_node(tmp_path_factory.mktemp("node") / "root"), sqlite3.connect(":memory:")
        fill(node, database, "one", rows(Random(seed), one))
        fill(node, database, "two", rows(Random(seed + 100), two))
        made.append((node, database))
    yield made
    for node, database in made:
        node.close()
        database.close()


def normal(value: Any) -> Any:
    """SQLite has no booleans, adds up in another order, and knows a negative zero."""
    if isinstance(value, bool):
        return int(value)
    return float(f"{value:.9g}") + 0.0 if isinstance(value, (int, float)) else value


def comparable(found: Rows, ordered: bool) -> Rows:
    plain = [tuple(map(normal, row)) for row in found]
    return plain if ordered else sorted(plain, key=repr)


def ours(node: engine.Node, sql: str, *, indexes: bool = True) -> Rows:
    found = grammar.prepare(node, sql).run(indexes=indexes)
    assert isinstance(found, list)
    return [tuple(row.values()) for row in found]


def check_against_sqlite(pairs: list[Pair], sql: Both, ordered: bool) -> None:
    for node, database in pairs:
        wanted = comparable(database.execute(sql.sqlite).fetchall(), ordered)
        assert comparable(ours(node, sql.kennel), ordered) == wanted, sql.kennel


def test_results_are_those_of_sqlite(pairs: list[Pair]) -> None:
    for seed in range(SEEDS):
        check_against_sqlite(pairs, *statement(Random(seed)))


@SETTINGS
@given(chance=CHANCE)
def test_the_smallest_statement_that_differs_from_sqlite(pairs: list[Pair], chance: Random) -> None:
    check_against_sqlite(pairs, *statement(chance))


@SETTINGS
@given(chance=CHANCE)
def test_a_plan_never_changes_a_result(pairs: list[Pair], chance: Random) -> None:
    sql, ordered = statement(chance)
    for node, _ in pairs:
        with_indexes = comparable(ours(node, sql.kennel), ordered)
        assert with_indexes == comparable(ours(node, sql.kennel, indexes=False), ordered)


@SETTINGS
@given(chance=CHANCE)
def test_every_plan_can_be_explained(pairs: list[Pair], chance: Random) -> None:
    sql, _ = statement(chance)
    for node, _ in pairs:
        steps = grammar.query(node, f"EXPLAIN {sql.kennel}")
        assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
        assert all(step["parent"] < step["step"] and step["rows"] >= 0 for step in steps)
        run = grammar.query(node, f"EXPLAIN ANALYZE {sql.kennel}")
        assert [step["operation"] for step in run] == [step["operation"] for step in steps]
        assert run[0]["actual_rows"] == len(ours(node, sql.kennel))


@SETTINGS
@given(chance=CHANCE)
def test_a_condition_its_negation_and_its_null_partition_the_rows(pairs: list[Pair], chance: Random) -> None:
    p = Generator(chance).condition(2).kennel
    for node, _ in pairs:
        parts = [ours(node, f"SELECT a.id FROM d.one a WHERE {each}") for each in (p, f"NOT ({p})", f"({p}) IS NULL")]
        assert sorted(row for part in parts for row in part) == sorted(ours(node, "SELECT id FROM d.one"))


@SETTINGS
@given(chance=CHANCE)
def test_counting_agrees_with_evaluating(pairs: list[Pair], chance: Random) -> None:
    p = Generator(chance).condition(2).kennel
    for node, _ in pairs:
        counted = ours(node, f"SELECT COUNT(*) FROM d.one a WHERE {p}")[0][0]
        assert counted == sum(1 for (value,) in ours(node, f"SELECT {p} AS p FROM d.one a") if value is True)
