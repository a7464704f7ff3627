"""The aggregate functions.

A state starts empty, folds in lists of values (nulls included, a chunk of rows at a time) and is finished into a value.
Functions that need all values at once keep them in a list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.sums import ExactSum
from grammar.values import COMPOSITE_TYPES, NUMBER_TYPES, Value, finite, identity, order_key, text_of

State = Any
Number = int | float


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`finish` gets the state and the values of any arguments after the first, which must be constant.

    `gathers` tells that the state is all values.
    """

    names: tuple[str, ...]
    start: Callable[[], State]
    fold: Callable[[State, list[Value]], State]
    finish: Callable[..., Value]
    most: int = 1
    gathers: bool = False


def find(name: str, arguments: int) -> Aggregate | None:
    """The aggregate function of that name, in any case; MIN and MAX of several arguments are none."""
    upper = name.upper()
    if upper in ("MIN", "MAX") and arguments > 1:
        return None
    return AGGREGATES.get(upper)


def numbers(values: list[Value]) -> list[Number]:
    if NUMBER_TYPES.issuperset(map(type, values)):
        return values
    return [value for value in values if type(value) in NUMBER_TYPES]


def present(values: list[Value]) -> list[Value]:
    return [value for value in values if value is not None]


# --- folded as they come


def _fold_sum(state: ExactSum, values: list[Value]) -> ExactSum:
    state.add(values)
    return state


def _finish_sum(state: ExactSum) -> Value:
    """0 without rows, null when there are rows but no numbers."""
    total = state.total
    return finite(total) if total is not None and (state.count or not state.seen) else None


def _finish_average(state: ExactSum) -> Value:
    total = state.total
    return finite(total / state.count) if total is not None and state.count else None


def _fold_product(state: Number | None, values: list[Value]) -> Number | None:
    found = numbers(values)
    if not found:
        return state
    product = finite(math.prod(found, start=1 if state is None else state))
    return math.inf if product is None else product


def _extreme(choose: Callable[..., Value]) -> Callable[[Value, list[Value]], Value]:
    def fold(state: Value, values: list[Value]) -> Value:
        found = [value for value in values if value is not None and type(value) not in COMPOSITE_TYPES]
        if state is not None:
            found.append(state)
        kinds = set(map(type, found))
        if kinds <= NUMBER_TYPES or kinds == {str}:
            return choose(found, default=None)
        return choose(found, key=order_key)

    return fold


def _first(state: list[Value], values: list[Value]) -> list[Value]:
    return state or values[:1]


def _last(state: list[Value], values: list[Value]) -> list[Value]:
    return values[-1:] or state


def _only(state: list[Value]) -> Value:
    return state[0] if state else None


# --- over all values


def _gather(state: list[Value], values: list[Value]) -> list[Value]:
    state.extend(values)
    return state


def median(values: list[Value]) -> Value:
    found = sorted(numbers(values))
    if not found:
        return None
    middle = len(found) // 2
    return found[middle] if len(found) % 2 else finite((found[middle - 1] + found[middle]) / 2)


def deviation_from_median(values: list[Value]) -> Value:
    centre = median(values)
    return None if centre is None else median([abs(value - centre) for value in numbers(values)])


def mode(values: list[Value]) -> Value:
    """All values that are as frequent as the most frequent one, in order of appearance."""
    counts: dict[Any, list[Any]] = {}
    for value in present(values):
        counts.setdefault(identity(value), [value, 0])[1] += 1
    most = max((count for _, count in counts.values()), default=0)
    return [value for value, count in counts.values() if count == most] or None


def variance(values: list[Value], missing: int) -> Number | None:
    """`missing` is what the divisor is less than the number of values: 1 for a sample, 0 for a population."""
    found = numbers(values)
    if not found:
        return None
    if len(found) <= missing:
        return 0
    mean = sum(found) / len(found)
    return finite(sum([(value - mean) * (value - mean) for value in found]) / (len(found) - missing))


def _root(number: Number | None) -> Value:
    return None if number is None else finite(math.sqrt(number))


def quartile(values: list[Value], which: int) -> Value:
    found = sorted(present(values), key=order_key)
    if not found:
        return None
    place = which * (len(found) + 1) / 4
    index = int(place) if place == int(place) else math.floor(place) + 1
    return found[min(max(index, 1), len(found)) - 1]


def concatenated(values: list[Value], separator: Value = ",") -> Value:
    found = present(values)
    return (
        text_of(separator if separator is not None else ",").join([text_of(value) for value in found])
        if found
        else None
    )


def _gathered(names: str, finish: Callable[..., Value], most: int = 1) -> Aggregate:
    return Aggregate(tuple(names.split()), list, _gather, finish, most, gathers=True)


TABLE = (
    Aggregate(("COUNT",), int, lambda state, values: state + len(values) - values.count(None), lambda state: state),
    Aggregate(("SUM",), ExactSum, _fold_sum, _finish_sum),
    Aggregate(("AVG", "MEAN"), ExactSum, _fold_sum, _finish_average),
    Aggregate(("MIN",), lambda: None, _extreme(min), lambda state: state),
    Aggregate(("MAX",), lambda: None, _extreme(max), lambda state: state),
    Aggregate(("PROD",), lambda: None, _fold_product, lambda state: None if state is None else finite(state)),
    Aggregate(("FIRST",), list, _first, _only),
    Aggregate(("LAST",), list, _last, _only),
    _gathered("MEDIAN", median),
    _gathered("MODE", mode),
    _gathered("MAD", deviation_from_median),
    _gathered("VAR", lambda values: variance(values, 1)),
    _gathered("STDEV", lambda values: _root(variance(values, 1))),
    _gathered("VARP", lambda values: variance(values, 0)),
    _gathered("STDEVP STD STDDEV", lambda values: _root(variance(values, 0))),
    _gathered("QUART", lambda values: quartile(values, 1)),
    _gathered("QUART2", lambda values: quartile(values, 2)),
    _gathered("QUART3", lambda values: quartile(values, 3)),
    _gathered("GROUP_CONCAT", concatenated, 2),
    _gathered("ARRAY", lambda values: values),
)
AGGREGATES = {name: aggregate for aggregate in TABLE for name in aggregate.names}
