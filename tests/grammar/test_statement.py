"""Statements as such: errors of syntax, what permissions need to know, what is kept between statements."""

from __future__ import annotations

import pytest

import engine
import grammar
from grammar.scope import Touch

ADVICE = "Please ensure your SQL is valid. Try adding backticks to reserved words and schema table references."


class TestSyntaxErrors:
    @pytest.mark.parametrize(
        ("sql", "fragment"),
        [
            ("SELEC id FROM farm.dog", "SELEC id FROM farm.d"),
            ("SELECT id FROM farm.dog WHERE", "... FROM farm.dog WHERE"),
            ("SELECT id,\nFROM farm.dog", "SELECT id,FROM farm.dog"),
            ("SELECT abcdefghijklmnopqrstuvwxyz, , 1, 2, 3, 4, 5, 6, 7", "...ijklmnopqrstuvwxyz, , 1, 2, 3, 4, 5, 6, "),
        ],
    )
    def test_the_fragment_is_quoted_as_harperdb_does(self, error, sql, fragment):
        assert error(sql).startswith(f"Invalid SQL at: {fragment}. {ADVICE} Line ")

    @pytest.mark.parametrize(
        ("sql", "detail"),
        [
            (
                "SELECT a\n  FROM b.c\n WHERE ORDER",
                "Line 3, column 8: there is ORDER, where an expression or NOT is expected.",
            ),
            ("SELECT a FROM b.c GROUP a", "Line 1, column 25: there is a, where BY is expected."),
            ("SELECT (1", "Line 1, column 10: the statement ends, where ) is expected."),
            ("SELECT a FROM", "Line 1, column 14: the statement ends, where a name or ( is expected."),
            (
                "SELECT a FROM b.c LIMIT 'x'",
                "Line 1, column 25: there is 'x', where a parameter or a whole number is expected.",
            ),
            ("SELECT a IS 5", "Line 1, column 13: there is 5, where FALSE, NOT, NULL or TRUE is expected."),
            ("SELECT\n'abc", "Line 2, column 1: ' is never closed."),
            ("SELECT /* 1", "Line 1, column 8: /* is never closed."),
            ("SELECT # 1", "Line 1, column 8: nothing can start with '#'."),
        ],
    )
    def test_the_place_the_token_and_what_was_expected_are_told(self, error, sql, detail):
        assert error(sql).endswith(f" {ADVICE} {detail}")

    def test_line_column_and_what_was_expected_are_told(self, node):
        with pytest.raises(grammar.SqlError) as caught:
            grammar.prepare(node, "SELECT a\n  FROM b.c\n WHERE ORDER")
        assert (caught.value.line, caught.value.column) == (3, 8)
        assert "NAME" in caught.value.expected

    @pytest.mark.parametrize(
        ("sql", "text"),
        [
            (None, "The 'sql' parameter is missing from the request body"),
            ("", "The 'sql' parameter is missing from the request body"),
            (5, f"We had trouble parsing your request. {ADVICE}"),
            ("SELECT '\ud800'", f"We had trouble parsing your request. {ADVICE}"),
            ("  ", f"We had trouble parsing your request. {ADVICE}"),
            ("; SELECT 1", f"We had trouble parsing your request. {ADVICE}"),
            ("SELECT 1; SELECT 2", "Only one SQL statement is allowed per request."),
            ("drop TABLE a.b", "unsupported SQL type drop in SQL: drop TABLE a.b"),
            ("CREATE TABLE a.b (id INT)", "unsupported SQL type create in SQL: CREATE TABLE a.b (id INT)"),
        ],
    )
    def test_what_is_no_single_statement(self, error, sql, text):
        assert error(sql) == text

    @pytest.mark.parametrize(
        "sql",
        [
            "COMMIT",
            "VALUES (1)",
            "REPLACE INTO a.b (c) VALUES (1)",
            "(SELECT 1)",
            "SELECT 'a' 'b'",
            "SELECT 1 AS 'b'",
            "SELECT SUM(a) OVER (PARTITION BY b) FROM c.d",
            "SELECT ROW_NUMBER() OVER () FROM c.d",
            "SELECT a INTO b FROM c.d",
            "SELECT a FROM c.d FOR UPDATE",
            "SELECT a FROM c.d WHERE 'x' IN tags",
            "SELECT 7 DIV 2",
            "SELECT a FROM b.c WHERE d RLIKE 'x'",
            "SELECT a FROM b.c WHERE (a, b) = (1, 2)",
            "SELECT a FROM b.c WHERE a COLLATE NOCASE = 'x'",
            "SELECT a FROM b.c GROUP BY",
            "SELECT 0x10",
            "SELECT 1abc",
            "SELECT # 1",
            "SELECT order FROM a.b",
            "SELECT `` FROM a.b",
            "INSERT OR IGNORE INTO a.b (c) VALUES (1)",
            "SELECT a FROM b.c ORDER BY a LIMIT 1 ORDER BY a",
            "SELECT a IS 5",
            "SELECT a FROM b.c GROUPING SETS (a)",
            "SELECT @x",
        ],
    )
    def test_what_is_no_sql_here(self, error, sql):
        assert error(sql).startswith("Invalid SQL at: ")

    def test_white_space_comments_and_a_semicolon_do_no_harm(self, kennel, run):
        assert run("  select\n/* a; b */ id -- c\nFrom farm.dog\twhere ID_ = 1 ; ".replace("ID_", "id")) == [{"id": 1}]

    def test_words_of_the_grammar_may_be_names(self, node, run):
        words = [
            "value",
            "first",
            "last",
            "row",
            "both",
            "top",
            "nulls",
            "offset",
            "any",
            "conflict",
            "percent",
            "with",
            "full",
        ]
        node.create_table("a", "t").insert([{"id": 1, **{word: word for word in words}}])
        for word in words:
            if word not in ("top", "any"):
                assert run(f"SELECT {word} FROM a.t WHERE {word} = '{word}'") == [{word: word}]
            if word not in ("offset", "full"):
                assert run(f"SELECT id {word} FROM a.t {word} WHERE {word}.id = 1") == [{word: 1}]
        assert run("SELECT `select`.`id` FROM a.t `select`") == [{"id": 1}]
        assert run("SELECT [top] FROM a.[t]") == [{"top": "top"}]


