"""ORDER BY: in memory, only the best of many where a LIMIT says so, or in runs on disk where memory does not do.

Where the engine can sort stored records by itself, rows are made only afterwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cmp_to_key
from itertools import islice
from operator import itemgetter
from typing import Any

from grammar.bound import Ordering
from grammar.budget import Budget
from grammar.frame import Row
from grammar.operators.operator import Operator, Passing, Step
from grammar.operators.stored import StoredOrder
from grammar.spill import Place, Spill
from grammar.syntax import Expression
from grammar.values import NUMBER_TYPES, Value, order_key
from grammar.wording import wording

BUFFERED = 1024  # rows that a sort with a limit collects before it drops the worst
FEW = 10_000  # with a limit up to here, only so many rows are kept


@dataclass(slots=True)
class Sort(Passing):
    """All rows in order, or only the first `limit` of them; rows that compare equal keep their order.

    `columns` are the expressions behind the rows. `stored` is the same for the engine; its rows lack the columns that
    are there for sorting only.
    """

    input: Operator
    order: tuple[Ordering, ...]
    limit: int | None
    columns: tuple[Expression, ...]
    budget: Budget
    stored: StoredOrder | None = None

    @property
    def estimate(self) -> int:
        return self.input.estimate if self.limit is None else min(self.input.estimate, self.limit)

    @property
    def step(self) -> Step:
        keys = [wording(self.columns[each.column]) + (" DESC" if each.descending else "") for each in self.order]
        return Step("sort" if self.limit is None else "top sort", detail=", ".join(keys))

    def rows(self) -> Iterator[Row]:
        if self.stored is not None and (found := self.stored.rows(self.limit)) is not None:
            return found
        if self.limit is not None and self.limit <= FEW:
            return iter(self._best(self.limit))
        return islice(self._sorted(), self.limit)

    def _best(self, limit: int) -> list[Row]:
        rows: list[Row] = []
        source = self.input.rows()
        self.budget.hold(limit)
        while chunk := list(islice(source, limit + BUFFERED)):
            self.budget.tick()
            rows += chunk
            sort_rows(rows, self.order)
            del rows[limit:]
        return rows

    def _sorted(self) -> Iterator[Row]:
        budget = self.budget
        rows: list[Row] = []
        spill: Spill | None = None
        runs: list[list[Place]] = []
        holding = budget.holding()
        for chunk in budget.chunks(self.input.rows()):
            if not holding.add(chunk):
                if not rows or budget.directory is None:
                    raise budget.exceeded()
                spill = spill or Spill(budget, budget.directory)
                sort_rows(rows, self.order)
                runs.append(spill.write(rows))
                rows = []
                holding.clear()
                if not holding.add(chunk):
                    raise budget.exceeded()
            rows += chunk
        sort_rows(rows, self.order)
        if spill is None:
            return iter(rows)
        return self._merged(spill, runs, rows)

    def _merged(self, spill: Spill, runs: list[list[Place]], last: list[Row]) -> Iterator[Row]:
        """The runs as one; earlier ones first among equals."""
        try:
            yield from heapq.merge(*[spill.read(run) for run in runs], last, key=comparison_key(self.order))
        finally:
            spill.close()


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
    place = _place(order)
    rows.sort(key=lambda row: place(value_of(row)), reverse=order.descending)


def _place(order: Ordering) -> Callable[[Value], tuple[Any, ...]]:
    """Where a value of any type stands in the order, before that is turned around by DESC."""
    null = (0,) if order.nulls_first is not order.descending else (9,)
    folded = order.folded

    def place(value: Value) -> tuple[Any, ...]:
        if value is None:
            return null
        return order_key(value.casefold() if folded and type(value) is str else value)

    return place


def comparison_key(order: tuple[Ordering, ...]) -> Callable[[Row], Any]:
    """A key by which rows compare as `sort_rows` puts them."""
    parts = [(each.column, _place(each), -1 if each.descending else 1) for each in order]

    def compare(one: Row, other: Row) -> int:
        for column, place, sign in parts:
            left, right = place(one[column]), place(other[column])
            if left != right:
                return -sign if left < right else sign
        return 0

    return cmp_to_key(compare)
