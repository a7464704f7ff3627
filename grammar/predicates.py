"""Compiles conditions, and CASE, which chooses by them. Closures of conditions give True, False or None."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from grammar import syntax
from grammar.bound import Nested
from grammar.errors import SqlError
from grammar.expressions import COMPILERS, Constant, Evaluate, Scope, all_constant, nested
from grammar.frame import Row
from grammar.patterns import Test, glob, like, regexp
from grammar.syntax import Expression
from grammar.values import COMPOSITE_TYPES, NUMBER_TYPES, Value, comparable, equal, identity, text_of, truth

ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
BOOLEAN_WORDS = {"true": True, "false": False}


def condition(node: Expression, scope: Scope) -> Evaluate:
    """Any expression as a condition."""
    test = scope.compile(node)
    if type(node) in PREDICATES:
        return test
    return Constant(truth(test(()))) if isinstance(test, Constant) else lambda row: truth(test(row))


def boolean_twin(node: Expression, value: Value) -> bool | None:
    """The boolean that a literal 'true' or 'false' equals besides the text; None for everything else."""
    return BOOLEAN_WORDS.get(value) if isinstance(node, syntax.Literal) and type(value) is str else None


# --- comparison


def equality(left: Expression, right: Expression, scope: Scope) -> Evaluate:
    """left = right."""
    one, other = scope.compile(left), scope.compile(right)
    if isinstance(other, Constant):
        if isinstance(one, Constant) and (twin := boolean_twin(left, one.value)) is not None:
            return Constant(_equals(other, one.value, twin)(()))
        if isinstance(one, Constant):
            return Constant(_equals(one, other.value, boolean_twin(right, other.value))(()))
        return _equals(one, other.value, boolean_twin(right, other.value))
    if isinstance(one, Constant):
        return _equals(other, one.value, boolean_twin(left, one.value))
    return lambda row: equal(one(row), other(row))


def _equals(operand: Evaluate, wanted: Value, twin: bool | None) -> Evaluate:
    if wanted is None:
        return Constant(None)
    kind = type(wanted)
    if twin is not None:
        return lambda row: None if (value := operand(row)) is None else value == wanted or value is twin
    if kind is bool:
        return lambda row: None if (value := operand(row)) is None else value is wanted
    if kind in COMPOSITE_TYPES:
        return lambda row: equal(operand(row), wanted)
    if wanted in (0, 1):
        return lambda row: None if (value := operand(row)) is None else value == wanted and type(value) is not bool
    return lambda row: None if (value := operand(row)) is None else value == wanted


def _compare(node: syntax.Compare, scope: Scope) -> Evaluate:
    if node.operator == "=":
        return equality(node.left, node.right, scope)
    if node.operator == "<>":
        return negation(equality(node.left, node.right, scope))
    left, right, sign = scope.compile(node.left), scope.compile(node.right), node.operator
    if isinstance(left, Constant) and not isinstance(right, Constant):
        left, right, sign = right, left, FLIPPED[sign]
    compare = ORDERED[sign]
    if isinstance(left, Constant) and isinstance(right, Constant):
        return Constant(ordered(compare, left.value, right.value))
    if isinstance(right, Constant):
        return _ordered_constant(compare, left, right.value)
    return lambda row: ordered(compare, left(row), right(row))


def ordered(compare: Callable[[Any, Any], bool], left: Value, right: Value) -> bool | None:
    """< and its like: null with null, false between two types."""
    if left is None or right is None:
        return None
    return comparable(left, right) and compare(left, right)


def _ordered_constant(compare: Callable[[Any, Any], bool], operand: Evaluate, limit: Value) -> Evaluate:
    kind = type(limit)
    if limit is None:
        return Constant(None)
    if kind in NUMBER_TYPES:
        return lambda row: (
            None if (value := operand(row)) is None else type(value) in NUMBER_TYPES and compare(value, limit)
        )
    if kind is str or kind is bool:
        return lambda row: None if (value := operand(row)) is None else type(value) is kind and compare(value, limit)
    return lambda row: None if operand(row) is None else False


def _between(node: syntax.Between, scope: Scope) -> Evaluate:
    operand, low, high = scope.compile(node.operand), scope.compile(node.low), scope.compile(node.high)

    def test(row: Row) -> bool | None:
        value = operand(row)
        return both(ordered(operator.ge, value, low(row)), ordered(operator.le, value, high(row)))

    folded = Constant(test(())) if all_constant((operand, low, high)) else test
    return negation(folded) if node.negated else folded


def _quantified(node: syntax.Quantified, scope: Scope) -> Evaluate:
    left, sign, universal = scope.compile(node.left), node.operator, node.universal
    items = values_of(node.items, scope)

    def compare(value: Value, item: Value) -> bool | None:
        if sign in ORDERED:
            return ordered(ORDERED[sign], value, item)
        same = equal(value, item)
        return same if sign == "=" or same is None else not same

    def test(row: Row) -> bool | None:
        value = left(row)
        results = [compare(value, item) for item in items(row)]
        return all_of(results) if universal else any_of(results)

    return Constant(test(())) if all_constant((left, items)) else test


# --- sets


def _within(node: syntax.Within, scope: Scope) -> Evaluate:
    operand = scope.compile(node.operand)
    members = _members(node.items, scope)

    def test(row: Row) -> bool | None:
        found = members(row)
        if not found:
            return False
        value = operand(row)
        if value is None:
            return None
        return True if identity(value) in found else None if None in found else False

    folded = Constant(test(())) if all_constant((operand, members)) else test
    return negation(folded) if node.negated else folded


def _members(items: tuple[Expression, ...] | Expression, scope: Scope) -> Callable[[Row], frozenset[Any]]:
    """A function from a row to the identities of what IN looks through; None among them for a null."""
    if isinstance(items, Nested):
        return nested(items, scope, _identities)
    assert isinstance(items, tuple)
    closures = [(each, scope.compile(each)) for each in items]

    def members(row: Row) -> frozenset[Any]:
        found = set()
        for item, closure in closures:
            value = closure(row)
            found.add(identity(value))
            if (twin := boolean_twin(item, value)) is not None:
                found.add(identity(twin))
        return frozenset(found)

    return Constant(members(())) if all_constant([closure for _, closure in closures]) else members


def values_of(items: tuple[Expression, ...] | Expression, scope: Scope) -> Callable[[Row], list[Value]]:
    """A function from a row to the values of a list, or of a sub-query's one column."""
    if isinstance(items, Nested):
        return nested(items, scope, _first_values)
    assert isinstance(items, tuple)
    closures = [scope.compile(each) for each in items]

    def values(row: Row) -> list[Value]:
        return [closure(row) for closure in closures]

    return Constant(values(())) if all_constant(closures) else values