class TestSuggestions:
    @pytest.mark.parametrize(
        ("sql", "text"),
        [
            ("SELECT wieght FROM farm.dog", "unknown column wieght. Did you mean weight?"),
            ("SELECT d.nme FROM farm.dog d", "unknown column d.nme. Did you mean d.name?"),
            ("SELECT dog.name FROM farm.dog AS d", "unknown column dog.name. Did you mean d.name?"),
            ("SELECT x.name FROM farm.dog AS d", "unknown column x.name"),
            ("SELECT dgo.name FROM farm.dog", "unknown column dgo.name. Did you mean dog.name?"),
            ("SELECT dgo.* FROM farm.dog", "unknown column dgo.*. Did you mean dog.*?"),
            ("SELECT id FROM farm.dog WHERE agee = 1", "unknown column agee. Did you mean age?"),
            ("SELECT * FROM farm.dog JOIN farm.breed USING (idd)", "unknown column idd. Did you mean id?"),
            ("SELECT q.nam FROM (SELECT name FROM farm.dog) q", "unknown column q.nam. Did you mean q.name?"),
            ("UPDATE farm.dog SET age = agge + 1", "unknown column agge. Did you mean age?"),
            ("SELECT * FROM farm.dgo", "Table 'farm.dgo' does not exist. Did you mean farm.dog?"),
            ("INSERT INTO farm.dogs (id) VALUES (1)", "Table 'farm.dogs' does not exist. Did you mean farm.dog?"),
            ("DELETE FROM farm.dogs", "table farm.dogs does not exist. Did you mean farm.dog?"),
            ("SELECT nothing_like_it FROM farm.dog", "unknown column nothing_like_it"),
            ("SELECT * FROM farm.zebra", "Table 'farm.zebra' does not exist"),
        ],
    )
    def test_an_unknown_name_comes_with_the_known_one_that_it_resembles(self, kennel, error, sql, text):
        assert error(sql) == text


