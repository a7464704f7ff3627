"""Types in comparisons, three-valued logic, and patterns: with and without an index the answer is the same."""

from __future__ import annotations

import re

import pytest

import grammar
from grammar.patterns import FOLDED_BEYOND_ASCII

VALUES = {
    1: 1, 2: "1", 3: 2.5, 4: "abc", 5: True, 6: None, 8: [1, 2], 9: {"a": 1}, 10: False, 11: "true", 12: "", 13: 0,
    14: "ABD", 15: -3, 16: 2**53 + 1, 17: 2**63, 18: "é", 19: "a\nb", 20: [1, 2, [3]],
}  # fmt: skip


@pytest.fixture
def ids(node):
    """The ids for which a condition on `v` holds; `v` is absent from 7."""
    table = node.create_table("a", "t")
    table.insert([{"id": key, "v": value} for key, value in VALUES.items()] + [{"id": 7}])

    def ids(condition: str) -> list[int]:
        statement = grammar.prepare(node, f"SELECT id FROM a.t WHERE {condition} ORDER BY id")
        found = [row["id"] for row in statement.run()]
        assert found == [row["id"] for row in statement.run(indexes=False)]
        return found

    return ids


ALL = {*VALUES, 7}
PRESENT = ALL - {6, 7}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("v = 1", [1]),
        ("1 = v", [1]),
        ("v == 1.0", [1]),
        ("v = '1'", [2]),
        ("v = true", [5]),
        ("v = 'true'", [5, 11]),
        ("v = 'false'", [10]),
        ("v IN ('true', 2.5)", [3, 5, 11]),
        ("v = 9007199254740993", [16]),
        ("v = 9223372036854775808", [17]),
        ("v = ''", [12]),
        ("v = 0", [13]),
        ("v = @[1, 2]", [8]),
        ('v = @{"a": 1}', [9]),
        ("v <> 1", sorted(PRESENT - {1})),
        ("v != 'true'", sorted(PRESENT - {5, 11})),
        ("v > 1", [3, 16, 17]),
        ("1 < v", [3, 16, 17]),
        ("v >= 1", [1, 3, 16, 17]),
        ("v < 1", [13, 15]),
        ("v > 'abc'", [11, 18]),
        ("v < 'abc'", [2, 12, 14, 19]),
        ("v <= 'ABD'", [2, 12, 14]),
        ("v > false", [5]),
        ("v >= false", [5, 10]),
        ("v BETWEEN 0 AND 2.5", [1, 3, 13]),
        ("v BETWEEN 2.5 AND 0", []),
        ("v BETWEEN 'A' AND 'b'", [4, 14, 19]),
        ("v BETWEEN 1 AND 'b'", []),
        ("v NOT BETWEEN 1 AND 3", sorted(PRESENT - {1, 3})),
        ("v IN (1, 'abc', NULL)", [1, 4]),
        ("v IN ()", []),
        ("v NOT IN (1, NULL)", []),
        ("v NOT IN (1)", sorted(PRESENT - {1})),
        ("v = NULL", []),
        ("v <> NULL", []),
        ("v > NULL", []),
        ("NOT (v > 1)", sorted(PRESENT - {3, 16, 17})),
        ("v IS NULL", [6, 7]),
        ("v IS NOT NULL", sorted(PRESENT)),
        ("(v = 1) IS NULL", [6, 7]),
        ("v IS TRUE", [5]),
        ("v IS NOT TRUE", sorted(ALL - {5})),
        ("v IS FALSE", [10]),
        ("v IS NULL OR v = 1", [1, 6, 7]),
        ("v = 1 OR id = 3", [1, 3]),
        ("v > 1 AND v < 100", [3]),
        ("v", sorted(PRESENT - {10, 12, 13})),
        ("NOT v", [10, 12, 13]),
        ("v = 1 AND id = 2", []),
        ("null AND false", []),
        ("v = 1 OR null", [1]),
        ("v LIKE 'ab%'", [4, 14]),
        ("v LIKE '%B%'", [4, 14, 19]),
        ("v LIKE 'a_b'", [19]),
        ("v LIKE '1%'", [1, 2]),
        ("v LIKE '-%'", [15]),
        ("v LIKE 'T%'", [5, 11]),
        ("v LIKE 'É'", [18]),
        ("v LIKE 1", [1, 2]),
        ("v LIKE ''", [12]),
        ("v NOT LIKE '%'", [8, 9, 20]),
        ("v LIKE '[aA]b[cd]'", [4, 14]),
        ("v LIKE '[^a]%'", [1, 2, 3, 5, 10, 11, 13, 15, 16, 17, 18]),
        ("v ILIKE 'ABC'", [4]),
        ("v REGEXP '^[A-Z]'", [14]),
        ("v NOT REGEXP '[a-z]'", [1, 2, 3, 8, 9, 12, 13, 14, 15, 16, 17, 18, 20]),
        ("v GLOB 'AB?'", [4, 14]),
        ("v > ALL (0, 1)", [3, 16, 17]),
        ("v = ANY (1, 'abc')", [1, 4]),
        ("v <> SOME (1, 2.5)", sorted(PRESENT)),
        ("3 > 2 > 1", []),
        ("v->a = 1", [9]),
        ("v->1 = 2", [8, 20]),
        ("CASE v WHEN 1 THEN true WHEN 'abc' THEN 1 END", [1, 4]),
    ],
)
def test_which_values_fulfil_a_condition(ids, condition, expected):
    assert ids(condition) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("null = null", None),
        ("NOT null", None),
        ("null AND false", False),
        ("null OR true", True),
        ("null AND true", None),
        ("null OR false", None),
        ("null IS NULL", True),
        ("null IS NOT TRUE", True),
        ("1 IN (1, NULL)", True),
        ("2 IN (1, NULL)", None),
        ("null IN ()", False),
        ("NOT 1 BETWEEN 0 AND 2", False),
        ("1 = 1 = true", True),
        ("'abc' LIKE 'A%'", True),
        ("'50%' LIKE '50!%' ESCAPE '!'", True),
        ("'501' LIKE '50!%' ESCAPE '!'", False),
        ("'a[b' LIKE 'a[b'", True),
        ("'a.c' LIKE 'a.c'", True),
        ("'abc' LIKE 'a.c'", False),
        ("'a' || null LIKE 'a'", True),
        ("null LIKE 'a'", None),
        ("'x' LIKE null", None),
        ("'bcd' REGEXP 'C'", False),
        ("null REGEXP 'a'", None),
        ("REGEXP_LIKE('bcd', 'C', 'i')", True),
        ("CASE WHEN null THEN 1 END", None),
        ("CASE null WHEN null THEN 1 ELSE 2 END", 2),
        ("CASE 1 WHEN '1' THEN 'text' WHEN 1 THEN 'number' END", "number"),
        ("5 BETWEEN null AND 3", False),
        ("2 BETWEEN null AND 3", None),
    ],
)
def test_the_value_of_a_condition(value, expression, expected):
    assert value(expression) is expected or value(expression) == expected


