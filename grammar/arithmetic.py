"""The operators that compute: arithmetic, bits and concatenation. A null operand gives null, and so does no sense."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import fmod

from grammar.values import NUMBER_TYPES, Value, finite, number_of, text_of

Number = int | float


def _on_numbers(compute: Callable[[Number, Number], Number | None]) -> Callable[[Value, Value], Value]:
    """An operator whose operands are turned into numbers; null where one cannot be."""

    def operate(left: Value, right: Value) -> Value:
        if type(left) not in NUMBER_TYPES:
            left = number_of(left)
        if type(right) not in NUMBER_TYPES:
            right = number_of(right)
        return None if left is None or right is None else compute(left, right)

    return operate


def _arithmetic(compute: Callable[[Number, Number], Number]) -> Callable[[Value, Value], Value]:
    """The same for an operator that is defined for all numbers; two numbers take the shortest way."""

    def operate(left: Value, right: Value) -> Value:
        if type(left) in NUMBER_TYPES and type(right) in NUMBER_TYPES:
            return finite(compute(left, right))
        return converting(left, right)

    converting = _on_numbers(lambda left, right: finite(compute(left, right)))
    return operate


def _on_bits(compute: Callable[[int, int], int]) -> Callable[[Value, Value], Value]:
    """An operator on integers of 32 bits with sign."""
    return _on_numbers(lambda left, right: signed32(compute(signed32(left), signed32(right))))


def signed32(number: Number) -> int:
    """The low 32 bits of the whole part, as two's complement."""
    return ((int(number) + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _divide(left: Number, right: Number) -> Number | None:
    return finite(left / right) if right else None


def _remainder(left: Number, right: Number) -> Number | None:
    """With the sign of the dividend; also for fractions."""
    if not right:
        return None
    if type(left) is int and type(right) is int:
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return finite(fmod(left, right))


_add_numbers = _arithmetic(operator.add)


def add(left: Value, right: Value) -> Value:
    """Sum, or concatenation when a side is a text."""
    if type(left) is str or type(right) is str:
        return None if left is None or right is None else text_of(left) + text_of(right)
    return _add_numbers(left, right)


def concatenate(left: Value, right: Value) -> str:
    return ("" if left is None else text_of(left)) + ("" if right is None else text_of(right))


BINARY: dict[str, Callable[[Value, Value], Value]] = {
    "+": add,
    "-": _arithmetic(operator.sub),
    "*": _arithmetic(operator.mul),
    "/": _on_numbers(_divide),
    "%": _on_numbers(_remainder),
    "||": concatenate,
    "^": _on_bits(lambda left, right: left ^ right),
    "&": _on_bits(lambda left, right: left & right),
    "|": _on_bits(lambda left, right: left | right),
    "<<": _on_bits(lambda left, right: left << (right & 31)),
    ">>": _on_bits(lambda left, right: left >> (right & 31)),
}


def negative(value: Value) -> Value:
    number = number_of(value)
    return None if number is None else finite(-number)


def complement(value: Value) -> Value:
    number = number_of(value)
    return None if number is None else signed32(~signed32(number))


UNARY: dict[str, Callable[[Value], Value]] = {"-": negative, "+": number_of, "~": complement}
