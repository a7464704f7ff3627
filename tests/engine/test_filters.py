"""Predicates on stored records against the same evaluated on dictionaries."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from math import fmod
from pathlib import Path
from typing import Any

import model
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import engine
from engine import keys, record
from engine.errors import Corrupt
from engine.filters import judge
from engine.predicates import (
    AllOf,
    AnyOf,
    Arithmetic,
    Attribute,
    Compare,
    Constant,
    Filter,
    Fixed,
    Matches,
    Missing,
    Not,
    Operand,
    Predicate,
    Unknown,
    Within,
)

NUMBERS = {"id": 0, "a": 3, "b": 4, "c": 9}  # the primary key is always 0
NAMES = ("id", "a", "b", "c", "d")
LONG = "long " * 100
TEXTS = ("", "a", "A", "ab", "aBc", "bab", "b\x00c", 'q"\\uo', "ä", "ı", "\u212a", "k", "日本", LONG, LONG + "er")

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**64 - 1, 1e300, 0.5, -2.5, 1e-7]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(TEXTS),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2))
CONSTANTS = SCALARS.filter(lambda value: value is not None and keys.exact(value))
ROWS = st.fixed_dictionaries({"id": st.one_of(st.integers(-99, 99), st.sampled_from(["k", "a\x00b"]))}).flatmap(
    lambda key: st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES).map(lambda row: {**key, **row})
)

Truth = bool | None
Meaning = Callable[[dict[str, Any]], Truth]
Known = tuple[Predicate, Meaning]  # and what it has to be for a record


def kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def is_composite(value: Any) -> bool:
    return isinstance(value, list | dict)


# --- operands


def result(sign: str, left: Any, right: Any) -> Any:
    """As Python computes, in doubles once a side is one; None for what is no number."""
    if kind(left) != "number" or kind(right) != "number":
        return None
    try:
        if sign in "/%" and right == 0:
            return None
        if sign == "%":
            whole = isinstance(left, int) and isinstance(right, int)
            found = (abs(left) % abs(right)) * (-1 if left < 0 else 1) if whole else fmod(left, right)
        else:
            compute = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[sign]
            found = compute(left, right)
        if isinstance(found, float):
            return int(found) if found.is_integer() and abs(found) <= 2**53 else found if abs(found) < 1e309 else None
        return found
    except OverflowError:
        return None


@st.composite
def numbers(draw: st.DrawFn, depth: int = 2) -> tuple[Operand, Callable[[dict[str, Any]], Any]]:
    if depth and draw(st.booleans()):
        sign, (one, left), (other, right) = (
            draw(st.sampled_from("+-*/%")),
            draw(numbers(depth - 1)),
            draw(numbers(depth - 1)),
        )
        return Arithmetic(sign, one, other), lambda row: result(sign, left(row), right(row))
    if draw(st.booleans()):
        name = draw(st.sampled_from(NAMES))
        return Attribute(name), lambda row: row.get(name)
    value = model.canonical(draw(SCALARS.filter(lambda value: kind(value) == "number")))
    return Constant(value), lambda row: value


# --- leaves


@st.composite
def within(draw: st.DrawFn) -> Known:
    name, sign, value = (
        draw(st.sampled_from(NAMES)),
        draw(st.sampled_from(["=", "<", "<=", ">", ">="])),
        draw(CONSTANTS),
    )
    own = {"bool": keys.BOOLEANS, "number": keys.NUMBERS, "str": keys.STRINGS}[kind(value)]
    make = {"=": keys.equal, "<": keys.below, "<=": keys.at_most, ">": keys.above, ">=": keys.at_least}[sign]
    ranges = tuple(each for each in (make(value) & own,) if not each.empty)
    return Within(Attribute(name), ranges), lambda row: compared(sign, row.get(name), value)


@st.composite
def one_of_several(draw: st.DrawFn) -> Known:
    name, values = draw(st.sampled_from(NAMES)), draw(st.lists(CONSTANTS, max_size=20))
    ranges = tuple(sorted({keys.equal(value) for value in values}))
    places = [model.place(value) for value in values]

    def meaning(row: dict[str, Any]) -> Truth:
        value = row.get(name)
        return None if value is None else not is_composite(value) and model.place(value) in places

    return Within(Attribute(name), ranges), meaning


def compared(sign: str, one: Any, other: Any) -> Truth:
    if one is None or other is None:
        return None
    if kind(one) != kind(other) or (sign != "=" and is_composite(one)):
        return False
    compare = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[sign]
    return bool(compare(one, other))


@st.composite
def comparisons(draw: st.DrawFn) -> Known:
    sign, (one, left), (other, right) = (
        draw(st.sampled_from(["=", "<", "<=", ">", ">="])),
        draw(numbers()),
        draw(numbers()),
    )
    return Compare(sign, one, other), lambda row: compared(sign, left(row), right(row))


@st.composite
def matches(draw: st.DrawFn) -> Known:
    name, folded = draw(st.sampled_from(NAMES)), draw(st.booleans())
    alphabet = ["", "a", "ab", "b", "k", "long", "er"] if folded else list(TEXTS)
    segments = tuple(draw(st.lists(st.sampled_from(alphabet), min_size=1, max_size=4)))

    def meaning(row: dict[str, Any]) -> Truth:
        value = row.get(name)
        if value is None:
            return None
        if is_composite(value):
            return False
        text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        return fits(segments, text.replace("\u212a", "k").lower() if folded else text)

    return Matches(Attribute(name), segments, folded), meaning


def fits(segments: tuple[str, ...], text: str) -> bool:
    if len(segments) == 1:
        return text == segments[0]
    if not segments[0]:
        start, rest = 0, segments[1:]
    else:
        start, rest = len(segments[0]), segments[1:]
        if not text.startswith(segments[0]):
            return False
    for part in rest[:-1]:
        start = text.find(part, start)
        if start < 0:
            return False
        start += len(part)
    return text.endswith(rest[-1]) and len(text) - len(rest[-1]) >= start


@st.composite
def by_element(draw: st.DrawFn) -> Known:
    name = draw(st.sampled_from(NAMES))
    if draw(st.booleans()):
        text = draw(st.sampled_from(TEXTS))
        form, comparator = draw(st.sampled_from([(("", text, ""), "ct"), ((text, ""), "sw"), (("", text), "ew")]))
        leaf: Predicate = Matches(Attribute(name), form, by_element=True)
        value: Any = text
    else:
        value, comparator = draw(CONSTANTS), draw(st.sampled_from(["eq", "gt", "ge", "lt", "le"]))
        make = {"eq": keys.equal, "gt": keys.above, "ge": keys.at_least, "lt": keys.below, "le": keys.at_most}[
            comparator
        ]
        leaf = Within(Attribute(name), (make(value) & keys.Bounds(keys.NULL.low, keys.STRINGS.high),), by_element=True)
    return leaf, lambda row: name in row and model.holds(row[name], comparator, value)


@st.composite
def others(draw: st.DrawFn) -> Known:
    name, value = draw(st.sampled_from(NAMES)), draw(st.sampled_from([True, False, None]))
    return draw(
        st.sampled_from(
            [
                (Missing(Attribute(name)), lambda row: row.get(name) is None),
                (Fixed(value), lambda row: value),
                (Unknown(), lambda row: value),
            ]
        )
    )


LEAVES = st.one_of(within(), one_of_several(), comparisons(), matches(), by_element(), others())


# --- trees


def negation(member: Known) -> Known:
    inner, meaning = member
    return Not(inner), lambda row: None if (found := meaning(row)) is None else not found


def all_of(members: list[Known]) -> Known:
    def meaning(row: dict[str, Any]) -> Truth:
        found = [each(row) for _, each in members]
        return False if False in found else None if None in found else True

    return AllOf(tuple(inner for inner, _ in members)), meaning


def any_of(members: list[Known]) -> Known:
    def meaning(row: dict[str, Any]) -> Truth:
        found = [each(row) for _, each in members]
        return True if True in found else None if None in found else False

    return AnyOf(tuple(inner for inner, _ in members)), meaning


TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(negation), st.lists(inner, max_size=3).map(all_of), st.lists(inner, max_size=3).map(any_of)
    ),
    max_leaves=6,
)


def stored(row: dict[str, Any]) -> tuple[bytes, bytes]:
    return keys.encode(row["id"]), record.encode(row, NUMBERS, frozenset({"id"}))


def identical(one: Truth, other: Truth) -> bool:
    return one is other


@settings(max_examples=500, deadline=None)
@given(TREES, ROWS)
@example((Within(Attribute("a"), ()), lambda row: None if row.get("a") is None else False), {"id": 1, "a": 1})
def test_a_predicate_may_be_what_it_is(tree: Known, row: dict[str, Any]) -> None:
    predicate, meaning = tree
    row = {name: model.canonical(value) for name, value in row.items()}
    may_be = judge(predicate, NUMBERS, *stored(row))
    assert any(identical(each, meaning(row)) for each in may_be)


@settings(max_examples=300, deadline=None)
@given(st.one_of(within(), one_of_several()), ROWS)
def test_comparisons_with_constants_are_never_open(leaf: Known, row: dict[str, Any]) -> None:
    assert len(judge(leaf[0], NUMBERS, *stored(row))) == 1


@settings(max_examples=500, deadline=None)
@given(TREES, ROWS, st.data())
def test_a_damaged_body_is_refused_or_judged(tree: Known, row: dict[str, Any], data: st.DataObject) -> None:
    key, body = stored(row)
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for each in (bytes(damaged), bytes(damaged[:cut])):
        try:
            assert judge(tree[0], NUMBERS, key, each) <= {True, False, None}
        except Corrupt as error:
            assert "malformed" in error.message


def test_what_is_malformed_is_corrupt() -> None:
    key, body = stored({"id": 1, "a": "text"})
    for broken in (b"", b"\x01", body[:-1], body + b"x", b"\x02" + body[1:], body[:-1] + b"x"):
        with pytest.raises(Corrupt):
            judge(Within(Attribute("a"), (keys.equal("text"),)), NUMBERS, key, broken)


# --- along an index


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Node]:
    with engine.open_node(Path(tmp_path_factory.mktemp("filters")) / "root") as opened:
        yield opened


@settings(max_examples=150, deadline=None)
@given(TREES, st.lists(ROWS, max_size=12), st.sampled_from(["id", "a", "b"]), st.booleans())
def test_a_walk_gives_the_records_that_pass_in_the_order_of_the_index(
    node: engine.Node, tree: Known, rows: list[dict[str, Any]], along: str, reverse: bool
) -> None:
    predicate, meaning = tree
    table = node.create_table("dev", "t")
    try:
        oracle = model.Table()
        version = table.upsert([dict.fromkeys(NAMES[1:], 0) | {"id": -1}, *rows]).version
        oracle.upsert([dict.fromkeys(NAMES[1:], 0) | {"id": -1}, *rows], version)
        where = Filter(predicate, NAMES, meaning, by_name=True)
        with table.view() as view:
            found = list(view.find_keys(along, (keys.EVERYTHING,), where, reverse=reverse))
            rows_found = list(view.find(along, (keys.EVERYTHING,), where, reverse=reverse))
            values = [
                row
                for step in view.select(along, (keys.EVERYTHING,), ("id", along), where, reverse=reverse)
                for row in step
            ]
        seen = oracle.view()
        expected = [
            key for key in seen.keys(along, keys.EVERYTHING, reverse=reverse) if meaning(seen.get(key) or {}) is True
        ]
        assert found == expected
        assert model.same(rows_found, [seen.get(key) for key in expected])
        assert model.same([list(row) for row in values], [[row["id"], row.get(along)] for row in rows_found])
    finally:
        node.drop_table("dev", "t")


def test_long_walks_come_in_steps(node: engine.Node) -> None:
    table = node.create_table("dev", "many")
    table.insert([{"id": number, "a": number % 7} for number in range(10_000)])
    where = Filter(Within(Attribute("a"), (keys.equal(3),)), (), lambda row: pytest.fail("it is told by the index"))
    with table.view() as view:
        steps = list(view.select("id", (keys.EVERYTHING,), ("id",), where))
        assert [key for step in steps for (key,) in step] == list(range(3, 10_000, 7))
        assert len(steps) > 5
        ranges = (keys.equal(2), keys.equal(5))
        assert sum(map(len, view.select("a", ranges, ()))) == 2857
        backwards = [row for step in view.select("a", ranges, ("a", "id"), reverse=True) for row in step]
        assert backwards == sorted(backwards, reverse=True)


def test_a_view_that_is_closed_ends_its_walks(node: engine.Node) -> None:
    table = node.create_table("dev", "closing")
    table.insert([{"id": number} for number in range(1000)])
    view = table.view()
    steps = view.select("id", (keys.EVERYTHING,), ("id",))
    next(steps)
    view.close()
    with pytest.raises(engine.Closed):
        next(steps)
