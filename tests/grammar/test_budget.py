"""The time and memory that a statement may take, and stopping it."""

from __future__ import annotations

import threading

import pytest

import grammar
from grammar import Budget


@pytest.fixture
def big(node):
    node.create_table("a", "t").insert([{"id": key, "n": key % 7, "s": f"text {key}"} for key in range(3_000)])
    return node


ENDLESS = "SELECT COUNT(*) FROM a.t x, a.t y, a.t z WHERE x.n + y.n + z.n = -1"


@pytest.mark.parametrize(
    "sql",
    [
        ENDLESS,
        "SELECT x.id FROM a.t x, a.t y, a.t z WHERE x.n + y.n + z.n = -1 ORDER BY x.s LIMIT 1",
        "SELECT COUNT(*) FROM a.t x JOIN a.t y ON x.n = y.n JOIN a.t z ON z.n = y.n AND x.id + y.id + z.id < 0",
        "SELECT x.id FROM a.t x WHERE EXISTS (SELECT 1 FROM a.t y, a.t z WHERE y.id + z.id + x.id < 0)",
    ],
)
def test_a_statement_ends_when_its_time_is_up(big, sql):
    with pytest.raises(grammar.SqlError, match=r"The statement takes longer than 0\.2 seconds\."):
        grammar.prepare(big, sql).run(budget=Budget(seconds=0.2))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM a.t",
        "SELECT id FROM a.t ORDER BY s || 'x'",
        "SELECT DISTINCT id, n FROM a.t LIMIT 1 OFFSET 2000",
        "SELECT id + 0, COUNT(*) FROM a.t GROUP BY id + 0 LIMIT 1",
        "SELECT ARRAY(id) FROM a.t",
        "SELECT COUNT(*) FROM (SELECT id FROM a.t UNION SELECT id + 1 FROM a.t) q",
        "SELECT COUNT(*) FROM a.t x JOIN a.t y ON x.id + 0 = y.id + 0",
        "SELECT x.id FROM a.t x, a.t y LIMIT 5000",
    ],
)
def test_a_statement_that_keeps_too_many_rows_is_refused(big, sql):
    with pytest.raises(grammar.SqlError, match=r"The statement needs more than 1000 rows in memory\."):
        grammar.prepare(big, sql).run(budget=Budget(rows=1000))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM a.t WHERE s LIKE '%9%'",
        "SELECT n, AVG(id) FROM a.t GROUP BY n",
        "SELECT * FROM a.t WHERE n = 3 ORDER BY s LIMIT 10",
        "SELECT * FROM a.t LIMIT 900",
        "SELECT MEDIAN(id) FROM a.t WHERE id < 900",
    ],
)
def test_rows_that_only_pass_by_do_not_count(big, sql):
    limited = grammar.prepare(big, sql).run(budget=Budget(seconds=60, rows=1000))
    assert limited == grammar.query(big, sql)


def test_a_statement_can_be_stopped_from_another_thread(big):
    budget = Budget()
    timer = threading.Timer(0.1, budget.stop)
    timer.start()
    with pytest.raises(grammar.SqlError, match=r"The statement was cancelled\."):
        grammar.prepare(big, ENDLESS).run(budget=budget)
    timer.join()


def test_a_write_has_the_same_limits_and_writes_nothing(big):
    with pytest.raises(grammar.SqlError):
        grammar.prepare(big, "UPDATE a.t SET n = 0 WHERE n >= 0").run(budget=Budget(rows=100))
    assert grammar.query(big, "SELECT COUNT(*) AS c FROM a.t WHERE n = 0") == [{"c": 429}]
