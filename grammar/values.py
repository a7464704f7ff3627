"""What values mean in SQL: types, equality, order, truth, and the ways from numbers to texts and back.

Values are None, bool, int, float, str, list and dict. An expression that cannot be computed is None; truth is True,
False or None. Python's own equality is not enough anywhere: here 1 is 1.0, but never true.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from math import isfinite
from typing import Any

NUMBER_TYPES = frozenset({int, float})
COMPOSITE_TYPES = frozenset({list, dict})
SAFE_INTEGER = 2**53  # up to here doubles count without gaps
LEAST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1  # what the engine stores exactly
NUMBER_TEXT = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
HALF_A_PAIR = re.compile("[\\ud800-\\udfff]")
PLAIN_DIGITS = 21  # whole numbers from 10^21 on are written with an exponent
SMALLEST_PLAIN = -7  # and fractions below 10^-6

Value = Any


def whole(number: float) -> int | float:
    """A double without a fraction as an integer, up to SAFE_INTEGER."""
    if number.is_integer() and -SAFE_INTEGER <= number <= SAFE_INTEGER:
        return int(number)
    return number


def finite(number: int | float) -> int | float | None:
    """The result of a computation as it may be stored: integers of 64 bits, finite doubles, else None."""
    if isinstance(number, int):
        if LEAST_INTEGER <= number <= LARGEST_INTEGER:
            return number
        try:
            return float(number)
        except OverflowError:
            return None
    if number.is_integer():
        return int(number) if -SAFE_INTEGER <= number <= SAFE_INTEGER else number
    return number if isfinite(number) else None


def is_text(text: str) -> bool:
    """Whether a str is a text, and not one with half a surrogate pair in it."""
    return text.isascii() or HALF_A_PAIR.search(text) is None


def number_of(value: Value) -> int | float | None:
    """A number as it is, a numeric text converted, true and false as 1 and 0; None for everything else."""
    kind = type(value)
    if kind in NUMBER_TYPES:
        return value
    if kind is bool:
        return int(value)
    if kind is str and NUMBER_TEXT.fullmatch(value):
        text = value.strip()
        return finite(int(text) if text.lstrip("+-").isdigit() and len(text) < PLAIN_DIGITS else float(text))
    return None


def text_of(value: Value) -> str:
    """The text of any value but None: shortest form of numbers, arrays joined by commas, objects as JSON."""
    kind = type(value)
    if kind is str:
        return value
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if kind is float:
        return _text_of_double(value)
    if kind is list:
        return ",".join(["" if each is None else text_of(each) for each in value])
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _text_of_double(value: float) -> str:
    shortest = Decimal(repr(value))
    exponent = shortest.adjusted()
    if SMALLEST_PLAIN < exponent < PLAIN_DIGITS:
        text = f"{shortest:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    digits = "".join(map(str, shortest.as_tuple().digits)).rstrip("0")
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{'-' if value < 0 else ''}{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def truth(value: Value) -> bool | None:
    """A value as a condition: numbers are true unless 0, everything else unless it is an empty text."""
    if value is None or type(value) is bool:
        return value
    return value != 0 if type(value) in NUMBER_TYPES else value != ""


def equal(left: Value, right: Value) -> bool | None:
    """left = right: type-exact, arrays and objects by content; None when a side is null."""
    if left is None or right is None:
        return None
    return same(left, right)


def same(left: Value, right: Value) -> bool:
    """Like `equal`, and null is null: the relation of GROUP BY, DISTINCT and UNION."""
    if type(left) in COMPOSITE_TYPES or type(right) in COMPOSITE_TYPES:
        return identity(left) == identity(right)
    return left == right and (type(left) is bool) == (type(right) is bool)


def identity(value: Value) -> Any:
    """A hashable stand-in; two values are `same` exactly when their identities are equal."""
    kind = type(value)
    if kind is bool:
        return (bool, value)
    if kind is list:
        return (list, tuple([identity(each) for each in value]))
    if kind is dict:
        return (dict, frozenset([(key, identity(each)) for key, each in value.items()]))
    return value


def order_key(value: Value) -> tuple[Any, ...]:
    """Sorts null < false < true < numbers < texts < arrays < objects."""
    kind = type(value)
    if value is None:
        return (0,)
    if kind is bool:
        return (2,) if value else (1,)
    if kind in NUMBER_TYPES:
        return (3, value)
    if kind is str:
        return (4, value)
    if kind is list:
        return (5, tuple([order_key(each) for each in value]))
    return (6, tuple([(key, order_key(each)) for key, each in sorted(value.items())]))


def comparable(left: Value, right: Value) -> bool:
    """Whether < and > have a meaning between two values: both numbers, both texts or both booleans."""
    kind = type(left)
    if kind in NUMBER_TYPES:
        return type(right) in NUMBER_TYPES
    return kind is type(right) and (kind is str or kind is bool)
