"""LIMIT, OFFSET, TOP and FETCH: a page is a slice of all rows, however a plan cuts it.

The whole is read without indexes and judged in Python, and cut by Python: every place where a plan leaves the cut to
something below it (a scan, a walk of the engine, a sort that keeps the best, no plan at all) has to give the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
import grammar
from engine import expiration
from grammar.kept import Binding

EXAMPLES = 10_000 if os.environ.get("KENNEL_TORTURE") == "long" else 100
LONG = "x" * 500
VALUES = [None, True, False, -3, 0, 1, 1.5, 2**60, "", "a", "true", LONG + "a", LONG + "b", LONG, [1, "a"], {"a": 1}]
TEXTS = ["a", "b", LONG, LONG + "b", LONG + "a", "x"]
COUNT = 60
TABLES = ["plain", "named", "declared", "expiring"]


def record(key: Any, number: int) -> dict[str, Any]:
    """`n` is a number and `s` a text in every record, `v` anything; `m` and `t` are absent from some."""
    made = {"k": key, "n": number * 7 % 5, "s": TEXTS[number % len(TEXTS)], "v": VALUES[number % len(VALUES)]}
    if number % 4:
        made |= {"m": number % 3, "t": TEXTS[number // 2 % len(TEXTS)]}
    return made


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Node]:
    """Tables by what is special about them; `expiring` has records that are gone, but wait for the upkeep."""
    records = [record(key, key) for key in range(COUNT)]
    names = [1, 2.5, "a", "true", "y" * 590, "y" * 580, *range(10, 40)]
    declared = [engine.Attribute("k", is_primary_key=True), engine.Attribute("n", indexed=False)]
    declared += [engine.Attribute(name) for name in ("s", "v", "m", "t")]
    with engine.open_node(tmp_path_factory.mktemp("node") / "root") as node, pytest.MonkeyPatch.context() as patch:
        node.create_table("d", "plain", "k").insert(records)
        node.create_table("d", "named", "k").insert([record(key, place) for place, key in enumerate(names)])
        node.create_table("d", "declared", "k", attributes=declared).insert(records)
        expiring = node.create_table("d", "expiring", "k", expiration=3600)
        expiring.insert([record(key, key + COUNT) for key in range(-30, 0)])
        with expiring.view() as view:
            over = view.version + 3600 * 1_000_000
        patch.setattr(expiration, "clock", lambda: over)
        expiring.insert(records)
        with expiring.view() as view:
            assert view.count() == COUNT < view.snapshot.count()
        yield node


RANGES = ["k > 20", "n = 3", "n > 1 AND n <= 3", "s > 'b'", "v BETWEEN -3 AND 1", "v IS NOT NULL", "t = 'a'", "k <= 9"]
OTHERS = [
    "k = 7", "n <> 3", "n IN (1, 3)", "n = 1 OR m = 2", "n = 1 OR n = 4", "n % 2 = 1", "n + 0 > 2", "s = 'b'",
    "s LIKE 'x%b'", "s LIKE '%a'", "UPPER(s) = 'A'", "v IS NULL", "v = 1 OR v = 'a'", "v IN (true, 'true', 0)",
    "t IS NULL", "t = 'a' AND n > 1", "m = 1 AND UPPER(t) <> 'A'", "v LIKE '%a%'", "k IN (SELECT m FROM d.plain)",
    "1 = 2", "n = n", f"s = '{LONG}a' OR s = 'a'", f"v >= '{LONG}'", "k > 5 AND k < 40 AND n = 2", "NOT (s > 'a')",
]  # fmt: skip
SELECTED = [
    "k", "n", "s", "v", "t", "*", "1 AS one", "k, n", "s, k", "n, s", "v, k", "n AS a, n AS b", "n + 1 AS a, k",
    "t, m", "UPPER(s) AS u, k", "v, s, t",
]  # fmt: skip
ORDERS = [
    "k", "k DESC", "n, k", "n DESC, k DESC", "n, k DESC", "s, k", "s DESC, k DESC", "s DESC, k", "v, k",
    "v DESC, k DESC", "t, k", "t DESC, k DESC", "m NULLS LAST, k", "n + 1, k", "UPPER(s), k DESC", "n, s, k",
    "s COLLATE NOCASE, k",
]  # fmt: skip
DISTINCT = ["n", "s", "v", "t", "k", "n, s", "m, n"]
FEW, MANY = [0, 1, 2, 3, 7, 20, 59, 60, 61], [999, 1000, 1001, 2**62, 2**63 - 1, 2**63, 2**64 - 1]

Rows = list[dict[str, Any]]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Page = tuple[str, str, slice]  # what stands before the select list and at the end, and what it leaves


def one_of(draw: Draw, *choices: Sequence[Any]) -> Any:
    """One of one of the lists, each as often as the others."""
    return draw(st.sampled_from(draw(st.sampled_from(choices))))


def where_of(draw: Draw) -> str:
    found = one_of(draw, [""], RANGES, OTHERS)
    return f"WHERE {found}" if found else ""


def pages(draw: Draw, rows: int) -> list[Page]:
    count, offset = one_of(draw, FEW, FEW, MANY), one_of(draw, FEW, FEW, MANY)
    percent = draw(st.sampled_from([0, 1, 33, 100, 150]))
    both = slice(offset, offset + count)
    return [
        ("", f"LIMIT {count}", slice(count)),
        ("", f"LIMIT {count} OFFSET {offset}", both),
        ("", f"OFFSET {offset}", slice(offset, None)),
        ("", f"OFFSET {offset} ROWS FETCH NEXT {count} ROWS ONLY", both),
        (f"TOP {count}", "", slice(count)),
        (f"TOP {percent} PERCENT", "", slice(ceil(rows * percent / 100))),
    ]


def without_direct(node: engine.Node, binding: Binding) -> Binding:
    return Binding(
        node,
        binding.statement,
        binding.bound,
        None,
        touches=binding.touches,
        tables=binding.tables,
        parameters=binding.parameters,
        counted=None,
    )


def run(node: engine.Node, sql: str, *, planned: bool = False, **options: Any) -> Rows:
    """The rows, with `planned` in no case without a plan."""
    statement = grammar.prepare(node, sql)
    if planned:
        statement.binding = without_direct(node, statement.binding)
    found = statement.run(**options)
    assert isinstance(found, list)
    return found


def whole(node: engine.Node, sql: str) -> list[str]:
    return names(run(node, sql, indexes=False, pushdown=False))


def ways(node: engine.Node, sql: str) -> Iterator[list[str]]:
    """The rows by every way to answer a statement."""
    yield names(run(node, sql))
    yield names(run(node, sql, planned=True))
    yield names(run(node, sql, pushdown=False, planned=True))
    yield names(run(node, sql, budget=grammar.Budget(60, 10**6, memory=1 << 30), planned=True))
    yield names(run(node, sql, indexes=False))


def names(rows: Rows) -> list[str]:
    """The rows as texts, which tell 1 from true."""
    return [repr(list(row.items())) for row in rows]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_page_is_a_slice_of_the_whole(node: engine.Node, data: st.DataObject) -> None:
    table, selected, where = one_of(data.draw, TABLES), one_of(data.draw, SELECTED), where_of(data.draw)
    order = one_of(data.draw, [""], ORDERS)
    order = order and f"ORDER BY {order}"
    everything = whole(node, f"SELECT {selected} FROM d.{table} {where} {order}")
    for before, after, cut in pages(data.draw, len(everything)):
        sql, wanted = f"SELECT {before} {selected} FROM d.{table} {where} {order} {after}", everything[cut]
        for found in ways(node, sql):
            if order:
                assert found == wanted, sql
            else:  # any rows, but so many of them, and none twice
                assert len(found) == len(wanted), sql
                assert not Counter(found) - Counter(everything), sql
        assert run(node, f"SELECT COUNT(*) AS c FROM ({sql}) q") == [{"c": len(wanted)}], sql
        assert run(node, f"EXPLAIN ANALYZE {sql}")[0]["actual_rows"] == len(wanted), sql


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(st.data())
def test_a_page_of_distinct_rows_and_of_groups(node: engine.Node, data: st.DataObject) -> None:
    table, columns, where = one_of(data.draw, TABLES), one_of(data.draw, DISTINCT), where_of(data.draw)
    downwards = " DESC" if data.draw(st.booleans()) else ""
    order = ", ".join([each + downwards for each in columns.split(", ")])
    word, more, group = "DISTINCT", "", ""
    if data.draw(st.booleans()):
        word, more, group = "", ", COUNT(*) AS c, MIN(m) AS least", f"GROUP BY {columns}"
    rest = f"{columns}{more} FROM d.{table} {where} {group} ORDER BY {order}"
    everything = whole(node, f"SELECT {word} {rest}")
    for before, after, cut in pages(data.draw, len(everything)):
        sql = f"SELECT {word} {before} {rest} {after}"
        for found in ways(node, sql):
            assert found == everything[cut], sql
