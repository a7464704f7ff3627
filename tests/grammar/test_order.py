"""ORDER BY: the engine's order of stored records is that of rows, and no limit of a budget changes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ways import other_ways, texts

import engine
import grammar

LONG = "long " * 100
VALUES = [None, False, True, -1, 0, 0.5, 3, 2**60, "", "3", "a", "B", "b", LONG, LONG + "er", [1], {"a": 1}]
ROWS = 400


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Node]:
    """`v` holds values of all kinds, `w` scalars, `n` numbers or nothing, `s` texts; an even `id` has no `n` at all."""
    with engine.open_node(tmp_path_factory.mktemp("node") / "root") as node:
        records: list[dict[str, Any]] = [
            {
                "id": key,
                "v": VALUES[key * 5 % 17],
                "w": VALUES[key % 15],
                "n": key * 31 % 23 / 2,
                "s": f"s{key * 11 % 7}",
            }
            for key in range(ROWS)
        ]
        for record in records[::4]:
            del record["n"]
        node.create_table("d", "t").insert(records)
        yield node


KEYS = [
    "v", "w", "n", "s", "id", "n * 2", "-n", "n % 3", "id % 10", "id / 7", "w * 2", "n + v", "UPPER(s)",
    "s COLLATE NOCASE", "n IS NULL", "nothing.n", "__createdtime__ - id",
]  # fmt: skip
DIRECTIONS = ["", " DESC", " NULLS LAST", " NULLS FIRST", " DESC NULLS LAST", " DESC NULLS FIRST"]
ITEMS = [
    "id",
    "id, v",
    "n, id",
    "*",
    "id + 1 AS a, w",
    "s AS a, n * 2 AS b",
    "(SELECT COUNT(*) FROM d.t b WHERE b.n = t.n)",
]
CONDITIONS = [
    "",
    "WHERE id % 3 > 0",
    "WHERE n > 2",
    "WHERE s = 's3'",
    "WHERE UPPER(s) <> 'S1' AND n < 9",
    "WHERE id < 0",
]
PAGES = ["", "LIMIT 0", "LIMIT 7", "LIMIT 30 OFFSET 5", "OFFSET 390"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(DIRECTIONS)).map("".join), min_size=1, max_size=3),
    st.sampled_from(ITEMS), st.sampled_from(CONDITIONS), st.sampled_from(PAGES),
)  # fmt: skip
def test_the_order_is_the_same_whoever_sorts(
    node: engine.Node, keys: list[str], items: str, condition: str, page: str
) -> None:
    order = ", ".join([*keys, "id"]).replace("nothing.n", "NULL + n")
    sql = f"SELECT {items} FROM d.t {condition} ORDER BY {order} {page}"
    wanted = texts(node, sql, pushdown=False)
    for found in other_ways(node, sql):
        assert found == wanted, sql


@pytest.fixture(scope="module")
def many(node: engine.Node) -> engine.Node:
    records = [{"id": key, "s": f"{'text' * 20} {key * 7919 % 20_000}"} for key in range(20_000)]
    node.create_table("d", "many").insert(records)
    return node


def test_what_has_no_room_as_keys_is_sorted_as_rows_on_disk(many: engine.Node, tmp_path: Path) -> None:
    sql = "SELECT COUNT(*) AS c, FIRST(q.id) AS a, LAST(q.id) AS b FROM (SELECT id FROM d.many ORDER BY s) q"
    budget = grammar.Budget(memory=1 << 20, disk=1 << 24, directory=tmp_path / "spill")
    assert texts(many, sql, budget=budget, indexes=False) == texts(many, sql, pushdown=False)
    assert budget.written > 0


def test_the_best_of_many_take_little_memory(many: engine.Node) -> None:
    sql = "SELECT id FROM d.many ORDER BY s DESC, id LIMIT 3 OFFSET 2"
    budget = grammar.Budget(rows=100, memory=1 << 21)
    assert texts(many, sql, budget=budget, indexes=False) == texts(many, sql, pushdown=False)
