"""Functions on numbers. Numeric texts are converted; what has no finite result is null."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from grammar.functions.signature import Function, function
from grammar.values import Value, finite, number_of

Number = int | float


def numeric(compute: Callable[..., Number]) -> Callable[..., Value]:
    """A function whose arguments are turned into numbers; null where one cannot be, or where it is undefined."""

    def evaluate(*values: Value) -> Value:
        numbers = [number_of(value) for value in values]
        if None in numbers:
            return None
        try:
            return finite(compute(*numbers))
        except (ValueError, OverflowError, ZeroDivisionError):
            return None

    return evaluate


def round_half_up(number: Number, digits: Number = 0) -> Number:
    """floor(x * 10^n + 1/2) / 10^n, so halves go up and -2.5 becomes -2."""
    digits = int(digits)
    if digits >= 0 and type(number) is int:
        return number
    if digits == 0:
        return math.floor(number + 0.5)
    if digits > 0:
        return math.floor(number * 10**digits + 0.5) / 10**digits
    step = 10**-digits
    return math.floor(number / step + 0.5) * step


def power(base: Number, exponent: Number) -> Number:
    if type(base) is int and type(exponent) is int and 0 <= exponent <= 64:
        return base**exponent
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ValueError("no real power")
    return result


def random_number(limit: Value = None) -> Value:
    """A fraction in [0, 1), or an integer in [0, limit)."""
    if limit is None:
        return random.random()
    number = number_of(limit)
    return None if number is None else math.floor(random.random() * number)


def logarithm(number: Number, base: Number | None = None) -> Number:
    """LOG(x) is the decimal one; LOG(b, x) takes the base first."""
    return math.log10(number) if base is None else math.log(base, number)


def _remainder(left: Number, right: Number) -> Number:
    return (
        left - right * math.trunc(left / right) if type(left) is int and type(right) is int else math.fmod(left, right)
    )


def _truncate(number: Number, digits: Number = 0) -> Number:
    scale = 10.0 ** int(digits)
    return math.trunc(number * scale) / scale if digits else math.trunc(number)


def _sign(number: Number) -> int:
    return (number > 0) - (number < 0)


def _of_one(names: str, compute: Callable[[Number], Number]) -> Function:
    return function(names, numeric(compute), 1)


FUNCTIONS = (
    _of_one("ABS", abs),
    _of_one("CEIL CEILING", math.ceil),
    _of_one("FLOOR", math.floor),
    _of_one("SQRT", math.sqrt),
    _of_one("EXP", math.exp),
    _of_one("SIGN", _sign),
    _of_one("LN", math.log),
    _of_one("LOG10", math.log10),
    _of_one("LOG2", math.log2),
    _of_one("SIN", math.sin),
    _of_one("COS", math.cos),
    _of_one("TAN", math.tan),
    _of_one("ASIN", math.asin),
    _of_one("ACOS", math.acos),
    _of_one("ATAN", math.atan),
    _of_one("DEGREES", math.degrees),
    _of_one("RADIANS", math.radians),
    function("ATAN2", numeric(math.atan2), 2),
    function("LOG", numeric(logarithm), 1, 2),
    function("MOD", numeric(_remainder), 2),
    function("PI", lambda: math.pi, 0),
    function("POWER POW", numeric(power), 2),
    function("RANDOM", random_number, 0, 1, volatile=True),
    function("ROUND", numeric(round_half_up), 1, 2),
    function("TRUNC", numeric(_truncate), 1, 2),
)
