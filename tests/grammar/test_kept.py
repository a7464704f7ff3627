"""Statements that come again with the same text answer as if they came for the first time."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
import grammar
from engine import expiration
from grammar import kept

COUNT = "SELECT COUNT(*) AS n FROM a.t"
AGAIN = 3  # a text with literals is kept when it comes for the second time, and used when it comes for the third
Run = Callable[..., Any]


@pytest.fixture
def table(node: engine.Node) -> engine.Table:
    table = node.create_table("a", "t")
    table.insert([{"id": key, "age": key % 4} for key in range(10)])
    return table


@pytest.fixture
def again(run: Run) -> Run:
    """Runs a statement until its text is kept and used: what it gives then, and what it has given before."""

    def again(sql: str, parameters: Any = None) -> Any:
        first, *others = [run(sql, parameters) for _ in range(AGAIN)]
        assert others == [first] * (AGAIN - 1)
        return first

    return again


class Marked(str):
    """Text as some libraries hand it around, and members of enumerations are."""

    __slots__ = ()

    def __str__(self) -> str:
        return "Marked.TEXT"


def in_another_process(root: Path, statement: str) -> None:
    code = f"import sys, engine\nwith engine.open_node(sys.argv[1]) as node:\n    {statement}\n"
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)


class TestCounts:
    def test_text_of_a_kind_of_its_own_is_text(self, table, again):
        assert again(Marked(COUNT)) == [{"n": 10}]
        assert again(Marked("SELECT id FROM a.t WHERE id = 3")) == [{"id": 3}]

    def test_each_write_is_counted_at_once(self, table, again, run):
        assert again(COUNT) == [{"n": 10}]
        for key in range(10, 20):
            table.insert([{"id": key}])
            assert run(COUNT) == [{"n": key + 1}]
        table.delete([0, 1])
        assert run(COUNT) == [{"n": 18}]
        run("DELETE FROM a.t WHERE id > 4")
        assert run(COUNT) == [{"n": 3}]

    def test_another_process_writes(self, node, table, again, run):
        assert again(COUNT) == [{"n": 10}]
        in_another_process(node.root, "node.table('a', 't').insert([{'id': 'new', 'horns': 2}])")
        assert run(COUNT) == [{"n": 11}]

    def test_another_process_writes_all_the_time(self, node, table, again, run):
        again(COUNT)
        code = "import sys, engine\nwith engine.open_node(sys.argv[1]) as node:\n    for key in range(100, 300):\n"
        code += "        node.table('a', 't').insert([{'id': key}, {'id': -key}])\n"
        with subprocess.Popen([sys.executable, "-c", code, str(node.root)]) as other:
            seen = [10]
            while other.poll() is None:
                seen.append(run(COUNT)[0]["n"])
        assert other.returncode == 0
        assert seen == sorted(seen)
        assert all(number % 2 == 0 for number in seen)  # of whole transactions
        assert run(COUNT) == [{"n": 410}]

    def test_threads(self, table, again, run):
        again(COUNT)
        wrong: list[Any] = []

        def write(first: int) -> None:
            for key in range(first, first + 50):
                before = run(COUNT)[0]["n"]
                table.insert([{"id": key}])
                if run(COUNT)[0]["n"] <= before:
                    wrong.append(key)

        threads = [threading.Thread(target=write, args=(100 * number,)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert run(COUNT) == [{"n": 210}]

    def test_each_answer_is_a_list_of_its_own(self, table, again, run):
        again(COUNT)
        run(COUNT)[0]["n"] = 5
        run(COUNT).clear()
        assert run(COUNT) == [{"n": 10}]

    def test_several_counts_in_one_row(self, table, again):
        assert again("SELECT COUNT(*) AS a, COUNT(*) AS b, COUNT(*) FROM a.t") == [{"a": 10, "b": 10, "COUNT(*)": 10}]

    def test_texts_that_differ_in_case_or_space_are_others(self, table, again):
        assert again("SELECT COUNT(*) AS N FROM a.t") == [{"N": 10}]
        assert again("select count(*)  as n\nfrom a.t;") == again(COUNT) == [{"n": 10}]
        assert list(again("select count( * ) from a.t")[0].values()) == [10]

    def test_records_that_expire(self, node, again, run, monkeypatch):
        node.create_table("a", "t", expiration=60).insert([{"id": 1}, {"id": 2}])
        assert again(COUNT) == [{"n": 2}]
        now = expiration.clock()
        monkeypatch.setattr(expiration, "clock", lambda: now + 61_000_000)
        assert run(COUNT) == [{"n": 0}]
        node.table("a", "t").insert([{"id": 3}])
        monkeypatch.setattr(expiration, "clock", lambda: now)
        assert run(COUNT)[0]["n"] > 0

    def test_records_that_begin_to_expire(self, node, table, again, run, monkeypatch):
        assert again(COUNT) == [{"n": 10}]
        now = expiration.clock()
        monkeypatch.setattr(expiration, "clock", lambda: now + 61_000_000)
        assert again(COUNT) == [{"n": 10}]
        node._catalog.redefine(table.definition, expiration=60)
        assert run(COUNT) == [{"n": 0}]
        node._catalog.redefine(table.definition, expiration=None)
        assert run(COUNT) == [{"n": 10}]


class TestTables:
    STATEMENTS = (
        COUNT,
        "SELECT COUNT(*) AS n FROM a.t WHERE id >= 3",
        "SELECT id FROM a.t WHERE id = 3",
        "SELECT * FROM a.t",
    )

    @pytest.mark.parametrize("sql", STATEMENTS)
    def test_one_that_is_dropped_and_made_anew(self, node, table, again, run, error, sql):
        again(sql)
        node.drop_table("a", "t")
        assert error(sql) == "Table 'a.t' does not exist"
        node.create_table("a", "t").insert([{"id": 3}])
        (row,) = again(sql)
        assert row.get("n", 1) == 1
        assert row.get("id", 3) == 3

    @pytest.mark.parametrize("sql", STATEMENTS)
    def test_another_process_drops_it_and_makes_it_anew(self, node, table, again, error, sql):
        again(sql)
        in_another_process(node.root, "node.drop_table('a', 't')")
        assert error(sql) == "Table 'a.t' does not exist"
        in_another_process(node.root, "node.create_table('a', 't', 'key').insert([{'key': 1, 'id': 3}])")
        (row,) = again(sql)
        assert row.get("n", 1) == 1

    def test_its_schema_is_dropped(self, node, table, again, error):
        again(COUNT)
        node.drop_schema("a")
        assert error(COUNT) == "schema 'a' does not exist"

    def test_attributes_that_come_and_go(self, table, again, run, error):
        star, named = "SELECT * FROM a.t WHERE id = 1", "SELECT horns FROM a.t WHERE id = ?"
        assert "horns" not in again(star)[0]
        table.update([{"id": 1, "horns": 2}])
        assert again(star)[0]["horns"] == 2
        assert again(named, [1]) == [{"horns": 2}]
        table.drop_attribute("horns")
        assert "horns" not in run(star)[0]
        assert error(named, [1]) == "unknown column horns"
        assert again(COUNT) == [{"n": 10}]

    def test_two_nodes_at_once(self, node, table, tmp_path):
        with engine.open_node(tmp_path / "other") as other:
            other.create_table("a", "t", "k").insert([{"k": 1}])
            for _ in range(AGAIN):
                assert grammar.query(node, COUNT) == [{"n": 10}]
                assert grammar.query(other, COUNT) == [{"n": 1}]
            assert grammar.query(other, COUNT) == grammar.query(other, COUNT) == [{"n": 1}]
            assert grammar.query(node, COUNT) == [{"n": 10}]
        assert grammar.query(node, COUNT) == [{"n": 10}]
        with pytest.raises(engine.Closed):
            grammar.query(other, COUNT)

    def test_one_root_that_is_open_twice(self, node, table, again, run):
        again(COUNT)
        with engine.open_node(node.root) as other:
            assert grammar.query(other, COUNT) == [{"n": 10}]
            grammar.query(other, "INSERT INTO a.t (id) VALUES ('x')")
            assert run(COUNT) == grammar.query(other, COUNT) == [{"n": 11}]
        assert run(COUNT) == [{"n": 11}]

    def test_a_closed_node(self, node, table, again, run):
        for sql in self.STATEMENTS:
            again(sql)
        node.close()
        for sql in self.STATEMENTS:
            with pytest.raises(engine.Closed, match="the node is closed"):
                run(sql)
        with engine.open_node(node.root) as later:
            assert grammar.query(later, COUNT) == [{"n": 10}]

    def test_the_child_of_a_fork(self, table, again, run):
        again(COUNT)
        child = os.fork()
        if child == 0:
            try:
                run(COUNT)
            except engine.Closed:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert run(COUNT) == [{"n": 10}]

    def test_a_node_is_not_held(self, tmp_path):
        node = engine.open_node(tmp_path / "other")
        node.create_table("a", "t").insert([{"id": 1}])
        for _ in range(AGAIN):
            assert grammar.query(node, COUNT) == [{"n": 1}]
        node.close()
        reference = weakref.ref(node)
        del node
        gc.collect()
        assert reference() is None


class TestTexts:
    def test_parameters_of_each_call(self, table, again, run, error):
        sql = "SELECT id FROM a.t WHERE id = ?"
        for key in range(AGAIN + 1):
            assert again(sql, [key]) == [{"id": key}]
        assert run(sql, ["3"]) == []
        assert run("SELECT id FROM a.t WHERE id = :key", {"key": 4}) == [{"id": 4}]
        assert error(sql) == error(sql, []) == "No value for parameter 1."
        assert error(sql, [1, 2]) == "The statement has 1 parameters, but 2 are given."
        assert error(sql, [[]]) == "A parameter must be a text, a number, a boolean or null."

    def test_a_count_takes_no_parameters(self, table, again, run, error):
        assert again(COUNT) == run(COUNT, []) == run(COUNT, {}) == [{"n": 10}]
        assert error(COUNT, [1]) == "The statement has 0 parameters, but 1 are given."

    def test_literals_that_are_alike(self, table, again):
        for sql, rows in (("1", 1), ("1.0", 1), ("'1'", 0), ("true", 0), ("2", 1)):
            assert len(again(f"SELECT id FROM a.t WHERE id = {sql}")) == rows

    def test_writes_are_done_each_time(self, table, run):
        for number in range(1, 5):
            run("UPDATE a.t SET age = age + 1 WHERE id = 3")
            assert run("SELECT age FROM a.t WHERE id = 3") == [{"age": 3 + number}]
        for number in range(4):
            assert len(run("INSERT INTO a.t (age) VALUES (9)")["inserted_hashes"]) == 1
            assert run("SELECT COUNT(*) AS n FROM a.t WHERE age = 9") == [{"n": number + 1}]

    def test_a_budget_counts_for_a_text_that_is_kept(self, node, table, again):
        sql = "SELECT age FROM a.t WHERE id >= 2"
        assert len(again(sql)) == 8
        with pytest.raises(grammar.SqlError, match="more than 3 rows"):
            grammar.prepare(node, sql).run(budget=grammar.Budget(rows=3))
        stopped = grammar.Budget()
        stopped.stop()
        with pytest.raises(engine.Cancelled):
            grammar.prepare(node, "SELECT age + 1 AS x FROM a.t").run(budget=stopped)

    def test_what_may_be_seen_is_asked_each_time(self, node, table, again):
        sql = "SELECT * FROM a.t WHERE id = 1"
        assert len(again(sql)[0]) == 4
        assert grammar.prepare(node, sql).run(visible=lambda schema, table: ["age"]) == [{"age": 1}]
        assert len(again(sql)[0]) == 4

    def test_only_so_many_are_kept(self, table, run):
        for number in range(kept.KEPT_TEXTS + kept.KEPT_BINDINGS):
            for _ in range(AGAIN):
                assert run(f"SELECT COUNT(*) AS n{number} FROM a.t") == [{f"n{number}": 10}]
            trees, texts = kept.sizes()
            assert trees <= kept.KEPT_BINDINGS
            assert texts <= kept.KEPT_TEXTS

    def test_long_texts_are_not_kept(self, table, again):
        before = kept.sizes()[1]
        for length in (kept.LONGEST_TEXT, 1_000_000):
            assert again(f"SELECT id FROM a.t WHERE age = '{'x' * length}'") == []
        assert kept.sizes()[1] == before

    def test_texts_with_literals_that_come_once_are_not_kept(self, table, run):
        before = kept.sizes()[1]
        for number in range(400):
            run(f"SELECT id FROM a.t WHERE id = {number} AND age = {number} LIMIT {number}")
        assert kept.sizes()[1] == before
