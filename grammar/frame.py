"""What stays the same while a query is evaluated once: its tables, its literals and parameters, the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from grammar.bound import BoundQuery, Key
from grammar.budget import Budget
from grammar.values import Value

if TYPE_CHECKING:
    from grammar.operators.operator import Operator

Row = tuple[Any, ...]
Layout = Mapping[Any, int]  # where in a row a field's key, or the index of a Slot, stands


@dataclass(frozen=True, slots=True)
class Frame:
    """`outer` holds the values of enclosing queries' fields while a correlated sub-query runs.

    `now` is the statement's time in milliseconds since the epoch. `indexes` is off to see what a query gives without,
    `pushdown` to see what it gives when the engine judges no conditions on stored records.
    `plan` plans a query; it is here because expressions hold queries and queries expressions. `results` keeps what
    sub-queries gave that do not depend on any row. `budget` is what the whole statement may use.
    """

    views: Mapping[tuple[str, str], Any]
    literals: Sequence[Value]
    parameters: Mapping[int | str, Value]
    now: int
    indexes: bool
    plan: Callable[[BoundQuery, Frame], Operator]
    budget: Budget
    outer: Mapping[Key, Value] = field(default_factory=dict)
    results: dict[Any, Any] = field(default_factory=dict)
    pushdown: bool = True

    def within(self, values: Mapping[Key, Value]) -> Frame:
        """The frame for a sub-query of this one."""
        return replace(self, outer={**self.outer, **values})
