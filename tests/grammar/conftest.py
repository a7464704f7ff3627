"""An open node, a way to run SQL on it, and small tables that most tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine
import grammar

Run = Callable[..., Any]

DOGS = [
    {"id": 1, "name": "Penny", "breed": 154, "age": 7, "weight": 38, "owner": "Kyle", "good": True},
    {"id": 2, "name": "Harper", "breed": 346, "age": 7, "weight": 55.5, "owner": "Stephen", "good": True},
    {"id": 3, "name": "alby", "breed": 348, "age": 5, "weight": 84, "good": False, "tags": ["a", "b"]},
    {"id": 4, "name": "Billy", "breed": None, "age": 4, "owner": "Zach", "info": {"x": {"y": 1}}},
    {"id": 5, "name": "Rose", "age": None, "weight": 15, "owner": "Kyle"},
]
BREEDS = [
    {"id": 154, "name": "WHIPPET", "section": "Sighthounds"},
    {"id": 346, "name": "MASTIFF", "section": "Molossoid"},
    {"id": 348, "name": "SLOUGHI", "section": "Sighthounds"},
    {"id": 350, "name": "ALANO", "section": None},
]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[engine.Node]:
    with engine.open_node(tmp_path / "root") as node:
        yield node


@pytest.fixture
def run(node: engine.Node) -> Run:
    """Runs a statement: the rows, or the reply of a write."""

    def run(sql: str, parameters: Any = None) -> Any:
        return grammar.query(node, sql, parameters)

    return run


@pytest.fixture
def kennel(node: engine.Node) -> engine.Node:
    """The node with `farm.dog` and `farm.breed`."""
    node.create_table("farm", "dog").insert(DOGS)
    node.create_table("farm", "breed").insert(BREEDS)
    return node


@pytest.fixture
def value(run: Run) -> Callable[[str], Any]:
    """The value of an expression without tables."""
    return lambda expression: run(f"SELECT {expression} AS v")[0]["v"]


@pytest.fixture
def error(run: Run) -> Callable[[str], str]:
    """The text of the error that a statement gives."""

    def error(sql: str, parameters: Any = None) -> str:
        with pytest.raises(engine.KennelError) as caught:
            run(sql, parameters)
        return caught.value.message

    return error
