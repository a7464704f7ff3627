"""The ways in which one statement may be run, which all have to come to the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import engine
import grammar


def texts(node: engine.Node, sql: str, **options: Any) -> list[str]:
    """The rows as texts, which tell 1 from true."""
    found = grammar.prepare(node, sql).run(**options)
    assert isinstance(found, list)
    return [repr(row) for row in found]


def other_ways(node: engine.Node, sql: str) -> Iterator[list[str]]:
    """What is not plain rows without push-down: with it, without indexes, and with room for everything."""
    yield texts(node, sql)
    yield texts(node, sql, indexes=False)
    yield texts(node, sql, budget=grammar.Budget(60, 10**6, memory=1 << 30))
