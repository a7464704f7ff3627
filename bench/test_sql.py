"""SQL statements beside SQLite's and PostgreSQL's, on the same tables with the same indexes.

Answers are lists of dictionaries, but those of PostgreSQL: see compare/postgres.py.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import grammar
from bench import flights, records
from bench.compare import Contender, postgres
from bench.compare.kennel import Kennel
from bench.compare.postgres import Postgres
from bench.compare.sqlite import Sqlite
from bench.conftest import Measure

TITLE = "SQL beside SQLite, and PostgreSQL without the making of Python objects"

pytestmark = [
    pytest.mark.timeout(0),  # a large table takes its time to load
    pytest.mark.benchmark(max_time=0.5, warmup=True, warmup_iterations=10),  # the first call is a cold one
]

Rows = list[dict[str, Any]]
Query = Callable[[str], Any]

BREEDS = 100
HALF = records.HIGHEST_SCORE // 2
NARROW = 20 * records.HIGHEST_SCORE // records.COUNT  # a range of so many scores holds 20 records on average
LATE = records.COUNT * 9 // 10
JOINED = """
    SELECT a.name, COUNT(*) AS flights, AVG(f.dep_delay) AS delay, SUM(f.distance) AS distance, MAX(p.seats) AS seats
    FROM bench.flight f JOIN bench.plane p ON f.tailnum = p.tailnum JOIN bench.airport a ON f.dest = a.faa
    WHERE p.year >= 1990 GROUP BY a.name
"""

# One that draws gives another statement each time, as a client does that writes values into its SQL.
Statement = str | Callable[[random.Random], str]


def by_key(draw: random.Random) -> str:
    return f"SELECT id, name, score FROM bench.dog WHERE id = {draw.randrange(records.COUNT)}"


def narrow_range(draw: random.Random) -> str:
    low = draw.randrange(records.HIGHEST_SCORE - NARROW)
    return f"SELECT id, name, score FROM bench.dog WHERE score >= {low} AND score < {low + NARROW} ORDER BY score"


STATEMENTS: dict[str, Statement] = {
    "SELECT by a random id": by_key,
    "COUNT(*)": "SELECT COUNT(*) AS n FROM bench.dog",
    "COUNT(*) over a range of half the table": f"SELECT COUNT(*) AS n FROM bench.dog WHERE score >= {HALF}",
    "GROUP BY, COUNT, 100 groups": "SELECT breed, COUNT(*) AS n FROM bench.dog GROUP BY breed",
    "GROUP BY, COUNT and AVG, 100 groups": (
        "SELECT breed, COUNT(*) AS n, AVG(weight) AS mean FROM bench.dog GROUP BY breed"
    ),
    "range of 20 records, ORDER BY": narrow_range,
    "ORDER BY an indexed attribute LIMIT 20": (
        f"SELECT id, name, score FROM bench.dog WHERE score >= {HALF} ORDER BY score LIMIT 20"
    ),
    "ORDER BY an indexed attribute LIMIT 10 from OFFSET nine tenths": (
        f"SELECT id, name, score FROM bench.dog ORDER BY score LIMIT 10 OFFSET {LATE}"
    ),
    "LIKE 'abc%'": "SELECT id, name FROM bench.dog WHERE name LIKE 'bado%'",
    "LIKE '%abc%'": f"SELECT id, name FROM bench.dog WHERE name LIKE '%{records.SYLLABLE}%'",
    "filter by an expression": "SELECT id, name FROM bench.dog WHERE age * weight > 1500",
    "filter and sort of all records without an index": (
        "SELECT id, name FROM bench.dog WHERE age * 2 > 4 ORDER BY weight * 2, name"
    ),
    "join of half the table with 100 rows, grouped": (
        "SELECT b.size, COUNT(*) AS n FROM bench.dog AS d INNER JOIN bench.breed AS b ON d.breed = b.name "
        f"WHERE d.score >= {HALF} GROUP BY b.size"
    ),
    "join of 3,000 flights with planes and airports, grouped": JOINED,
}


def breeds() -> list[records.Record]:
    draw = random.Random(3)
    return [{"name": f"breed {number:02}", "size": draw.choice("SML")} for number in range(BREEDS)]


@pytest.fixture(scope="module")
def queries(loaded: dict[str, Contender]) -> dict[str, Query]:
    """For each contender what answers a statement, once there are tables to join with."""
    kennel, sqlite = loaded[Kennel.name], loaded[Sqlite.name]
    assert isinstance(kennel, Kennel)
    assert isinstance(sqlite, Sqlite)
    node, connection = kennel.node, sqlite.connection
    node.create_table("bench", "breed", primary_key="name").insert(breeds())
    connection.execute("CREATE TABLE breed (name TEXT PRIMARY KEY, size TEXT)")
    connection.executemany("INSERT INTO breed VALUES (:name, :size)", breeds())
    flights.fill_kennel(node)
    flights.fill_sqlite(connection)
    connection.execute("ANALYZE")

    def ask_sqlite(statement: str) -> Rows:
        cursor = connection.cursor()
        cursor.row_factory = _as_dictionary
        return cursor.execute(statement).fetchall()

    return {Kennel.name: partial(grammar.query, node), Sqlite.name: ask_sqlite}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if lacking := postgres.missing():
        pytest.skip(f"PostgreSQL is not compared: there is no {lacking}")
    server = Postgres()
    try:
        server.fill("bench.dog", records.batches())
        server.fill("bench.breed", [breeds()])
        for table, rows in flights.tables().items():
            server.fill(f"bench.{table}", [rows])
        yield server
    finally:
        server.close()


def _drawn(statement: Statement, draw: random.Random) -> str:
    return statement if isinstance(statement, str) else statement(draw)


def _spelled(who: str, statement: str) -> str:
    """As a contender writes it: SQLite has no schemas."""
    return statement.replace("bench.", "") if who == Sqlite.name else statement


def _asking(who: str, query: Query, statement: Statement, draw: random.Random) -> Callable[[], Any]:
    """What is measured: where the statement stays the same, no call of ours before the contender's own."""
    if isinstance(statement, str):
        return partial(query, _spelled(who, statement))
    return lambda: query(_spelled(who, statement(draw)))


