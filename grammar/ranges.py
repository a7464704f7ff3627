"""From conditions to ranges of an index.

A `Reach` says: whatever fulfils the condition has an entry of `attribute` within `ranges`. When it is `exact`, all
entries there fulfil it, and the condition need not be looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from engine import keys
from engine.keys import Bounds
from grammar import syntax
from grammar.bound import Field, TableSource
from grammar.expressions import Constant, Scope, constant_value, is_constant
from grammar.frame import Frame
from grammar.patterns import FOLDED_BEYOND_ASCII, like_prefix
from grammar.predicates import FLIPPED, boolean_twin, values_of
from grammar.syntax import Expression
from grammar.values import COMPOSITE_TYPES, NUMBER_TYPES, Value

Ranges = tuple[Bounds, ...]

EVERYTHING: Ranges = (keys.EVERYTHING,)
NOTHING: Ranges = ()
PREFIX_RANGES = 16  # at most so many for the two cases of a prefix's letters
MOST_MEMBERS = 2000  # of IN; with more the whole table is read
BOUNDS: dict[str, Callable[[Value], Bounds]] = {
    "<": keys.below,
    "<=": keys.at_most,
    ">": keys.above,
    ">=": keys.at_least,
}
NOT_NULL: Ranges = (keys.above(None) & keys.EVERYTHING,)


@dataclass(frozen=True, slots=True)
class Reach:
    attribute: str
    ranges: Ranges
    exact: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where conditions are looked at: a table, its view, and the frame that gives constants their values."""

    source: TableSource
    view: Any
    frame: Frame

    def indexed(self, node: Expression) -> str | None:
        """The attribute, when the expression is one of this table's and has an index."""
        if isinstance(node, Field) and node.source == self.source.number and self.view.is_indexed(node.attribute):
            return node.attribute
        return None


def reach(node: Expression, place: Place) -> Reach | None:
    """The part of one index that a condition needs; None when it needs more than one, or the whole table."""
    match node:
        case syntax.Compare(operator=operator, left=left, right=right) if operator != "<>":
            return _comparison(left, operator, right, place) or _comparison(right, FLIPPED[operator], left, place)
        case syntax.Between(operand=operand, low=low, high=high, negated=False):
            return _meet(_comparison(operand, ">=", low, place), _comparison(operand, "<=", high, place))
        case syntax.Within(operand=operand, items=items, negated=False):
            return _within(operand, items, place)
        case syntax.Is(operand=operand, value=value, negated=negated):
            return _is(operand, value, negated, place)
        case syntax.Like(operator="LIKE", operand=operand, pattern=pattern, escape=escape, negated=False):
            return _like(operand, pattern, escape, place)
        case syntax.Or(operands=operands):
            return _alternatives([reach(each, place) for each in operands])
        case syntax.And(operands=operands):
            return _all([reach(each, place) for each in operands])
    return None


def parts(node: Expression, place: Place) -> tuple[Reach, ...] | None:
    """The parts of several indexes that an OR needs together; None when one of its operands needs the whole table."""
    if not isinstance(node, syntax.Or):
        return None
    found = [reach(each, place) for each in node.operands]
    return tuple([each for each in found if each is not None]) if None not in found else None


def union(ranges: Iterable[Bounds]) -> Ranges:
    """Disjoint and in order."""
    merged: list[Bounds] = []
    filled = [bounds for bounds in ranges if not bounds.empty]
    if len(filled) < 2:
        return tuple(filled)
    for each in sorted(filled, key=lambda bounds: bounds.low):
        if merged and each.low <= merged[-1].high:
            merged[-1] = Bounds(merged[-1].low, max(merged[-1].high, each.high))
        else:
            merged.append(each)
    return tuple(merged)


def intersection(one: Ranges, other: Ranges) -> Ranges:
    return union([left & right for left in one for right in other])


def _comparison(field: Expression, operator: str, other: Expression, place: Place) -> Reach | None:
    attribute = place.indexed(field)
    if attribute is None:
        return None
    constant = constant_value(other, place.frame)
    if constant is None:
        return None
    value = constant.value
    if operator == "=":
        return equals(attribute, value, boolean_twin(other, value))
    if value is None or type(value) in COMPOSITE_TYPES:
        return Reach(attribute, NOTHING, exact=True)
    return Reach(attribute, union([BOUNDS[operator](value) & own_bounds(value)]), keys.exact(value))


