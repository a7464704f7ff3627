"""GROUP BY and aggregate functions.

Where keys and arguments are attributes, the engine folds the records of a scan, or of several that it joins, without
making rows of them. Otherwise rows are taken a chunk at a time, sorted into the groups' lists, and each list is folded
into the states of its group: loops over values run inside Python's own functions, and no more than a chunk of rows is
held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from grammar.bound import Grouping
from grammar.budget import Budget
from grammar.expressions import Constant, Evaluate
from grammar.frame import Layout, Row
from grammar.functions.aggregate import Aggregate
from grammar.operators.operator import Operator, Step
from grammar.operators.stored import StoredGroups
from grammar.values import Value, identity
from grammar.wording import listed

CHUNK = 8192
PLAIN_TYPES = frozenset({int, float, str, type(None)})


@dataclass(frozen=True, slots=True)
class Reducer:
    """An aggregate function over an argument (None for COUNT(*)); `extra` are the values of further arguments."""

    aggregate: Aggregate
    argument: Evaluate | None
    distinct: bool
    extra: tuple[Value, ...] = ()

    def start(self) -> Any:
        return {} if self.distinct else self.aggregate.start()

    def fold(self, state: Any, rows: list[Row]) -> Any:
        if self.argument is None:
            return state + len(rows)
        if isinstance(self.argument, Constant):
            values = [self.argument.value] * len(rows)
        else:
            values = list(map(self.argument, rows))
        if not self.distinct:
            return self.aggregate.fold(state, values)
        for value in values:
            state.setdefault(identity(value), value)
        return state

    @property
    def finish(self) -> Callable[[Any], Value]:
        """From a state to the value of the function."""
        if not self.distinct and not self.extra:
            return self.aggregate.finish
        return self._finished

    def _finished(self, state: Any) -> Value:
        if self.distinct:
            state = self.aggregate.fold(self.aggregate.start(), list(state.values()))
        return self.aggregate.finish(state, *self.extra)


@dataclass(slots=True)
class Group:
    """One row for each group, in order of first appearance: its keys, then its reductions.

    Without keys all rows are one group, which is there even without rows. `stored` is the same for the engine.
    """

    input: Operator
    grouping: Grouping
    key_parts: tuple[Evaluate, ...]
    reducers: tuple[Reducer, ...]
    estimate: int
    budget: Budget
    stored: StoredGroups | None = None

    @property
    def layout(self) -> Layout:
        return {place: place for place in range(len(self.key_parts) + len(self.reducers))}

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input,)

    @property
    def step(self) -> Step:
        shown = listed((*self.grouping.keys, *self.grouping.reductions))
        return Step("group" if self.key_parts else "aggregate", detail=shown)

    def rows(self) -> Iterator[Row]:
        if self.stored is not None and (folded := self.stored.groups(_identities)) is not None:
            if not folded and not self.key_parts:
                folded = [((), self._start())]
            return self._finished(folded)
        return self._finished(self._groups().values() if self.key_parts else [((), self._whole())])

    def _finished(self, groups: Iterable[tuple[Row, list[Any]]]) -> Iterator[Row]:
        finish = [reducer.finish for reducer in self.reducers]
        return iter(
            [(*key, *[end(state) for end, state in zip(finish, states, strict=True)]) for key, states in groups]
        )

    def _start(self) -> list[Any]:
        return [reducer.start() for reducer in self.reducers]

    def _fold(self, states: list[Any], rows: list[Row]) -> None:
        for place, reducer in enumerate(self.reducers):
            if reducer.aggregate.gathers:
                self.budget.hold(len(rows))
            states[place] = reducer.fold(states[place], rows)

    def _whole(self) -> list[Any]:
        states, rows = self._start(), self.input.rows()
        while chunk := list(islice(rows, CHUNK)):
            self.budget.tick()
            self._fold(states, chunk)
        return states

    def _groups(self) -> dict[Row, tuple[Row, list[Any]]]:
        groups: dict[Row, tuple[Row, list[Any]]] = {}
        rows = self.input.rows()
        while chunk := list(islice(rows, CHUNK)):
            self.budget.tick()
            keys = list(zip(*[map(part, chunk) for part in self.key_parts], strict=True))
            members: dict[Row, list[Row]] = {}
            for name, key, row in zip(_names(keys), keys, chunk, strict=True):
                if name in members:
                    members[name].append(row)
                    continue
                members[name] = [row]
                if name not in groups:
                    self.budget.hold(1, key)
                    groups[name] = (key, self._start())
            for name, group in members.items():
                self._fold(groups[name][1], group)
        return groups


def _identities(key: Row) -> Row:
    return tuple(map(identity, key))


def _names(keys: list[Row]) -> list[Row]:
    """What tells groups apart: the keys themselves, where Python's equality is good enough for their types."""
    if all(PLAIN_TYPES.issuperset(map(type, column)) for column in zip(*keys, strict=True)):
        return keys
    return list(map(_identities, keys))
