"""EXPLAIN: a plan as rows, one for each operator, the one that gives the result first."""

from __future__ import annotations

from typing import Any

from grammar.operators.operator import Operator


def explained(operator: Operator) -> list[dict[str, Any]]:
    """Steps are numbered from 1; `parent` is the step that takes the rows, 0 for none."""
    found: list[dict[str, Any]] = []
    pending = [(operator, 0)]
    while pending:
        each, parent = pending.pop()
        step = each.step
        number = len(found) + 1
        found.append(
            {
                "step": number,
                "parent": parent,
                "operation": step.operation,
                "table": step.table,
                "index": step.index,
                "rows": each.estimate,
                "detail": step.detail,
            }
        )
        pending.extend((below, number) for below in reversed(each.inputs))
    return found
