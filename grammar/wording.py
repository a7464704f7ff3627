"""Expressions as text: the keys of columns without alias, and the conditions that EXPLAIN shows."""

from __future__ import annotations

from collections.abc import Iterable

from grammar import syntax
from grammar.bound import Field, Nested, Reduction, Slot
from grammar.syntax import Expression

# Functions that keep the spelling of the statement; all others are shown in capitals.
AS_WRITTEN = frozenset(
    ["SEARCH_JSON", "DATE_ADD", "DATE_SUB", "DATE_DIFF", "DATE_FORMAT", "OFFSET_UTC", "GET_SERVER_TIME"]
)
# How loosely operators bind: an operand that binds more loosely than its place allows needs brackets.
STEP, UNARY, COMPARISON, NEGATION, CONJUNCTION, DISJUNCTION = 1, 2, 8, 9, 10, 11
BINARY = {
    "^": 3,
    "||": 4,
    **dict.fromkeys("*/%", 5),
    **dict.fromkeys("+-", 6),
    **dict.fromkeys(("&", "|", "<<", ">>"), 7),
}
LOOSENESS = {
    syntax.Step: STEP,
    syntax.Unary: UNARY,
    **dict.fromkeys(
        (syntax.Compare, syntax.Like, syntax.Within, syntax.Between, syntax.Is, syntax.Quantified), COMPARISON
    ),
    syntax.Not: NEGATION,
    syntax.And: CONJUNCTION,
    syntax.Or: DISJUNCTION,
}


def key_of(expression: Expression, from_table: bool) -> str:
    """The key of a select item without alias; with a FROM clause, texts in function calls stand in double quotes."""
    match expression:
        case syntax.Column(names=names):
            return names[-1]
        case Field(attribute=attribute):
            return attribute
    return wording(expression, '"' if from_table else "")


def all_of(conditions: Iterable[Expression]) -> str | None:
    """Conditions that have to hold together; None when there are none."""
    return " AND ".join([_within(each, CONJUNCTION, "") for each in conditions]) or None


def listed(nodes: Iterable[Expression]) -> str:
    return ", ".join([wording(each) for each in nodes])


def wording(node: Expression, quote: str = "") -> str:
    """`quote` replaces the quotes of texts inside function calls, unless it is empty."""
    match node:
        case syntax.Literal():
            return node.text
        case syntax.Parameter(key=key):
            return f":{key}" if isinstance(key, str) else "?"
        case syntax.Column(names=names):
            return ".".join(names)
        case Field(label=label):
            return label
        case Slot(index=index):
            return f"#{index + 1}"
        case syntax.Call(name=name, arguments=arguments, star=star):
            return f"{_function(name)}({'*' if star else ','.join([_argument(each, quote) for each in arguments])})"
        case Reduction(name=name, arguments=arguments, star=star):
            return f"{name}({'*' if star else ','.join([_argument(each, quote) for each in arguments])})"
        case syntax.Cast(operand=operand, target=target):
            sizes = f"({','.join(map(str, target.sizes))})" if target.sizes else ""
            return f"CAST({wording(operand, quote)} AS {target.name}{sizes})"
        case syntax.Case():
            return _case(node, quote)
        case syntax.SubQuery() | Nested():
            return "(SELECT ...)"
        case syntax.Exists(query=query):
            return f"EXISTS {wording(query)}"
    return _operation(node, quote)


def _operation(node: Expression, quote: str) -> str:
    match node:
        case syntax.Unary(operator=operator, operand=operand):
            return operator + _within(operand, UNARY - 1, quote)
        case syntax.Binary(operator=operator, left=left, right=right):
            own = BINARY[operator]
            return f"{_within(left, own, quote)} {operator} {_within(right, own - 1, quote)}"
        case syntax.Compare(operator=operator, left=left, right=right):
            return f"{_operand(left, quote)} {operator} {_operand(right, quote)}"
        case syntax.And(operands=operands):
            return " AND ".join([_within(each, NEGATION, quote) for each in operands])
        case syntax.Or(operands=operands):
            return " OR ".join([_within(each, CONJUNCTION, quote) for each in operands])
        case syntax.Not(operand=operand):
            return f"NOT {_within(operand, NEGATION, quote)}"
        case syntax.Step(operand=operand, key=key):
            return f"{_within(operand, STEP, quote)}->{key}"
    return _predicate(node, quote)


def _predicate(node: Expression, quote: str) -> str:
    match node:
        case syntax.Is(operand=operand, value=value, negated=negated):
            word = "IS NOT" if negated else "IS"
            return f"{_operand(operand, quote)} {word} {'NULL' if value is None else str(value).upper()}"
        case syntax.Within(operand=operand, items=items, negated=negated):
            return f"{_operand(operand, quote)} {'NOT ' if negated else ''}IN {_list(items, quote)}"
        case syntax.Between(operand=operand, low=low, high=high, negated=negated):
            word = "NOT BETWEEN" if negated else "BETWEEN"
            return f"{_operand(operand, quote)} {word} {_operand(low, quote)} AND {_operand(high, quote)}"
        case syntax.Like(operator=operator, operand=operand, pattern=pattern, escape=escape, negated=negated):
            tail = "" if escape is None else f" ESCAPE {wording(escape, quote)}"
            word = f"NOT {operator}" if negated else operator
            return f"{_operand(operand, quote)} {word} {_operand(pattern, quote)}{tail}"
        case syntax.Quantified(operator=operator, left=left, universal=universal, items=items):
            return f"{_operand(left, quote)} {operator} {'ALL' if universal else 'ANY'} {_list(items, quote)}"
    raise TypeError(f"no wording for {type(node).__name__}")


def _operand(node: Expression, quote: str) -> str:
    """A side of a comparison."""
    return _within(node, COMPARISON - 1, quote)


def _within(node: Expression, loosest: int, quote: str) -> str:
    """In brackets if it binds more loosely than that."""
    text = wording(node, quote)
    looseness = BINARY[node.operator] if isinstance(node, syntax.Binary) else LOOSENESS.get(type(node), 0)
    return f"({text})" if looseness > loosest else text


def _list(items: tuple[Expression, ...] | Expression, quote: str) -> str:
    if isinstance(items, Expression):
        return wording(items, quote)
    return f"({', '.join([wording(each, quote) for each in items])})"


def _argument(node: Expression, quote: str) -> str:
    if quote and isinstance(node, syntax.Literal) and isinstance(node.value, str):
        return f"{quote}{node.value}{quote}"
    return wording(node, quote)


def _function(name: str) -> str:
    upper = name.upper()
    return name if upper in AS_WRITTEN or upper.startswith("GEO") else upper


def _case(node: syntax.Case, quote: str) -> str:
    parts = ["CASE"]
    if node.operand is not None:
        parts.append(wording(node.operand, quote))
    for condition, value in node.branches:
        parts.append(f"WHEN {wording(condition, quote)} THEN {wording(value, quote)}")
    if node.otherwise is not None:
        parts.append(f"ELSE {wording(node.otherwise, quote)}")
    return " ".join([*parts, "END"])
