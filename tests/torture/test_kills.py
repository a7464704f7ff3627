"""Processes that work on one table are killed at every step of it: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from failpoints import Failpoints
from killing import COMMIT_PATH, RARE

LONG = os.environ.get("KENNEL_TORTURE") == "long"
MEMORY = Path("/dev/shm")


@pytest.mark.torture
def test_kills_lose_and_tear_nothing(tmp_path: Path, tell: Callable[[str], None]) -> None:
    kills, hits, writes, seed = (10_000, 100, 1_000_000, int.from_bytes(os.urandom(4))) if LONG else (200, 30, 1, 1)
    failpoints = Failpoints(tmp_path / "failpoints")
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(seed), str(kills), str(hits), str(writes)],
        env=os.environ | failpoints.environment,
        capture_output=True,
        text=True,
        timeout=None if LONG else 170,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    tell(summary(seed, report))
    assert report["failures"] == [], f"seed {seed}"
    assert sum(report["kills"].values()) >= kills
    assert set(COMMIT_PATH) | set(RARE) == set(report["hits"])
    assert all(report["hits"].values())
    assert report["stops"]
    assert report["acknowledged"] >= writes


def summary(seed: int, report: dict[str, Any]) -> str:
    """A line per failpoint: how often it was passed, and killed or stopped at."""
    kills, stops = report["kills"], report["stops"]
    lines = [
        f"seed {seed}: {sum(kills.values())} kills, {sum(stops.values())} stops, "
        f"{report['acknowledged']} acknowledged writes, {len(report['failures'])} violations"
    ]
    lines += [
        f"{name:14} {hits:9} hits {kills.get(name, 0):6} kills {stops.get(name, 0):6} stops"
        for name, hits in report["hits"].items()
    ]
    lines += [f"{name:14} {number:21} kills" for name, number in kills.items() if name not in report["hits"]]
    return "\n".join(lines)