class TestTouches:
    @pytest.mark.parametrize(
        ("sql", "touches"),
        [
            ("SELECT name FROM farm.dog WHERE age > 1 ORDER BY weight", {("dog", "read"): {"name", "age", "weight"}}),
            ("SELECT COUNT(*) FROM farm.dog", {("dog", "read"): set()}),
            ("SELECT UPPER(name) FROM farm.dog GROUP BY name HAVING MAX(age) > 1", {("dog", "read"): {"name", "age"}}),
            ("SELECT * FROM farm.dog WHERE age = 1", {("dog", "read"): {"age", "*"}}),
            (
                "SELECT d.id FROM farm.dog d JOIN farm.breed b ON d.breed = b.id",
                {("dog", "read"): {"id", "breed"}, ("breed", "read"): {"id"}},
            ),
            (
                "SELECT id FROM farm.dog WHERE breed IN (SELECT id FROM farm.breed WHERE section = owner)",
                {("dog", "read"): {"id", "breed", "owner"}, ("breed", "read"): {"id", "section"}},
            ),
            ("EXPLAIN SELECT name FROM farm.dog", {("dog", "read"): {"name"}}),
            ("INSERT INTO farm.dog (id, name) VALUES (9, 'x')", {("dog", "insert"): {"id", "name"}}),
            (
                "INSERT INTO farm.dog (id) SELECT id FROM farm.breed",
                {("dog", "insert"): {"id"}, ("breed", "read"): {"id"}},
            ),
            ("UPSERT INTO farm.dog (id) VALUES (1)", {("dog", "insert"): {"id"}, ("dog", "update"): {"id"}}),
            (
                "UPDATE farm.dog SET name = owner WHERE age = 1",
                {("dog", "update"): {"name"}, ("dog", "filter"): {"owner", "age"}},
            ),
            ("DELETE FROM farm.dog WHERE age = 1", {("dog", "delete"): set(), ("dog", "filter"): {"age"}}),
            ("SELECT 1", {}),
        ],
    )
    def test_what_a_statement_does_with_which_attributes(self, kennel, sql, touches):
        found: dict[tuple[str, str], set[str]] = {}
        for touch in grammar.prepare(kennel, sql).touches:
            assert touch.schema == "farm"
            names = {"*"} if touch.attributes is None else set(touch.attributes)
            found.setdefault((touch.table, touch.action), set()).update(names)
        assert found == touches

    def test_a_touch_is_a_value(self):
        assert Touch("a", "b", "read", None) == Touch("a", "b", "read", None)

    def test_a_star_shows_only_what_is_visible(self, kennel):
        def visible(schema: str, table: str) -> list[str] | None:
            return ["name", "age", "id"] if table == "dog" else None

        rows = grammar.prepare(kennel, "SELECT * FROM farm.dog WHERE id = 1").run(visible=visible)
        assert [list(row.items()) for row in rows] == [[("name", "Penny"), ("age", 7), ("id", 1)]]
        joined = grammar.prepare(kennel, "SELECT * FROM farm.dog d, farm.breed b LIMIT 1").run(visible=visible)
        assert list(joined[0])[:4] == ["name", "age", "id", "id1"]

    def test_writes_carry_the_user(self, kennel):
        grammar.prepare(kennel, "UPDATE farm.dog SET age = 8 WHERE id = 1").run(user="kim")
        assert kennel.table("farm", "dog").transactions()[-1].user == "kim"


