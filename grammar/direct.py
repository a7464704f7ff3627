"""Queries that a view answers without a plan: a record by its key, a count, a short run along one index.

`directly` finds them once, when a statement is bound; each execution only fills in its literals and parameters. Where
their values do not fit (a range too long, a text that an index holds in part), `answer` gives None, and a plan is made.
The rows and their order are those of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine import keys
from engine.keys import Bounds
from engine.view import MOST_RECORDS
from grammar import syntax
from grammar.bound import BoundStatement, Field, Selection, Slot, TableSource, index_order
from grammar.budget import Budget
from grammar.operators.scan import read_range
from grammar.predicates import BOOLEAN_WORDS, FLIPPED
from grammar.ranges import BOUNDS
from grammar.syntax import Expression
from grammar.values import NUMBER_TYPES, Value

LONGEST_TEXT = 60  # characters; indexes hold texts up to here in full
MOST_ROWS = 1000  # of a run; where more are read, a plan costs little beside them

Literals = Sequence[Value]
Parameters = Mapping[int | str, Value]
Given = Callable[[Literals, Parameters], Value]  # takes the value of a literal or parameter
Rows = list[dict[str, Any]]


@dataclass(slots=True)
class Range:
    """Where an attribute equals one value, or else meets all of some comparisons with numbers."""

    attribute: str
    equal: Given | None
    tests: tuple[tuple[str, Given], ...]

    def bounds(self, literals: Literals, parameters: Parameters) -> Bounds | None:
        """None for values that do not fit."""
        if self.equal is not None:
            value = self.equal(literals, parameters)
            return keys.equal(value) if _is_plain(value) else None
        found = keys.NUMBERS
        for operator, given in self.tests:
            value = given(literals, parameters)
            if type(value) not in NUMBER_TYPES:
                return None
            found &= BOUNDS[operator](value)
        return found


@dataclass(slots=True)
class Lookup:
    """The record of a primary key."""

    source: TableSource
    key: Given
    keys: tuple[str, ...]
    columns: tuple[str, ...]

    def rows(self, view: Any, literals: Literals, parameters: Parameters, _: Budget) -> Rows | None:
        key = self.key(literals, parameters)
        if not _is_plain(key):
            return None
        found = view.get(key, self.columns)
        if found is None:
            return []
        if len(found) == len(self.keys) and self.keys == self.columns:
            return [found]
        return [{name: found.get(column) for name, column in zip(self.keys, self.columns, strict=True)}]


@dataclass(slots=True)
class Count:
    """COUNT(*) of all records, or of those in a range."""

    source: TableSource
    range: Range | None
    keys: tuple[str, ...]

    def rows(self, view: Any, literals: Literals, parameters: Parameters, _: Budget) -> Rows | None:
        assert self.range is not None
        bounds = self.range.bounds(literals, parameters)
        if bounds is None or not view.is_indexed(self.range.attribute):
            return None
        return self.numbered(view.count_in(self.range.attribute, bounds))

    def numbered(self, count: int) -> Rows:
        return [dict.fromkeys(self.keys, count)]


@dataclass(slots=True)
class Run:
    """The records of a range, in the order of its index; without a `range` all of them, by `attribute`."""

    source: TableSource
    range: Range | None
    attribute: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    reverse: bool
    limit: Given | None
    offset: Given | None

    def rows(self, view: Any, literals: Literals, parameters: Parameters, budget: Budget) -> Rows | None:
        limit = MOST_ROWS if self.limit is None else self.limit(literals, parameters)
        offset = 0 if self.offset is None else self.offset(literals, parameters)
        if type(limit) is not int or type(offset) is not int:
            return None
        if not 0 <= limit <= MOST_ROWS or not 0 <= offset <= MOST_RECORDS:
            return None
        if not view.is_indexed(self.attribute):
            return None
        bounds = self._everything(view) if self.range is None else self.range.bounds(literals, parameters)
        if bounds is None or (self.limit is None and view.count_in(self.attribute, bounds) - offset > limit):
            return None
        names, most = self.keys, None if self.limit is None else limit
        if self.columns == (self.attribute,) and not offset and most is None and self.attribute != view.primary_key:
            values = view.entries(self.attribute, bounds, reverse=self.reverse)  # in full: see `Range.bounds`
            return budget.collected(dict.fromkeys(names, value) for value, _ in values)
        rows = read_range(view, self.attribute, bounds, self.columns, self.reverse, offset, most)
        return budget.collected(dict(zip(names, row, strict=True)) for row in rows)

    def _everything(self, view: Any) -> Bounds | None:
        """Where the index has all records in exact order; None where it lacks some, or has texts that may be cut."""
        if self.attribute == self.source.primary_key:
            return keys.EVERYTHING
        return keys.NUMBERS if view.count_in(self.attribute, keys.NUMBERS) == view.count() else None


Direct = Lookup | Count | Run


def answer(direct: Direct, table: Any, literals: Literals, parameters: Parameters, budget: Budget) -> Rows | None:
    """The rows. A table counts its records without a view."""
    if type(direct) is Count and direct.range is None:
        return direct.numbered(table.count())
    view = table.view()
    try:
        return direct.rows(view, literals, parameters, budget)
    finally:
        view.close()


def directly(statement: BoundStatement) -> Direct | None:
    """How a view answers the statement, or None if that takes a plan."""
    if not isinstance(statement, Selection) or not isinstance(statement.source, TableSource):
        return None
    if statement.having is not None or statement.distinct:
        return None
    source = statement.source
    range_ = _range(statement.conditions, source)
    if statement.conditions and range_ is None:
        return None
    if statement.grouping is not None:
        return _count(statement, source, range_)
    columns = _attributes(statement.columns[: len(statement.keys)], source)
    if columns is None:
        return None
    return _lookup(statement, source, range_, columns) or _run(statement, source, range_, columns)


def _count(selection: Selection, source: TableSource, range_: Range | None) -> Count | None:
    grouping = selection.grouping
    if grouping is None or grouping.keys or selection.order or selection.limit is not None:
        return None
    if not all(reduction.star for reduction in grouping.reductions):
        return None
    if not all(isinstance(each, Slot) for each in selection.columns):
        return None
    return Count(source, range_, selection.keys)


def _lookup(selection: Selection, source: TableSource, range_: Range | None, columns: tuple[str, ...]) -> Lookup | None:
    if range_ is None or range_.equal is None or range_.attribute != source.primary_key:
        return None
    return Lookup(source, range_.equal, selection.keys, columns) if selection.limit is None else None


def _run(selection: Selection, source: TableSource, range_: Range | None, columns: tuple[str, ...]) -> Run | None:
    limit = selection.limit or syntax.Limit(None, None)
    if limit.percent or (range_ is None and limit.count is None):
        return None
    attribute = source.primary_key if range_ is None else range_.attribute
    if selection.order:
        ordered = index_order(selection.order, selection.columns, source)
        among_equals = range_ is not None and range_.equal is not None and ordered == source.primary_key
        if ordered is None or (range_ is not None and ordered != attribute and not among_equals):
            return None
        attribute = attribute if among_equals else ordered
    count = None if limit.count is None else _given(limit.count)
    offset = None if limit.offset is None else _given(limit.offset)
    reverse = bool(selection.order) and selection.order[0].descending
    return Run(source, range_, attribute, selection.keys, columns, reverse, count, offset)


@dataclass(slots=True)
class Comparison:
    """An attribute beside a literal or parameter."""

    attribute: str
    operator: str
    given: Given


def _range(conditions: Sequence[Expression], source: TableSource) -> Range | None:
    """What the conditions say together, if all compare one attribute with literals and parameters."""
    tests: list[Comparison] = []
    for each in conditions:
        found = _comparisons(each, source)
        if not found:
            return None
        tests += found
    if len({test.attribute for test in tests}) != 1:
        return None
    attribute = tests[0].attribute
    if all(test.operator != "=" for test in tests):
        return Range(attribute, None, tuple([(test.operator, test.given) for test in tests]))
    return Range(attribute, tests[0].given, ()) if len(tests) == 1 else None


def _comparisons(node: Expression, source: TableSource) -> list[Comparison]:
    """The comparisons that a condition is made of; none if it is another kind of condition."""
    match node:
        case syntax.Compare(operator=operator, left=left, right=right) if operator != "<>":
            pairs = [(left, operator, right)] if isinstance(left, Field) else [(right, FLIPPED[operator], left)]
        case syntax.Between(operand=operand, low=low, high=high, negated=False):
            pairs = [(operand, ">=", low), (operand, "<=", high)]
        case _:
            return []
    found = []
    for field, operator, other in pairs:
        given = _given(other)
        if given is None or not isinstance(field, Field) or field.source != source.number:
            return []
        found.append(Comparison(field.attribute, operator, given))
    return found


def _given(node: Expression) -> Given | None:
    match node:
        case syntax.Literal(slot=None, value=value):
            return lambda literals, parameters: value
        case syntax.Literal(slot=int(slot)):
            return lambda literals, parameters: literals[slot]
        case syntax.Parameter(key=key):
            return lambda literals, parameters: parameters[key]
    return None


def _attributes(columns: Sequence[Expression], source: TableSource) -> tuple[str, ...] | None:
    """The attributes that the columns are, if they are nothing else."""
    found = [each.attribute for each in columns if isinstance(each, Field) and each.source == source.number]
    return tuple(found) if len(found) == len(columns) else None


def _is_plain(value: Value) -> bool:
    """Whether = means one place of an index: a number, or a text that it holds in full and that no boolean equals."""
    kind = type(value)
    if kind is int or kind is float:
        return True
    return kind is str and len(value) <= LONGEST_TEXT and value not in BOOLEAN_WORDS
