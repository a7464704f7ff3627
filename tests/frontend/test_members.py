"""The texts of malformed requests."""

from __future__ import annotations

from typing import Any

import pytest

from frontend.operations import members
from frontend.operations.members import Member, read

LONG = "x" * 251


@pytest.mark.parametrize(
    ("check", "value", "problem"),
    [
        (members.name, 5, "'it' must be a string"),
        (members.name, None, "'it' must be a string"),
        (members.name, "", "'it' is not allowed to be empty"),
        (members.name, "a/b", "'it' names cannot include backticks or forward slashes"),
        (members.name, "a`b", "'it' names cannot include backticks or forward slashes"),
        (members.name, "ünï", "'it' names cannot include backticks or forward slashes"),
        (members.name, "a\n", "'it' names cannot include backticks or forward slashes"),
        (members.name, LONG, "'it' length must be less than or equal to 250 characters long"),
        (members.name_or_number, None, "'it' must be one of [string, number]"),
        (members.name_or_number, True, "'it' must be one of [string, number]"),
        (members.attribute_name, "a/b", "'it' names cannot include backticks or forward slashes"),
        (members.boolean, "true", "'it' must be a boolean"),
        (members.integer(1), 0, "'it' must be greater than or equal to 1"),
        (members.integer(1), "x", "'it' must be a number"),
        (members.integer(1), None, "'it' must be a number"),
        (members.integer(1), 1.5, "'it' must be an integer"),
        (members.integer(1), float("inf"), "'it' must be an integer"),
        (members.integer(1), float("nan"), "'it' must be a number"),
        (members.one_of("and", "or"), "xor", "'it' must be one of [and, or]"),
        (members.one_of("and", "or"), ["and"], "'it' must be one of [and, or]"),
        (members.array(), "x", "'it' must be an array"),
        (members.array(least=1, items="item"), [], "'it' must contain at least 1 item"),
        (members.records, {}, "'it' must be an array"),
        (members.records, [{}, None], "'it[1]' must be of type object"),
        (members.keys, [None], "'it' must be strings or numbers"),
        (members.keys, [True], "'it' must be strings or numbers"),
        (members.keys, [[["a"]]], "'it' must be strings or numbers"),
        (members.iso_date, "yesterday", "'it' must be in ISO 8601 date format"),
        (members.port, 70000, "'it' must be a valid port"),
    ],
)
def test_problems_have_their_texts(check: members.Check, value: Any, problem: str) -> None:
    with pytest.raises(members.Invalid) as refused:
        check(value, "it")
    assert str(refused.value) == problem


@pytest.mark.parametrize(
    ("check", "value", "result"),
    [
        (members.name, "the dogs", "the dogs"),
        (members.name_or_number, 3, "3"),
        (members.name_or_number, 3.0, "3"),
        (members.attribute_name, "ünï", "ünï"),
        (members.attribute_name, 5, "5"),
        (members.integer(1), "12", 12),
        (members.integer(0), 3.0, 3),
        (members.one_of("and", "or", fold=True), "OR", "or"),
        (members.keys, [1, "1", 1.5, ["a", 1]], [1, "1", 1.5, ["a", 1]]),
        (members.iso_date, "2024-02-29T08:00:00.000Z", "2024-02-29T08:00:00.000Z"),
    ],
)
def test_good_values_pass(check: members.Check, value: Any, result: Any) -> None:
    assert check(value, "it") == result


def test_all_problems_are_collected() -> None:
    declared = (members.SCHEMA, members.TABLE, Member("records", members.records, required=True))
    values, problems = read(declared, {"schema": "a/b"})
    assert problems == [
        "'schema' names cannot include backticks or forward slashes",
        "'table' is required",
        "'records' is required",
    ]
    assert values["schema"] is None


def test_synonyms_fill_the_same_member_and_are_named_as_sent() -> None:
    member = Member("hash_values", members.array(), members.HASH_VALUE_LABELS, required=True)
    assert read((member,), {"ids": [1]}) == ({"hash_values": [1]}, [])
    assert read((member,), {"ids": 1})[1] == ["'ids' must be an array"]
    assert read((member,), {})[1] == ["'hash_values' is required"]


def test_database_wins_over_schema_and_data_is_the_default() -> None:
    assert read((members.SCHEMA,), {"schema": "a", "database": "b"})[0] == {"schema": "b"}
    assert read((members.SCHEMA,), {})[0] == {"schema": "data"}


def test_problems_within_objects_carry_their_path() -> None:
    routes = members.array(
        members.object_of(Member("host", members.text, required=True), Member("port", members.port, required=True))
    )
    _, problems = read((Member("routes", routes),), {"routes": [{"host": "a", "port": 1}, {"port": "x"}]})
    assert problems == ["'routes[1].host' is required. 'routes[1].port' must be a number"]
