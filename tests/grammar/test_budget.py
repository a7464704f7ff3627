"""The time and memory that a statement may take, and stopping it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
import grammar
from grammar import Budget
from grammar.bound import Ordering
from grammar.frame import Row
from grammar.operators.sort import comparison_key, sort_rows


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
    with pytest.raises(engine.OutOfTime, match=r"The statement takes longer than 0\.2 seconds\."):
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
    with pytest.raises(engine.Cancelled, match=r"The statement was cancelled\."):
        grammar.prepare(big, ENDLESS).run(budget=budget)
    timer.join()


def test_a_write_has_the_same_limits_and_writes_nothing(big):
    with pytest.raises(grammar.SqlError):
        grammar.prepare(big, "UPDATE a.t SET n = 0 WHERE n >= 0").run(budget=Budget(rows=100))
    assert grammar.query(big, "SELECT COUNT(*) AS c FROM a.t WHERE n = 0") == [{"c": 429}]


def spilling(tmp_path: Path, **limits: Any) -> Budget:
    return Budget(**{"memory": 500_000, "disk": 50_000_000, "directory": tmp_path / "spill", **limits})


SPILLED = [
    "SELECT id, s FROM a.t ORDER BY s || 'x' DESC, n LIMIT 20000",
    "SELECT q.n, COUNT(*) AS c FROM (SELECT n, s, id FROM a.t ORDER BY n, s DESC LIMIT 20000) q GROUP BY q.n",
    "SELECT MIN(x.id + y.id) AS a, COUNT(*) AS c FROM a.t x JOIN a.t y ON x.id + 0 = y.id + 0 AND x.s = y.s",
    "SELECT COUNT(y.id) AS a, COUNT(*) AS c FROM a.t x LEFT JOIN a.t y ON x.id * 2 = y.id + 0 AND y.s LIKE '%1%'",
    "SELECT COUNT(x.id) AS a, COUNT(y.id) AS b, COUNT(*) AS c FROM a.t x FULL JOIN a.t y ON x.id * 2 = y.id + 1",
    "SELECT COUNT(x.id) AS a, COUNT(y.id) AS b, COUNT(*) AS c FROM a.t x FULL JOIN a.t y ON x.gap * 2 = y.gap + 0",
]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Node]:
    with engine.open_node(tmp_path_factory.mktemp("node") / "root") as node:
        rows = [
            {"id": key, "n": key % 7, "s": f"{'text' * 20} {key % 1000}", "gap": None if key % 3 else [key]}
            for key in range(8_000)
        ]
        node.create_table("a", "t").insert(rows)
        yield node


@pytest.mark.parametrize("sql", SPILLED)
def test_what_has_no_room_in_memory_goes_to_disk(wide: engine.Node, tmp_path: Path, sql: str) -> None:
    limited = spilling(tmp_path)
    if "SELECT id, s" in sql:  # the result itself needs room, too
        sql = f"SELECT MIN(q.s) AS a, MAX(q.s) AS b, COUNT(*) AS c FROM ({sql}) q"
    assert grammar.prepare(wide, sql).run(budget=limited) == grammar.query(wide, sql)
    assert limited.written > 0
    assert list((tmp_path / "spill").iterdir()) == []


@pytest.mark.parametrize("sql", SPILLED)
def test_without_a_directory_it_is_refused(wide: engine.Node, tmp_path: Path, sql: str) -> None:
    with pytest.raises(grammar.SqlError, match="The statement needs more than 500000 bytes of memory"):
        grammar.prepare(wide, sql).run(budget=spilling(tmp_path, directory=None))


@pytest.mark.parametrize("sql", SPILLED)
def test_what_has_no_room_on_disk_is_refused(wide: engine.Node, tmp_path: Path, sql: str) -> None:
    with pytest.raises(grammar.SqlError, match="The statement needs more than 20000 bytes of disk"):
        grammar.prepare(wide, sql).run(budget=spilling(tmp_path, disk=20_000))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT s, id FROM a.t",
        "SELECT DISTINCT s, id FROM a.t LIMIT 1 OFFSET 7000",
        "SELECT s || id, COUNT(*) FROM a.t GROUP BY s || id LIMIT 1",
        "SELECT COUNT(*) FROM (SELECT s, id FROM a.t UNION SELECT id, s FROM a.t) q",
        "SELECT COUNT(*) FROM (SELECT s, id FROM a.t INTERSECT SELECT s, id FROM a.t) q",
        "SELECT COUNT(*) FROM a.t WHERE s || id IN (SELECT s || id FROM a.t)",
        "SELECT COUNT(*) FROM a.t x JOIN a.t y ON x.n * 0 = y.n * 0",  # too few keys to be cut into parts
        "SELECT COUNT(*) FROM a.t x JOIN a.t y ON x.id < y.id",
        "SELECT TOP 90 PERCENT s, id FROM a.t",
        "SELECT ARRAY(s) FROM a.t",
        "UPDATE a.t SET s = s || 'x'",
        "DELETE FROM a.t",
    ],
)
def test_what_cannot_go_to_disk_is_refused(wide: engine.Node, tmp_path: Path, sql: str) -> None:
    with pytest.raises(grammar.SqlError, match="The statement needs more than 200000 bytes of memory"):
        grammar.prepare(wide, sql).run(budget=spilling(tmp_path, memory=200_000))
    assert grammar.query(wide, "SELECT COUNT(*) AS c FROM a.t WHERE s LIKE 'text%'") == [{"c": 8_000}]


def test_a_full_disk_is_an_error_of_its_own(wide: engine.Node, tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("no directory")
    with pytest.raises(engine.RootError, match="spill"):
        grammar.prepare(wide, SPILLED[0]).run(budget=spilling(tmp_path))


VALUES = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=3) | st.lists(st.integers())
)
ORDERS = st.builds(Ordering, st.integers(0, 1), st.booleans(), st.booleans(), st.booleans())


@given(st.lists(st.tuples(VALUES, VALUES, st.integers())), st.lists(ORDERS, min_size=1, max_size=3).map(tuple))
def test_runs_are_merged_in_the_order_of_the_sort(rows: list[Row], order: tuple[Ordering, ...]) -> None:
    wanted = list(rows)
    sort_rows(wanted, order)
    assert sorted(rows, key=comparison_key(order)) == wanted


def test_a_watch_ends_a_statement(big: engine.Node) -> None:
    class Gone(Exception):
        pass

    def watch() -> None:
        raise Gone

    with pytest.raises(Gone):
        grammar.prepare(big, ENDLESS).run(budget=Budget(watch=watch))
