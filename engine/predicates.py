"""What a filter asks of a record, apart from how it is evaluated (filters.pyx) and from the language it was asked in.

A predicate is true, false or null for a record, as in SQL's three-valued logic: null where an operand is null or
absent. `Unknown` stands for what only its asker can judge: a whole of which one part is unknown may still be decided by
the others.

Leaves that are `by_element` judge as NoSQL searches do: null is a value like any other, a record without the attribute
meets nothing, and an array is met by any of its scalar elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.keys import Bounds


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A number of 64 bits."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`operator` is one of + - * / %. Integers are exact; beyond 64 bits, and for what is no number, it is unknown."""

    operator: str
    left: Operand
    right: Operand


Operand = Attribute | Constant | Arithmetic


@dataclass(frozen=True, slots=True)
class Within:
    """The key of a value lies in one of the ranges: disjoint, in order, and of keys that indexes hold whole."""

    operand: Operand
    ranges: tuple[Bounds, ...]
    by_element: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """`operator` is one of = < <= > >=. Values of two types are not equal and have no order: false."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Matches:
    """A text begins with the first segment, ends with the last, and holds the others in between, in order; a single
    segment is the whole text. `folded`: the case of letters does not count; the segments are ASCII in small letters."""

    operand: Operand
    segments: tuple[str, ...]
    folded: bool = False
    by_element: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """Null or absent; never null itself."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Fixed:
    value: bool | None


@dataclass(frozen=True, slots=True)
class Unknown:
    pass


@dataclass(frozen=True, slots=True)
class AllOf:
    members: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    members: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Not:
    member: Predicate


Predicate = Within | Compare | Matches | Missing | Fixed | Unknown | AllOf | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Filter:
    """Lets the records pass for which `predicate` is true. Where it cannot tell, `test` decides, which is given the
    values of `columns` as a tuple, None where absent; or with `by_name` as a dict, absent where absent."""

    predicate: Predicate
    columns: tuple[str, ...]
    test: Callable[[Any], Any]
    by_name: bool = False


def says_something(node: Predicate) -> bool:
    """Whether a predicate can ever decide."""
    if isinstance(node, AllOf | AnyOf):
        return any(map(says_something, node.members))
    if isinstance(node, Not):
        return says_something(node.member)
    return not isinstance(node, Unknown)


def attributes_of(node: Predicate | Operand) -> Iterator[str]:
    """The attributes that a predicate looks at, in order, perhaps repeatedly."""
    match node:
        case Attribute(name):
            yield name
        case AllOf(members) | AnyOf(members):
            for member in members:
                yield from attributes_of(member)
        case Not(member):
            yield from attributes_of(member)
        case Within(operand) | Matches(operand) | Missing(operand):
            yield from attributes_of(operand)
        case Compare(_, left, right) | Arithmetic(_, left, right):
            yield from attributes_of(left)
            yield from attributes_of(right)
