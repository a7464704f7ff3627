"""Groups and exact sums of stored records against the same in dictionaries and fractions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import model
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import engine
from engine import keys
from engine.groups import Groups
from engine.predicates import Attribute, Filter, Not, Unknown, Within
from engine.rows import Scanned
from engine.sums import ExactSum

LONG = "long " * 100
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53 + 1, -(2**63), 2**64 - 1, 0.1, 0.2, 1e16, -1e16, 1e-300]),
    st.sampled_from(["", "a", 'q"\\', "b\x00c", "ä", LONG, LONG + "er"]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.permutations([("x", 1), ("y", 2)]).map(dict))
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), max_size=20)
KINDS = ["rows", "count", "sum", "min", "max"]
REDUCTIONS = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(["id", "a", "b", "nobody", "__createdtime__"])))

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def exact(values: list[Any]) -> int | float | None:
    """The int, or the double that is nearest."""
    found = [value for value in values if is_number(value)]
    total = sum(map(Fraction, found))
    if all(isinstance(value, int) for value in found):
        return int(total)
    try:
        return float(total)
    except OverflowError:
        return None


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.one_of(FINITE.filter(lambda value: abs(value) < 1e300), st.integers(-(2**63), 2**64 - 1), st.none()))
)
@example([0.1] * 10)
@example([1e300, 1.0, -1e300, 2**63, -0.5])
@example([2.0**exponent for exponent in range(-1074, 900, 7)])
def test_a_sum_is_the_double_next_to_the_true_one_in_any_order(values: list[Any]) -> None:
    values = [model.canonical(value) for value in values]
    for order in (values, values[::-1], sorted(values, key=lambda value: abs(value or 0))):
        total = ExactSum()
        total.add(order[: len(order) // 2])
        total.add(order[len(order) // 2 :])
        assert total.total == exact(values)
        assert total.seen == len(values)
        assert total.count == len([value for value in values if value is not None])


def test_sums_beyond_doubles_are_none() -> None:
    total = ExactSum()
    total.add([1.7e308, 1.7e308])
    assert total.total is None
    total.add([-1.7e308])
    assert total.total is None
    infinite = ExactSum()
    infinite.add([math.inf])
    assert infinite.total is None


def test_booleans_are_no_numbers() -> None:
    total = ExactSum()
    total.add([True, "1", None, 2, [3]])
    assert (total.seen, total.count, total.total) == (5, 1, 2)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Node]:
    with engine.open_node(tmp_path_factory.mktemp("groups") / "root") as opened:
        yield opened


def mark(values: tuple[Any, ...]) -> str:
    return json.dumps(values, sort_keys=True)


def grouped(
    view: Any,
    along: str,
    names: tuple[str, ...],
    where: Filter | None,
    by: list[str],
    wanted: list[Any] | tuple[Any, ...],
) -> Groups:
    rows = Scanned(0, view.selection(along, (keys.EVERYTHING,), names, where), names)
    return Groups(rows, [(0, name) for name in by], [(kind, name and (0, name)) for kind, name in wanted], mark)


def reduced(kind: str, values: list[Any]) -> Any:
    if kind == "rows":
        return len(values)
    if kind == "count":
        return len([value for value in values if value is not None])
    if kind == "sum":
        return [len(values), len([value for value in values if is_number(value)]), exact(values)]
    scalars = [value for value in values if value is not None and not isinstance(value, list | dict)]
    return (min if kind == "min" else max)(scalars, key=model.place, default=None)


def plain(result: Any) -> Any:
    return [result.seen, result.count, result.total] if isinstance(result, ExactSum) else result


@settings(max_examples=150, deadline=None)
@given(
    ROWS, st.lists(st.sampled_from(["id", "a", "b", "nobody"]), max_size=2), REDUCTIONS, st.sampled_from(["id", "a"])
)
def test_groups_are_those_of_the_definition(
    node: engine.Node, rows: list[dict[str, Any]], by: list[str], reductions: list[tuple[str, str]], along: str
) -> None:
    table = node.create_table("dev", "t")
    try:
        table.insert([{"id": -1, "a": 1, "b": 1, "c": 1}, *({"id": number, **row} for number, row in enumerate(rows))])
        wanted = tuple([(kind, None if kind == "rows" else name) for kind, name in reductions])
        with table.view() as view:
            names = tuple(dict.fromkeys([*by, *(name for _, name in wanted if name)]))
            groups = grouped(view, along, names, None, by, wanted)
            assert sum(groups.fold()) == len(groups.results())
            groups = grouped(view, along, names, None, by, wanted)
            list(groups.fold())
            found = {mark(key): [plain(each) for each in results] for key, results in groups.results()}
            expected: dict[str, list[dict[str, Any]]] = {}
            seen = set()
            for record in view.scan(along):
                if record["id"] not in seen:
                    expected.setdefault(mark(tuple([record.get(name) for name in by])), []).append(record)
                seen.add(record["id"])
        assert list(found) == list(expected)
        for key, members in expected.items():
            results = [reduced(kind, [record.get(name or "") for record in members]) for kind, name in wanted]
            assert model.same(found[key], results)
    finally:
        node.drop_table("dev", "t")


def test_many_groups_with_a_filter_that_is_partly_unknown(node: engine.Node) -> None:
    table = node.create_table("dev", "many")
    table.insert([{"id": number, "g": f"group {number % 3000}", "v": number / 8} for number in range(9000)])
    where = Filter(
        Not(Within(Attribute("g"), (keys.starts_with("group 1"),))), (), lambda row: pytest.fail("the index tells")
    )
    unknown = Filter(Unknown(), ("id",), lambda row: row[0] % 2)
    with table.view() as view:
        groups = grouped(view, "g", ("g",), where, ["g"], [("rows", None)])
        assert sum(groups.fold()) == 3000 - 1111
        assert {count for _, [count] in groups.results()} == {3}
        groups = grouped(view, "id", ("g", "v"), unknown, ["g"], [("sum", "v")])
        assert sum(groups.fold()) == 1500
        assert sum(total.total for _, [total] in groups.results()) == sum(range(1, 9000, 2)) / 8
