"""Statements that need no plan give what a plan gives, in the same order, whatever their values are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
import grammar
from grammar.direct import Count, Lookup, Run

LONG = "x" * 500
VALUES = [None, True, False, -3, 0, 1, 1.5, 2, 2**60, "", "a", "true", LONG + "a", LONG + "b", [1, "a"], {"a": 1}]
PARAMETERS = [each for each in VALUES if not isinstance(each, list | dict)] + [1.0, -0.5, 10**30, "A" * 60, "A" * 61]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Node]:
    """`v` has values of all kinds, `n` a number in every record, `s` a text in most; `t` hardly ever has a value."""
    with engine.open_node(tmp_path_factory.mktemp("node") / "root") as node:
        records: list[dict[str, Any]] = [
            {"k": key, "v": VALUES[key % len(VALUES)], "n": key * 7 % 10, "s": ["a", "true", LONG][key % 3]}
            for key in range(60)
        ]
        for record in records[::4]:
            del record["s"]
        records[3]["t"] = 1
        node.create_table("d", "mixed", "k").insert(records)
        keys = [1, 2.5, 70, "a", "true", "x" * 300, [1, 2]]
        node.create_table("d", "keyed", "k").insert(
            [{**records[place + 1], "k": key, "t": place} for place, key in enumerate(keys)]
        )
        yield node


def used(node: engine.Node, sql: str, parameters: Any = None) -> type | None:
    """What answers the statement without a plan."""
    direct = grammar.prepare(node, sql, parameters).binding.direct
    return None if direct is None else type(direct)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT * FROM d.mixed WHERE k = 5", Lookup),
        ("SELECT n AS x FROM d.mixed WHERE 5 = k", Lookup),
        ("SELECT COUNT(*) FROM d.mixed", Count),
        ("SELECT COUNT(*) AS a FROM d.mixed WHERE n BETWEEN 2 AND 5", Count),
        ("SELECT COUNT(*) AS a FROM d.mixed WHERE n > 2 AND n <= 5", Count),
        ("SELECT * FROM d.mixed WHERE n > 2 ORDER BY n LIMIT 5", Run),
        ("SELECT k FROM d.mixed WHERE n = 2 ORDER BY k DESC", Run),
        ("SELECT * FROM d.mixed LIMIT 3", Run),
        ("SELECT * FROM d.mixed ORDER BY n DESC LIMIT 3 OFFSET 4", Run),
        ("SELECT * FROM d.mixed", None),
        ("SELECT COUNT(*) + 1 FROM d.mixed", None),
        ("SELECT n + 1 FROM d.mixed WHERE k = 5", None),
        ("SELECT n FROM d.mixed WHERE k = 5 AND n = 3", None),
        ("SELECT n FROM d.mixed WHERE k = n", None),
        ("SELECT DISTINCT n FROM d.mixed WHERE n > 3", None),
        ("SELECT n FROM d.mixed WHERE n > 3 ORDER BY v", None),
    ],
)
def test_which_statements_need_no_plan(mixed: engine.Node, sql: str, kind: type | None) -> None:
    assert used(mixed, sql) is kind


CONDITIONS = [
    "", "k = ?", "? = k", "n = ?", "v = ?", "s = ?", "t = ?", "n > ?", "v >= ?", "v < ?", "? > k", "n > ? AND n <= ?",
    "v BETWEEN ? AND ?", "k >= ? AND k < ?", "s > ?",
]  # fmt: skip
BY = ["n, k", "n DESC, k DESC", "k DESC", "v, k", "s DESC, k DESC", "t, k", "k"]  # the key decides between equals
ORDERS = ["", *[f"ORDER BY {each}" for each in BY]]
LIMITS = ["", "LIMIT ?", "LIMIT ? OFFSET ?", "OFFSET ?"]
SELECTED = ["k", "n", "v", "s, k", "*", "n AS a, n AS b", "t, __createdtime__"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_rows_are_those_of_the_table_read_whole(mixed: engine.Node, data: st.DataObject) -> None:
    def draw(choices: list[Any]) -> Any:
        return data.draw(st.sampled_from(choices))

    where, order, limit, table = draw(CONDITIONS), draw(ORDERS), draw(LIMITS), draw(["mixed", "keyed"])
    values = [draw(PARAMETERS) for _ in range(where.count("?"))]
    where = f"WHERE {where}" if where else ""
    if data.draw(st.booleans()):
        sql, order, limit = f"SELECT COUNT(*) AS c FROM d.{table} {where}", "", ""
    else:
        sql = f"SELECT {draw(SELECTED)} FROM d.{table} {where} {order} {limit}"
        values += [data.draw(st.integers(0, 70)) for _ in range(limit.count("?"))]
    statement = grammar.prepare(mixed, sql, values)
    found, wanted = statement.run(), statement.run(indexes=False)
    assert isinstance(found, list)
    assert isinstance(wanted, list)
    assert len(found) == len(wanted), (sql, values)
    if order:
        assert found == wanted, (sql, values)
    elif not limit:
        assert sorted(map(repr, found)) == sorted(map(repr, wanted)), (sql, values)


def test_an_offset_needs_no_limit(mixed: engine.Node) -> None:
    whole = grammar.query(mixed, "SELECT s, k FROM d.mixed ORDER BY k")
    assert grammar.query(mixed, "SELECT s, k FROM d.mixed ORDER BY k OFFSET 1") == whole[1:]
