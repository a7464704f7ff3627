"""Binds whole statements: queries, and what INSERT, UPDATE and DELETE do to one table."""

from __future__ import annotations

from collections.abc import Iterable

from grammar import syntax
from grammar.bind import Rules, bind_expression, bind_query
from grammar.bound import (
    BoundDelete,
    BoundExplain,
    BoundInsert,
    BoundQuery,
    BoundStatement,
    BoundUpdate,
    Field,
    TableSource,
)
from grammar.errors import SqlError, UnknownColumn, closest
from grammar.scope import Catalog, Scope, table_for_write
from grammar.syntax import Expression


def bind_statement(statement: syntax.Statement, catalog: Catalog) -> BoundStatement:
    """The statement with all names looked up in the catalog. Raises SqlError, engine.NotFound."""
    match statement:
        case syntax.Query():
            return bind_query(statement, Scope(catalog))
        case syntax.Explain(query=query, analyze=analyze):
            return BoundExplain(bind_query(query, Scope(catalog)), analyze)
        case syntax.Insert():
            return _insert(statement, catalog)
        case syntax.Update():
            return _update(statement, catalog)
    target = table_for_write(catalog, statement.table, "delete")
    return BoundDelete(target, _where(statement.where, target, catalog))


def _insert(statement: syntax.Insert, catalog: Catalog) -> BoundInsert:
    if not statement.columns:
        raise SqlError("INSERT requires a column list")
    _refuse_repeated(statement.columns)
    target = table_for_write(catalog, statement.table, "insert")
    if statement.upsert:
        table_for_write(catalog, statement.table, "update")
    for action in ("insert", "update") if statement.upsert else ("insert",):
        for column in statement.columns:
            catalog.see(target, action, column)
    rows: tuple[tuple[Expression, ...], ...] = ()
    query = None
    if isinstance(statement.source, syntax.Query):
        query = _query_of(statement.source, len(statement.columns), catalog)
    else:
        rows = tuple([_row(row, len(statement.columns), catalog) for row in statement.source])
    proposed = catalog.next_number()
    updates = None
    if statement.conflict is not None:
        updates = _conflict(statement.conflict, statement.columns, target, proposed, catalog)
    verb = "upsert" if statement.upsert else "insert"
    return BoundInsert(verb, target, statement.columns, rows, query, updates, proposed)


def _query_of(query: syntax.Query, columns: int, catalog: Catalog) -> BoundQuery:
    bound = bind_query(query, Scope(catalog))
    if len(bound.keys) != columns:
        raise SqlError(f"INSERT has {columns} columns, but the query has {len(bound.keys)}")
    return bound


def _row(row: tuple[Expression, ...], columns: int, catalog: Catalog) -> tuple[Expression, ...]:
    if len(row) != columns:
        raise SqlError(f"INSERT has {columns} columns, but a row has {len(row)} values")
    rules = Rules(place="VALUES", before=_refuse_column)
    return tuple([bind_expression(each, Scope(catalog), rules) for each in row])


def _refuse_column(column: syntax.Column) -> Expression:
    raise SqlError(f"column '{'.'.join(column.names)}' cannot be used in VALUES")


def _conflict(
    conflict: syntax.Conflict, columns: tuple[str, ...], target: TableSource, proposed: int, catalog: Catalog
) -> tuple[tuple[str, Expression], ...] | None:
    """What is set when the key exists; None for DO NOTHING, which is what INSERT does anyway."""
    if conflict.column != target.primary_key:
        raise SqlError(f"ON CONFLICT takes the primary key, {target.primary_key}")
    if not conflict.assignments:
        return None
    table_for_write(catalog, syntax.TableName(target.schema, target.table), "update")

    def excluded(column: syntax.Column) -> Expression | None:
        if column.names[0] != "excluded" or len(column.names) != 2:
            return None
        if column.names[1] not in columns:
            name = closest(column.names[1], columns)
            raise UnknownColumn(".".join(column.names), name and f"excluded.{name}")
        return Field(proposed, column.names[1], ".".join(column.names))

    return _assignments(conflict.assignments, target, catalog, Rules(place="SET", before=excluded))


def _update(statement: syntax.Update, catalog: Catalog) -> BoundUpdate:
    target = table_for_write(catalog, statement.table, "update")
    assignments = _assignments(statement.assignments, target, catalog, Rules(place="SET"))
    return BoundUpdate(target, assignments, _where(statement.where, target, catalog))


def _assignments(
    assignments: tuple[syntax.Assignment, ...], target: TableSource, catalog: Catalog, rules: Rules
) -> tuple[tuple[str, Expression], ...]:
    _refuse_repeated([each.column.names[-1] for each in assignments])
    scope = Scope(catalog, action="filter", sources=[target])
    found = []
    for each in assignments:
        *qualifier, attribute = each.column.names
        if qualifier and qualifier not in ([target.table], [target.schema, target.table]):
            raise UnknownColumn(".".join(each.column.names))
        catalog.see(target, "update", attribute)
        found.append((attribute, bind_expression(each.value, scope, rules)))
    return tuple(found)


def _refuse_repeated(columns: Iterable[str]) -> None:
    seen = set()
    for column in columns:
        if column in seen:
            raise SqlError(f"column '{column}' is named twice")
        seen.add(column)


def _where(where: Expression | None, target: TableSource, catalog: Catalog) -> Expression | None:
    if where is None:
        return None
    return bind_expression(where, Scope(catalog, action="filter", sources=[target]), Rules(place="WHERE"))
