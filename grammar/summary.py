"""Answers that an index gives alone: counts, smallest and largest values, distinct values and their counts.

Nothing here reads a record, but for texts too long for an index. It applies to one table, and to conditions that are
exactly some ranges of the one index in question; everything else is left to the ordinary plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from engine import keys
from grammar import syntax
from grammar.bound import Reduction, Selection, TableSource
from grammar.expressions import constant_value
from grammar.frame import Frame, Layout, Row
from grammar.operators.operator import Operator, Step
from grammar.ranges import EVERYTHING, NOT_NULL, Place, Ranges, intersection, reach
from grammar.syntax import Expression
from grammar.values import Value
from grammar.wording import listed

SCALARS: Ranges = (keys.BOOLEANS, keys.NUMBERS, keys.STRINGS)


@dataclass(frozen=True, slots=True)
class Extent:
    """The records that a WHERE clause leaves, as ranges of one index; `attribute` is None when it leaves all.

    `missing` says that it leaves those whose attribute is null or absent instead.
    """

    attribute: str | None
    ranges: Ranges
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """One index of a table, within the extent of a query."""

    view: Any
    attribute: str
    ranges: Ranges
    whole: bool  # the query has no condition: records without an entry count as well

    def count(self, within: Ranges) -> int:
        return sum([self.view.count_in(self.attribute, each) for each in intersection(self.ranges, within)])

    def missing(self) -> int:
        """Records in the extent whose attribute is null or absent."""
        if self.whole:
            return int(self.view.count()) - self.count(NOT_NULL)
        return self.count((keys.NULL,))

    def end(self, last: bool) -> Value:
        """The largest or smallest scalar."""
        ranges = intersection(self.ranges, SCALARS)
        for bounds in reversed(ranges) if last else ranges:
            for value, _ in self.view.entries(self.attribute, bounds, reverse=last):
                return value if value is not keys.CUT else self._end_of_cut(bounds, last)
        return None

    def _end_of_cut(self, bounds: keys.Bounds, last: bool) -> Value:
        """The entry at the end is a text that was cut: it and all that are cut alike have to be compared."""
        (first,) = next(self.view.tuples(self.attribute, bounds, (self.attribute,), reverse=last, limit=1))
        alike = self.view.tuples(self.attribute, keys.equal(first), (self.attribute,))
        return (max if last else min)([value for (value,) in alike])

    def values(self) -> Iterator[tuple[Value, int]]:
        """Each distinct value and how many records have it; null for those that are null or absent."""
        missing = self.missing()
        if missing:
            yield None, missing
        for bounds in intersection(self.ranges, NOT_NULL):
            yield from self.view.distinct(self.attribute, bounds)


@dataclass(slots=True)
class Summary:
    """Rows that are computed from an index."""

    compute: Callable[[], Iterator[Row]]
    width: int
    operation: str
    source: TableSource
    index: str | None
    shown: tuple[Expression, ...]
    estimate: int
    inputs: tuple[Operator, ...] = ()

    @property
    def layout(self) -> Layout:
        return {place: place for place in range(self.width)}

    @property
    def step(self) -> Step:
        return Step(self.operation, f"{self.source.schema}.{self.source.table}", self.index, listed(self.shown) or None)

    def rows(self) -> Iterator[Row]:
        return self.compute()


def summarised(selection: Selection, frame: Frame) -> Summary | None:
    """The groups of a selection, or None when an index alone does not tell."""
    grouping = selection.grouping
    place = _place(selection, frame)
    if grouping is None or place is None:
        return None
    extent = _extent(selection.conditions, place)
    if extent is None:
        return None
    if not grouping.keys:
        return _totals(grouping.reductions, extent, place)
    if len(grouping.keys) > 1:
        return None
    index = _index(grouping.keys[0], extent, place)
    if index is None or index.count((keys.COMPOSITES,)):
        return None
    kinds = [_group_kind(each, index.attribute, place) for each in grouping.reductions]
    if None in kinds:
        return None

    def groups() -> Iterator[Row]:
        for value, count in index.values():
            yield (value, *[_group_value(kind, value, count) for kind in kinds if kind is not None])

    return _summary(groups, 1 + len(kinds), "index groups", place, index.attribute, selection.conditions)


def distinct_values(selection: Selection, frame: Frame) -> Summary | None:
    """SELECT DISTINCT of one attribute, from its index."""
    place = _place(selection, frame)
    if place is None or selection.grouping is not None or len(selection.columns) != 1:
        return None
    extent = _extent(selection.conditions, place)
    index = None if extent is None else _index(selection.columns[0], extent, place)
    if index is None or index.count((keys.COMPOSITES,)):
        return None

    def values() -> Iterator[Row]:
        return ((value,) for value, _ in index.values())

    return _summary(values, 1, "index values", place, index.attribute, selection.conditions)


def _place(selection: Selection, frame: Frame) -> Place | None:
    source = selection.source
    if not isinstance(source, TableSource) or not frame.indexes:
        return None
    return Place(source, frame.views[source.schema, source.table], frame)


def _extent(conditions: tuple[Expression, ...], place: Place) -> Extent | None:
    if not conditions:
        return Extent(None, EVERYTHING)
    match conditions:
        case (syntax.Is(operand=operand, value=None, negated=False),):
            attribute = place.indexed(operand)
            return None if attribute is None else Extent(attribute, EVERYTHING, missing=True)
    found = [reach(each, place) for each in conditions]
    if any(each is None or not each.exact for each in found):
        return None
    known = [each for each in found if each is not None]
    if len({each.attribute for each in known}) != 1:
        return None
    ranges: Ranges = EVERYTHING
    for each in known:
        ranges = intersection(ranges, each.ranges)
    return Extent(known[0].attribute, ranges)


def _index(node: Expression, extent: Extent, place: Place) -> Index | None:
    """The index of an attribute, if the extent can be told in its terms."""
    attribute = place.indexed(node)
    if attribute is None or extent.missing or extent.attribute not in (None, attribute):
        return None
    return Index(place.view, attribute, extent.ranges, extent.attribute is None)


def _totals(reductions: tuple[Reduction, ...], extent: Extent, place: Place) -> Summary | None:
    values: list[Value] = []
    for each in reductions:
        found = _total(each, extent, place)
        if found is None:
            return None
        values += found
    row = tuple(values)
    return Summary(lambda: iter([row]), len(row), "index totals", place.source, extent.attribute, reductions, 1)


def _total(reduction: Reduction, extent: Extent, place: Place) -> tuple[Value] | None:
    """The value of an aggregate function over the extent, in a tuple."""
    if _counts_rows(reduction, place):
        return (_rows(extent, place),)
    index = _index(reduction.arguments[0], extent, place)
    if index is None:
        return None
    if reduction.name in ("MIN", "MAX"):
        return (index.end(reduction.name == "MAX"),)
    if reduction.name != "COUNT":
        return None
    if not reduction.distinct:
        return (index.count(NOT_NULL),)
    if index.count((keys.COMPOSITES,)):
        return None
    return (sum([1 for value, _ in index.values() if value is not None]),)


def _counts_rows(reduction: Reduction, place: Place) -> bool:
    """COUNT(*), or COUNT of a constant that is not null."""
    if reduction.star:
        return True
    if reduction.name != "COUNT" or reduction.distinct:
        return False
    constant = constant_value(reduction.arguments[0], place.frame)
    return constant is not None and constant.value is not None


def _rows(extent: Extent, place: Place) -> int:
    if extent.attribute is None:
        return int(place.view.count())
    index = Index(place.view, extent.attribute, extent.ranges, extent.missing)
    return index.missing() if extent.missing else index.count(EVERYTHING)


def _group_kind(reduction: Reduction, attribute: str, place: Place) -> str | None:
    """What an aggregate function is for the records that share a value of the attribute."""
    if _counts_rows(reduction, place):
        return "rows"
    if place.indexed(reduction.arguments[0]) != attribute:
        return None
    if reduction.name == "COUNT":
        return "one" if reduction.distinct else "present"
    return "value" if reduction.name in ("MIN", "MAX") else None


def _group_value(kind: str, value: Value, count: int) -> Value:
    if kind == "rows":
        return count
    if kind == "value":
        return value
    if value is None:
        return 0
    return 1 if kind == "one" else count


def _summary(
    compute: Callable[[], Iterator[Row]],
    width: int,
    operation: str,
    place: Place,
    attribute: str,
    conditions: tuple[Expression, ...],
) -> Summary:
    entries = place.view.count_in(attribute, keys.EVERYTHING)
    return Summary(compute, width, operation, place.source, attribute, conditions, entries)
