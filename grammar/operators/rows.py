"""Operators on rows as they pass: filter, project, count off, tell apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from math import ceil
from operator import itemgetter
from typing import Any

from grammar.budget import Budget
from grammar.expressions import Evaluate
from grammar.frame import Layout, Row
from grammar.operators.operator import Operator, Passing, Step
from grammar.syntax import Expression
from grammar.values import identity
from grammar.wording import all_of


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
class Filter(Passing):
    """Rows for which every test is true; the tests are the compiled conditions, as far as the input does not judge."""

    input: Operator
    tests: tuple[Evaluate, ...]
    conditions: tuple[Expression, ...]
    estimate: int

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
class Distinct(Passing):
    """Each row once, the first of its kind."""

    input: Operator
    budget: Budget

    @property
    def estimate(self) -> int:
        return self.input.estimate

    @property
    def step(self) -> Step:
        return Step("distinct")

    def rows(self) -> Iterator[Row]:
        return first_of_each(self.input.rows(), set(), self.budget)


def first_of_each(rows: Iterator[Row], seen: set[Any], budget: Budget) -> Iterator[Row]:
    """The rows whose identity is not among those `seen`, which grow by them."""
    for chunk in budget.chunks(rows):
        fresh = []
        for row in chunk:
            key = row_identity(row)
            if key not in seen:
                seen.add(key)
                fresh.append(row)
        budget.keep(fresh)
        yield from fresh


def row_identity(row: Row) -> tuple[Any, ...]:
    return tuple(map(identity, row))


@dataclass(slots=True)
class Limit(Passing):
    """The rows from `offset` on, at most `count`; with `percent` so many hundredths of all, rounded up."""

    input: Operator
    offset: int
    count: int | None
    percent: bool
    budget: Budget

    @property
    def estimate(self) -> int:
        rows = max(self.input.estimate - self.offset, 0)
        return rows if self.count is None or self.percent else min(rows, self.count)

    @property
    def step(self) -> Step:
        return Step("limit")

    def rows(self) -> Iterator[Row]:
        if self.percent:
            rows = self.budget.collected(self.input.rows())
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
            both = chain.from_iterable(side.rows() for side in (self.left, self.right))
            return both if self.every else first_of_each(both, set(), self.budget)
        others = set(self.budget.collected(map(row_identity, self.right.rows())))
        wanted = self.operator == "intersect"
        rows = (row for row in self.left.rows() if (row_identity(row) in others) is wanted)
        return first_of_each(rows, set(), self.budget)
