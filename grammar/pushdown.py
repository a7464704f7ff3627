"""From conditions to predicates of the engine, which judges stored records by them without making rows.

What has no translation becomes Unknown, and is judged in Python for the records that the rest leaves open. A predicate
never says anything else than the closures of predicates.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine import keys
from engine.predicates import (
    AllOf,
    AnyOf,
    Arithmetic,
    Attribute,
    Compare,
    Constant,
    Filter,
    Fixed,
    Matches,
    Missing,
    Not,
    Operand,
    Predicate,
    Unknown,
    Within,
    says_something,
)
from grammar import syntax
from grammar.bound import Field, TableSource, attributes_in
from grammar.expressions import Evaluate, Scope, constant_value
from grammar.frame import Frame
from grammar.patterns import plain_segments
from grammar.predicates import FLIPPED, boolean_twin, condition
from grammar.ranges import BOUNDS, Ranges, equals, members, own_bounds, union
from grammar.syntax import Expression
from grammar.values import COMPOSITE_TYPES, NUMBER_TYPES, Value, text_of, truth

MOST_CONDITIONS = 64  # of one AND or OR; more are judged in Python
FALSE_VALUES: Ranges = union([keys.equal(False), keys.equal(0), keys.equal("")])


def filter_of(conditions: Sequence[Expression], source: TableSource, frame: Frame) -> Filter | None:
    """Lets the records pass for which all conditions are true; None when the engine can judge none of them."""
    if not frame.pushdown:
        return None
    translator = _Translator(source, frame)
    predicate = AllOf(tuple(map(translator.predicate, conditions)))
    if not says_something(predicate):
        return None
    columns = tuple([name for number, name in attributes_in(conditions) if number == source.number])
    layout = {(source.number, name): place for place, name in enumerate(columns)}
    tests = [condition(each, Scope(frame, layout)) for each in conditions]
    return Filter(predicate, columns, _together(tests))


def operand_of(node: Expression, source: TableSource, frame: Frame) -> Operand | None:
    """An expression as the engine can compute it; None when it cannot."""
    return _Translator(source, frame).operand(node)


def _together(tests: list[Evaluate]) -> Evaluate:
    if len(tests) == 1:
        return tests[0]
    return lambda row: all(test(row) for test in tests)


@dataclass(frozen=True, slots=True)
class _Translator:
    source: TableSource
    frame: Frame

    def predicate(self, node: Expression) -> Predicate:
        constant = constant_value(node, self.frame)
        if constant is not None:
            return Fixed(truth(constant.value))
        match node:
            case syntax.And(operands=operands) if len(operands) <= MOST_CONDITIONS:
                return AllOf(tuple(map(self.predicate, operands)))
            case syntax.Or(operands=operands) if len(operands) <= MOST_CONDITIONS:
                return AnyOf(tuple(map(self.predicate, operands)))
            case syntax.Not(operand=operand):
                return Not(self.predicate(operand))
            case syntax.Compare(operator="<>", left=left, right=right):
                return Not(self._comparison("=", left, right))
            case syntax.Compare(operator=operator, left=left, right=right):
                return self._comparison(operator, left, right)
            case syntax.Between(operand=operand, low=low, high=high, negated=negated):
                ends = (self._comparison(">=", operand, low), self._comparison("<=", operand, high))
                return _negated(AllOf(ends), negated)
            case syntax.Within(operand=operand, items=items, negated=negated):
                return _negated(self._within(operand, items), negated)
            case syntax.Is(operand=operand, value=value, negated=negated):
                return _negated(self._is(operand, value), negated)
            case syntax.Like(negated=negated):
                return _negated(self._like(node), negated)
            case Field():
                stored = self.operand(node)
                return Unknown() if stored is None else Not(Within(stored, FALSE_VALUES))
        return Unknown()

    def operand(self, node: Expression) -> Operand | None:
        if isinstance(node, Field) and node.source == self.source.number:
            return Attribute(node.attribute)
        constant = constant_value(node, self.frame)
        if constant is not None:
            return Constant(constant.value) if type(constant.value) in NUMBER_TYPES else None
        match node:
            case syntax.Binary(operator="+" | "-" | "*" | "/" | "%" as operator, left=left, right=right):
                return self._arithmetic(operator, self.operand(left), self.operand(right))
            case syntax.Unary(operator="-", operand=operand):
                return self._arithmetic("-", Constant(0), self.operand(operand))
        return None

    def _arithmetic(self, operator: str, left: Operand | None, right: Operand | None) -> Operand | None:
        return None if left is None or right is None else Arithmetic(operator, left, right)

    def _comparison(self, operator: str, left: Expression, right: Expression) -> Predicate:
        constant = constant_value(right, self.frame)
        if constant is not None:
            return self._with_constant(operator, left, constant.value, right)
        constant = constant_value(left, self.frame)
        if constant is not None:
            return self._with_constant(FLIPPED[operator], right, constant.value, left)
        one, other = self.operand(left), self.operand(right)
        return Unknown() if one is None or other is None else Compare(operator, one, other)

    def _with_constant(self, operator: str, node: Expression, value: Value, constant: Expression) -> Predicate:
        operand = self.operand(node)
        if value is None:
            return Fixed(None)
        if operand is None or type(value) in COMPOSITE_TYPES or not keys.exact(value):
            return Unknown()
        if operator == "=":
            return Within(operand, equals("", value, boolean_twin(constant, value)).ranges)
        return Within(operand, union([BOUNDS[operator](value) & own_bounds(value)]))

    def _within(self, node: Expression, items: tuple[Expression, ...] | Expression) -> Predicate:
        operand, found = self.operand(node), members(items, self.frame)
        if operand is None or found is None:
            return Unknown()
        if not found:
            return Fixed(False)
        reaches = [equals("", value, twin) for value, twin in found if value is not None]
        if not all(each.exact for each in reaches):
            return Unknown()
        inside = Within(operand, union([bounds for each in reaches for bounds in each.ranges]))
        return inside if len(reaches) == len(found) else AnyOf((inside, Fixed(None)))

    def _is(self, node: Expression, value: bool | None) -> Predicate:
        operand = self.operand(node)
        if operand is None:
            return Unknown()
        if value is None:
            return Missing(operand)
        return AllOf((Not(Missing(operand)), Within(operand, (keys.equal(value),))))

    def _like(self, node: syntax.Like) -> Predicate:
        operand, pattern = self.operand(node.operand), constant_value(node.pattern, self.frame)
        escape = None if node.escape is None else constant_value(node.escape, self.frame)
        if not isinstance(operand, Attribute) or pattern is None or (node.escape is not None and escape is None):
            return Unknown()
        if pattern.value is None:
            return Fixed(None)
        segments = plain_segments(node.operator, text_of(pattern.value), None if escape is None else escape.value)
        return Unknown() if segments is None else Matches(operand, segments, folded=True)


def _negated(predicate: Predicate, negated: bool) -> Predicate:
    return Not(predicate) if negated else predicate
