"""INSERT, UPDATE, DELETE, UPSERT: replies, what they write, and what happens when another writer is faster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import engine
import grammar


@pytest.fixture
def table(node):
    made = node.create_table("a", "t")
    made.insert([{"id": 1, "x": 1, "y": "one"}, {"id": 2, "x": 2, "y": "two"}])
    return made


class TestInsert:
    def test_keys_that_exist_are_skipped(self, table, run):
        assert run("INSERT INTO a.t (id, x) VALUES (2, 20), (3, 1 + 2)") == {
            "message": "inserted 1 of 2 records",
            "inserted_hashes": [3],
            "skipped_hashes": [2],
        }
        assert table.get(3)["x"] == 3

    def test_values_are_expressions_without_columns(self, table, run, error):
        run("""INSERT a.t (id, x, y) VALUE (4, CASE WHEN 1 > 0 THEN UPPER('it''s') END, @{"deep": [1, null]})""")
        assert (table.get(4)["x"], table.get(4)["y"]) == ("IT'S", {"deep": [1, None]})
        run("INSERT INTO a.t (id, x) VALUES (5, (SELECT MAX(x) FROM a.t WHERE id < 3))")
        assert table.get(5)["x"] == 2
        assert error("INSERT INTO a.t (id, x) VALUES (6, x)") == "column 'x' cannot be used in VALUES"
        assert error("INSERT INTO a.t (id) VALUES (COUNT(*))") == "aggregate functions are not allowed in VALUES"

    def test_a_missing_or_null_key_gets_a_uuid(self, table, run):
        for statement in ("INSERT INTO a.t (x) VALUES (7)", "INSERT INTO a.t (id, x) VALUES (NULL, 7)"):
            (key,) = run(statement)["inserted_hashes"]
            assert len(key) == 36
            assert table.get(key)["x"] == 7

    def test_unknown_columns_become_attributes_and_times_are_ignored(self, table, run):
        run("INSERT INTO a.t (id, `new one`, __createdtime__) VALUES (8, true, 5)")
        assert table.get(8)["new one"] is True
        assert table.get(8)["__createdtime__"] > 1000
        assert run("SELECT `new one` FROM a.t WHERE id = 8") == [{"new one": True}]

    def test_from_a_query_also_from_the_table_itself(self, table, run):
        reply = run("INSERT INTO a.t (id, x) SELECT id + 10, x * 2 FROM a.t")
        assert reply["inserted_hashes"] == [11, 12]
        assert [row["x"] for row in run("SELECT x FROM a.t ORDER BY id")] == [1, 2, 2, 4]

    def test_on_conflict(self, table, run, error):
        assert run("INSERT INTO a.t (id, x) VALUES (1, 5) ON CONFLICT (id) DO NOTHING")["skipped_hashes"] == [1]
        reply = run(
            """INSERT INTO a.t (id, x) VALUES (1, 5), (9, 6)
               ON CONFLICT (id) DO UPDATE SET x = t.x + excluded.x, y = 'new'"""
        )
        assert reply == {"message": "upserted 2 of 2 records", "upserted_hashes": [9, 1]}
        assert (table.get(1)["x"], table.get(1)["y"], table.get(9)["x"]) == (6, "new", 6)
        text = error("INSERT INTO a.t (id, x) VALUES (1, 5) ON CONFLICT (x) DO NOTHING")
        assert text == "ON CONFLICT takes the primary key, id"

    def test_upsert(self, table, run):
        reply = run("UPSERT INTO a.t (id, x) VALUES (2, 22), (7, 77)")
        assert reply == {"message": "upserted 2 of 2 records", "upserted_hashes": [2, 7]}
        assert (table.get(2)["x"], table.get(2)["y"], table.get(7)["x"]) == (22, "two", 77)

    @pytest.mark.parametrize(
        ("sql", "text"),
        [
            ("INSERT INTO a.t VALUES (1)", "INSERT requires a column list"),
            ("INSERT INTO a.t DEFAULT VALUES", "INSERT requires a column list"),
            ("INSERT INTO a.t (id, x) VALUES (1)", "INSERT has 2 columns, but a row has 1 values"),
            ("INSERT INTO a.t (id, x) SELECT id FROM a.t", "INSERT has 2 columns, but the query has 1"),
            ("INSERT INTO a.t (id, x, x) VALUES (1, 2, 3)", "column 'x' is named twice"),
            ("INSERT INTO a.u (id) VALUES (1)", "Table 'a.u' does not exist"),
            ("INSERT INTO b.u (id) VALUES (1)", "schema 'b' does not exist"),
            ("INSERT INTO t (id) VALUES (1)", "schema not defined for table t"),
            ("INSERT INTO a.t (id, x) VALUES", "Invalid SQL at: "),
            (
                "INSERT INTO a.t (id, `a/b`) VALUES (3, 1)",
                "Attribute names cannot include backticks or forward slashes",
            ),
        ],
    )
    def test_what_makes_no_sense_is_a_bad_request(self, table, run, sql, text):
        with pytest.raises(engine.InvalidRequest) as caught:
            run(sql)
        assert caught.value.message.startswith(text)


class TestUpdate:
    def test_right_sides_see_the_old_record(self, table, run):
        assert run("UPDATE a.t SET x = y, y = x, t.z = x + 1 WHERE id = 1") == {
            "message": "updated 1 of 1 records",
            "update_hashes": [1],
            "skipped_hashes": [],
        }
        assert {name: table.get(1)[name] for name in "xyz"} == {"x": "one", "y": 1, "z": 2}

    def test_an_update_that_changes_nothing_counts(self, table, run):
        assert run("UPDATE a.t SET x = x")["message"] == "updated 2 of 2 records"
        assert run("UPDATE a.t SET x = 1 WHERE id = 99")["message"] == "updated 0 of 0 records"

    def test_setting_the_key_looks_up_that_key(self, table, run):
        assert run("UPDATE a.t SET id = 99 WHERE id = 1") == {
            "message": "updated 0 of 1 records",
            "update_hashes": [],
            "skipped_hashes": [99],
        }

    def test_sub_queries_in_set_and_where(self, table, run):
        run("UPDATE a.t SET x = (SELECT COUNT(*) FROM a.t) WHERE x IN (SELECT MAX(x) FROM a.t)")
        assert [row["x"] for row in run("SELECT x FROM a.t ORDER BY id")] == [1, 2]
        run("UPDATE a.t SET x = (SELECT u.x + 10 FROM a.t u WHERE u.id = 3 - t.id)")
        assert [row["x"] for row in run("SELECT x FROM a.t ORDER BY id")] == [12, 11]

    @pytest.mark.parametrize(
        ("sql", "text"),
        [
            ("UPDATE a.t SET x = nope", "unknown column nope"),
            ("UPDATE a.t SET x = 1 WHERE nope = 1", "unknown column nope"),
            ("UPDATE a.t SET u.x = 1", "unknown column u.x"),
            ("UPDATE a.t SET x = 1, x = 2", "column 'x' is named twice"),
            ("UPDATE a.u SET x = 1", "table a.u does not exist"),
            ("UPDATE b.u SET x = 1", "schema b does not exist"),
            ("UPDATE a.t WHERE id = 1", "Invalid SQL at: "),
            ("UPDATE a.t u SET x = 1", "Invalid SQL at: "),
            ("UPDATE a.t SET x = 1 LIMIT 1", "Invalid SQL at: "),
        ],
    )
    def test_what_makes_no_sense_is_a_bad_request(self, table, run, sql, text):
        with pytest.raises(engine.InvalidRequest) as caught:
            run(sql)
        assert caught.value.message.startswith(text)


class TestDelete:
    def test_replies(self, table, run):
        table.insert([{"id": 3}, {"id": 4}])
        assert run("DELETE FROM a.t WHERE id = 1") == {
            "message": "1 of 1 record successfully deleted",
            "deleted_hashes": [1],
            "skipped_hashes": [],
        }
        assert run("DELETE FROM a.t WHERE id = 1")["message"] == "0 of 0 records successfully deleted"
        assert run("DELETE FROM a.t WHERE x IS NULL")["deleted_hashes"] == [3, 4]
        assert run("DELETE FROM a.t")["deleted_hashes"] == [2]
        assert run("SELECT COUNT(*) AS n FROM a.t") == [{"n": 0}]

    def test_errors(self, table, error):
        assert error("DELETE FROM a.u") == "table a.u does not exist"
        assert error("DELETE a.t WHERE id = 1").startswith("Invalid SQL at: ")
        assert error("DELETE FROM a.t ORDER BY id").startswith("Invalid SQL at: ")


class Interfering:
    """A table that is written by somebody else just before each of its first writes."""

    def __init__(self, table: engine.Table, times: int) -> None:
        self.table, self.times = table, times

    def __getattr__(self, name: str):
        if name in ("update", "delete", "insert") and self.times > 0:
            self.times -= 1
            self.table.update([{"id": 1, "x": self.table.get(1)["x"] + 100}])
        return getattr(self.table, name)


class InterferingNode:
    def __init__(self, node: engine.Node, times: int) -> None:
        self.node, self.times = node, times
        self.tables: dict[str, Interfering] = {}

    def table(self, schema: str, name: str) -> Interfering:
        return self.tables.setdefault(name, Interfering(self.node.table(schema, name), self.times))


class TestConflicts:
    def test_an_update_that_was_overtaken_starts_over(self, node, table):
        grammar.query(InterferingNode(node, 3), "UPDATE a.t SET x = x + 1 WHERE x >= 1")
        assert table.get(1)["x"] == 302
        assert table.get(2)["x"] == 3

    def test_a_delete_that_was_overtaken_looks_again(self, node, table):
        reply = grammar.query(InterferingNode(node, 1), "DELETE FROM a.t WHERE x = 1")
        assert reply["message"] == "0 of 0 records successfully deleted"
        assert table.get(1)["x"] == 101

    def test_a_write_that_is_always_overtaken_gives_up(self, node, table):
        with pytest.raises(engine.Conflict):
            grammar.query(InterferingNode(node, 10_000), "UPDATE a.t SET x = x + 1")

    def test_no_increment_is_lost_among_threads(self, node, table):
        def increment(_: int) -> None:
            grammar.query(node, "UPDATE a.t SET x = x + 1 WHERE id = 1")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(increment, range(40)))
        assert table.get(1)["x"] == 41