class TestWhatIsKept:
    def test_an_attribute_that_appears_is_seen_by_a_statement_that_ran_before(self, kennel, run, error):
        assert error("SELECT fresh FROM farm.dog WHERE id = 1") == "unknown column fresh"
        assert "fresh" not in run("SELECT * FROM farm.dog WHERE id = 1")[0]
        kennel.table("farm", "dog").update([{"id": 1, "fresh": 1}])
        assert run("SELECT fresh FROM farm.dog WHERE id = 1") == [{"fresh": 1}]
        assert run("SELECT * FROM farm.dog WHERE id = 1")[0]["fresh"] == 1

    def test_a_table_that_is_dropped_and_made_anew(self, node, run, error):
        node.create_table("a", "t").insert([{"id": 1}])
        assert run("SELECT * FROM a.t WHERE id = 1")[0]["id"] == 1
        node.drop_table("a", "t")
        assert error("SELECT * FROM a.t WHERE id = 1") == "Table 'a.t' does not exist"
        node.create_table("a", "t", "k").insert([{"k": 1}])
        assert error("SELECT * FROM a.t WHERE id = 1") == "unknown column id"

    def test_two_nodes_do_not_share_what_they_know(self, kennel, tmp_path):
        with engine.open_node(tmp_path / "other") as other:
            other.create_table("farm", "dog", "name").insert([{"name": "Rex"}])
            for _ in range(2):
                assert grammar.query(kennel, "SELECT name FROM farm.dog WHERE name = 'Rex'") == []
                assert grammar.query(other, "SELECT name FROM farm.dog WHERE name = 'Rex'") == [{"name": "Rex"}]

    def test_statements_of_one_shape_keep_their_own_literals(self, kennel, run):
        for key, name in ((1, "Penny"), (2, "Harper"), (4, "Billy")):
            assert run(f"SELECT name FROM farm.dog WHERE id = {key} AND name = '{name}' LIMIT {key}") == [
                {"name": name}
            ]
        for cut in (1, 2, 3):
            assert run(f"SELECT CAST(name AS VARCHAR({cut})) AS n FROM farm.dog WHERE id = 1") == [{"n": "Penny"[:cut]}]
            assert run(f"SELECT id FROM farm.dog WHERE CAST(name AS VARCHAR({cut})) = '{'Penny'[:cut]}'") == [{"id": 1}]
        assert run("SELECT tags->0 AS t FROM farm.dog WHERE id = 3") == [{"t": "a"}]
        assert run("SELECT tags->1 AS t FROM farm.dog WHERE id = 3") == [{"t": "b"}]
        assert run("SELECT id FROM farm.dog WHERE tags->0 = 'a'") == [{"id": 3}]
        assert run("SELECT id FROM farm.dog WHERE tags->1 = 'a'") == []
        assert run("SELECT 5 AS v") == [{"v": 5}]
        assert run("SELECT 5.5 AS v") == [{"v": 5.5}]
        assert run("SELECT '5' AS v") == [{"v": "5"}]

    def test_long_statements_are_not_kept(self, kennel, run):
        rows = ", ".join([f"({key}, 'dog {key}')" for key in range(100, 1_000)])
        assert run(f"INSERT INTO farm.dog (id, name) VALUES {rows}")["message"] == "inserted 900 of 900 records"
        assert len(run("SELECT id FROM farm.dog WHERE id IN (" + ", ".join(map(str, range(90, 1_010))) + ")")) == 900

    def test_secrets_of_system_tables_do_not_exist_for_sql(self, node, run, error):
        node.system("hdb_user").insert([{"username": "kim", "password": "hash", "role": "r", "active": True}])
        (row,) = run("SELECT * FROM system.hdb_user")
        assert "password" not in row
        assert error("SELECT username FROM system.hdb_user WHERE password LIKE 'h%'") == "unknown column password"

    def test_one_cut_over_several_tables(self, node, run):
        """Both tables always hold the same rows; a query over both never sees one ahead of the other."""
        one, two = node.create_table("a", "one"), node.create_table("a", "two")
        for table in (one, two):
            table.insert([{"id": 1}])
        sql = "SELECT (SELECT COUNT(*) FROM a.one) AS x, (SELECT COUNT(*) FROM a.two) AS y"
        assert run(sql) == [{"x": 1, "y": 1}]
