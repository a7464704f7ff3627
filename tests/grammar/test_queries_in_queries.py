"""Sub-queries, combinations of queries, WITH, and parameters."""

from __future__ import annotations

import pytest


class TestSubQueries:
    def test_a_scalar_may_look_at_the_row(self, kennel, run):
        rows = run(
            "SELECT b.name, (SELECT COUNT(*) FROM farm.dog WHERE breed = b.id) AS dogs FROM farm.breed b ORDER BY b.id"
        )
        assert [row["dogs"] for row in rows] == [1, 1, 1, 0]

    def test_a_scalar_without_rows_is_null_and_with_several_an_error(self, kennel, run, error):
        assert run("SELECT (SELECT id FROM farm.dog WHERE id = 99) AS x") == [{"x": None}]
        assert (
            error("SELECT (SELECT id FROM farm.dog) AS x") == "A sub-query used as a value returned more than one row."
        )
        text = error("SELECT id FROM farm.dog WHERE id IN (SELECT id, age FROM farm.dog)")
        assert text == "A sub-query used as a value must have one column."

    def test_in_and_not_in_know_null(self, kennel, run):
        assert run("SELECT id FROM farm.breed WHERE id NOT IN (SELECT breed FROM farm.dog)") == []
        assert run(
            "SELECT id FROM farm.breed WHERE id NOT IN (SELECT breed FROM farm.dog WHERE breed IS NOT NULL)"
        ) == [{"id": 350}]
        assert len(run("SELECT id FROM farm.breed WHERE id IN (SELECT breed FROM farm.dog)")) == 3

    def test_exists_and_any(self, kennel, run):
        exists = "SELECT id FROM farm.breed b WHERE {} (SELECT 1 FROM farm.dog d WHERE d.breed = b.id AND d.age > 5)"
        assert run(exists.format("EXISTS") + " ORDER BY id") == [{"id": 154}, {"id": 346}]
        assert run(exists.format("NOT EXISTS") + " ORDER BY id") == [{"id": 348}, {"id": 350}]
        assert run(
            "SELECT id FROM farm.dog WHERE age >= ALL (SELECT age FROM farm.dog WHERE age IS NOT NULL) AND id < 2"
        ) == [{"id": 1}]

    def test_two_levels_deep(self, kennel, run):
        rows = run(
            """SELECT d.id FROM farm.dog d WHERE EXISTS (SELECT 1 FROM farm.breed b WHERE b.id = d.breed
               AND b.section = (SELECT MIN(c.section) FROM farm.breed c WHERE c.id = d.breed))"""
        )
        assert [row["id"] for row in rows] == [1, 2, 3]

    def test_over_groups(self, kennel, run):
        rows = run(
            """SELECT owner, (SELECT COUNT(*) FROM farm.dog x WHERE x.owner = d.owner) AS n FROM farm.dog d
               WHERE owner IS NOT NULL GROUP BY owner ORDER BY owner"""
        )
        assert rows == [{"owner": "Kyle", "n": 2}, {"owner": "Stephen", "n": 1}, {"owner": "Zach", "n": 1}]

    def test_in_from(self, kennel, run, error):
        rows = run(
            """SELECT q.o, q.n + 1 AS m FROM (SELECT owner AS o, COUNT(*) AS n FROM farm.dog GROUP BY owner) q
               WHERE n > 1"""
        )
        assert rows == [{"o": "Kyle", "m": 3}]
        assert error("SELECT * FROM (SELECT 1 AS a)").startswith("Invalid SQL at: ")
        assert run("SELECT * FROM (SELECT id, name FROM farm.dog ORDER BY id DESC LIMIT 2) q ORDER BY id LIMIT 1") == [
            {"id": 4, "name": "Billy"}
        ]


