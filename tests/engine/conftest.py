"""A root directory and an open node, or the place of one table and its store, for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import Place, place

import engine
from engine.store import Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def node(root: Path) -> Iterator[engine.Node]:
    with engine.open_node(root) as node:
        yield node


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.fixture
def store(here: Place) -> Iterator[Store]:
    store = here.open()
    yield store
    store.close()