def equals(attribute: str, value: Value, twin: bool | None = None) -> Reach:
    """Where attribute = value holds."""
    if value is None:
        return Reach(attribute, NOTHING, exact=True)
    if type(value) in COMPOSITE_TYPES:
        return Reach(attribute, (keys.COMPOSITES,), exact=False)
    twins = [] if twin is None else [keys.equal(twin)]
    return Reach(attribute, union([keys.equal(value), *twins]), keys.exact(value))


def own_bounds(value: Value) -> Bounds:
    """All values of the same type: only these compare with it."""
    if type(value) is bool:
        return keys.BOOLEANS
    return keys.NUMBERS if type(value) in NUMBER_TYPES else keys.STRINGS


def _within(operand: Expression, items: tuple[Expression, ...] | Expression, place: Place) -> Reach | None:
    attribute = place.indexed(operand)
    if attribute is None:
        return None
    found = members(items, place.frame)
    if found is None or len(found) > MOST_MEMBERS:
        return None
    reaches = [equals(attribute, value, twin) for value, twin in found]
    ranges = union([bounds for each in reaches for bounds in each.ranges])
    return Reach(attribute, ranges, all(each.exact for each in reaches))


def members(items: tuple[Expression, ...] | Expression, frame: Frame) -> list[tuple[Value, bool | None]] | None:
    """The values that IN looks through, each with its boolean twin; None when they depend on the row."""
    nodes = (items,) if isinstance(items, Expression) else items
    if not all(is_constant(each, frame) for each in nodes):
        return None
    values = values_of(items, Scope(frame, {}))
    if not isinstance(values, Constant):
        return None
    if isinstance(items, Expression):
        return [(value, None) for value in values.value]
    return [(value, boolean_twin(item, value)) for item, value in zip(items, values.value, strict=True)]


def _is(operand: Expression, value: bool | None, negated: bool, place: Place) -> Reach | None:
    attribute = place.indexed(operand)
    if attribute is None:
        return None
    if value is None:
        if negated:
            return Reach(attribute, NOT_NULL, exact=True)
        everywhere = place.view.count_in(attribute, keys.EVERYTHING) == place.view.count()
        return Reach(attribute, (keys.NULL,), exact=True) if everywhere else None
    return None if negated else Reach(attribute, (keys.equal(value),), exact=True)


def _like(operand: Expression, pattern: Expression, escape: Expression | None, place: Place) -> Reach | None:
    attribute = place.indexed(operand)
    wanted = None if attribute is None else constant_value(pattern, place.frame)
    escaped = None if escape is None else constant_value(escape, place.frame)
    if attribute is None or wanted is None or (escape is not None and escaped is None):
        return None
    if type(wanted.value) is not str:
        return None
    prefix = like_prefix(wanted.value, None if escaped is None else escaped.value)
    spellings = _spellings(prefix)
    if spellings == [""]:
        return None
    ranges = [keys.starts_with(spelling) & keys.STRINGS for spelling in spellings]
    if prefix[0] in "-0123456789":
        ranges.append(keys.NUMBERS)
    if prefix[0] in "tTfF":
        ranges.append(keys.BOOLEANS)
    return Reach(attribute, union(ranges), exact=False)


def _spellings(prefix: str) -> list[str]:
    """The ways to write a prefix in capitals and small letters, or as much of it as there are few enough ways."""
    spellings = [""]
    for character in prefix:
        small = character.lower()
        if not small.isascii():
            break
        forms = {small, small.upper(), *FOLDED_BEYOND_ASCII.get(small, "")}
        if len(spellings) * len(forms) > PREFIX_RANGES:
            break
        spellings = [spelling + form for spelling in spellings for form in sorted(forms)]
    return spellings


def _meet(one: Reach | None, other: Reach | None) -> Reach | None:
    return None if one is None or other is None else _all([one, other])


def _all(reaches: list[Reach | None]) -> Reach | None:
    """AND: what all of one index have in common; exact only when there is nothing besides."""
    known = [each for each in reaches if each is not None]
    if not known:
        return None
    attribute = known[0].attribute
    same = [each for each in known if each.attribute == attribute]
    ranges = same[0].ranges
    for each in same[1:]:
        ranges = intersection(ranges, each.ranges)
    return Reach(attribute, ranges, len(same) == len(reaches) and all(each.exact for each in same))


def _alternatives(reaches: list[Reach | None]) -> Reach | None:
    """OR: everything that any of them needs, if all need the same index."""
    known = [each for each in reaches if each is not None]
    if len(known) < len(reaches) or len({each.attribute for each in known}) != 1:
        return None
    return Reach(
        known[0].attribute, union([each for found in known for each in found.ranges]), all(r.exact for r in known)
    )
