"""What the engine computes of stored records, without rows: groups and sorted order of what one scan reads.

`stored_groups` and `stored_order` find it out when a plan is made; None where rows are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from engine.predicates import Operand
from engine.sorter import Sorter
from grammar.bound import Field, Grouping, Reduction
from grammar.budget import Budget
from grammar.frame import Row
from grammar.operators.operator import Operator
from grammar.operators.rows import Filter
from grammar.operators.scan import Scan
from grammar.syntax import Expression

REDUCTIONS = {"COUNT": "count", "SUM": "sum", "AVG": "sum", "MEAN": "sum", "MIN": "min", "MAX": "max"}


@dataclass(frozen=True, slots=True)
class StoredGroups:
    """A grouping that the engine does on the records of a scan: by attributes, (reduction, attribute) pairs of each."""

    scan: Scan
    keys: tuple[str, ...]
    reductions: tuple[tuple[str, str | None], ...]


def bare_scan(rows: Operator) -> Scan | None:
    """The scan that gives the rows, if the engine alone tells which these are."""
    scan = rows.input if isinstance(rows, Filter) and not rows.tests else rows
    return scan if isinstance(scan, Scan) else None


def stored_groups(grouping: Grouping, rows: Operator) -> StoredGroups | None:
    """The grouping as one that the engine can do; None when it cannot."""
    scan = bare_scan(rows)
    if scan is None:
        return None
    keys = [_attribute(each, scan) for each in grouping.keys]
    reductions = [_stored_reduction(each, scan) for each in grouping.reductions]
    known_keys, known = [each for each in keys if each], [each for each in reductions if each]
    if len(known_keys) < len(keys) or len(known) < len(reductions):
        return None
    return StoredGroups(scan, tuple(known_keys), tuple(known))


def _attribute(node: Expression, scan: Scan) -> str | None:
    return node.attribute if isinstance(node, Field) and node.source == scan.source.number else None


def _stored_reduction(reduction: Reduction, scan: Scan) -> tuple[str, str | None] | None:
    if reduction.star:
        return "rows", None
    kind = REDUCTIONS.get(reduction.name)
    if kind is None or reduction.distinct or len(reduction.arguments) > 1:
        return None
    attribute = _attribute(reduction.arguments[0], scan)
    return None if attribute is None else (kind, attribute)


Make = Callable[[Row], Row]


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """A sort that the engine does on the records of a scan.

    `keys` are operands, each with whether it descends and whether nulls come first. `columns` are the attributes
    that the rows are made of; `make` is None where they are these.
    """

    scan: Scan
    keys: tuple[tuple[Operand, bool, bool], ...]
    columns: tuple[str, ...]
    make: Make | None
    budget: Budget

    def rows(self, limit: int | None) -> Iterator[Row] | None:
        """The first `limit` rows; None where there is no room for all, or a value whose place only Python can tell."""
        sorter = Sorter(self.scan.selection(None), self.keys, limit)
        holding = self.budget.holding()
        for could in self.budget.ticking(sorter.take()):
            if not could or not holding.resize(sorter.wanted, sorter.size):
                holding.clear()
                return None
        rows = chain.from_iterable(self.budget.ticking(sorter.rows(self.columns)))
        return rows if self.make is None else map(self.make, rows)
