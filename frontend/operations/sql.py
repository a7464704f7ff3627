"""The SQL operation. The statement says which tables and attributes it touches; permission is decided on that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import engine
import grammar
from frontend.errors import refusal
from frontend.operations.members import Invalid, Member
from frontend.operations.row import Call, Operation
from frontend.permissions import Demand, on_tables, require_existing
from grammar import syntax
from grammar.errors import MISSING, NOT_SQL
from grammar.parse import parse


def sql(call: Call) -> Any:
    return call.statement.run(call.user.name, _visible(call), budget=call.limits.budget(call.watch))


def _demands(call: Call) -> Sequence[Demand]:
    """Prepare the statement, and state what it touches."""
    text = call["sql"]
    if text is None:
        return ()
    if not call.user.grants.super_user:
        # Before names are resolved, so that no message about a column tells that a table exists.
        require_existing(call, _named_tables(text))
    try:
        call.statement = grammar.prepare(call.node, text, call["parameters"])
    except grammar.UnknownColumn as problem:
        if call.user.grants.super_user:
            raise
        raise grammar.SqlError(problem.plain) from None  # a suggestion could be an attribute that is not to be seen
    except engine.NotFound as problem:
        reads = isinstance(parse(text).statement, syntax.Query | syntax.Explain)
        raise refusal(problem, call.word, 404 if reads else 400) from problem
    return [_demand(touch) for touch in call.statement.touches]


def _named_tables(text: str) -> list[tuple[str, str]]:
    names = [node for node, _ in syntax.nodes(parse(text).statement) if isinstance(node, syntax.TableName)]
    return [(name.schema, name.table) for name in names if name.schema is not None]


def _demand(touch: grammar.Touch) -> Demand:
    if touch.action == "filter":  # the records to write may be chosen by attributes of a table that cannot be read
        return Demand(touch.schema, touch.table, ("read",), touch.attributes, whole=False)
    return Demand(touch.schema, touch.table, (touch.action,), touch.attributes)


def _visible(call: Call) -> Callable[[str, str], list[str] | None]:
    """What * stands for in a table; None for everything."""

    def visible(schema: str, table: str) -> list[str] | None:
        grant = call.user.grants.on(schema, table)
        return grant.readable(call.node.table(schema, table).primary_key) if grant else []

    return visible


# ----------------------------------------------------------------------------------------------------------- members


def _statement(value: Any, label: str) -> str:
    if value is None or value == "":
        raise Invalid(MISSING)
    if not isinstance(value, str):
        raise Invalid(NOT_SQL)
    return value


def _parameters(value: Any, label: str) -> Any:
    if not isinstance(value, list | dict):
        raise Invalid(f"'{label}' must be an array or an object")
    return value


OPERATIONS = (
    Operation(
        "sql",
        sql,
        on_tables(_demands),
        (
            Member("sql", _statement, required=True, absent=MISSING),
            Member("parameters", _parameters, null_is_absent=True),
        ),
    ),
)
