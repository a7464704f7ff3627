"""SQL statements beside SQLite's, on the same table with the same indexes; answers as lists of dictionaries."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

import grammar
from bench import records
from bench.compare import Contender
from bench.compare.kennel import Kennel
from bench.compare.sqlite import Sqlite
from bench.conftest import Measure

TITLE = "SQL beside SQLite"

pytestmark = [
    pytest.mark.timeout(0),  # a large table takes its time to load
    pytest.mark.benchmark(max_time=0.5),
]

Rows = list[dict[str, Any]]
Query = Callable[[str], Rows]

BREEDS = 100
HALF = records.HIGHEST_SCORE // 2
STATEMENTS = {
    "SELECT by id": "SELECT id, name, score FROM bench.dog WHERE id = 77",
    "COUNT(*)": "SELECT COUNT(*) AS n FROM bench.dog",
    "COUNT(*) over a range of half the table": f"SELECT COUNT(*) AS n FROM bench.dog WHERE score >= {HALF}",
    "GROUP BY, COUNT, 100 groups": "SELECT breed, COUNT(*) AS n FROM bench.dog GROUP BY breed",
    "GROUP BY, COUNT and AVG, 100 groups": (
        "SELECT breed, COUNT(*) AS n, AVG(weight) AS mean FROM bench.dog GROUP BY breed"
    ),
    "ORDER BY an indexed attribute LIMIT 20": (
        f"SELECT id, name, score FROM bench.dog WHERE score >= {HALF} ORDER BY score LIMIT 20"
    ),
    "the same from OFFSET half the table": (
        f"SELECT id, name, score FROM bench.dog ORDER BY score LIMIT 20 OFFSET {records.COUNT // 2}"
    ),
    "filter by an expression": "SELECT id, name FROM bench.dog WHERE age * weight > 1500",
    "join of half the table with 100 rows, grouped": (
        "SELECT b.size, COUNT(*) AS n FROM bench.dog AS d INNER JOIN bench.breed AS b ON d.breed = b.name "
        f"WHERE d.score >= {HALF} GROUP BY b.size"
    ),
}


@pytest.fixture(scope="module")
def queries(loaded: dict[str, Contender]) -> dict[str, Query]:
    """For each contender what answers a statement, once there is a second table to join with."""
    kennel, sqlite = loaded[Kennel.name], loaded[Sqlite.name]
    assert isinstance(kennel, Kennel)
    assert isinstance(sqlite, Sqlite)
    node, connection = kennel.node, sqlite.connection
    draw = random.Random(3)
    breeds = [{"name": f"breed {number:02}", "size": draw.choice("SML")} for number in range(BREEDS)]
    node.create_table("bench", "breed", primary_key="name").insert(breeds)
    connection.execute("CREATE TABLE breed (name TEXT PRIMARY KEY, size TEXT)")
    connection.executemany("INSERT INTO breed VALUES (:name, :size)", breeds)
    connection.execute("ANALYZE")

    def ask_kennel(statement: str) -> Rows:
        rows = grammar.query(node, statement)
        assert isinstance(rows, list)
        return rows

    def ask_sqlite(statement: str) -> Rows:
        cursor = connection.cursor()
        cursor.row_factory = _as_dictionary
        return cursor.execute(statement.replace("bench.", "")).fetchall()

    return {Kennel.name: ask_kennel, Sqlite.name: ask_sqlite}


def _as_dictionary(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip((column[0] for column in cursor.description), row, strict=True))


def _comparable(rows: Rows) -> list[str]:
    """Rows of any order, their floats without what the order of a sum may change."""
    return sorted(
        str({name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()})
        for row in rows
    )


@pytest.mark.parametrize("who", [Kennel.name, Sqlite.name])
@pytest.mark.parametrize("work", STATEMENTS)
def test_statement(measure: Measure, queries: dict[str, Query], work: str, who: str) -> None:
    statement, query = STATEMENTS[work], queries[who]
    assert _comparable(query(statement)) == _comparable(queries[Sqlite.name](statement))
    measure(work, who, lambda: query(statement))
