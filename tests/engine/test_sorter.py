"""Sorted records against the same in lists."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine import keys
from engine.predicates import Arithmetic, Attribute, Constant, Filter, Operand, Within
from engine.sorter import Sorter

RECORDS = 20_000  # more than wait to be dropped, several times over
LONG = "long " * 100
TEXTS = ["", "a", "A", "ab", "a\x00b", "a\x00", 'q"\\', "ä", "\U0001f600", "\uffff", LONG, LONG + "er"]
MIXED = [None, False, True, -(2**63), -1, 0, 0.5, 2**53 + 1, 2**64 - 1, 1e300, *TEXTS]

Key = tuple[Operand, bool, bool]


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with engine.open_node(tmp_path_factory.mktemp("sorter") / "root") as node:
        table = node.create_table("d", "t")
        records: list[dict[str, Any]] = [
            {"id": key, "mixed": MIXED[key * 7 % len(MIXED)], "number": key * 7919 % 1000 / 4, "text": f"t{key % 100}"}
            for key in range(RECORDS)
        ]
        for record in records[::13]:
            del record["number"]
        records[50]["sometimes"] = [1]
        table.insert(records)
        with table.view() as view:
            yield view


def ordered(
    view: Any, order: list[Key], limit: int | None, where: Filter | None = None, along: str = "id"
) -> list[Any]:
    sorter = Sorter(view.selection(along, (keys.EVERYTHING,), None, where), order, limit)
    for could in sorter.take():
        assert could
    rows = list(chain.from_iterable(sorter.rows(("id",))))
    assert sorter.wanted == len(rows)
    return [key for (key,) in rows]


def place(value: Any) -> tuple[Any, ...]:
    if value is None or isinstance(value, bool):
        return (0, value is not None, value is True)
    return (2, value) if isinstance(value, str) else (1, value)


DOUBLED = Arithmetic("*", Attribute("number"), Constant(2))
OPERANDS: dict[str, Operand] = {
    "id": Attribute("id"),
    "mixed": Attribute("mixed"),
    "number": Attribute("number"),
    "text": Attribute("text"),
    "doubled": DOUBLED,
    "nobody": Attribute("nobody"),
    "changed": Attribute("__updatedtime__"),
}
ORDER = st.lists(st.tuples(st.sampled_from(list(OPERANDS)), st.booleans(), st.booleans()), min_size=1, max_size=3)
LIMIT = st.none() | st.sampled_from([0, 1, 20, 6_000, RECORDS + 1, 1 << 60])


@settings(max_examples=40, deadline=None)
@given(ORDER, LIMIT)
def test_the_order_is_that_of_the_values_and_else_of_the_index(
    view: Any, order: list[tuple[str, bool, bool]], limit: int | None
) -> None:
    names = ("id", "mixed", "number", "text", "__updatedtime__")
    rows = [dict(zip(names, row, strict=True)) for row in view.tuples("id", keys.EVERYTHING, names)]
    for name, descending, nulls_first in reversed(order):
        name = {"doubled": "number", "changed": "__updatedtime__"}.get(name, name)
        rows.sort(key=lambda row: place(row.get(name)), reverse=descending)
        rows.sort(key=lambda row: (row.get(name) is None) is not nulls_first)
    wanted = [row["id"] for row in rows][:limit]
    assert ordered(view, [(OPERANDS[name], *how) for name, *how in order], limit) == wanted


def test_only_records_that_pass_are_sorted_whatever_index_is_walked(view: Any) -> None:
    where = Filter(Within(DOUBLED, (keys.EVERYTHING & keys.equal(3),)), (), lambda row: pytest.fail("the engine tells"))
    found = ordered(view, [(Attribute("id"), True, True)], None, where, along="text")
    assert found == [key for key in reversed(range(RECORDS)) if key * 7919 % 1000 == 6 and key % 13]


@pytest.mark.parametrize("operand", [Attribute("sometimes"), Arithmetic("+", Attribute("text"), Constant(1))])
def test_what_only_python_can_place_ends_it(view: Any, operand: Operand) -> None:
    sorter = Sorter(view.selection("id", (keys.EVERYTHING,), None, None), [(operand, False, True)], None)
    assert not all(sorter.take())


def test_a_limit_bounds_what_is_held(view: Any) -> None:
    sorter = Sorter(view.selection("id", (keys.EVERYTHING,), None, None), [(Attribute("text"), False, True)], 10)
    assert all(sorter.take())
    assert sorter.wanted == 10
    assert sorter.size < 64 * RECORDS / 2
