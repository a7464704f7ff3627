"""SELECT: keys, stars, aliases, grouping, order and limits."""

from __future__ import annotations

import pytest


def test_a_star_gives_all_attributes_in_order_and_null_for_those_a_record_lacks(kennel, run):
    (row,) = run("SELECT * FROM farm.dog WHERE id = 5")
    assert list(row) == [
        "id", "__createdtime__", "__updatedtime__", "name", "breed", "age", "weight", "owner", "good", "tags", "info",
    ]  # fmt: skip
    assert (row["breed"], row["tags"], row["age"]) == (None, None, None)


def test_named_items_come_before_the_star_and_are_not_repeated(kennel, run):
    (row,) = run("SELECT *, age + 1 AS older, name FROM farm.dog WHERE id = 1")
    assert list(row)[:3] == ["older", "name", "id"]
    assert row["older"] == 8
    assert len(row) == 12


@pytest.mark.parametrize(
    ("item", "key"),
    [
        ("name", "name"),
        ("dog.name", "name"),
        ("farm.dog.name", "name"),
        ("COUNT(*)", "COUNT(*)"),
        ("count( * )", "COUNT(*)"),
        ("sum(dog.age)", "SUM(dog.age)"),
        ("COUNT(DISTINCT age)", "COUNT(age)"),
        ("ARRAY(age)", "ARRAY(age)"),
        ("median(age)", "MEDIAN(age)"),
        ("SUM(age * 2)", "SUM(age * 2)"),
        ("upper( name )", "UPPER(name)"),
        ("CONCAT(name, 'x')", 'CONCAT(name,"x")'),
        ("date_add(1, 2)", "date_add(1,2)"),
        ("search_json('x', info)", 'search_json("x",info)'),
        ("geoArea(info)", "geoArea(info)"),
        ("1", "1"),
        ("'a'", "'a'"),
        ("true", "TRUE"),
        ("age+1", "age + 1"),
        ("(age + 1) * 2", "(age + 1) * 2"),
        ("info->x->y", "info->x->y"),
        ("CASE WHEN age > 5 THEN 1 ELSE 0 END", "CASE WHEN age > 5 THEN 1 ELSE 0 END"),
        ("age IS NOT NULL", "age IS NOT NULL"),
        ("name NOT LIKE 'a%'", "name NOT LIKE 'a%'"),
        ("age IN (1, 2)", "age IN (1, 2)"),
        ("CAST(age AS varchar(3))", "CAST(age AS VARCHAR(3))"),
    ],
)
def test_the_key_of_an_item_without_alias(kennel, run, item, key):
    assert list(run(f"SELECT {item} FROM farm.dog WHERE id = 1")[0]) == [key]


def test_keys_without_from_are_as_written(run):
    assert run("SELECT 1, 'a', 1+1, true, CONCAT('a', 'b')") == [
        {"1": 1, "'a'": "a", "1 + 1": 2, "TRUE": True, "CONCAT('a','b')": "ab"}
    ]


def test_of_two_items_with_one_key_the_last_wins(kennel, run):
    assert run("SELECT id AS x, age AS x FROM farm.dog WHERE id = 1") == [{"x": 7}]


def test_the_literals_of_a_key_are_those_of_this_statement(kennel, run):
    for number in (1, 2, 3):
        assert run(f"SELECT age + {number} FROM farm.dog WHERE id = 1") == [{f"age + {number}": 7 + number}]


