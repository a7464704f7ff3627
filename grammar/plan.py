"""Plans a query: from bound query to a tree of operators.

A selection is FROM and WHERE (joining.py, access.py), or an answer from an index alone (summary.py); then grouping,
HAVING, the select list, DISTINCT, ORDER BY and LIMIT, each left out where nothing is left for it to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.view import MOST_RECORDS
from grammar import syntax
from grammar.access import Access, Wish, access
from grammar.bound import (
    BoundQuery,
    Combination,
    Field,
    Grouping,
    Reduction,
    Selection,
    TableSource,
    index_order,
)
from grammar.errors import SqlError
from grammar.expressions import Scope, compile_expression, constant_value, tuple_maker
from grammar.frame import Frame, Layout
from grammar.functions.aggregate import find as find_aggregate
from grammar.joining import Planner
from grammar.operators.group import Group, Reducer
from grammar.operators.operator import Operator
from grammar.operators.rows import Combine, Distinct, Filter, Given, Limit, Project, Trim
from grammar.operators.scan import Scan
from grammar.operators.sort import Sort
from grammar.operators.stored import StoredOrder, bare_scan, stored_groups
from grammar.predicates import condition
from grammar.pushdown import operand_of
from grammar.summary import distinct_values, summarised
from grammar.syntax import Expression
from grammar.values import truth

EXPECTED_GROUPS = 10  # one group in so many rows


@dataclass(frozen=True, slots=True)
class Window:
    """LIMIT and OFFSET with their values; `count` None for all."""

    offset: int = 0
    count: int | None = None
    percent: bool = False

    @property
    def end(self) -> int | None:
        """How many rows are needed at most; None for all."""
        return None if self.count is None or self.percent else self.offset + self.count


def plan(query: BoundQuery, frame: Frame) -> Operator:
    """The operator whose rows are those of the query, in the order of its keys."""
    if isinstance(query, Combination):
        return Combine(query.operator, query.every, plan(query.left, frame), plan(query.right, frame), frame.budget)
    return _Selecting(query, frame, _window(query.limit, frame)).operator()


def _window(limit: syntax.Limit | None, frame: Frame) -> Window:
    if limit is None:
        return Window()
    offset = 0 if limit.offset is None else _whole_number(limit.offset, frame, "OFFSET")
    count = None if limit.count is None else _whole_number(limit.count, frame, "LIMIT")
    return Window(offset, count, limit.percent)


def _whole_number(node: Expression, frame: Frame, clause: str) -> int:
    found = constant_value(node, frame)
    if found is None or type(found.value) is not int or found.value < 0:
        raise SqlError(f"{clause} must be a whole number")
    return min(found.value, MOST_RECORDS)


@dataclass(frozen=True, slots=True)
class _Selecting:
    selection: Selection
    frame: Frame
    window: Window

    def operator(self) -> Operator:
        selection = self.selection
        if selection.distinct and (found := distinct_values(selection, self.frame)) is not None:
            return self._finished(found, distinct=False)
        if selection.grouping is not None:
            return self._finished(self._projected(self._grouped(selection.grouping)), selection.distinct)
        wish = self._wish()
        read = self._read(wish)
        if read.ordered:
            return replace(self, selection=selection.unsorted)._after(read)
        return self._after(read)

    def _after(self, read: Access) -> Operator:
        selection = self.selection
        if read.scan is not None and not selection.distinct and not selection.order:
            return self._cut(read.scan)
        stored = None if selection.distinct or not self.frame.pushdown else self._stored_order(read)
        return self._finished(self._projected(read.operator), selection.distinct, stored)

    def _stored_order(self, read: Access) -> StoredOrder | None:
        """ORDER BY as the engine can do it."""
        selection, scan = self.selection, bare_scan(read.operator)
        if scan is None or not selection.order or any(each.folded for each in selection.order):
            return None
        keys = []
        for each in selection.order:
            operand = operand_of(selection.columns[each.column], scan.source, self.frame)
            if operand is None:
                return None
            keys.append((operand, each.descending, each.nulls_first))
        columns = tuple(selection.result_needs)
        layout = replace(scan, columns=columns).layout
        shown = selection.columns[: len(selection.keys)]
        make = None if _is_in_place(shown, layout) else tuple_maker(shown, self.frame, layout)
        return StoredOrder(scan, tuple(keys), columns, make, self.frame.budget)

    def _wish(self) -> Wish:
        """The order that an index could give to a single table, and how many rows are wanted."""
        selection = self.selection
        rows = None if selection.distinct else self.window.end
        if not selection.order:
            return Wish(rows=rows)
        if not isinstance(selection.source, TableSource):
            return Wish()
        otherwise = tuple(selection.order_needs)
        attribute = index_order(selection.order, selection.columns, selection.source)
        if attribute is None:
            return Wish(otherwise=otherwise)
        return Wish(attribute, selection.order[0].descending, rows, otherwise)

    def _read(self, wish: Wish) -> Access:
        """FROM and WHERE."""
        selection = self.selection
        conditions = selection.conditions
        if any(self._never(each) for each in conditions):
            nowhere = {(number, name): 0 for number, names in selection.needs.items() for name in names}
            return Access(Given((), "no rows", nowhere), None, True, 0)
        if selection.source is None:
            rows: Operator = Given(((),))
            tests = tuple([condition(each, Scope(self.frame, {})) for each in conditions])
            return Access(Filter(rows, tests, conditions, 1) if tests else rows, None, True, 1)
        if isinstance(selection.source, TableSource):
            return access(selection.source, conditions, selection.result_needs, self.frame, wish)
        part = Planner(self.frame, selection.needs).inner([selection.source], list(conditions))
        return Access(part.operator, None, False, part.estimate)

    def _never(self, node: Expression) -> bool:
        found = constant_value(node, self.frame)
        return found is not None and not truth(found.value)

    def _grouped(self, grouping: Grouping) -> Operator:
        groups = summarised(self.selection, self.frame) or self._hashed_groups(grouping)
        if self.selection.having is None:
            return groups
        test = condition(self.selection.having, Scope(self.frame, groups.layout))
        return Filter(groups, (test,), (self.selection.having,), groups.estimate)

    def _hashed_groups(self, grouping: Grouping) -> Operator:
        read = self._read(Wish())
        layout = read.operator.layout
        key_parts = tuple([compile_expression(each, self.frame, layout) for each in grouping.keys])
        reducers = tuple([self._reducer(each, read.operator) for each in grouping.reductions])
        rows = max(read.estimate // EXPECTED_GROUPS, 1) if grouping.keys else 1
        pushed = stored_groups(grouping, read.operator, self.frame.budget) if self.frame.pushdown else None
        return Group(read.operator, grouping, key_parts, reducers, rows, self.frame.budget, pushed)

    def _reducer(self, reduction: Reduction, rows: Operator) -> Reducer:
        aggregate = find_aggregate(reduction.name, 1)
        assert aggregate is not None
        if reduction.star:
            return Reducer(aggregate, None, distinct=False)
        argument = compile_expression(reduction.arguments[0], self.frame, rows.layout)
        extra = []
        for each in reduction.arguments[1:]:
            value = constant_value(each, self.frame)
            if value is None:
                raise SqlError(f"{reduction.name} takes a constant as its second argument")
            extra.append(value.value)
        return Reducer(aggregate, argument, reduction.distinct, tuple(extra))

    def _projected(self, rows: Operator) -> Operator:
        columns = self.selection.columns
        if _is_in_place(columns, rows.layout):
            return Project(rows, None, len(columns))
        return Project(rows, tuple_maker(columns, self.frame, rows.layout), len(columns))

    def _finished(self, rows: Operator, distinct: bool, stored: StoredOrder | None = None) -> Operator:
        """DISTINCT, ORDER BY, LIMIT, and away with what was there for sorting only."""
        selection, window = self.selection, self.window
        if distinct:
            rows = Distinct(rows, self.frame.budget)
        if selection.order:
            rows = Sort(rows, selection.order, window.end, selection.columns, self.frame.budget, stored)
        if window != Window():
            rows = Limit(rows, window.offset, window.count, window.percent, self.frame.budget)
        return rows if len(selection.keys) == len(selection.columns) else Trim(rows, len(selection.keys))

    def _cut(self, scan: Scan) -> Operator:
        """Nothing comes after the scan but the select list, so LIMIT and OFFSET can be left to it."""
        window = self.window
        if window.percent or len(scan.ranges) != 1 or window == Window():
            return self._finished(self._projected(scan), distinct=False)
        rows = max(scan.estimate - window.offset, 0)
        rows = rows if window.count is None else min(rows, window.count)
        limited = replace(scan, offset=window.offset, limit=window.count, estimate=rows)
        return replace(self, window=Window())._finished(self._projected(limited), distinct=False)


def _is_in_place(columns: Sequence[Expression], layout: Layout) -> bool:
    """Whether rows of this layout are what the select list asks for already."""
    places = [layout.get(each.key) if isinstance(each, Field) else None for each in columns]
    return places == list(range(len(layout)))
