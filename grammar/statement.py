"""Prepared statements: parsed and bound, ready to be checked for permissions and run."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from grammar.errors import SqlError
from grammar.explain import explained
from grammar.frame import Frame
from grammar.parse import Parsed, parse
from grammar.plan import plan
from grammar.scope import Catalog, TableState, Touch, Visible
from grammar.values import Value
from grammar.write import Writer

Parameters = Sequence[Value] | Mapping[str, Value]
SCALARS = (type(None), bool, int, float, str)
KEPT_BINDINGS = 1024


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement on one node. `touches` tells what it does with which tables and attributes."""

    node: Any
    parsed: Parsed
    parameters: Parameters
    bound: BoundStatement
    touches: tuple[Touch, ...]

    def run(
        self, user: str | None = None, visible: Visible | None = None, *, indexes: bool = True
    ) -> list[dict[str, Any]] | dict[str, Any]:
        """The rows of a query, or the reply of a write.

        `visible(schema, table)` narrows what * stands for: a list of attributes, or None for all. Without `indexes`
        tables are read whole, in key order; the result is the same. Raises SqlError, engine.KennelError.
        """
        bound = self.bound
        if visible is not None:
            bound = bind_statement(self.parsed.statement, Catalog(self.node, visible))
        if isinstance(bound, (BoundInsert, BoundUpdate, BoundDelete)):
            return Writer(self.node, user, lambda: self._frame(indexes)).write(bound)
        with self._frame(indexes) as frame:
            if isinstance(bound, BoundExplain):
                return explained(plan(bound.query, frame))
            return self._rows(bound, frame)

    def _rows(self, query: BoundQuery, frame: Frame) -> list[dict[str, Any]]:
        keys = query.keys
        return [dict(zip(keys, row, strict=True)) for row in plan(query, frame).rows()]

    @contextmanager
    def _frame(self, indexes: bool) -> Iterator[Frame]:
        """A frame over one cut of all tables that the statement looks into."""
        tables = list(dict.fromkeys([(each.schema, each.table) for each in self.touches if each.action != "insert"]))
        now = time.time_ns() // 1_000_000
        if len(tables) == 1:
            with self.node.table(*tables[0]).view() as view:
                yield Frame({tables[0]: view}, self.parsed.literals, self.parameters, now, indexes, plan)
            return
        with self.node.snapshot(tables) as snapshot:
            views = {table: snapshot.table(*table) for table in tables}
            yield Frame(views, self.parsed.literals, self.parameters, now, indexes, plan)


@dataclass(frozen=True, slots=True)
class Binding:
    """A bound statement as it is kept: for the node it was bound on, as long as the tables it names stay as they were.

    The node is held weakly. The syntax tree is held so that its identity, under which this is kept, stays its own.
    """

    node: Callable[[], Any]
    statement: syntax.Statement
    bound: BoundStatement
    touches: tuple[Touch, ...]
    tables: dict[tuple[str, str], TableState]
    parameters: tuple[int | str, ...]

    def is_valid(self, node: Any) -> bool:
        if self.node() is not node:
            return False
        try:
            return all(TableState.of(node.table(*name)) == state for name, state in self.tables.items())
        except engine.NotFound:
            return False


_bindings: dict[tuple[int, int], Binding] = {}


def prepare(node: Any, sql: Any, parameters: Parameters | None = None) -> Statement:
    """Parses and binds a statement. Raises SqlError, and engine.NotFound for a table or schema that a query names."""
    parsed = parse(sql)
    binding = _bindings.get((id(node), id(parsed.statement)))
    if binding is None or not binding.is_valid(node):
        binding = _bind(node, parsed.statement)
    given: Parameters = () if parameters is None else parameters
    if given or binding.parameters:
        _check_parameters(binding.parameters, given)
    return Statement(node, parsed, given, binding.bound, binding.touches)


def query(node: Any, sql: Any, parameters: Parameters | None = None) -> list[dict[str, Any]] | dict[str, Any]:
    """Prepares and runs a statement: the rows of a query, or the reply of a write."""
    return prepare(node, sql, parameters).run()


def _bind(node: Any, statement: syntax.Statement) -> Binding:
    catalog = Catalog(node)
    bound = bind_statement(statement, catalog)
    wanted = [each.key for each, _ in syntax.nodes(statement) if isinstance(each, syntax.Parameter)]
    binding = Binding(
        weakref.ref(node), statement, bound, tuple(catalog.touches()), catalog.seen, tuple(dict.fromkeys(wanted))
    )
    if len(_bindings) >= KEPT_BINDINGS:
        _bindings.clear()
    _bindings[id(node), id(statement)] = binding
    return binding


def _check_parameters(wanted: tuple[int | str, ...], given: Parameters) -> None:
    """Raises SqlError unless there is exactly one scalar for each parameter of the statement."""
    if isinstance(given, (str, bytes)) or not isinstance(given, (Mapping, Sequence)):
        raise SqlError("parameters must be an array or an object")
    values = given.values() if isinstance(given, Mapping) else given
    if not all(isinstance(value, SCALARS) for value in values):
        raise SqlError("A parameter must be a text, a number, a boolean or null.")
    known = given.keys() if isinstance(given, Mapping) else range(len(given))
    for key in sorted(wanted, key=str):
        if key not in known:
            raise SqlError(f"No value for parameter {f':{key}' if isinstance(key, str) else key + 1}.")
    if len(given) != len(wanted):
        raise SqlError(f"The statement has {len(wanted)} parameters, but {len(given)} are given.")
