"""What the engine computes of stored records without making rows of them: groups of one scan or of joined ones, and the
order of one.

Where it turns out on the way that only rows will do, the answer is None, and the operator above goes on with rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from engine.groups import Groups
from engine.joins import Joined
from engine.predicates import Operand
from engine.rows import Rows, Scanned
from engine.sorter import Sorter
from grammar.bound import Field, Grouping, Key, Reduction
from grammar.budget import Budget
from grammar.frame import Row
from grammar.operators.join import HashJoin
from grammar.operators.operator import Operator
from grammar.operators.rows import Filter
from grammar.operators.scan import Scan
from grammar.syntax import Expression

REDUCTIONS = {"COUNT": "count", "SUM": "sum", "AVG": "sum", "MEAN": "sum", "MIN": "min", "MAX": "max"}


def bare_scan(rows: Operator) -> Scan | None:
    """The scan that gives the rows, if the engine alone tells which these are."""
    scan = rows.input if isinstance(rows, Filter) and not rows.tests else rows
    return scan if isinstance(scan, Scan) else None


@dataclass(frozen=True, slots=True)
class StoredJoin:
    """A join by hash that the engine does; `ties` are the attributes of both sides that have to be equal."""

    left: Stored
    right: Stored
    ties: tuple[tuple[Key, Key], ...]
    outer: bool


Stored = Scan | StoredJoin


def _stored(rows: Operator) -> Stored | None:
    """Rows as ones that the engine can go through."""
    if not isinstance(rows, HashJoin):
        return bare_scan(rows)
    if rows.ties is None or rows.test is not None or rows.full:
        return None
    left, right = _stored(rows.left), _stored(rows.right)
    return None if left is None or right is None else StoredJoin(left, right, rows.ties, rows.outer)


def _scans(stored: Stored) -> Iterator[Scan]:
    if isinstance(stored, Scan):
        yield stored
        return
    yield from _scans(stored.left)
    yield from _scans(stored.right)


def _tied(stored: Stored) -> Iterator[Key]:
    """The attributes that its joins compare."""
    if isinstance(stored, StoredJoin):
        for source in (stored.left, stored.right):
            yield from _tied(source)
        for tie in stored.ties:
            yield from tie


@dataclass(frozen=True, slots=True)
class StoredGroups:
    """A grouping that the engine does on stored rows: by attributes, (reduction, attribute) pairs of each."""

    stored: Stored
    keys: tuple[Key, ...]
    reductions: tuple[tuple[str, Key | None], ...]
    budget: Budget

    def groups(self, identify: Callable[[Row], Hashable]) -> list[tuple[Row, list[Any]]] | None:
        """The key of each group and what its reductions came to.

        None where the rows of a join have no room, or have keys that only Python can compare.
        """
        rows = self._opened(self.stored, whole=False)
        if rows is None:
            return None
        groups = Groups(rows, self.keys, self.reductions, identify)
        for found in self.budget.ticking(groups.fold()):
            self.budget.hold(found)
        return groups.results()

    def _opened(self, stored: Stored, *, whole: bool) -> Rows | None:
        """The rows, those to be joined with taken; with `whole` all their records are looked up."""
        if isinstance(stored, Scan):
            number = stored.source.number
            wanted = (*self.keys, *[key for _, key in self.reductions if key is not None], *_tied(self.stored))
            names = tuple(dict.fromkeys([name for owner, name in wanted if owner == number]))
            return Scanned(number, stored.selection(None if whole else names), names)
        right = self._opened(stored.right, whole=True)
        left = None if right is None else self._opened(stored.left, whole=whole)
        if left is None or right is None:
            return None
        joined = Joined(left, right, stored.ties, stored.outer)
        holding = self.budget.holding()
        for could in self.budget.ticking(joined.take()):
            if not could or not holding.resize(joined.count, joined.size):
                holding.clear()
                return None
        return joined


def stored_groups(grouping: Grouping, rows: Operator, budget: Budget) -> StoredGroups | None:
    """The grouping as one that the engine can do; None when it cannot."""
    stored = _stored(rows)
    if stored is None:
        return None
    numbers = {scan.source.number for scan in _scans(stored)}
    keys = [_attribute(each, numbers) for each in grouping.keys]
    reductions = [_stored_reduction(each, numbers) for each in grouping.reductions]
    known_keys, known = [each for each in keys if each], [each for each in reductions if each]
    if len(known_keys) < len(keys) or len(known) < len(reductions):
        return None
    return StoredGroups(stored, tuple(known_keys), tuple(known), budget)


def _attribute(node: Expression, numbers: Collection[int]) -> Key | None:
    return node.key if isinstance(node, Field) and node.source in numbers else None


def _stored_reduction(reduction: Reduction, numbers: Collection[int]) -> tuple[str, Key | None] | None:
    if reduction.star:
        return "rows", None
    kind = REDUCTIONS.get(reduction.name)
    if kind is None or reduction.distinct or len(reduction.arguments) > 1:
        return None
    attribute = _attribute(reduction.arguments[0], numbers)
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
