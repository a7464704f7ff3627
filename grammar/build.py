"""Builds the syntax tree: one method for each rule or alias of sql.lark, called as the parser reduces it."""

from __future__ import annotations

from functools import reduce
from typing import Any

from lark import Transformer, v_args

from grammar import syntax
from grammar.errors import SqlError
from grammar.syntax import Expression
from grammar.tokens import Token

BARE_FUNCTIONS = frozenset({"CURRENT_TIMESTAMP", "CURRENT_DATE"})
CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None}
OPERATORS = {"==": "=", "===": "=", "!=": "<>", "!==": "<>"}


class Quoted(str):
    """A name in backticks or brackets, which is never a bare function."""


@v_args(inline=True)
class Builder(Transformer[Token, Any]):
    # --- statements

    def explain(self, analyze: Token | None, query: syntax.Query) -> syntax.Explain:
        return syntax.Explain(query, analyze is not None)

    def insert(
        self, verb: Token, table: syntax.TableName, columns: tuple[str, ...] | None, source: Any, conflict: Any = None
    ) -> syntax.Insert:
        return syntax.Insert(table, columns or (), source, verb.type == "UPSERT", conflict)

    def insert_defaults(self, _verb: Token, _table: syntax.TableName) -> syntax.Insert:
        raise SqlError("INSERT requires a column list")

    def update(self, table: syntax.TableName, assignments: Any, where: Expression | None) -> syntax.Update:
        return syntax.Update(table, assignments, where)

    def delete(self, table: syntax.TableName, where: Expression | None) -> syntax.Delete:
        return syntax.Delete(table, where)

    def conflict(self, column: str, assignments: Any = None) -> syntax.Conflict:
        return syntax.Conflict(str(column), assignments or ())

    def assignment(self, column: syntax.Column, value: Expression) -> syntax.Assignment:
        return syntax.Assignment(column, value)

    # --- queries

    def query(self, names: Any, body: Any, order: Any, limit: syntax.Limit | None) -> syntax.Query:
        return syntax.Query(body, order or (), limit, names or ())

    def named_query(self, name: str, columns: tuple[str, ...] | None, query: syntax.Query) -> syntax.NamedQuery:
        return syntax.NamedQuery(name, columns or (), query)

    def union(self, left: Any, every: Token | None, right: Any) -> syntax.Compound:
        return syntax.Compound("union", every is not None, left, right)

    def subtract(self, left: Any, right: Any) -> syntax.Compound:
        return syntax.Compound("except", False, left, right)

    def intersect(self, left: Any, right: Any) -> syntax.Compound:
        return syntax.Compound("intersect", False, left, right)

    def select(
        self, quantifier: Token | None, top: Any, items: Any, source: Any, where: Any, group: Any, having: Any
    ) -> syntax.Select:
        distinct = quantifier is not None and quantifier.type == "DISTINCT"
        return syntax.Select(items, distinct, top, source, where, group or (), having)

    def top(self, count: Expression, percent: Token | None) -> syntax.Limit:
        return syntax.Limit(count, None, percent is not None)

    def item(self, expression: Expression, alias: str | None) -> syntax.Item:
        return syntax.Item(expression, None if alias is None else str(alias))

    def star(self, table: str | None, _star: Token) -> syntax.Star:
        return syntax.Star(table)

    def from_clause(self, *sources: syntax.Source) -> syntax.Source:
        return reduce(lambda left, right: syntax.Join("cross", left, right, None), sources)

    def join(self, left: Any, kind: str, right: Any, condition: Expression | None) -> syntax.Join:
        return syntax.Join(kind, left, right, condition)

    def join_using(self, left: Any, kind: str, right: Any, columns: tuple[str, ...]) -> syntax.Join:
        return syntax.Join(kind, left, right, None, columns)

    def named_table(self, name: syntax.TableName, alias: str | None) -> syntax.NamedTable:
        return syntax.NamedTable(name, alias)

    def derived_table(self, query: syntax.Query, alias: str) -> syntax.DerivedTable:
        return syntax.DerivedTable(query, alias)

    def table(self, first: str, second: str | None) -> syntax.TableName:
        return syntax.TableName(None, first) if second is None else syntax.TableName(first, second)

    def order_item(
        self, expression: Expression, collation: str | None, direction: Token | None, nulls: Token | None
    ) -> syntax.Order:
        if collation is not None and collation.upper() not in ("NOCASE", "BINARY"):
            raise SqlError(f"unknown collation {collation}")
        descending = direction is not None and direction.type == "DESC"
        nulls_first = None if nulls is None else nulls.type == "FIRST"
        return syntax.Order(
            expression, descending, nulls_first, collation is not None and collation.upper() == "NOCASE"
        )

    def limit(self, count: Expression, offset: Expression | None) -> syntax.Limit:
        return syntax.Limit(count, offset)

    def offset(self, offset: Expression) -> syntax.Limit:
        return syntax.Limit(None, offset)

    def offset_fetch(self, offset: Expression, count: Expression) -> syntax.Limit:
        return syntax.Limit(count, offset)

    def fetch_only(self, count: Expression) -> syntax.Limit:
        return syntax.Limit(count, None)

    def inner(self) -> str:
        return "inner"

    def left(self) -> str:
        return "left"

    def right(self) -> str:
        return "right"

    def full(self) -> str:
        return "full"

    def cross(self) -> str:
        return "cross"

    # --- expressions

    def any_of(self, *operands: Expression) -> Expression:
        return syntax.Or(operands)

    def all_of(self, *operands: Expression) -> Expression:
        return syntax.And(operands)

    def negate(self, operand: Expression) -> Expression:
        return syntax.Not(operand)

    def comparator(self, sign: Token) -> str:
        return OPERATORS.get(sign.text, sign.text)

    def compare(self, left: Expression, operator: str, right: Expression) -> Expression:
        return syntax.Compare(operator, left, right)

    def quantified(self, left: Expression, operator: str, quantifier: Token, items: Any) -> Expression:
        return syntax.Quantified(operator, left, quantifier.type == "ALL", _items(items))

    def like(
        self, operand: Expression, negated: Token | None, sign: Token, pattern: Expression, escape: Expression | None
    ) -> Expression:
        operator = "LIKE" if sign.type == "ILIKE" else sign.type
        return syntax.Like(operator, operand, pattern, escape, negated is not None)

    def within(self, operand: Expression, negated: Token | None, items: Any) -> Expression:
        return syntax.Within(operand, _items(items), negated is not None)

    def between(self, operand: Expression, negated: Token | None, low: Expression, high: Expression) -> Expression:
        return syntax.Between(operand, low, high, negated is not None)

    def is_(self, operand: Expression, negated: Token | None, constant: Token) -> Expression:
        return syntax.Is(operand, CONSTANTS[constant.type], negated is not None)

    def binary(self, left: Expression, operator: Token, right: Expression) -> Expression:
        return syntax.Binary(operator.text, left, right)

    def unary(self, operator: Token, operand: Expression) -> Expression:
        return syntax.Unary(operator.text, operand)

    def step(self, operand: Expression, key: str | Token) -> Expression:
        return syntax.Step(operand, key.value if isinstance(key, Token) else str(key))

    def cast(self, operand: Expression, target: syntax.Type) -> Expression:
        return syntax.Cast(operand, target)

    def number(self, token: Token) -> Expression:
        return syntax.Literal(token.value, token.text, token.slot)

    def text(self, token: Token) -> Expression:
        return syntax.Literal(token.value, token.text, token.slot)

    def json(self, token: Token) -> Expression:
        return syntax.Literal(token.value, token.text)

    def constant(self, token: Token) -> Expression:
        return syntax.Literal(CONSTANTS[token.type], token.type)

    def case(self, *parts: Any) -> Expression:
        operand, *branches, otherwise = parts
        return syntax.Case(operand, tuple(branches), otherwise)

    def exists(self, query: syntax.Query) -> Expression:
        return syntax.Exists(syntax.SubQuery(query))

    def scalar(self, query: syntax.Query) -> Expression:
        return syntax.SubQuery(query)

    def column(self, *names: str | None) -> Expression:
        present = tuple([each for each in names if each is not None])
        if len(present) == 1 and not isinstance(present[0], Quoted) and present[0].upper() in BARE_FUNCTIONS:
            return syntax.Call(present[0].upper(), ())
        return syntax.Column(tuple(map(str, present)))

    def call_star(self, name: str, _star: Token) -> Expression:
        return syntax.Call(str(name), (), star=True)

    def call(self, name: str, quantifier: Token | None, arguments: tuple[Expression, ...] | None) -> Expression:
        if name.upper() == "CURRENT_TIMESTAMP":
            raise SqlError("CURRENT_TIMESTAMP takes no brackets")
        if name.upper() == "CONVERT":
            return _convert(arguments or ())
        distinct = quantifier is not None and quantifier.type == "DISTINCT"
        return syntax.Call(str(name), arguments or (), distinct)

    def call_from(self, name: str, side: Token | None, what: Expression | None, value: Expression) -> Expression:
        upper = name.upper()
        if upper == "TRIM":
            which = "BOTH" if side is None else side.type
            return syntax.Call("TRIM", (value, syntax.Literal(which, which), *([] if what is None else [what])))
        if upper == "EXTRACT" and side is None and isinstance(what, syntax.Column) and len(what.names) == 1:
            return syntax.Call("EXTRACT", (value, syntax.Literal(what.names[0], what.names[0])))
        raise SqlError(f"{name} does not take FROM")

    def call_as(self, name: str, value: Expression, target: syntax.Type) -> Expression:
        if name.upper() != "CAST":
            raise SqlError(f"{name} does not take AS")
        return syntax.Cast(value, target)

    def type(self, name: str, first: Token | None, second: Token | None) -> syntax.Type:
        return syntax.Type(name.upper(), tuple([token.value for token in (first, second) if token is not None]))

    def positional(self, token: Token) -> Expression:
        return syntax.Parameter(token.value)

    def numbered(self, token: Token) -> Expression:
        return syntax.Parameter(token.value)

    def named(self, token: Token) -> Expression:
        return syntax.Parameter(str(token.value))

    def plain_name(self, token: Token) -> str:
        return str(token.value)

    def quoted_name(self, token: Token) -> str:
        return Quoted(token.value)

    def _several(self, *parts: Any) -> tuple[Any, ...]:
        return parts

    def columns(self, *names: str) -> tuple[str, ...]:
        return tuple(map(str, names))

    rows = row = assignments = with_clause = items = group_by = order_by = expressions = branch = _several

    def _only(self, part: Any) -> Any:
        return part

    where = having = _only


def _items(items: Any) -> tuple[Expression, ...] | Expression:
    if isinstance(items, syntax.Query):
        return syntax.SubQuery(items)
    return items or ()


def _convert(arguments: tuple[Expression, ...]) -> Expression:
    """CONVERT(type, x[, style]): the type was read as a column or a call."""
    if len(arguments) not in (2, 3):
        raise SqlError("CONVERT takes a type, a value and at most a style")
    target = _type_of(arguments[0])
    if len(arguments) == 2:
        return syntax.Cast(arguments[1], target)
    return syntax.Call("CONVERT", (syntax.Literal(target.name, target.name), *arguments[1:]))


def _type_of(expression: Expression) -> syntax.Type:
    match expression:
        case syntax.Column(names=(name,)):
            return syntax.Type(name.upper())
        case syntax.Call(name=name, arguments=sizes) if all(isinstance(each, syntax.Literal) for each in sizes):
            return syntax.Type(name.upper(), tuple([each.value for each in sizes if isinstance(each, syntax.Literal)]))
    raise SqlError("CONVERT takes a type as its first argument")
