"""Prepared statements: parsed and bound, ready to be checked for permissions and run."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from grammar import syntax
from grammar.bind_statement import bind_statement
from grammar.bound import (
    BoundDelete,
    BoundExplain,
    BoundInsert,
    BoundQuery,
    BoundUpdate,
)
from grammar.budget import UNWATCHED, Budget
from grammar.direct import Count, answer, directly
from grammar.errors import SqlError
from grammar.explain import analyzed, explained
from grammar.frame import Frame
from grammar.kept import Binding, Known, by_text, by_tree, keep, meet
from grammar.parse import Parsed, parse
from grammar.plan import plan
from grammar.scope import Catalog, Touch, Visible
from grammar.values import Value, finite, is_text
from grammar.write import Writer

Parameters = Sequence[Value] | Mapping[str, Value]
Accepted = Mapping[int | str, Value]


@dataclass(slots=True)
class Statement:
    """One statement on one node."""

    node: Any
    parsed: Parsed
    parameters: Accepted
    binding: Binding

    @property
    def touches(self) -> tuple[Touch, ...]:
        """What it does with which tables and attributes."""
        return self.binding.touches

    def run(
        self,
        user: str | None = None,
        visible: Visible | None = None,
        *,
        budget: Budget = UNWATCHED,
        indexes: bool = True,
        pushdown: bool = True,
    ) -> list[dict[str, Any]] | dict[str, Any]:
        """The rows of a query, or the reply of a write.

        `visible(schema, table)` narrows what * stands for: a list of attributes, or None for all. `budget` limits time
        and memory. Without `indexes` tables are read whole, in key order; without `pushdown` everything is computed in
        Python, on rows. The result is the same.
        Raises SqlError, engine.KennelError; OutOfTime and Cancelled among them when the budget ends it.
        """
        bound = self.binding.bound
        if visible is not None and self._is_narrowed(visible):
            bound = bind_statement(self.parsed.statement, Catalog(self.node, visible))
        elif indexes and (rows := self._direct_rows(budget)) is not None:
            return rows
        if isinstance(bound, (BoundInsert, BoundUpdate, BoundDelete)):
            return Writer(self.node, user, lambda: self._frame(budget, indexes, pushdown)).write(bound)
        with self._frame(budget, indexes, pushdown) as frame:
            if isinstance(bound, BoundExplain):
                operator = plan(bound.query, frame)
                return analyzed(operator, budget) if bound.analyze else explained(operator)
            return self._rows(bound, frame)

    def _direct_rows(self, budget: Budget) -> list[dict[str, Any]] | None:
        """The rows, if they can be had without a plan."""
        direct = self.binding.direct
        if direct is None:
            return None
        table = self.binding.table()  # the only one
        return None if table is None else answer(direct, table, self.parsed.literals, self.parameters, budget)

    def _is_narrowed(self, visible: Visible) -> bool:
        """Whether a * of the statement stands for less than everything."""
        starred = [touch for touch in self.binding.touches if touch.attributes is None]
        return any(visible(touch.schema, touch.table) is not None for touch in starred)

    def _rows(self, query: BoundQuery, frame: Frame) -> list[dict[str, Any]]:
        keys = query.keys
        rows = plan(query, frame).rows()
        return frame.budget.collected(dict(zip(keys, row, strict=True)) for row in rows)

    @contextmanager
    def _frame(self, budget: Budget, indexes: bool, pushdown: bool) -> Iterator[Frame]:
        """A frame over one cut of all tables that the statement looks into."""
        tables = list(
            dict.fromkeys([(each.schema, each.table) for each in self.binding.touches if each.action != "insert"])
        )
        now = time.time_ns() // 1_000_000

        def frame(views: dict[tuple[str, str], Any]) -> Frame:
            literals, parameters = self.parsed.literals, self.parameters
            return Frame(views, literals, parameters, now, indexes, plan, budget, pushdown=pushdown)

        if len(tables) == 1:
            with self.node.table(*tables[0]).view() as view:
                yield frame({tables[0]: view})
            return
        with self.node.snapshot(tables) as snapshot:
            yield frame({table: snapshot.table(*table) for table in tables})


def prepare(node: Any, sql: Any, parameters: Parameters | None = None) -> Statement:
    """Parses and binds a statement. Raises SqlError, and engine.NotFound for a table or schema that a query names."""
    known = by_text(node, sql)
    return of_text(node, sql, parameters) if known is None else of_known(node, known, parameters)


def of_text(node: Any, sql: Any, parameters: Parameters | None) -> Statement:
    """The same for a text of which nothing is kept."""
    sql = str.__str__(sql) if isinstance(sql, str) else sql  # the text of a subclass, whatever that makes of it
    parsed = parse(sql)
    if not parsed.kept:
        return _of(node, parsed, _bind(node, parsed.statement), parameters)
    binding = by_tree(node, parsed.statement)
    if binding is None:
        binding = _bind(node, parsed.statement)
        keep(node, binding)
    meet(sql, parsed, binding)
    return _of(node, parsed, binding, parameters)


def of_known(node: Any, known: Known, parameters: Parameters | None) -> Statement:
    """A statement of what is kept of its text. Raises SqlError for parameters that do not fit."""
    return _of(node, known.parsed, known.binding, parameters)


def _of(node: Any, parsed: Parsed, binding: Binding, parameters: Parameters | None) -> Statement:
    given: Accepted = {}
    if parameters or binding.parameters:
        given = _accepted(() if parameters is None else parameters, binding.parameters)
    return Statement(node, parsed, given, binding)


def _bind(node: Any, statement: syntax.Statement) -> Binding:
    catalog = Catalog(node)
    bound = bind_statement(statement, catalog)
    direct = directly(bound)
    wanted = [each.key for each, _ in syntax.nodes(statement) if isinstance(each, syntax.Parameter)]
    return Binding(
        node,
        statement,
        bound,
        direct,
        touches=tuple(catalog.touches()),
        tables=tuple(catalog.seen.values()),
        parameters=tuple(dict.fromkeys(wanted)),
        counted=direct.keys if isinstance(direct, Count) and direct.range is None else None,
    )


def _accepted(given: Any, wanted: tuple[int | str, ...]) -> Accepted:
    """The parameters, numbers as they would be stored. Raises SqlError unless there is one scalar for each."""
    if isinstance(given, (str, bytes)) or not isinstance(given, (Mapping, Sequence)):
        raise SqlError("parameters must be an array or an object")
    known: Collection[Any] = given.keys() if isinstance(given, Mapping) else range(len(given))
    for key in sorted(wanted, key=str):
        if key not in known:
            raise SqlError(f"No value for parameter {f':{key}' if isinstance(key, str) else key + 1}.")
    if len(known) != len(wanted):
        raise SqlError(f"The statement has {len(wanted)} parameters, but {len(known)} are given.")
    return {key: _scalar(given[key]) for key in known}


def _scalar(value: Any) -> Value:
    if value is None or isinstance(value, bool) or (isinstance(value, str) and is_text(value)):
        return value
    if isinstance(value, (int, float)) and (number := finite(value)) is not None:
        return number
    raise SqlError("A parameter must be a text, a number, a boolean or null.")
