"""Functions that choose among their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grammar.functions.signature import MANY, function
from grammar.values import Value, equal, identity, order_key, truth


def choose(condition: Value, then: Value, otherwise: Value) -> Value:
    return then if truth(condition) else otherwise


def first_present(*values: Value) -> Value:
    return next((value for value in values if value is not None), None)


def null_if(value: Value, unwanted: Value) -> Value:
    return None if equal(value, unwanted) else value


def _extreme(pick: Callable[..., Value]) -> Callable[..., Value]:
    """Nulls do not count, unless there is nothing else."""

    def evaluate(*values: Value) -> Value:
        present = [value for value in values if value is not None]
        return pick(present, key=order_key) if present else None

    return evaluate


def distinct_array(value: Value) -> Value:
    """An array without its duplicates, the first of each kept; other values as they are."""
    if type(value) is not list:
        return value
    found: dict[Any, Value] = {}
    for each in value:
        found.setdefault(identity(each), each)
    return list(found.values())


FUNCTIONS = (
    function("IF IIF", choose, 3, takes_null=True),
    function("IFNULL ISNULL", first_present, 2, takes_null=True),
    function("COALESCE", first_present, 1, MANY, takes_null=True),
    function("NULLIF", null_if, 2, takes_null=True),
    function("GREATEST MAX", _extreme(max), 1, MANY, takes_null=True),
    function("LEAST MIN", _extreme(min), 1, MANY, takes_null=True),
    function("DISTINCT_ARRAY", distinct_array, 1),
)