def test_what_equals_an_ascii_letter_when_case_is_ignored():
    """The ranges for LIKE 'prefix%' rely on it."""
    for code in range(128):
        letter = chr(code)
        if letter.isalpha():
            matching = re.compile(letter, re.IGNORECASE)
            found = {
                chr(other) for other in range(0x110000) if not 0xD800 <= other < 0xE000 and matching.match(chr(other))
            }
            assert found == {letter.lower(), letter.upper(), *FOLDED_BEYOND_ASCII.get(letter.lower(), "")}


def test_bad_patterns_are_named(error):
    assert error("SELECT 'a' REGEXP '('") == "Invalid regular expression '('"
    assert error("SELECT REGEXP_LIKE('a', 'a', 'z')") == "Invalid regular expression flags 'z'"
    assert error("SELECT 'a' LIKE 'a' ESCAPE 'ab'") == "ESCAPE takes one character"


def test_a_pattern_that_would_backtrack_for_ever_is_given_up(error):
    assert "took too long" in error(f"SELECT '{'a' * 40}b' REGEXP '(a|aa)+$'")


def test_a_pattern_with_many_wildcards_takes_no_time(value):
    assert value(f"'{'a' * 20_000}' LIKE '{'%a' * 40}%b'") is False


def test_a_pattern_may_come_from_a_column(kennel, run):
    assert run("SELECT id FROM farm.dog WHERE name LIKE '%' || SUBSTR(owner, 4, 1) || '%' AND id < 3") == [
        {"id": 1},
        {"id": 2},
    ]
    assert run("SELECT id FROM farm.dog WHERE 'penny lane' LIKE name || '%'") == [{"id": 1}]