def _as_dictionary(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip((column[0] for column in cursor.description), row, strict=True))


def _comparable(rows: Rows) -> list[str]:
    """Rows of any order; numbers as floats, since 59.0 is 59 here, without what the order of a sum may change."""
    return sorted(
        str({name: round(float(value), 6) if isinstance(value, int | float) else value for name, value in row.items()})
        for row in rows
    )


@pytest.mark.parametrize("who", [Kennel.name, Sqlite.name])
@pytest.mark.parametrize("work", STATEMENTS)
def test_statement(measure: Measure, queries: dict[str, Query], work: str, who: str) -> None:
    statement, query, draw = STATEMENTS[work], queries[who], random.Random(5)
    first = _drawn(statement, draw)
    expected = queries[Sqlite.name](_spelled(Sqlite.name, first))
    assert _comparable(query(_spelled(who, first))) == _comparable(expected)
    measure(work, who, _asking(who, query, statement, draw))


@pytest.mark.parametrize("work", STATEMENTS)
def test_statement_of_postgresql(measure: Measure, queries: dict[str, Query], server: Postgres, work: str) -> None:
    statement, draw = STATEMENTS[work], random.Random(5)
    first = _drawn(statement, draw)
    expected = queries[Sqlite.name](_spelled(Sqlite.name, first))
    assert _comparable(server.rows(_insensitive(first))) == _comparable(expected)
    measure(work, Postgres.name, lambda: server.run(_insensitive(_drawn(statement, draw))))


def _insensitive(statement: str) -> str:
    """LIKE ignores the case of letters everywhere else."""
    return statement.replace(" LIKE ", " ILIKE ")
