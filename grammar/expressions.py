"""Compiles expressions to closures over rows.

`compile_expression` looks up the node's class in COMPILERS. What has no field in it is computed at once and becomes a
`Constant`; comparisons with a constant get a closure for its type. Conditions are in predicates.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any

from grammar import syntax
from grammar.arithmetic import BINARY, UNARY
from grammar.bound import Field, Nested, Slot
from grammar.errors import SqlError
from grammar.frame import Frame, Layout, Row
from grammar.functions import lookup
from grammar.functions.conversion import cast
from grammar.functions.signature import Function
from grammar.syntax import Expression
from grammar.values import Value, identity

Evaluate = Callable[[Row], Value]
Digest = Callable[[Iterable[Row]], Any]

NESTED_MEMORY = 10_000  # results of one correlated sub-query that are kept at a time


@dataclass(frozen=True, slots=True)
class Constant:
    """A closure whose result does not depend on the row."""

    value: Value

    def __call__(self, row: Row) -> Value:
        return self.value


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression is compiled against: the frame, and where its fields stand in the rows it will see."""

    frame: Frame
    layout: Layout

    def compile(self, node: Expression) -> Evaluate:
        return COMPILERS[type(node)](node, self)


def compile_expression(node: Expression, frame: Frame, layout: Layout) -> Evaluate:
    """A function from a row, laid out as `layout` says, to the expression's value."""
    return Scope(frame, layout).compile(node)


def constant_value(node: Expression, frame: Frame) -> Constant | None:
    """The value of an expression that needs no row, else None."""
    if isinstance(node, (syntax.Literal, syntax.Parameter)):
        return Constant(compile_expression(node, frame, {})(()))
    if not is_constant(node, frame):
        return None
    compiled = compile_expression(node, frame, {})
    return compiled if isinstance(compiled, Constant) else None


def is_constant(node: Expression, frame: Frame) -> bool:
    """Whether no field of the query's own rows is in the expression."""
    return all(
        each.key in frame.outer if isinstance(each, Field) else not isinstance(each, Slot) for each in syntax.walk(node)
    )


def all_constant(closures: Iterable[Evaluate]) -> bool:
    return all(isinstance(each, Constant) for each in closures)


def tuple_maker(nodes: Iterable[Expression], frame: Frame, layout: Layout) -> Callable[[Row], Row]:
    """A function that computes several expressions into a row; plain columns are picked without a closure each."""
    scope = Scope(frame, layout)
    nodes = tuple(nodes)
    places = [_place(node, layout) for node in nodes]
    if len(nodes) > 1 and all(place is not None for place in places):
        return itemgetter(*places)
    closures = [scope.compile(node) for node in nodes]
    if len(closures) == 1:
        only = closures[0]
        return lambda row: (only(row),)
    return lambda row: tuple([closure(row) for closure in closures])


def _place(node: Expression, layout: Layout) -> int | None:
    if isinstance(node, Field):
        return layout.get(node.key)
    return layout.get(node.index) if isinstance(node, Slot) else None


def _literal(node: syntax.Literal, scope: Scope) -> Evaluate:
    return Constant(node.value if node.slot is None else scope.frame.literals[node.slot])


def _parameter(node: syntax.Parameter, scope: Scope) -> Evaluate:
    return Constant(scope.frame.parameters[node.key])


def _field(node: Field, scope: Scope) -> Evaluate:
    place = scope.layout.get(node.key)
    return Constant(scope.frame.outer[node.key]) if place is None else itemgetter(place)


def _slot(node: Slot, scope: Scope) -> Evaluate:
    return itemgetter(scope.layout[node.index])


def _unary(node: syntax.Unary, scope: Scope) -> Evaluate:
    operate, operand = UNARY[node.operator], scope.compile(node.operand)
    return _folded(lambda row: operate(operand(row)), operand)


