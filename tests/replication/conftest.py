"""Fixtures of simulated clusters."""

from __future__ import annotations

import pytest
from scenes import link
from simulator import SimNode, Simulator


@pytest.fixture
def pair() -> tuple[Simulator, SimNode, SimNode]:
    """Two nodes, linked by a route from the second; the first has the table dev.dog."""
    simulator = Simulator(7)
    north, south = simulator.node("north"), simulator.node("south")
    north.data.create_table("dev", "dog")
    link(simulator, (south, north))
    return simulator, north, south
