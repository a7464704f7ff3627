"""SQL against two oracles: SQLite, on what both speak, and ourselves without indexes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from math import fsum
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlgen import Both, Generator, fill, rows, statement

import engine
import grammar

pytestmark = pytest.mark.torture

LONG = os.environ.get("KENNEL_TORTURE") == "long"
STATEMENTS = 1_000_000 if LONG else 10_000  # compared with SQLite, each on one of the sizes of data
CONDITIONS = 200_000 if LONG else 2_000  # compared with themselves
PARTS = 20  # tests that share the statements, so that several processes can
SETTINGS = settings(max_examples=2_000 if LONG else 50, deadline=None, suppress_health_check=list(HealthCheck))
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
        database.create_aggregate("EXACT_SUM", 1, ExactSum)
        database.create_aggregate("EXACT_AVG", 1, ExactAverage)
        made.append((node, database))
    yield made
    for node, database in made:
        node.close()
        database.close()


class ExactSum:
    """SUM as SQLite has it, but for the rounding of each addition: great numbers that cancel leave much of it."""

    def __init__(self) -> None:
        self.numbers: list[Any] = []

    def step(self, number: Any) -> None:
        if number is not None:
            self.numbers.append(number)

    def finalize(self) -> Any:
        if not self.numbers:
            return None
        return sum(self.numbers) if all(isinstance(number, int) for number in self.numbers) else fsum(self.numbers)


class ExactAverage(ExactSum):
    def finalize(self) -> Any:
        return fsum(self.numbers) / len(self.numbers) if self.numbers else None


def normal(value: Any) -> Any:
    """SQLite has no booleans, adds up in another order, and knows a negative zero."""
    if isinstance(value, bool):
        return int(value)
    return float(f"{value:.9g}") + 0.0 if isinstance(value, (int, float)) else value


def comparable(found: Rows, ordered: bool) -> Rows:
    plain = [tuple(map(normal, row)) for row in found]
    return plain if ordered else sorted(plain, key=repr)


def ours(node: engine.Node, sql: str, *, indexes: bool = True, pushdown: bool = True) -> Rows:
    found = grammar.prepare(node, sql).run(indexes=indexes, pushdown=pushdown)
    assert isinstance(found, list)
    return [tuple(row.values()) for row in found]


def agree(one: Rows, other: Rows, ordered: bool) -> bool:
    return one == other or comparable(one, ordered) == comparable(other, ordered)


def check_against_sqlite(pair: Pair, sql: Both, ordered: bool) -> None:
    """Ours, with indexes and without, judged by the engine and in Python, are the rows of SQLite."""
    node, database = pair
    found, wanted = ours(node, sql.kennel), database.execute(sql.sqlite).fetchall()
    if not agree(found, wanted, ordered):
        exact = sql.sqlite.replace("SUM(", "EXACT_SUM(").replace("AVG(", "EXACT_AVG(")
        wanted = database.execute(exact).fetchall()
    assert agree(found, wanted, ordered), sql.kennel
    assert agree(ours(node, sql.kennel, indexes=False), wanted, ordered), sql.kennel
    assert agree(ours(node, sql.kennel, pushdown=False), wanted, ordered), sql.kennel


def check_condition(node: engine.Node, p: str) -> None:
    """Three-valued logic parts the rows in three, and a condition selects the rows for which its value is true."""
    everything = sorted(ours(node, "SELECT id FROM d.one"))
    parts = [ours(node, f"SELECT a.id FROM d.one a WHERE {each}") for each in (p, f"NOT ({p})", f"({p}) IS NULL")]
    assert sorted(row for part in parts for row in part) == everything, p
    values = ours(node, f"SELECT a.id, {p} AS p FROM d.one a")
    assert sorted(parts[0]) == sorted((key,) for key, value in values if value is True), p
    assert ours(node, f"SELECT COUNT(*) FROM d.one a WHERE {p}") == [(len(parts[0]),)], p
    without = grammar.prepare(node, f"SELECT a.id FROM d.one a WHERE {p}").run(indexes=False)
    assert sorted(tuple(row.values()) for row in without) == sorted(parts[0]), p


def tell(capsys: pytest.CaptureFixture[str], count: int, what: str) -> None:
    if LONG:
        with capsys.disabled():
            print(f" {count:,} {what}", end="", flush=True)


@pytest.mark.parametrize("part", range(PARTS))
def test_results_are_those_of_sqlite(pairs: list[Pair], part: int, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = range(part, STATEMENTS, PARTS)
    for seed in seeds:
        check_against_sqlite(pairs[seed // PARTS % len(pairs)], *statement(Random(seed)))
    tell(capsys, len(seeds), "statements as in SQLite")


@pytest.mark.parametrize("part", range(PARTS))
def test_conditions_agree_with_themselves(pairs: list[Pair], part: int, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = range(part, CONDITIONS, PARTS)
    for seed in seeds:
        check_condition(pairs[seed // PARTS % len(pairs)][0], Generator(Random(seed)).condition(2).kennel)
    tell(capsys, len(seeds), "conditions")


@SETTINGS
@given(chance=CHANCE)
def test_the_smallest_statement_that_differs_from_sqlite(pairs: list[Pair], chance: Random) -> None:
    sql, ordered = statement(chance)
    for pair in pairs:
        check_against_sqlite(pair, sql, ordered)


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
def test_the_smallest_condition_that_disagrees_with_itself(pairs: list[Pair], chance: Random) -> None:
    p = Generator(chance).condition(2).kennel
    for node, _ in pairs:
        check_condition(node, p)
