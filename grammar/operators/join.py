"""Joins. The rows of both sides are put side by side: those of the left first.

A key is null when one of its parts is, and then joins nothing; else keys join when they are equal as = has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from engine import keys
from grammar.bound import TableSource
from grammar.budget import Budget
from grammar.expressions import Evaluate
from grammar.frame import Layout, Row
from grammar.operators.operator import Operator, Step
from grammar.syntax import Expression
from grammar.values import COMPOSITE_TYPES, Value, identity, same
from grammar.wording import all_of

KeyOf = Callable[[Row], Any]  # gives the identity of a join key, or None for a null in it
Test = Callable[[Row], Any]


def key_maker(parts: tuple[Evaluate, ...]) -> KeyOf:
    if len(parts) == 1:
        only = parts[0]
        return lambda row: identity(only(row))

    def key(row: Row) -> Any:
        names = tuple([identity(part(row)) for part in parts])
        return None if None in names else names

    return key


@dataclass(slots=True)
class HashJoin:
    """Looks for each left row's partners in a table of the right rows; without keys every right row is a candidate.

    `test` is the rest of the condition. `outer` keeps left rows without partner, `full` right ones as well.
    """

    left: Operator
    right: Operator
    left_key: KeyOf | None
    right_key: KeyOf | None
    test: Test | None
    outer: bool
    full: bool
    right_width: int
    left_width: int
    estimate: int
    budget: Budget
    conditions: tuple[Expression, ...]

    @property
    def layout(self) -> Layout:
        shifted = {name: place + self.left_width for name, place in self.right.layout.items()}
        return {**self.left.layout, **shifted}

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.left, self.right)

    @property
    def step(self) -> Step:
        kind = "full " if self.full else "left " if self.outer else ""
        return Step(f"{kind}hash join" if self.left_key else f"{kind}loop join", detail=all_of(self.conditions))

    def rows(self) -> Iterator[Row]:
        right = self.budget.collected(self.right.rows())
        candidates_of = self._candidates(right)
        nothing = (None,) * self.right_width
        partnered: set[int] = set()
        for row in self.left.rows():
            self.budget.tick()
            alone = True
            for index in candidates_of(row):
                joined = row + right[index]
                if self.test is None or self.test(joined):
                    alone = False
                    if self.full:
                        partnered.add(index)
                    yield joined
            if alone and self.outer:
                yield row + nothing
        if self.full:
            blank = (None,) * self.left_width
            yield from (blank + row for index, row in enumerate(right) if index not in partnered)

    def _candidates(self, right: list[Row]) -> Callable[[Row], Any]:
        """A function from a left row to the numbers of the right rows with its key."""
        if self.left_key is None or self.right_key is None:
            every = range(len(right))
            return lambda row: every
        table: dict[Any, list[int]] = {}
        for index, row in enumerate(right):
            key = self.right_key(row)
            if key is not None:
                table.setdefault(key, []).append(index)
        left_key, none = self.left_key, ()
        return lambda row: table.get(left_key(row), none)


@dataclass(slots=True)
class LookupJoin:
    """Looks up each left row's partners through an index of the right table, whose attribute is among the `columns`."""

    left: Operator
    source: TableSource
    view: Any
    attribute: str
    value_of: Evaluate
    columns: tuple[str, ...]
    test: Test | None
    outer: bool
    left_width: int
    estimate: int
    budget: Budget
    conditions: tuple[Expression, ...]

    @property
    def layout(self) -> Layout:
        width = self.left_width
        return {
            **self.left.layout,
            **{(self.source.number, column): width + place for place, column in enumerate(self.columns)},
        }

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.left,)

    @property
    def step(self) -> Step:
        table = f"{self.source.schema}.{self.source.table}"
        operation = "left lookup join" if self.outer else "lookup join"
        return Step(operation, table, self.attribute, all_of(self.conditions))

    def rows(self) -> Iterator[Row]:
        nothing = (None,) * len(self.columns)
        value_of, test = self.value_of, self.test
        for row in self.left.rows():
            self.budget.tick()
            alone = True
            for partner in self._partners(value_of(row)):
                joined = row + partner
                if test is None or test(joined):
                    alone = False
                    yield joined
            if alone and self.outer:
                yield row + nothing

    def _partners(self, value: Value) -> Iterator[Row]:
        if value is None:
            return iter(())
        bounds = keys.COMPOSITES if type(value) in COMPOSITE_TYPES else keys.equal(value)
        rows: Iterator[Row] = self.view.tuples(self.attribute, bounds, self.columns)
        if type(value) not in COMPOSITE_TYPES and keys.exact(value):
            return rows
        place = self.columns.index(self.attribute)
        return (row for row in rows if same(row[place], value))