class TestCombinations:
    def test_union_intersect_except(self, run):
        def values(sql):
            return [row["a"] for row in run(sql)]

        assert values("SELECT 1 AS a UNION SELECT 2 UNION SELECT 1.0") == [1, 2]
        assert values("SELECT 1 AS a UNION ALL SELECT 1") == [1, 1]
        assert values("SELECT 1 AS a UNION SELECT true UNION SELECT '1'") == [1, True, "1"]
        assert values("SELECT null AS a INTERSECT SELECT null") == [None]
        assert values("SELECT 1 AS a EXCEPT SELECT 1") == []
        assert values("SELECT 1 AS a UNION SELECT 2 INTERSECT SELECT 3") == [1]
        assert values("SELECT 1 AS a UNION SELECT 2 EXCEPT SELECT 1") == [2]

    def test_keys_are_those_of_the_first_and_order_and_limit_are_for_all(self, kennel, run, error):
        both = "SELECT id AS k, name FROM farm.dog UNION ALL SELECT id, name FROM farm.breed"
        assert run(f"{both} ORDER BY k DESC LIMIT 2 OFFSET 1") == [
            {"k": 348, "name": "SLOUGHI"},
            {"k": 346, "name": "MASTIFF"},
        ]
        assert run("SELECT 2 AS a UNION SELECT 10 ORDER BY 0 - a") == [{"a": 10}, {"a": 2}]
        assert error("SELECT 1 UNION SELECT 1, 2") == "UNION needs the same number of columns on both sides"

    def test_with(self, kennel, run, error):
        rows = run(
            """WITH old AS (SELECT * FROM farm.dog WHERE age > 5), names (n) AS (SELECT name FROM old)
               SELECT n FROM names WHERE n <> (SELECT MIN(name) FROM old)"""
        )
        assert rows == [{"n": "Penny"}]
        assert error("WITH a AS (SELECT 1 AS x) SELECT * FROM b") == "schema not defined for table b"
        assert error("WITH a (x, y) AS (SELECT 1) SELECT * FROM a") == "a has 1 columns, but 2 names are given"
        assert error("WITH a AS (SELECT x FROM a) SELECT * FROM a") == "schema not defined for table a"


class TestParameters:
    def test_positions_and_names(self, kennel, run):
        assert run("SELECT name FROM farm.dog WHERE id = ? AND age > ?", [1, 5]) == [{"name": "Penny"}]
        assert run("SELECT name FROM farm.dog WHERE id = :id AND :id < 2", {"id": 1}) == [{"name": "Penny"}]
        assert run("SELECT id FROM farm.dog ORDER BY id LIMIT ? OFFSET ?", [1, 2]) == [{"id": 3}]
        assert run("SELECT ? AS a, $0 AS b", ["x"]) == [{"a": "x", "b": "x"}]
        assert run("SELECT id FROM farm.dog ORDER BY id LIMIT ?", [1.0]) == [{"id": 1}]
        assert str(run("SELECT ? AS a", [2.0])) == "[{'a': 2}]"

    def test_a_parameter_is_a_value_never_sql(self, kennel, run):
        assert run("SELECT id FROM farm.dog WHERE name = ?", ["' OR 1 = 1 --"]) == []
        run("INSERT INTO farm.dog (id, name) VALUES (?, ?)", [9, "it's; DROP"])
        assert run("SELECT name FROM farm.dog WHERE id = ?", [9]) == [{"name": "it's; DROP"}]

    @pytest.mark.parametrize(
        ("sql", "given", "text"),
        [
            ("SELECT ?", None, "No value for parameter 1."),
            ("SELECT ?, ?", [1], "No value for parameter 2."),
            ("SELECT :x", {"y": 1}, "No value for parameter :x."),
            ("SELECT :x", [1], "No value for parameter :x."),
            ("SELECT ?", [1, 2], "The statement has 1 parameters, but 2 are given."),
            ("SELECT 1", [1], "The statement has 0 parameters, but 1 are given."),
            ("SELECT ?", [[1]], "A parameter must be a text, a number, a boolean or null."),
            ("SELECT ?", "x", "parameters must be an array or an object"),
            ("SELECT ?", 5, "parameters must be an array or an object"),
            ("SELECT ?", ["\ud800"], "A parameter must be a text, a number, a boolean or null."),
            ("SELECT ?", [float("nan")], "A parameter must be a text, a number, a boolean or null."),
            ("SELECT id FROM farm.dog LIMIT ?", ["1"], "LIMIT must be a whole number"),
            ("SELECT id FROM farm.dog LIMIT ?", [-1], "LIMIT must be a whole number"),
        ],
    )
    def test_values_have_to_fit(self, kennel, error, sql, given, text):
        assert error(sql, given) == text
