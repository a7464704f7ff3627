"""Joins. The rows of both sides are put side by side: those of the left first.

A key is null when one of its parts is, and then joins nothing; else keys join when they are equal as = has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from engine import keys
from grammar.bound import Key, TableSource
from grammar.budget import Budget
from grammar.expressions import Evaluate
from grammar.frame import Layout, Row
from grammar.matching import by_key, partnered
from grammar.operators.operator import Operator, Step
from grammar.spill import BLOCK_ROWS, Place, Spill
from grammar.syntax import Expression
from grammar.values import COMPOSITE_TYPES, Value, identity, same
from grammar.wording import all_of

PARTS = 64  # of a join on disk
TICK = 1024  # candidates between two looks at the clock

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

    `ties` are the attributes that the keys are, if they are nothing else, and `places` where a single one stands in the
    left and in the right rows. `test` is the rest of the condition. `outer` keeps left rows without partner,
    `full` right ones as well. Where memory does not do for the right rows, both sides go to disk first.
    """

    left: Operator
    right: Operator
    left_key: KeyOf | None
    right_key: KeyOf | None
    ties: tuple[tuple[Key, Key], ...] | None
    places: tuple[int, int] | None
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
        budget = self.budget
        right: list[Row] = []
        holding = budget.holding()
        chunks = budget.chunks(self.right.rows())
        for chunk in chunks:
            if not holding.add(chunk):
                if self.left_key is None or self.right_key is None or budget.directory is None:
                    raise budget.exceeded()
                holding.clear()
                rest = chain(right, chunk, chain.from_iterable(chunks))
                yield from self._partitioned(Spill(budget, budget.directory), rest, self.left_key, self.right_key)
                return
            right += chunk
        yield from self._joined(self.left.rows(), right)

    def _partitioned(self, spill: Spill, right_rows: Iterator[Row], left_key: KeyOf, right_key: KeyOf) -> Iterator[Row]:
        """Both sides are cut into parts on disk by the hash of the key, so that a part meets only its counterpart."""
        try:
            rights = _scattered(spill, right_rows, right_key)
            lefts = _scattered(spill, self.left.rows(), left_key)
            for left, right in zip(lefts, rights, strict=True):
                holding = self.budget.holding()
                rows = list(spill.read(right))
                if not holding.add(rows):
                    raise self.budget.exceeded()
                yield from self._joined(spill.read(left), rows)
                holding.clear()
        finally:
            spill.close()

    def _joined(self, left: Iterator[Row], right: list[Row]) -> Iterator[Row]:
        if self.places is not None and not self.full and (self.test is None or not self.outer):
            table: dict[Any, list[Row]] = {}
            if by_key(right, table, self.places[1]):
                return self._by_column(left, table, self.places[0])
        return self._by_candidates(left, right)

    def _by_column(self, left: Iterator[Row], table: dict[Any, list[Row]], place: int) -> Iterator[Row]:
        nothing = (None,) * self.right_width if self.outer else None
        chunks = self.budget.chunks(left)
        rows = chain.from_iterable(partnered(chunk, table, place, nothing) for chunk in chunks)
        return rows if self.test is None else filter(self.test, self.budget.metered(rows))

    def _by_candidates(self, left: Iterator[Row], right: list[Row]) -> Iterator[Row]:
        candidates_of = self._candidates(right)
        nothing = (None,) * self.right_width
        joined_ones: set[int] = set()
        work = 0
        for row in left:
            candidates, alone = candidates_of(row), True
            work += len(candidates) + 1
            if work > TICK:
                self.budget.tick()
                work = 0
            for index in candidates:
                joined = row + right[index]
                if self.test is None or self.test(joined):
                    alone = False
                    if self.full:
                        joined_ones.add(index)
                    yield joined
            if alone and self.outer:
                yield row + nothing
        if self.full:
            blank = (None,) * self.left_width
            yield from (blank + row for index, row in enumerate(right) if index not in joined_ones)

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


def _scattered(spill: Spill, rows: Iterator[Row], key_of: KeyOf) -> list[list[Place]]:
    """Where on disk the rows of each part are. Rows of equal keys are of one part; those without a key are anywhere."""
    places: list[list[Place]] = [[] for _ in range(PARTS)]
    waiting: list[list[Row]] = [[] for _ in range(PARTS)]
    for number, row in enumerate(rows):
        key = key_of(row)
        part = hash(number if key is None else key) % PARTS
        waiting[part].append(row)
        if len(waiting[part]) == BLOCK_ROWS:
            places[part] += spill.write(waiting[part])
            waiting[part] = []
    for part, left in enumerate(waiting):
        places[part] += spill.write(left)
    return places


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
        for row in self.budget.metered(self.left.rows()):
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
