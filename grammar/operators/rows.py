"""Operators on rows as they pass: filter, project, order, count off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from operator import itemgetter
from typing import Any

from grammar.bound import Ordering
from grammar.budget import Budget
from grammar.expressions import Evaluate
from grammar.frame import Layout, Row
from grammar.operators.operator import Operator, Step
from grammar.syntax import Expression
from grammar.values import NUMBER_TYPES, Value, identity, order_key
from grammar.wording import all_of, wording

BUFFERED = 1024  # rows that a sort with a limit collects before it drops the worst


@dataclass(slots=True)
class Given:
    """Rows that are there already: one empty row for a query without FROM, or none at all."""

    given: tuple[Row, ...]
    operation: str = "constant"
    layout: Layout = field(default_factory=dict)
    inputs: tuple[Operator, ...] = ()

    @property
    def estimate(self) -> int:
        return len(self.given)

    @property
    def step(self) -> Step:
        return Step(self.operation)

    def rows(self) -> Iterator[Row]:
        return iter(self.given)


@dataclass(slots=True)
class Renamed:
    """The rows of a query in FROM, under the names that the query around it has for them."""

    input: Operator
    layout: Layout
    alias: str

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input,)

    @property
    def estimate(self) -> int:
        return self.input.estimate

    @property
    def step(self) -> Step:
        return Step("derived table", self.alias)

    def rows(self) -> Iterator[Row]:
        return self.input.rows()


@dataclass(slots=True)
class Filter:
    """Rows for which every test is true; the tests are the compiled conditions."""

    input: Operator
    tests: tuple[Evaluate, ...]
    conditions: tuple[Expression, ...]
    estimate: int

    @property
    def layout(self) -> Layout:
        return self.input.layout

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input,)

    @property
    def step(self) -> Step:
        return Step("filter", detail=all_of(self.conditions))

    def rows(self) -> Iterator[Row]:
        rows = self.input.rows()
        for test in self.tests:
            rows = filter(test, rows)
        return rows


@dataclass(slots=True)
class Project:
    """The columns of a select list; their layout is by number."""

    input: Operator
    make: Callable[[Row], Row] | None
    width: int

    @property
    def layout(self) -> Mapping[Any, int]:
        return {place: place for place in range(self.width)}

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return self.input.inputs

    @property
    def estimate(self) -> int:
        return self.input.estimate

    @property
    def step(self) -> Step:
        return self.input.step

    def rows(self) -> Iterator[Row]:
        return self.input.rows() if self.make is None else map(self.make, self.input.rows())


@dataclass(slots=True)
class Distinct:
    """Each row once, the first of its kind."""

    input: Operator
    budget: Budget

    @property
    def layout(self) -> Layout:
        return self.input.layout

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input,)

    @property
    def estimate(self) -> int:
        return self.input.estimate

    @property
    def step(self) -> Step:
        return Step("distinct")

    def rows(self) -> Iterator[Row]:
        seen = set()
        for row in self.input.rows():
            key = row_identity(row)
            if key not in seen:
                self.budget.hold(1)
                seen.add(key)
                yield row


def row_identity(row: Row) -> tuple[Any, ...]:
    return tuple(map(identity, row))


@dataclass(slots=True)
class Sort:
    """All rows in order, or only the first `limit` of them; rows that compare equal keep their order.

    `columns` are the expressions behind the rows.
    """

    input: Operator
    order: tuple[Ordering, ...]
    limit: int | None
    columns: tuple[Expression, ...]
    budget: Budget

    @property
    def layout(self) -> Layout:
        return self.input.layout

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input,)

    @property
    def estimate(self) -> int:
        return self.input.estimate if self.limit is None else min(self.input.estimate, self.limit)

    @property
    def step(self) -> Step:
        keys = [wording(self.columns[each.column]) + (" DESC" if each.descending else "") for each in self.order]
        return Step("sort" if self.limit is None else "top sort", detail=", ".join(keys))

    def rows(self) -> Iterator[Row]:
        if self.limit is None:
            rows = self.budget.collected(self.input.rows())
            sort_rows(rows, self.order)
            return iter(rows)
        return iter(self._best(self.limit))

    def _best(self, limit: int) -> list[Row]:
        rows, source = [], self.input.rows()
        self.budget.hold(limit)
        while chunk := list(islice(source, limit + BUFFERED)):
            self.budget.tick()
            rows += chunk
            sort_rows(rows, self.order)
            del rows[limit:]
        return rows


def sort_rows(rows: list[Row], order: tuple[Ordering, ...]) -> None:
    """Sorts in place, by the last key first: each sort is stable."""
    for each in reversed(order):
        _sort_by(rows, each)


def _sort_by(rows: list[Row], order: Ordering) -> None:
    value_of = itemgetter(order.column)
    kinds = set(map(type, map(value_of, rows)))
    if (kinds <= NUMBER_TYPES or kinds == {str}) and not order.folded:
        rows.sort(key=value_of, reverse=order.descending)
        return
    null_is_least = order.nulls_first is not order.descending

    def key(row: Row) -> tuple[Any, ...]:
        value = value_of(row)
        return (0 if null_is_least else 9,) if value is None else order_key(_folded(value) if order.folded else value)

    rows.sort(key=key, reverse=order.descending)


def _folded(value: Value) -> Value:
    return value.casefold() if type(value) is str else value


@dataclass(slots=True)
class Limit:
    """The rows from `offset` on, at most `count`; with `percent` so many hundredths of all, rounded up."""

    input: Operator
    offset: int
    count: int | None
    percent: bool = False

    @property
    def layout(self) -> Layout:
        return self.input.layout

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input,)

    @property
    def estimate(self) -> int:
        rows = max(self.input.estimate - self.offset, 0)
        return rows if self.count is None or self.percent else min(rows, self.count)

    @property
    def step(self) -> Step:
        return Step("limit")

    def rows(self) -> Iterator[Row]:
        if self.percent:
            rows = list(self.input.rows())
            return iter(rows[: ceil(len(rows) * (self.count or 0) / 100)])
        end = None if self.count is None else self.offset + self.count
        return islice(self.input.rows(), self.offset, end)


@dataclass(slots=True)
class Trim:
    """Rows without the columns that were there for sorting only."""

    input: Operator
    width: int

    @property
    def layout(self) -> Layout:
        return {place: place for place in range(self.width)}

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return self.input.inputs

    @property
    def estimate(self) -> int:
        return self.input.estimate

    @property
    def step(self) -> Step:
        return self.input.step

    def rows(self) -> Iterator[Row]:
        return map(itemgetter(slice(self.width)), self.input.rows())


@dataclass(slots=True)
class Combine:
    """UNION, INTERSECT and EXCEPT; null equals null here."""

    operator: str
    every: bool
    left: Operator
    right: Operator
    budget: Budget

    @property
    def layout(self) -> Layout:
        return self.left.layout

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.left, self.right)

    @property
    def estimate(self) -> int:
        left, right = self.left.estimate, self.right.estimate
        return {"union": left + right, "intersect": min(left, right), "except": left}[self.operator]

    @property
    def step(self) -> Step:
        return Step(f"{self.operator} all" if self.every else self.operator)

    def rows(self) -> Iterator[Row]:
        if self.operator == "union":
            yield from self._union()
            return
        others = set(self.budget.collected(map(row_identity, self.right.rows())))
        wanted = self.operator == "intersect"
        seen = set()
        for row in self.left.rows():
            key = row_identity(row)
            if (key in others) is wanted and key not in seen:
                self.budget.hold(1)
                seen.add(key)
                yield row

    def _union(self) -> Iterator[Row]:
        seen = set()
        for side in (self.left, self.right):
            for row in side.rows():
                if self.every:
                    yield row
                elif (key := row_identity(row)) not in seen:
                    self.budget.hold(1)
                    seen.add(key)
                    yield row
