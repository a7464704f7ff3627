"""Fixtures for tests over real processes; the time that tests by hypothesis may take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from nodes import RealNode

MakeNode = Callable[..., RealNode]
SHRINKING = 300.0  # seconds that hypothesis takes at most to make a failing example small

# How fast a machine draws and runs an example is no property of what is tested.
hypothesis.settings.register_profile("kennel", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("kennel")


@pytest.hookimpl(trylast=True)  # hypothesis marks its tests first
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A time-out while a failing example is made small would be told in its place."""
    limit = config.getoption("timeout")
    seconds = float(config.getini("timeout") if limit is None else limit)
    for item in items:
        if seconds and item.get_closest_marker("hypothesis"):
            item.add_marker(pytest.mark.timeout(seconds + SHRINKING))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory of the test's own, where the command line keeps its boot file."""
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def make_node(tmp_path: Path, home: Path) -> Iterator[MakeNode]:
    """Makes nodes, `make_node("hdb1")`, that are not started yet. At the end each is stopped, and none of its
    processes may be left."""
    made: list[RealNode] = []

    def make(name: str = "node") -> RealNode:
        # PYTHONPATH only matters to whoever runs the tests without having installed the project.
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        node = RealNode(name, tmp_path / name, environment | {"HOME": str(home)})
        made.append(node)
        return node

    yield make
    for node in made:
        node.stop()
    left = [process for node in made for process in node.kill_what_is_left()]
    assert left == []


@pytest.fixture
def real_node(make_node: MakeNode) -> RealNode:
    """A node that runs."""
    node = make_node()
    node.start_or_fail()
    return node