def test_nested_values_are_reached_step_by_step(kennel, run):
    assert run("SELECT info->x->y AS y, info->z AS z, tags->0 AS t FROM farm.dog WHERE id IN (3, 4) ORDER BY id") == [
        {"y": None, "z": None, "t": "a"},
        {"y": 1, "z": None, "t": None},
    ]


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT nope FROM farm.dog", "unknown column nope"),
        ("SELECT ID FROM farm.dog", "unknown column ID"),
        ("SELECT x.id FROM farm.dog d", "unknown column x.id"),
        ("SELECT dog.id FROM farm.dog d", "unknown column dog.id. Did you mean d.id?"),
        ("SELECT x.* FROM farm.dog", "unknown column x.*"),
        ("SELECT * FROM dog", "schema not defined for table dog"),
        ("SELECT * FROM `farm.dog`", "schema not defined for table farm.dog"),
        ("SELECT * FROM farm.cat", "Table 'farm.cat' does not exist"),
        ("SELECT * FROM zoo.cat", "schema 'zoo' does not exist"),
        ("SELECT *", "no from clause"),
        ("SELECT a", "no from clause"),
        ("SELECT LOG(1, 2, 3)", "function LOG takes 1 to 2 arguments, 3 given"),
        ("SELECT frobnicate(1)", "unknown function 'frobnicate'"),
        ("SELECT UPPER()", "function UPPER takes 1 argument, 0 given"),
        ("SELECT SUM(*) FROM farm.dog", "SUM(*) makes no sense"),
        ("SELECT name, COUNT(*) FROM farm.dog", "select column 'name' must be in group by"),
        ("SELECT name, age FROM farm.dog GROUP BY age", "select column 'name' must be in group by"),
        ("SELECT id FROM farm.dog WHERE COUNT(*) > 1", "aggregate functions are not allowed in WHERE"),
        ("SELECT SUM(COUNT(*)) FROM farm.dog", "aggregate functions are not allowed in an aggregate function"),
        ("SELECT 1 FROM farm.dog GROUP BY COUNT(*)", "aggregate functions are not allowed in GROUP BY"),
        ("SELECT id FROM farm.dog ORDER BY 9", "ORDER BY position 9 is not in the select list"),
        ("SELECT id FROM farm.dog ORDER BY 'name'", "ORDER BY 'name' makes no sense: it is a constant"),
        ("SELECT id AS x, age AS x FROM farm.dog ORDER BY x", "ambiguous column reference x in order by"),
        ("SELECT id FROM farm.dog d, farm.dog d", "ambiguous column reference d.id"),
        (
            "SELECT DISTINCT age FROM farm.dog ORDER BY id",
            "ORDER BY expressions must appear in the select list of SELECT DISTINCT",
        ),
        ("SELECT TOP 2 id FROM farm.dog LIMIT 1", "TOP and LIMIT exclude each other"),
        ("SELECT CAST(1 AS frob)", "unknown type 'FROB'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(kennel, error, sql, text):
    assert error(sql) == text


class TestGroups:
    def test_keys_may_be_unselected_aliases_positions_and_expressions(self, kennel, run):
        groups = [{"n": 1}, {"n": 1}, {"n": 1}, {"n": 2}]
        assert run("SELECT COUNT(*) AS n FROM farm.dog GROUP BY age ORDER BY n") == groups
        by_alias = run("SELECT age % 2 AS odd, COUNT(*) AS n FROM farm.dog GROUP BY odd ORDER BY odd")
        assert by_alias == run("SELECT age % 2 AS odd, COUNT(*) AS n FROM farm.dog GROUP BY 1 ORDER BY 1")
        assert by_alias == [{"odd": None, "n": 1}, {"odd": 0, "n": 1}, {"odd": 1, "n": 3}]

    def test_literals_of_positions_are_not_mixed_up(self, kennel, run):
        assert list(run("SELECT age, owner FROM farm.dog WHERE id = 1 ORDER BY 1")[0]) == ["age", "owner"]
        first = run("SELECT id, age FROM farm.dog ORDER BY 1")
        second = run("SELECT id, age FROM farm.dog ORDER BY 2")
        assert [row["id"] for row in first] == [1, 2, 3, 4, 5]
        assert [row["id"] for row in second] == [5, 4, 3, 1, 2]

    def test_nulls_and_absent_values_are_one_group(self, kennel, run):
        kennel.table("farm", "dog").insert([{"id": 6, "age": None}, {"id": 7}])
        assert {"age": None, "n": 3} in run("SELECT age, COUNT(*) AS n FROM farm.dog GROUP BY age")

    def test_groups_are_told_apart_by_type(self, node, run):
        node.create_table("a", "t").insert([{"id": i, "v": v} for i, v in enumerate([1, True, "1", 1.0, [1], [True]])])
        groups = run("SELECT v, COUNT(*) AS n FROM a.t GROUP BY v ORDER BY v")
        assert [(row["v"], row["n"]) for row in groups] == [(True, 1), (1, 2), ("1", 1), ([True], 1), ([1], 1)]
        assert run("SELECT COUNT(DISTINCT v) AS n FROM a.t") == [{"n": 5}]
        assert len(run("SELECT DISTINCT v FROM a.t")) == 5

    def test_expressions_of_aggregates(self, kennel, run):
        assert run("SELECT owner, COUNT(*) * 2 + MAX(age) AS x FROM farm.dog WHERE owner = 'Kyle' GROUP BY owner") == [
            {"owner": "Kyle", "x": 11}
        ]
        assert run("SELECT ROUND(SUM(weight) / COUNT(weight), 2) AS mean FROM farm.dog") == [{"mean": 48.13}]
        assert run("SELECT SUM(CASE WHEN age > 5 THEN 1 ELSE 0 END) AS n FROM farm.dog") == [{"n": 2}]

    def test_having_knows_columns_aliases_and_aggregates(self, kennel, run):
        base = "SELECT age, COUNT(*) AS n FROM farm.dog GROUP BY age HAVING {} ORDER BY age"
        assert run(base.format("n > 1")) == [{"age": 7, "n": 2}]
        assert run(base.format("age > 4 AND COUNT(*) = 1")) == [{"age": 5, "n": 1}]
        assert run(base.format("MAX(weight) > 60")) == [{"age": 5, "n": 1}]
        assert run("SELECT COUNT(*) AS n FROM farm.dog HAVING COUNT(*) > 10") == []

    def test_no_rows_give_no_groups_but_one_total(self, kennel, run):
        assert run("SELECT age, COUNT(*) AS n FROM farm.dog WHERE id > 99 GROUP BY age") == []
        assert run("SELECT COUNT(*) AS n, SUM(age) AS s, MAX(age) AS m FROM farm.dog WHERE id > 99") == [
            {"n": 0, "s": 0, "m": None}
        ]

    def test_order_by_an_aggregate_that_is_not_selected(self, kennel, run):
        rows = run("SELECT owner FROM farm.dog GROUP BY owner ORDER BY COUNT(*) DESC, owner")
        assert [row["owner"] for row in rows] == ["Kyle", None, "Stephen", "Zach"]


class TestOrder:
    def test_mixed_types_are_ordered_by_type(self, node, run):
        values = [{"a": 1}, [2], [1], "b", "B", "", 10, 9.5, -1, True, False, None]
        node.create_table("a", "t").insert([{"id": i, "v": v} for i, v in enumerate(values)] + [{"id": 99}])
        ascending = [row["id"] for row in run("SELECT id FROM a.t ORDER BY v, id")]
        assert ascending == [11, 99, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
        assert [row["id"] for row in run("SELECT id FROM a.t ORDER BY v DESC, id DESC")] == ascending[::-1]

    def test_nulls_go_where_they_are_told(self, kennel, run):
        def ids(order):
            return [row["id"] for row in run(f"SELECT id FROM farm.dog ORDER BY {order}, id")]

        assert ids("age") == [5, 4, 3, 1, 2]
        assert ids("age DESC") == [1, 2, 3, 4, 5]
        assert ids("age NULLS LAST") == [4, 3, 1, 2, 5]
        assert ids("age DESC NULLS FIRST") == [5, 1, 2, 3, 4]

    def test_by_alias_expression_and_case_folded(self, kennel, run):
        def ids(order):
            return [row["id"] for row in run(f"SELECT id, - age AS older, name FROM farm.dog ORDER BY {order}, id")]

        assert ids("older") == [5, 1, 2, 3, 4]
        assert ids("older + 0 DESC") == [4, 3, 1, 2, 5]
        assert ids("LENGTH(name)") == [3, 5, 1, 4, 2]
        assert ids("name") == [4, 2, 1, 5, 3]
        assert ids("name COLLATE NOCASE") == [3, 4, 2, 1, 5]

    def test_an_alias_hides_a_column_of_its_name(self, kennel, run):
        rows = run("SELECT id, - id AS age FROM farm.dog ORDER BY age")
        assert [row["id"] for row in rows] == [5, 4, 3, 2, 1]

    def test_long_texts_are_ordered_although_an_index_cuts_them(self, node, run):
        names = ["x" * 500 + end for end in "cab"] + ["x" * 500, "w", "y"]
        node.create_table("a", "t").insert([{"id": i, "v": name} for i, name in enumerate(names)])
        assert [row["id"] for row in run("SELECT id FROM a.t ORDER BY v")] == [4, 3, 1, 2, 0, 5]
        assert [row["id"] for row in run("SELECT id FROM a.t ORDER BY v DESC LIMIT 3")] == [5, 0, 2]
        assert [row["id"] for row in run("SELECT id FROM a.t ORDER BY v LIMIT 2 OFFSET 2")] == [1, 2]
        assert run("SELECT MIN(v) AS a, MAX(v) AS z FROM a.t WHERE v > 'x' AND v < 'y'") == [
            {"a": "x" * 500, "z": "x" * 500 + "c"}
        ]
        assert run(f"SELECT id FROM a.t WHERE v = '{names[1]}'") == [{"id": 1}]
        assert run(f"SELECT COUNT(*) AS n FROM a.t WHERE v > '{names[1]}'") == [{"n": 3}]
        assert len(run("SELECT DISTINCT v FROM a.t")) == 6


class TestLimit:
    @pytest.mark.parametrize(
        ("clause", "ids"),
        [
            ("LIMIT 2", [1, 2]),
            ("LIMIT 2 OFFSET 3", [4, 5]),
            ("LIMIT 2 OFFSET 4", [5]),
            ("LIMIT 2 OFFSET 5", []),
            ("LIMIT 0", []),
            ("OFFSET 3", [4, 5]),
            ("OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY", [2, 3]),
            ("FETCH FIRST 1 ROW ONLY", [1]),
        ],
    )
    def test_rows_are_counted_off(self, kennel, run, clause, ids):
        for order in ("ORDER BY id", "ORDER BY id + 0"):
            assert [row["id"] for row in run(f"SELECT id FROM farm.dog {order} {clause}")] == ids

    @pytest.mark.parametrize("top", [("2", 2), ("(3)", 3), ("50 PERCENT", 3), ("0", 0)])
    def test_top(self, kennel, run, top):
        assert len(run(f"SELECT TOP {top[0]} id FROM farm.dog")) == top[1]

    @pytest.mark.parametrize(
        "limit", ["1.5", "-1", "'2'", "1+1", "ALL", "NULL", "3, 2", "1 OFFSET 1.5", "2 ORDER BY id"]
    )
    def test_other_limits_are_syntax_errors(self, kennel, error, limit):
        assert error(f"SELECT id FROM farm.dog LIMIT {limit}").startswith("Invalid SQL at: ")

    def test_distinct_comes_before_the_limit(self, kennel, run):
        assert run("SELECT DISTINCT age FROM farm.dog ORDER BY age DESC LIMIT 2") == [{"age": 7}, {"age": 5}]
        assert run("SELECT DISTINCT(owner) FROM farm.dog ORDER BY owner LIMIT 2 OFFSET 1") == [
            {"owner": "Kyle"},
            {"owner": "Stephen"},
        ]


class TestJoins:
    def test_colliding_keys_get_numbers_and_explicit_items_count_first(self, kennel, run):
        on = "FROM farm.dog d JOIN farm.breed b ON d.breed = b.id WHERE d.id = 1"
        assert run(f"SELECT d.name, b.name {on}") == [{"name": "Penny", "name1": "WHIPPET"}]
        row = run(f"SELECT d.*, b.name {on}")[0]
        assert (row["name"], row["name1"], next(iter(row))) == ("WHIPPET", "Penny", "name")
        everything = run(f"SELECT * {on}")[0]
        assert (everything["id"], everything["id1"], everything["name1"]) == (1, 154, "WHIPPET")
        assert "__createdtime__1" in everything

    def test_numbers_that_are_taken_are_passed_over(self, node, run):
        node.create_table("a", "t").insert([{"id": 1, "id1": "one"}])
        (row,) = run("SELECT x.id, x.id1, y.id FROM a.t x, a.t y")
        assert row == {"id": 1, "id1": "one", "id2": 1}

    def test_using_gives_the_column_once(self, node, run):
        node.create_table("a", "t", "k").insert([{"k": 1, "l": "l1"}, {"k": 2, "l": "l2"}])
        node.create_table("a", "u", "k").insert([{"k": 2, "r": "r2"}, {"k": 3, "r": "r3"}])
        rows = run("SELECT k, l, r FROM a.t FULL JOIN a.u USING (k) ORDER BY k")
        assert rows == [{"k": 1, "l": "l1", "r": None}, {"k": 2, "l": "l2", "r": "r2"}, {"k": 3, "l": None, "r": "r3"}]
        assert [key for key in run("SELECT * FROM a.t JOIN a.u USING (k)")[0] if key.startswith("k")] == ["k"]
        assert run("SELECT k FROM a.t RIGHT JOIN a.u USING (k) ORDER BY k") == [{"k": 2}, {"k": 3}]

    def test_null_never_joins_and_types_have_to_agree(self, node, run):
        node.create_table("a", "t").insert([{"id": i, "x": x} for i, x in enumerate([None, 1, "1", True, [1]])])
        rows = run("SELECT l.id AS l, r.id AS r FROM a.t l JOIN a.t r ON l.x = r.x ORDER BY l.id")
        assert rows == [{"l": i, "r": i} for i in (1, 2, 3, 4)]

    def test_conditions_on_the_outer_side(self, kennel, run):
        on = "SELECT b.id, d.id FROM farm.breed b LEFT JOIN farm.dog d ON d.breed = b.id"
        assert len(run(on)) == 4
        assert run(f"{on} AND d.age = 7 ORDER BY b.id")[2:] == [{"id": 348, "id1": None}, {"id": 350, "id1": None}]
        assert len(run(f"{on} WHERE d.age = 7")) == 2
        assert run(f"{on} WHERE d.id IS NULL") == [{"id": 350, "id1": None}]

    def test_unqualified_columns_are_resolved_when_unique(self, kennel, run, error):
        assert run("SELECT section FROM farm.dog d JOIN farm.breed b ON breed = b.id WHERE age = 5") == [
            {"section": "Sighthounds"}
        ]
        text = error("SELECT name FROM farm.dog d JOIN farm.breed b ON breed = b.id")
        assert text == "ambiguous column reference name"

    def test_a_few_rows_look_their_partners_up_in_an_index(self, node, run):
        long = "x" * 500
        values = [None, 7, long, long + "y", [1], "absent"]
        few = [{"id": key, "v": value, "w": 1} for key, value in enumerate(values)]
        many = [{"id": key, "v": key} for key in range(500)]
        many += [{"id": 1000 + key, "v": value, "w": 1} for key, value in enumerate([long, long + "y", [1], [2], None])]
        node.create_table("a", "few").insert(few)
        node.create_table("a", "many").insert(many)
        sql = "FROM a.few f {} a.many m ON f.v = m.v {}"
        plan = run("EXPLAIN SELECT f.id, m.id " + sql.format("LEFT JOIN", ""))
        assert [step["operation"] for step in plan] == ["left lookup join", "table scan"]
        rows = run("SELECT f.id, m.id " + sql.format("LEFT JOIN", "ORDER BY f.id"))
        assert [row["id1"] for row in rows] == [None, 7, 1000, 1001, 1002, None]
        rows = run("SELECT f.id, m.id " + sql.format("JOIN", "AND f.w = m.w ORDER BY f.id"))
        assert [row["id1"] for row in rows] == [1000, 1001, 1002]

    def test_keys_of_several_parts(self, kennel, run):
        rows = run(
            """SELECT x.id, y.id FROM farm.dog x JOIN farm.dog y
               ON x.owner = y.owner AND UPPER(x.owner) = UPPER(y.owner) AND x.id < y.id"""
        )
        assert rows == [{"id": 1, "id1": 5}]

    @pytest.mark.parametrize("kind", ["NATURAL JOIN", "SEMI JOIN", "ANTI JOIN", "LEFT INNER JOIN", "RIGHT INNER JOIN"])
    def test_joins_that_do_not_exist_are_syntax_errors(self, kennel, error, kind):
        assert error(f"SELECT 1 FROM farm.dog {kind} farm.breed").startswith("Invalid SQL at: ")

    def test_tables_of_one_name_in_two_schemas(self, kennel, run):
        kennel.create_table("zoo", "dog").insert([{"id": 1, "name": "Wolf"}])
        row = run("SELECT farm.dog.name, zoo.dog.name FROM farm.dog JOIN zoo.dog ON farm.dog.id = zoo.dog.id")[0]
        assert row == {"name": "Penny", "name1": "Wolf"}
