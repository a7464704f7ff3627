"""The scalar functions, found by name in any case. Modules that need heavy libraries are loaded at their first use."""

from __future__ import annotations

from importlib import import_module

from grammar.functions import conversion, date, logic, number, text
from grammar.functions.signature import Function

_GEO = """
    GEOAREA GEOLENGTH GEODISTANCE GEONEAR GEOCONTAINS GEOCROSSES GEOEQUAL GEODIFFERENCE GEOCIRCLE GEOCONVERT
"""
DEFERRED = {"SEARCH_JSON": "json", **dict.fromkeys(_GEO.split(), "geo")}

_known: dict[str, Function] = {}


def _learn(functions: tuple[Function, ...]) -> None:
    for function in functions:
        for name in function.names:
            _known[name] = function


for _module in (conversion, date, logic, number, text):
    _learn(_module.FUNCTIONS)


def lookup(name: str) -> Function | None:
    """The function of that name, or None."""
    upper = name.upper()
    if upper not in _known and upper in DEFERRED:
        _learn(import_module(f"grammar.functions.{DEFERRED[upper]}").FUNCTIONS)
    return _known.get(upper)
