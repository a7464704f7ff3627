"""Joined rows against the same in lists, and what ends a join."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine import keys
from engine.groups import Groups
from engine.joins import Joined
from engine.rows import Scanned

KEYS = st.sampled_from([None, False, True, 0, 1, 2**53 + 1, 0.5, "", "0", "a", "a\x00", "long " * 100])
TABLE = st.lists(st.fixed_dictionaries({}, optional={"a": KEYS, "b": KEYS}), max_size=12)
TIES = [((0, "a"), (1, "a")), ((0, "b"), (1, "a")), ((0, "id"), (1, "b"))]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Node]:
    with engine.open_node(tmp_path_factory.mktemp("joins") / "root") as opened:
        yield opened


def scanned(view: Any, number: int, *names: str) -> Scanned:
    return Scanned(number, view.selection("id", (keys.EVERYTHING,), None, None), names)


def equal(one: Any, other: Any) -> bool:
    return one is not None and one == other and (type(one) is bool) == (type(other) is bool)


def counted(rows: Any, by: list[tuple[int, str]]) -> dict[str, int]:
    groups = Groups(rows, by, [("rows", None)], json.dumps)
    list(groups.fold())
    return {json.dumps(key): count for key, [count] in groups.results()}


@settings(max_examples=100, deadline=None)
@given(TABLE, TABLE, st.lists(st.sampled_from(TIES), min_size=1, max_size=2, unique=True), st.booleans())
def test_rows_meet_their_partners(
    node: engine.Node, left: list[dict[str, Any]], right: list[dict[str, Any]], ties: list[Any], outer: bool
) -> None:
    one, other = (node.create_table("d", name) for name in ("left", "right"))
    try:
        for table, rows in ((one, left), (other, right)):
            for number, row in enumerate(rows):
                row["id"] = number
            table.insert([{"id": -1, "a": 3, "b": 3}, *rows])
            table.delete([-1])
        with one.view() as left_view, other.view() as right_view:
            joined = Joined(scanned(left_view, 0, "id", "a", "b"), scanned(right_view, 1, "id", "a", "b"), ties, outer)
            assert all(joined.take())
            found = counted(joined, [(0, "id"), (1, "id")])
        pairs = [
            (row["id"], partner["id"])
            for row, partner in product(left, right)
            if all(equal(row.get(mine), partner.get(theirs)) for (_, mine), (_, theirs) in ties)
        ]
        alone = {row["id"] for row in left} - {number for number, _ in pairs}
        wanted = [*pairs, *((number, None) for number in sorted(alone) if outer)]
        assert found == {json.dumps(pair): 1 for pair in wanted}
        assert list(found) == [json.dumps(pair) for pair in sorted(wanted, key=lambda pair: pair[0])]
    finally:
        node.drop_table("d", "left")
        node.drop_table("d", "right")


def test_the_partners_may_be_joined_rows_themselves(node: engine.Node) -> None:
    table = node.create_table("d", "chain")
    table.insert([{"id": number, "next": number + 1, "half": number // 2} for number in range(3_000)])
    with table.view() as view:
        inner = Joined(scanned(view, 1, "id", "next"), scanned(view, 2, "id", "half"), [((1, "next"), (2, "id"))], True)
        assert all(inner.take())
        joined = Joined(scanned(view, 0, "id"), inner, [((0, "id"), (2, "half"))], False)
        assert all(joined.take())
        assert joined.count == 2_999  # the last of the inner rows stands beside nothing
        assert joined.size > 0
        found = counted(joined, [(0, "id")])
    assert found == {f"[{number}]": 1 if number == 0 else 2 for number in range(1_500)}


def test_an_array_for_a_key_ends_it_only_where_it_is_taken(node: engine.Node) -> None:
    table = node.create_table("d", "arrays")
    table.insert([{"id": number, "a": [1] if number == 5 else number} for number in range(10)])
    with table.view() as view:
        ties = [((0, "id"), (1, "a"))]
        assert not all(Joined(scanned(view, 0, "id"), scanned(view, 1, "a"), ties, False).take())
        joined = Joined(scanned(view, 1, "a"), scanned(view, 0, "id"), [((1, "a"), (0, "id"))], False)
        assert all(joined.take())
        assert sum(counted(joined, []).values()) == 9


def test_attributes_have_to_be_among_those_of_the_rows(node: engine.Node) -> None:
    table = node.create_table("d", "few")
    table.insert([{"id": 1}])
    with table.view() as view:
        with pytest.raises(KeyError):
            Joined(scanned(view, 0, "id"), scanned(view, 1, "id"), [((0, "id"), (2, "id"))], False)
        with pytest.raises(KeyError):
            Groups(scanned(view, 0, "id"), [(1, "id")], [], json.dumps)
