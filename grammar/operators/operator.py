"""The face that all operators of a plan have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from grammar.frame import Layout, Row


@dataclass(frozen=True, slots=True)
class Step:
    """An operator as EXPLAIN shows it."""

    operation: str
    table: str | None = None
    index: str | None = None
    detail: str | None = None


@runtime_checkable
class Operator(Protocol):
    """`estimate` is how many rows the planner expects. Operators are dataclasses, and not changed once
    they are made."""

    @property
    def layout(self) -> Layout: ...

    @property
    def inputs(self) -> tuple[Operator, ...]: ...

    @property
    def estimate(self) -> int: ...

    @property
    def step(self) -> Step: ...

    def rows(self) -> Iterator[Row]: ...


class Passing:
    """What operators share that give rows of their one input as they are: all of them or some, in any order."""

    __slots__ = ()
    input: Operator

    @property
    def layout(self) -> Layout:
        return self.input.layout

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input,)