def _exists(node: syntax.Exists, scope: Scope) -> Evaluate:
    assert isinstance(node.query, Nested)
    return nested(node.query, scope, _any)


def _identities(rows: Iterable[Row]) -> frozenset[Any]:
    return frozenset([identity(row[0]) for row in rows])


def _first_values(rows: Iterable[Row]) -> list[Value]:
    return [row[0] for row in rows]


def _any(rows: Iterable[Row]) -> bool:
    return next(iter(rows), None) is not None


# --- texts


def _like(node: syntax.Like, scope: Scope) -> Evaluate:
    operand, pattern = scope.compile(node.operand), scope.compile(node.pattern)
    escape = Constant(None) if node.escape is None else scope.compile(node.escape)
    if all_constant((pattern, escape)):
        test = _like_constant(node.operator, operand, pattern(()), escape(()))
    else:
        test = lambda row: _like_value(node.operator, operand(row), pattern(row), escape(row))  # noqa: E731
    if all_constant((operand, pattern, escape)):
        test = Constant(test(()))
    return negation(test) if node.negated else test


def _like_constant(sign: str, operand: Evaluate, pattern: Value, escape: Value) -> Evaluate:
    if pattern is None:
        return Constant(None)
    matches = matcher(sign, pattern, escape)

    def test(row: Row) -> bool | None:
        value = operand(row)
        if type(value) is str:
            return matches(value)
        if value is None:
            return None
        return type(value) not in COMPOSITE_TYPES and matches(text_of(value))

    return test


