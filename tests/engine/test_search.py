"""Searches: what matches, in which order, and which records have to be read for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import InvalidSearch, NoSuchAttribute, UnknownAttribute
from engine.search import count, search, search_conditions, search_value
from tests import model

LONG = "long " * 100

DOGS = [
    {"id": 1, "name": "Penny", "age": 7, "weight": 38, "owner": "Kyle", "tags": ["red", "green"]},
    {"id": 2, "name": "Harper", "age": 7, "weight": 55, "owner": "Stephen", "tags": ["red"]},
    {"id": 3, "name": "Alby", "age": 7, "weight": 84, "owner": "Kaylan", "tags": []},
    {"id": 4, "name": "Billy", "age": 6, "weight": 60, "owner": "Zach", "tags": "red"},
    {"id": 5, "name": "Rose Merry", "age": 8, "weight": 15, "owner": None, "tags": {"a": 1}},
    {"id": 6, "name": "Kato", "age": 6, "weight": 28, "owner": "Kyle"},
    {"id": "x", "name": LONG + "2", "age": "7", "tags": [LONG + "b", "green"]},
    {"id": "y", "name": LONG + "1", "age": True, "tags": [1, True, None]},
]


def view_of(records: list[dict[str, Any]], **options: Any) -> model.View:
    table = model.Table(**options)
    table.insert(records, version=1_700_000_000_000_000)
    return table.view()


@pytest.fixture
def dogs() -> model.View:
    return view_of(DOGS)


def ids(found: Iterator[dict[str, Any]]) -> list[Any]:
    return [record["id"] for record in found]


@pytest.mark.parametrize(
    ("attribute", "comparator", "value", "expected"),
    [
        ("age", "equals", 7, [1, 2, 3]),
        ("age", "eq", "7", ["x"]),
        ("age", "equals", True, ["y"]),
        ("owner", "equals", None, [5]),
        ("tags", "equals", None, []),
        ("age", "not_equal", 7, ["y", 4, 6, 5, "x"]),
        ("tags", "equals", "red", [4, 1, 2]),
        ("tags", "equals", {"a": 1}, [5]),
        ("tags", "equals", {"a": True}, []),
        ("tags", "equals", ["red"], [2]),
        ("tags", "not_equal", "red", [1, 5, "x", "y"]),
        ("name", "contains", "e", [2, 1, 5]),
        ("name", "contains", "g 1", ["y"]),
        ("name", "ct", True, []),
        ("age", "contains", 7, ["x"]),
        ("name", "ends_with", "y", [3, 4, 1, 5]),
        ("name", "starts_with", "B", [4]),
        ("name", "starts_with", "", [3, 4, 2, 6, 1, 5, "x", "y"]),
        ("name", "starts_with", LONG, ["x", "y"]),
        ("name", "equals", LONG + "1", ["y"]),
        ("tags", "equals", LONG + "b", ["x"]),
        ("age", "greater_than", 7, [5, "x"]),
        ("age", "ge", 8, [5, "x"]),
        ("age", "less_than", 7, ["y", 4, 6]),
        ("age", "less_than_equal", 6, ["y", 4, 6]),
        ("age", "between", [6, 7], [4, 6, 1, 2, 3]),
        ("age", "between", [7, 6], []),
        ("tags", "greater_than", "green", [4, "x", 1, 2]),
        ("tags", "less_than", 1, ["y"]),
        ("id", "equals", "x", ["x"]),
        ("id", "greater_than", 5, [6, "x", "y"]),
        ("id", "not_equal", 3, [1, 2, 4, 5, 6, "x", "y"]),
    ],
)
def test_comparators(dogs: model.View, attribute: str, comparator: str, value: Any, expected: list[Any]) -> None:
    assert ids(search(dogs, attribute, comparator, value)) == expected
    assert sorted(map(str, ids(search(dogs, attribute, comparator, value, reverse=True)))) == sorted(map(str, expected))
    assert count(dogs, attribute, comparator, value) == len(expected)
    conditions = [{"search_attribute": attribute, "search_type": comparator, "search_value": value}]
    assert ids(search_conditions(dogs, conditions)) == expected


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("owner", "Kyle", [1, 6]),
        ("owner", "K*", [3, 1, 6]),
        ("name", "*y", [3, 4, 1, 5]),
        ("name", "*e*", [2, 1, 5]),
        ("owner", "*", [1, 2, 3, 4, 5, 6, "x", "y"]),
        ("name", "**", []),
        ("name", "B*y", []),
        ("name", "%y", []),
        ("name", "penny", []),
        ("age", "7", ["x"]),
        ("age", "*7*", ["x"]),
        ("tags", "g*", [1, "x"]),
        ("owner", None, [5]),
        ("age", 7, [1, 2, 3]),
    ],
)
def test_wildcards_stand_at_the_ends_of_texts(
    dogs: model.View, attribute: str, value: Any, expected: list[Any]
) -> None:
    assert ids(search_value(dogs, attribute, value)) == expected


def test_groups_nest(dogs: model.View) -> None:
    old_or_heavy = {
        "operator": "OR",
        "conditions": [
            {"attribute": "age", "comparator": "greater_than_equal", "value": 8},
            {"attribute": "weight", "comparator": "greater_than", "value": 50},
        ],
    }
    not_stephens = {"attribute": "owner", "comparator": "not_equal", "value": "Stephen"}
    assert sorted(ids(search_conditions(dogs, [old_or_heavy, not_stephens]))) == [3, 4, 5]
    assert set(ids(search_conditions(dogs, [old_or_heavy, not_stephens], "or"))) == {1, 2, 3, 4, 5, 6, "x"}


def test_a_record_that_meets_several_members_of_or_comes_once(dogs: model.View) -> None:
    conditions = [{"attribute": "age", "value": 7}, {"attribute": "id", "comparator": "le", "value": 2}]
    assert sorted(ids(search_conditions(dogs, conditions, "or"))) == [1, 2, 3]


def test_sorting_follows_all_keys_then_pages(dogs: model.View) -> None:
    everyone = [{"attribute": "id", "comparator": "not_equal", "value": None}]
    by_age = {"attribute": "age", "descending": True, "next": {"attribute": "name"}}
    expected = ["x", 5, 3, 2, 1, 4, 6, "y"]
    assert ids(search_conditions(dogs, everyone, sort=by_age)) == expected
    assert ids(search_conditions(dogs, everyone, sort=by_age, offset=2, limit=3)) == expected[2:5]
    assert ids(search_conditions(dogs, everyone, sort=by_age, offset=50)) == []


def test_records_without_the_sort_attribute_sort_as_null(dogs: model.View) -> None:
    everyone = [{"attribute": "id", "comparator": "not_equal", "value": None}]
    ascending = ids(search_conditions(dogs, everyone, sort={"attribute": "owner", "next": {"attribute": "id"}}))
    assert ascending == [5, "x", "y", 3, 1, 6, 2, 4]


@pytest.mark.parametrize("descending", [False, True])
def test_texts_that_the_index_cuts_are_sorted_in_full(dogs: model.View, descending: bool) -> None:
    everyone = [{"attribute": "id", "comparator": "ne", "value": None}]
    found = ids(search_conditions(dogs, everyone, sort={"attribute": "name", "descending": descending}))
    assert found == [3, 4, 2, 6, 1, 5, "y", "x"][:: -1 if descending else 1]


def test_columns_cut_the_results(dogs: model.View) -> None:
    both = [{"attribute": "owner", "value": "Kyle"}, {"attribute": "weight", "comparator": "gt", "value": 30}]
    assert list(search_conditions(dogs, both, columns=["name", "tags"])) == [
        {"name": "Penny", "tags": ["red", "green"]}
    ]
    assert list(search(dogs, "owner", "eq", "Kyle", columns=["tags"])) == [{"tags": ["red", "green"]}, {}]
    assert list(search(dogs, "owner", "eq", "Kyle", columns=["id"])) == [{"id": 1}, {"id": 6}]


@pytest.mark.parametrize(
    ("conditions", "operator", "text"),
    [
        (None, "and", "'conditions' is required"),
        ("x", "and", "'conditions' must be an array"),
        ([], "and", "'conditions' must contain at least 1 items"),
        ([{"attribute": "age", "value": 7}], "xor", "'operator' must be one of [and, or]"),
        ([{"attribute": "age", "comparator": "bogus", "value": 7}], "and", 'Unknown query comparator "bogus"'),
        ([{"attribute": "age", "comparator": "Equals", "value": 7}], "and", 'Unknown query comparator "Equals"'),
        ([{"attribute": "age"}], "and", "Search condition for age must have a value"),
        ([{"operator": "and", "conditions": []}], "or", 'An "and" operator requires at least one condition'),
        ([7], "and", "'conditions' must be an array of objects"),
        ([{}], "and", "Search condition must have an attribute"),
        (
            [{"attribute": "age", "comparator": "between", "value": 7}],
            "and",
            "Search condition for age must have an array of two values",
        ),
        (
            [{"attribute": "age", "comparator": "gt", "value": [7]}],
            "and",
            "Search condition for age must have a value that can be ordered",
        ),
    ],
)
def test_malformed_conditions(dogs: model.View, conditions: Any, operator: str, text: str) -> None:
    with pytest.raises(InvalidSearch) as raised:
        search_conditions(dogs, conditions, operator)
    assert raised.value.message == text


def test_unknown_attributes_are_all_named(dogs: model.View) -> None:
    conditions = [{"attribute": "b", "value": 1}, {"conditions": [{"attribute": "c", "value": 1}]}]
    with pytest.raises(UnknownAttribute) as raised:
        search_conditions(dogs, conditions, columns=["id", "a"])
    assert raised.value.message == "unknown attribute 'a, b and c'"
    with pytest.raises(UnknownAttribute):
        search(dogs, "nope", "equals", 1)
    with pytest.raises(UnknownAttribute):
        search_value(dogs, "nope", 1)


@pytest.mark.parametrize(
    ("sort", "error", "text"),
    [
        ("age", InvalidSearch, "'sort' must be of type object"),
        ({"descending": True}, InvalidSearch, "Sort requires an attribute"),
        ({"attribute": "nope"}, NoSuchAttribute, "nope is not a defined attribute"),
        ({"attribute": ["a", "b"]}, NoSuchAttribute, "a,b is not a defined attribute"),
    ],
)
def test_malformed_sorts(dogs: model.View, sort: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text.replace("'", ".")):
        search_conditions(dogs, [{"attribute": "age", "value": 7}], sort=sort)


def test_limit_and_offset_are_checked(dogs: model.View) -> None:
    with pytest.raises(InvalidSearch, match="'limit' must be greater than or equal to 1"):
        search(dogs, "age", "equals", 7, limit=0)
    with pytest.raises(InvalidSearch, match="'offset' must be greater than or equal to 0"):
        search(dogs, "age", "equals", 7, offset=-1)


def test_attributes_without_an_index_are_searched_in_the_records() -> None:
    view = view_of(DOGS, declared=dict.fromkeys(DOGS[0], False) | {"age": True})
    assert ids(search(view, "owner", "equals", "Kyle")) == [1, 6]
    both = [{"attribute": "owner", "value": "Kyle"}, {"attribute": "age", "value": 6}]
    assert ids(search_conditions(view, both)) == [6]
    assert ids(search_conditions(view, both, "or", sort={"attribute": "weight"})) == [6, 1, 4]
    assert count(view, "owner", "equals", "Kyle") == 2


class Watched(model.View):
    """A view that counts the records which are read."""

    reads = 0

    def get(self, key: Any, columns: Any = None) -> dict[str, Any] | None:
        self.reads += 1
        return super().get(key, columns)


@pytest.mark.parametrize(
    ("conditions", "sort", "limit", "reads"),
    [
        ([("n", "equals", 3)], None, None, 20),  # the result, nothing else
        ([("n", "equals", 3), ("m", "equals", 3)], None, None, 2),  # both indexes, then the records that are in both
        ([("n", "equals", 3), ("id", "less_than", 100)], None, None, 10),  # keys are judged as they come
        ([("n", "less_than", 5)], "n", 7, 7),  # the order of the index in which the condition lies
        ([("n", "less_than", 5)], "m", 7, 7),  # the order of another index, among the keys of the first
        ([("n", "equals", 3)], "id", 7, 7),  # keys are sorted without their records
    ],
)
def test_records_that_indexes_exclude_are_not_read(
    conditions: list[tuple[str, str, Any]], sort: str | None, limit: int | None, reads: int
) -> None:
    table = model.Table()
    table.insert([{"id": i, "n": i % 10, "m": i // 10 % 10} for i in range(200)], version=1)
    view = Watched(table)
    request = [{"attribute": name, "comparator": comparator, "value": value} for name, comparator, value in conditions]
    found = list(search_conditions(view, request, sort=sort and {"attribute": sort}, limit=limit))
    assert len(found) == view.reads == reads


def test_counting_reads_no_record() -> None:
    table = model.Table()
    table.insert(DOGS, version=1)
    view = Watched(table)
    assert count(view, "age", "greater_than", 6) == 5
    assert count(view, "tags", "equals", "red") == 3
    assert view.reads == 0


# --- against the definition ------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1e300]),
    st.sampled_from(["", "a", "ab", "b", LONG]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=1))
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3), max_size=12)
COMPARATORS = ["eq", "ne", "ct", "sw", "ew", "gt", "ge", "lt", "le", "between"]


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    comparator = draw(st.sampled_from(COMPARATORS))
    value = [draw(SCALARS), draw(SCALARS)] if comparator == "between" else draw(SCALARS)
    return {"attribute": draw(st.sampled_from(["id", "a", "b", "c"])), "comparator": comparator, "value": value}


TREES = st.recursive(
    leaves(),
    lambda inner: st.fixed_dictionaries(
        {"operator": st.sampled_from(["and", "or"]), "conditions": st.lists(inner, min_size=1, max_size=3)}
    ),
    max_leaves=5,
)
SORTS = st.lists(st.tuples(st.sampled_from(["id", "a", "b", "c"]), st.booleans()), max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    ROWS,
    st.lists(TREES, min_size=1, max_size=3),
    st.sampled_from(["and", "or"]),
    SORTS,
    st.sampled_from([None, {"a": False, "b": True, "c": False}]),
)
def test_searches_give_what_the_definition_says(
    rows: list[dict[str, Any]],
    trees: list[dict[str, Any]],
    operator: str,
    sorts: list[tuple[str, bool]],
    declared: dict[str, bool] | None,
) -> None:
    records = [
        {"id": number, "a": 0, **row} if number % 3 else {"id": str(number), **row} for number, row in enumerate(rows)
    ]
    everything: dict[str, Any] = {"id": -1, "a": 1, "b": 1, "c": 1}
    view = view_of([*records, everything], declared=declared)
    sort: Any = None
    for attribute, descending in reversed(sorts):
        sort = {"attribute": attribute, "descending": descending, **({"next": sort} if sort else {})}

    found = list(search_conditions(view, trees, operator, sort=sort))
    expected = {
        record["id"]
        for record in [*records, everything]
        if model.meets(record, {"operator": operator, "conditions": trees})
    }
    assert set(ids(iter(found))) == expected
    assert len(found) == len(expected)

    def places(record: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [model.place(record.get(attribute)) for attribute, _ in sorts]

    ordered = found[:]
    for attribute, descending in reversed(sorts):
        ordered.sort(key=lambda record, name=attribute: model.place(record.get(name)), reverse=descending)
    assert [places(record) for record in found] == [places(record) for record in ordered]
    for offset, limit in ((0, 2), (1, 2), (3, 2), (1, None), (2**64, None), (1, 2**63 - 1)):
        page = search_conditions(view, trees, operator, sort=sort, offset=offset, limit=limit)
        assert ids(page) == ids(iter(found))[offset:][:limit]


@settings(max_examples=200, deadline=None)
@given(ROWS, leaves())
def test_counts_agree_with_searches(rows: list[dict[str, Any]], leaf: dict[str, Any]) -> None:
    everything = {"id": -1, "a": 1, "b": 1, "c": 1}
    view = view_of([*({"id": number, **row} for number, row in enumerate(rows)), everything])
    arguments = leaf["attribute"], leaf["comparator"], leaf["value"]
    forward = ids(search(view, *arguments))
    assert count(view, *arguments) == len(forward)
    assert sorted(ids(search(view, *arguments, reverse=True))) == sorted(forward)
