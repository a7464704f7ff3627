"""Operators that read a table: along one index, or by the keys that several indexes give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from operator import itemgetter
from typing import Any

from engine import keys
from engine.predicates import Filter
from engine.selection import Selection
from grammar.bound import TableSource
from grammar.budget import Budget
from grammar.frame import Layout, Row
from grammar.operators.operator import Operator, Step
from grammar.ranges import Ranges, Reach
from grammar.syntax import Expression
from grammar.values import identity, order_key
from grammar.wording import all_of


@dataclass(slots=True)
class Scan:
    """The rows of some ranges of an index (the primary one too), in its order.

    `offset` and `limit` count rows and need a single range and no filter. `sorted` asks for the exact order of the
    values: long texts, which an index keeps cut, are then put in order here. The engine judges the records by `where`.
    """

    source: TableSource
    view: Any
    attribute: str
    ranges: Ranges
    columns: tuple[str, ...]
    estimate: int
    budget: Budget
    conditions: tuple[Expression, ...] = ()
    reverse: bool = False
    sorted: bool = False
    offset: int = 0
    limit: int | None = None
    where: Filter | None = None

    inputs: tuple[Operator, ...] = ()

    @property
    def layout(self) -> Layout:
        return {(self.source.number, column): place for place, column in enumerate(self.columns)}

    @property
    def step(self) -> Step:
        operation = "table scan"
        if self.ranges != (keys.EVERYTHING,):
            operation = "key lookup" if self.attribute == self.source.primary_key else "index range"
        elif self.attribute != self.source.primary_key:
            operation = "index scan"
        return Step(operation, f"{self.source.schema}.{self.source.table}", self.attribute, all_of(self.conditions))

    def rows(self) -> Iterator[Row]:
        if self.sorted and self.attribute != self.source.primary_key and self._holds_texts():
            return self._in_exact_order()
        return self._read(self.columns, self.offset, self.limit)

    def selection(self, wanted: tuple[str, ...] | None) -> Selection:
        """The records of the scan, for the engine to compute something of these attributes; None: of any."""
        selection: Selection = self.view.selection(self.attribute, self.ranges, wanted, self.where)
        return selection

    def _read(self, columns: tuple[str, ...], offset: int, limit: int | None) -> Iterator[Row]:
        """The rows, with a look at the clock now and then.

        The engine's walk is the quickest way to all of them, but knows no offset and no limit; keys and mere numbers
        of rows are had for less.
        """
        bare = columns in ((), (self.source.primary_key,))
        if self.where is not None or not (bare or offset or limit is not None):
            steps = self.view.select(self.attribute, self.ranges, columns, self.where, reverse=self.reverse)
            return chain.from_iterable(self.budget.ticking(steps))
        ranges = self.ranges[::-1] if self.reverse else self.ranges
        parts = (read_range(self.view, self.attribute, each, columns, self.reverse, offset, limit) for each in ranges)
        return self.budget.metered(chain.from_iterable(parts))

    def _holds_texts(self) -> bool:
        """Whether there are texts, which may be cut."""
        texts = [each & keys.STRINGS for each in self.ranges]
        return any(not each.empty and self.view.count_in(self.attribute, each) > 0 for each in texts)

    def _in_exact_order(self) -> Iterator[Row]:
        columns = self.columns if self.attribute in self.columns else (*self.columns, self.attribute)
        value_of = itemgetter(columns.index(self.attribute))
        cut = itemgetter(slice(len(self.columns)))
        window = list(self._read(columns, self.offset, self.limit)) if self.limit is not None else None
        if window is None or not _is_whole(window, value_of):
            end = None if self.limit is None else self.offset + self.limit
            rows = _put_in_order(self._read(columns, 0, None), value_of, self.reverse)
            return map(cut, islice(rows, self.offset, end))
        return map(cut, _put_in_order(iter(window), value_of, self.reverse))


def read_range(
    view: Any,
    attribute: str,
    bounds: keys.Bounds,
    columns: tuple[str, ...],
    reverse: bool,
    offset: int,
    limit: int | None,
) -> Iterator[Row]:
    """The records in a range of an index, in its order; none is read for its key, or for how many there are."""
    if not columns:
        total = max(view.count_in(attribute, bounds) - offset, 0)
        return repeat((), total if limit is None else min(total, limit))
    if columns == (view.primary_key,):
        return zip(view.keys(attribute, bounds, reverse=reverse, offset=offset, limit=limit), strict=False)
    rows: Iterator[Row] = view.tuples(attribute, bounds, columns, reverse=reverse, offset=offset, limit=limit)
    return rows


def _is_cut(value: Any) -> bool:
    return type(value) is str and not keys.exact(value)


def _is_whole(window: list[Row], value_of: itemgetter[Any]) -> bool:
    """Whether no run of cut texts reaches out of the window."""
    return not window or not (_is_cut(value_of(window[0])) or _is_cut(value_of(window[-1])))


def _put_in_order(rows: Iterator[Row], value_of: itemgetter[Any], reverse: bool) -> Iterator[Row]:
    """Sorts the runs of rows whose texts are cut in the index."""
    run: list[Row] = []
    for row in rows:
        if _is_cut(value_of(row)):
            run.append(row)
            continue
        if run:
            yield from sorted(run, key=value_of, reverse=reverse)
            run = []
        yield row
    yield from sorted(run, key=value_of, reverse=reverse)


@dataclass(slots=True)
class KeyUnion:
    """The rows that any of several indexes points to, each once, in key order."""

    source: TableSource
    view: Any
    reaches: tuple[Reach, ...]
    columns: tuple[str, ...]
    estimate: int
    budget: Budget
    conditions: tuple[Expression, ...] = ()

    inputs: tuple[Operator, ...] = ()

    @property
    def layout(self) -> Layout:
        return {(self.source.number, column): place for place, column in enumerate(self.columns)}

    @property
    def step(self) -> Step:
        indexes = ", ".join(dict.fromkeys([each.attribute for each in self.reaches]))
        return Step("index union", f"{self.source.schema}.{self.source.table}", indexes, all_of(self.conditions))

    def rows(self) -> Iterator[Row]:
        return self.budget.metered(self._rows())

    def _rows(self) -> Iterator[Row]:
        found: dict[Any, Any] = {}
        for each in self.reaches:
            for bounds in each.ranges:
                for key in self.view.keys(each.attribute, bounds):
                    found[identity(key)] = key
        self.budget.hold(len(found))
        for key in sorted(found.values(), key=order_key):
            yield from self.view.tuples(self.source.primary_key, keys.equal(key), self.columns)