def _binary(node: syntax.Binary, scope: Scope) -> Evaluate:
    operate, left, right = BINARY[node.operator], scope.compile(node.left), scope.compile(node.right)
    if isinstance(right, Constant) and not isinstance(left, Constant):
        value = right.value
        return lambda row: operate(left(row), value)
    return _folded(lambda row: operate(left(row), right(row)), left, right)


def _folded(closure: Evaluate, *parts: Evaluate) -> Evaluate:
    return Constant(closure(())) if all_constant(parts) else closure


def _step(node: syntax.Step, scope: Scope) -> Evaluate:
    operand, key = scope.compile(node.operand), node.key

    def evaluate(row: Row) -> Value:
        value = operand(row)
        if type(value) is dict:
            return value.get(str(key))
        if type(value) is list and type(key) is int and key < len(value):
            return value[key]
        return None

    return _folded(evaluate, operand)


def _cast(node: syntax.Cast, scope: Scope) -> Evaluate:
    operand, convert = scope.compile(node.operand), cast(node.target)
    return _folded(lambda row: convert(operand(row)), operand)


def _call(node: syntax.Call, scope: Scope) -> Evaluate:
    function = lookup(node.name)
    assert function is not None
    arguments = [scope.compile(each) for each in node.arguments]
    closure = _calling(function, arguments, scope.frame.now)
    return closure if function.volatile else _folded(closure, *arguments)


def _calling(function: Function, arguments: list[Evaluate], now: int) -> Evaluate:
    evaluate = function.evaluate
    if function.timed:
        return lambda row: _result(evaluate, [now, *[argument(row) for argument in arguments]], function.takes_null)
    if len(arguments) == 1 and not function.takes_null:
        only = arguments[0]
        return lambda row: None if (value := only(row)) is None else evaluate(value)
    return lambda row: _result(evaluate, [argument(row) for argument in arguments], function.takes_null)


def _result(evaluate: Callable[..., Value], values: list[Value], takes_null: bool) -> Value:
    return evaluate(*values) if takes_null or None not in values else None


def _scalar(node: Nested, scope: Scope) -> Evaluate:
    return nested(node, scope, _single_value)


def _single_value(rows: Iterable[Row]) -> Value:
    found = list(islice(rows, 2))
    if len(found) > 1:
        raise SqlError("A sub-query used as a value returned more than one row.")
    return found[0][0] if found else None


def nested(node: Nested, scope: Scope, digest: Digest) -> Callable[[Row], Any]:
    """A function from a row to what `digest` makes of the sub-query's rows; runs it once per set of outer values."""
    frame, names = scope.frame, node.names
    values = [scope.compile(each) for each in node.values]
    if not names:
        return Constant(_uncorrelated(node, frame, digest))

    def run(outer: Iterable[Value]) -> Any:
        return digest(frame.plan(node.query, frame.within(dict(zip(names, outer, strict=True)))).rows())

    if all_constant(values):
        return Constant(run([value(()) for value in values]))
    memory: dict[tuple[Any, ...], Any] = {}

    def evaluate(row: Row) -> Any:
        outer = [value(row) for value in values]
        key = tuple(map(identity, outer))
        if key not in memory:
            if len(memory) >= NESTED_MEMORY:
                memory.clear()
            memory[key] = run(outer)
        return memory[key]

    return evaluate


def _uncorrelated(node: Nested, frame: Frame, digest: Digest) -> Any:
    """Runs the sub-query once per statement, however often its expression is compiled."""
    key = (id(node.query), digest)
    if key not in frame.results:
        frame.results[key] = digest(frame.budget.held(frame.plan(node.query, frame.within({})).rows()))
    return frame.results[key]


Compiler = Callable[[Any, Scope], Evaluate]
COMPILERS: dict[type, Compiler] = {
    syntax.Literal: _literal,
    syntax.Parameter: _parameter,
    Field: _field,
    Slot: _slot,
    syntax.Unary: _unary,
    syntax.Binary: _binary,
    syntax.Step: _step,
    syntax.Cast: _cast,
    syntax.Call: _call,
    Nested: _scalar,
}
