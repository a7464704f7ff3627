"""What plans do: which index they take, what they read, and what EXPLAIN shows of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import engine
import grammar


class Spy:
    """A node with one table whose view counts the records that are read."""

    def __init__(self, table: engine.Table) -> None:
        self.inner = table
        self.read = 0

    def table(self, *_: str) -> Spy:
        return self

    def view(self) -> SpyView:
        return SpyView(self.inner.view(), self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class SpyView:
    def __init__(self, view: engine.View, spy: Spy) -> None:
        self.view, self.spy = view, spy

    def __enter__(self) -> SpyView:
        return self

    def __exit__(self, *_: object) -> None:
        self.view.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.view, name)

    def get(self, *arguments: Any) -> dict[str, Any] | None:
        self.spy.read += 1
        return self.view.get(*arguments)

    def tuples(self, *arguments: Any, **options: Any) -> Iterator[tuple[Any, ...]]:
        for row in self.view.tuples(*arguments, **options):
            self.spy.read += 1
            yield row

    def select(self, *arguments: Any, **options: Any) -> Iterator[list[tuple[Any, ...]]]:
        for step in self.view.select(*arguments, **options):
            self.spy.read += len(step)
            yield step


@pytest.fixture
def big(node):
    table = node.create_table("a", "t")
    table.insert([{"id": i, "n": i % 100, "u": i * 7 % 1000, "s": f"s{i % 10}", "x": {"y": i}} for i in range(1000)])
    return table


@pytest.fixture
def explain(node, big):
    """The steps of a plan, each as (operation, index, rows)."""

    def explain(sql: str) -> list[tuple[str, str | None, int]]:
        return [(row["operation"], row["index"], row["rows"]) for row in grammar.query(node, f"EXPLAIN {sql}")]

    return explain


@pytest.mark.parametrize(
    ("sql", "records"),
    [
        ("SELECT COUNT(*) FROM a.t", 0),
        ("SELECT COUNT(1) FROM a.t WHERE n > 50", 0),
        ("SELECT COUNT(n) FROM a.t WHERE n BETWEEN 3 AND 9 OR n = 20", 0),
        ("SELECT COUNT(*) FROM a.t WHERE n IS NULL", 0),
        ("SELECT COUNT(*) FROM a.t WHERE n IN (1, 2, 3)", 0),
        ("SELECT MIN(n), MAX(n), COUNT(DISTINCT n), COUNT(*) FROM a.t", 0),
        ("SELECT MAX(n) FROM a.t WHERE n < 50", 0),
        ("SELECT n, COUNT(*) FROM a.t GROUP BY n", 0),
        ("SELECT s, COUNT(s), MIN(s) FROM a.t WHERE s > 's3' GROUP BY s HAVING COUNT(*) > 1 ORDER BY 2", 0),
        ("SELECT DISTINCT n FROM a.t", 0),
        ("SELECT id FROM a.t WHERE n = 5", 0),
        ("SELECT id FROM a.t ORDER BY u LIMIT 10 OFFSET 900", 0),
        ("SELECT n FROM a.t WHERE n > 90", 0),
        ("SELECT u FROM a.t WHERE id = 5", 1),
        ("SELECT * FROM a.t WHERE n = 5", 10),
        ("SELECT * FROM a.t WHERE n = 5 AND s = 's5'", 10),
        ("SELECT * FROM a.t WHERE n > 2 AND n < 4 AND id >= 0", 10),
        ("SELECT * FROM a.t WHERE n = 5 OR u = 14 OR id = 3", 12),
        ("SELECT * FROM a.t WHERE s LIKE 'S9%' AND id < 500", 50),
        ("SELECT * FROM a.t ORDER BY u LIMIT 10", 10),
        ("SELECT * FROM a.t ORDER BY u DESC, id DESC LIMIT 10 OFFSET 500", 10),
        ("SELECT * FROM a.t WHERE u > 300 ORDER BY u LIMIT 3", 3),
        ("SELECT * FROM a.t LIMIT 7", 7),
        ("SELECT * FROM a.t WHERE x IS NULL", 0),
        ("SELECT * FROM a.t WHERE n = 5 AND 1 = 2", 0),
        ("SELECT * FROM a.t WHERE n = NULL", 0),
        ("SELECT * FROM a.t WHERE id IN (SELECT 5 UNION SELECT 6)", 2),
    ],
)
def test_no_more_records_are_read_than_needed(node, big, sql, records):
    spy = Spy(big)
    assert grammar.query(spy, sql) == grammar.prepare(node, sql).run(indexes=False) or "ORDER" not in sql
    assert spy.read == records


def test_a_limit_on_a_filter_stops_early(big):
    spy = Spy(big)
    grammar.query(spy, "SELECT u FROM a.t WHERE u % 2 = 0 LIMIT 5")
    assert spy.read < 50


@pytest.mark.parametrize(
    ("sql", "steps"),
    [
        ("SELECT * FROM a.t", [("table scan", "id", 1000)]),
        ("SELECT * FROM a.t WHERE id = 5", [("key lookup", "id", 1)]),
        ("SELECT * FROM a.t WHERE n = 5", [("index range", "n", 10)]),
        ("SELECT * FROM a.t WHERE n > 3 AND u = 7", [("filter", None, 1), ("index range", "u", 1)]),
        ("SELECT * FROM a.t WHERE n = 5 OR u = 14", [("index union", "n, u", 11)]),
        ("SELECT n FROM a.t ORDER BY u LIMIT 3", [("index scan", "u", 3)]),
        ("SELECT * FROM a.t WHERE n = 5 ORDER BY u", [("sort", None, 10), ("index range", "n", 10)]),
        ("SELECT n, COUNT(*) FROM a.t GROUP BY n", [("index groups", "n", 1000)]),
        ("SELECT COUNT(*) FROM a.t", [("index totals", None, 1)]),
        ("SELECT DISTINCT n FROM a.t", [("index values", "n", 1000)]),
        ("SELECT s, SUM(u) FROM a.t GROUP BY s", [("group", None, 100), ("table scan", "id", 1000)]),
        ("SELECT 1", [("constant", None, 1)]),
        (
            "SELECT * FROM a.t l JOIN a.t r ON l.u = r.n WHERE l.n = 5",
            [("lookup join", "n", 10), ("index range", "n", 10)],
        ),
        (
            "SELECT l.id FROM a.t l LEFT JOIN a.t r ON l.u = r.n",
            [("left hash join", None, 1000), ("table scan", "id", 1000), ("table scan", "id", 1000)],
        ),
    ],
)
def test_explain(explain, sql, steps):
    assert explain(sql) == steps


def test_explain_links_steps_and_tells_conditions(node, big):
    rows = grammar.query(node, "EXPLAIN SELECT id FROM a.t WHERE n > 98 AND s LIKE '%9' ORDER BY s LIMIT 2")
    assert [(row["step"], row["parent"], row["operation"]) for row in rows] == [
        (1, 0, "limit"),
        (2, 1, "top sort"),
        (3, 2, "filter"),
        (4, 3, "index range"),
    ]
    assert (rows[2]["detail"], rows[3]["detail"], rows[3]["table"]) == ("s LIKE '%9'", "n > 98", "a.t")


def test_explain_analyze_counts_what_each_step_gave(node, big):
    sql = "SELECT l.s, COUNT(*) FROM a.t l JOIN a.t r ON l.u = r.n WHERE l.n = 5 AND r.u < 300 GROUP BY l.s LIMIT 3"
    planned = grammar.query(node, f"EXPLAIN {sql}")
    rows = grammar.query(node, f"explain analyze {sql}")
    assert [{name: row[name] for name in planned[0]} for row in rows] == planned
    assert [(row["operation"], row["actual_rows"]) for row in rows] == [
        ("limit", 1),
        ("group", 1),
        ("lookup join", 3),
        ("index range", 10),
    ]
    times = [row["milliseconds"] for row in rows]
    assert times == sorted(times, reverse=True) and times[-1] >= 0


def test_explain_analyze_stops_where_a_limit_does(node, big):
    rows = grammar.query(node, "EXPLAIN ANALYZE SELECT u FROM a.t WHERE u % 2 = 0 LIMIT 5")
    assert [row["actual_rows"] for row in rows[:2]] == [5, 5]


def test_explain_shows_the_literals_of_this_statement(node, big):
    for number in (1, 2):
        assert grammar.query(node, f"EXPLAIN SELECT id FROM a.t WHERE n = {number}")[0]["detail"] == f"n = {number}"


def test_attributes_without_index_are_read_from_the_records(node, run):
    attributes = [engine.Attribute("id", is_primary_key=True), engine.Attribute("n", indexed=False)]
    node.create_table("a", "t", attributes=attributes).insert([{"id": i, "n": i % 3} for i in range(9)])
    assert run("SELECT id FROM a.t WHERE n = 2 ORDER BY n, id") == [{"id": 2}, {"id": 5}, {"id": 8}]
    assert run("SELECT n, COUNT(*) AS c FROM a.t GROUP BY n ORDER BY n") == [{"n": i, "c": 3} for i in range(3)]
    assert run("SELECT MAX(n) AS m, COUNT(DISTINCT n) AS d FROM a.t") == [{"m": 2, "d": 3}]
