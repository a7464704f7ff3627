"""EXPLAIN: a plan as rows, one for each operator, the one that gives the result first; with ANALYZE also its doings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from grammar.budget import Budget
from grammar.frame import Layout, Row
from grammar.operators.operator import Operator, Step


def explained(operator: Operator) -> list[dict[str, Any]]:
    """Steps are numbered from 1; `parent` is the step that takes the rows, 0 for none. `rows` are those expected."""
    found: list[dict[str, Any]] = []
    pending = [(operator, 0)]
    while pending:
        each, parent = pending.pop()
        step = each.step
        number = len(found) + 1
        row = {
            "step": number,
            "parent": parent,
            "operation": step.operation,
            "table": step.table,
            "index": step.index,
            "rows": each.estimate,
            "detail": step.detail,
        }
        if isinstance(each, Measured):
            row |= each.doings
        found.append(row)
        pending.extend((below, number) for below in reversed(each.inputs))
    return found


def analyzed(operator: Operator, budget: Budget) -> list[dict[str, Any]]:
    """The same after running it: `actual_rows` that each step gave, and the `milliseconds` it took with those below.

    Both are null for a step that was not asked: its work was not needed, or done within the step above.
    """
    root = _measured(operator)
    for _ in budget.chunks(root.rows()):
        pass
    return explained(root)


@dataclass(slots=True)
class Measured:
    """An operator that is watched: how many rows it gave, and the seconds that it and those below it took."""

    operator: Operator
    asked: bool = False
    count: int = 0
    seconds: float = 0.0

    @property
    def doings(self) -> dict[str, Any]:
        if not self.asked:
            return {"actual_rows": None, "milliseconds": None}
        return {"actual_rows": self.count, "milliseconds": round(self.seconds * 1000, 3)}

    @property
    def layout(self) -> Layout:
        return self.operator.layout

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return self.operator.inputs

    @property
    def estimate(self) -> int:
        return self.operator.estimate

    @property
    def step(self) -> Step:
        return self.operator.step

    def rows(self) -> Iterator[Row]:
        self.asked = True
        clock = time.perf_counter
        started = clock()
        for row in self.operator.rows():
            self.seconds += clock() - started
            self.count += 1
            yield row
            started = clock()
        self.seconds += clock() - started


def _measured(operator: Operator) -> Measured:
    """The tree with every operator in it watched."""
    parts = {each.name: getattr(operator, each.name) for each in fields(operator)}  # type: ignore[arg-type]
    below = {name: _measured(part) for name, part in parts.items() if isinstance(part, Operator)}
    return Measured(replace(operator, **below))  # type: ignore[type-var]
