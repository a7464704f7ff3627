"""Prepared statements: parsed and bound, ready to be checked for permissions and run."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import engine
from grammar import syntax
from grammar.bind_statement import bind_statement
from grammar.bound import (
    BoundDelete,
    BoundExplain,
    BoundInsert,
    BoundQuery,
    BoundStatement,
    BoundUpdate,
)
from grammar.budget import UNWATCHED, Budget
from grammar.direct import Direct, answer, directly
from grammar.errors import SqlError
from grammar.explain import analyzed, explained
from grammar.frame import Frame
from grammar.parse import Parsed, parse
from grammar.plan import plan
from grammar.scope import Catalog, TableState, Touch, Visible
from grammar.values import Value, finite, is_text
from grammar.write import Writer

Parameters = Sequence[Value] | Mapping[str, Value]
Accepted = Mapping[int | str, Value]
KEPT_BINDINGS = 1024


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
        table = self.binding.tables[0].table()  # the only one
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


@dataclass(slots=True)
class Binding:
    """A bound statement as it is kept: for the node it was bound on, as long as the tables it names stay as they were.

    The node is held weakly. The syntax tree is held so that its identity, under which this is kept, stays its own.
    """

    node: Callable[[], Any]
    statement: syntax.Statement
    bound: BoundStatement
    direct: Direct | None
    touches: tuple[Touch, ...]
    tables: tuple[TableState, ...]
    parameters: tuple[int | str, ...]

    def is_valid(self, node: Any) -> bool:
        if self.node() is not node:
            return False
        try:
            for state in self.tables:
                if not state.is_current():
                    return False
        except engine.NotFound:
            return False
        return True


_bindings: dict[tuple[int, int], Binding] = {}


def prepare(node: Any, sql: Any, parameters: Parameters | None = None) -> Statement:
    """Parses and binds a statement. Raises SqlError, and engine.NotFound for a table or schema that a query names."""
    parsed = parse(sql)
    binding = _bindings.get((id(node), id(parsed.statement))) if parsed.kept else None
    if binding is None or not binding.is_valid(node):
        binding = _bind(node, parsed.statement)
        if parsed.kept:
            _keep(binding, node)
    given: Accepted = {}
    if parameters or binding.parameters:
        given = _accepted(() if parameters is None else parameters, binding.parameters)
    return Statement(node, parsed, given, binding)


def query(node: Any, sql: Any, parameters: Parameters | None = None) -> list[dict[str, Any]] | dict[str, Any]:
    """Prepares and runs a statement: the rows of a query, or the reply of a write."""
    return prepare(node, sql, parameters).run()


def _bind(node: Any, statement: syntax.Statement) -> Binding:
    catalog = Catalog(node)
    bound = bind_statement(statement, catalog)
    wanted = [each.key for each, _ in syntax.nodes(statement) if isinstance(each, syntax.Parameter)]
    parameters = tuple(dict.fromkeys(wanted))
    tables = tuple(catalog.seen.values())
    return Binding(weakref.ref(node), statement, bound, directly(bound), tuple(catalog.touches()), tables, parameters)


def _keep(binding: Binding, node: Any) -> None:
    if len(_bindings) >= KEPT_BINDINGS:
        _bindings.clear()
    _bindings[id(node), id(binding.statement)] = binding


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