def _like_value(sign: str, value: Value, pattern: Value, escape: Value) -> bool | None:
    if value is None or pattern is None:
        return None
    return type(value) not in COMPOSITE_TYPES and matcher(sign, pattern, escape)(text_of(value))


def matcher(sign: str, pattern: Value, escape: Value) -> Test:
    if sign == "REGEXP":
        return regexp(text_of(pattern))
    if sign == "GLOB":
        return glob(text_of(pattern))
    if escape is not None and (type(escape) is not str or len(escape) != 1):
        raise SqlError("ESCAPE takes one character")
    return like(text_of(pattern), escape)


# --- logic


def negation(test: Evaluate) -> Evaluate:
    if isinstance(test, Constant):
        return Constant(None if test.value is None else not test.value)
    return lambda row: None if (value := test(row)) is None else not value


def both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def all_of(results: Iterable[bool | None]) -> bool | None:
    found: bool | None = True
    for result in results:
        if result is False:
            return False
        if result is None:
            found = None
    return found


def any_of(results: Iterable[bool | None]) -> bool | None:
    found: bool | None = False
    for result in results:
        if result:
            return True
        if result is None:
            found = None
    return found


def _and(node: syntax.And, scope: Scope) -> Evaluate:
    tests = [condition(each, scope) for each in node.operands]
    return _folded_logic(all_of, tests)


def _or(node: syntax.Or, scope: Scope) -> Evaluate:
    tests = [condition(each, scope) for each in node.operands]
    return _folded_logic(any_of, tests)


def _folded_logic(combine: Callable[[Iterable[bool | None]], bool | None], tests: list[Evaluate]) -> Evaluate:
    if all_constant(tests):
        return Constant(combine([test(()) for test in tests]))
    return lambda row: combine(test(row) for test in tests)


def _not(node: syntax.Not, scope: Scope) -> Evaluate:
    return negation(condition(node.operand, scope))


def _is(node: syntax.Is, scope: Scope) -> Evaluate:
    operand, wanted, negated = scope.compile(node.operand), node.value, node.negated
    if isinstance(operand, Constant):
        return Constant((operand.value is wanted) is not negated)
    if negated:
        return lambda row: operand(row) is not wanted
    return lambda row: operand(row) is wanted


def _case(node: syntax.Case, scope: Scope) -> Evaluate:
    results = [scope.compile(value) for _, value in node.branches]
    if node.operand is None:
        tests = [condition(test, scope) for test, _ in node.branches]
    else:
        tests = [equality(node.operand, test, scope) for test, _ in node.branches]
    otherwise = Constant(None) if node.otherwise is None else scope.compile(node.otherwise)
    branches = tuple(zip(tests, results, strict=True))

    def evaluate(row: Row) -> Value:
        for test, result in branches:
            if test(row):
                return result(row)
        return otherwise(row)

    return Constant(evaluate(())) if all_constant([*tests, *results, otherwise]) else evaluate


PREDICATES: dict[type, Callable[[Any, Scope], Evaluate]] = {
    syntax.Compare: _compare,
    syntax.Between: _between,
    syntax.Quantified: _quantified,
    syntax.Within: _within,
    syntax.Exists: _exists,
    syntax.Like: _like,
    syntax.And: _and,
    syntax.Or: _or,
    syntax.Not: _not,
    syntax.Is: _is,
}
COMPILERS.update({**PREDICATES, syntax.Case: _case})
