"""SEARCH_JSON: JSONata expressions over stored arrays and objects, within limits of time and depth."""

from __future__ import annotations

import sys
import threading
from functools import lru_cache
from importlib import import_module
from typing import Any

import regex

from grammar.errors import SqlError
from grammar.functions.signature import function
from grammar.patterns import REGEXP_SECONDS
from grammar.values import Value, finite

MILLISECONDS = 2000
DEPTH = 100
CACHED = 64
# What the library raises for an expression that makes no sense for the value at hand.
FAILURES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TimeoutError,
    TypeError,
    ValueError,
    regex.error,
)


def _load() -> Any:
    """The library, without the recursion limit that it sets: more than the stack of a thread holds."""
    limit = sys.getrecursionlimit()
    module = import_module("jsonata.jsonata")
    sys.setrecursionlimit(limit)
    return module.Jsonata


JSONATA = _load()


class TimedPattern:
    """A regular expression of JSONata that gives up in time."""

    def __init__(self, pattern: str, flags: Any) -> None:
        options = (regex.IGNORECASE if flags.case_insensitive else 0) | (regex.MULTILINE if flags.multiline else 0)
        self._compiled = regex.compile(pattern, options)

    def search(self, text: str) -> Any:
        return self._compiled.search(text, timeout=REGEXP_SECONDS)

    def finditer(self, text: str) -> Any:
        return self._compiled.finditer(text, timeout=REGEXP_SECONDS)

    def sub(self, replacement: Any, text: str, count: int = 0) -> str:
        return self._compiled.sub(replacement, text, count, timeout=REGEXP_SECONDS)

    def split(self, text: str, maxsplit: int = 0) -> list[str]:
        return self._compiled.split(text, maxsplit, timeout=REGEXP_SECONDS)


class Expressions(threading.local):
    """Compiled expressions of one thread: an evaluation leaves traces in them."""

    def __init__(self) -> None:
        self.compiled = lru_cache(CACHED)(_compile)


def _compile(text: str) -> Any:
    expression = JSONATA.jsonata(text, TimedPattern)
    expression.register_lambda("eval", _refuse)
    return expression


def _refuse(*_: Any) -> None:
    raise SqlError("SEARCH_JSON does not allow $eval")


_expressions = Expressions()


def search_json(text: Value, value: Value) -> Value:
    """The result of an expression for a value; None when there is none. Raises SqlError for a bad expression."""
    if type(text) is not str or not text.strip():
        raise SqlError("SEARCH_JSON takes an expression as text")
    try:
        expression = _expressions.compiled(text)
        bounds = JSONATA.Frame(None)
        bounds.set_runtime_bounds(MILLISECONDS, DEPTH)
        JSONATA.CURRENT.jsonata = expression
        return _plain(expression.evaluate(value, bounds))
    except FAILURES as error:
        raise SqlError(f"SEARCH_JSON cannot evaluate '{text}': {error}") from None


def _plain(result: Any) -> Value:
    """The result in our own types: sequences become arrays, functions nothing, doubles without fraction integers."""
    if isinstance(result, list):
        return [_plain(each) for each in result]
    if isinstance(result, dict):
        return {str(key): _plain(each) for key, each in result.items()}
    if isinstance(result, (int, float)) and not isinstance(result, bool):
        return finite(result)
    return result if isinstance(result, (bool, str)) else None


FUNCTIONS = (function("SEARCH_JSON", search_json, 2),)
