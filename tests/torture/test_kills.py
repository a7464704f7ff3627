"""Processes that work on one table are killed at every step of it: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from failpoints import Failpoints
from killing import COMMIT_PATH, RARE

LONG = os.environ.get("KENNEL_TORTURE") == "long"
MEMORY = Path("/dev/shm")


@pytest.mark.torture
def test_kills_lose_and_tear_nothing(tmp_path: Path) -> None:
    kills, seed = (5000, int.from_bytes(os.urandom(4))) if LONG else (200, 1)
    failpoints = Failpoints(tmp_path / "failpoints")
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(seed), str(kills)],
        env=os.environ | failpoints.environment,
        capture_output=True,
        text=True,
        timeout=None if LONG else 170,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    print(f"seed {seed}: {report}")
    assert report["failures"] == [], f"seed {seed}"
    assert sum(report["kills"].values()) >= kills
    assert all(report["hits"][name] > 0 for name in COMMIT_PATH)
    assert all(report["hits"][name] > 0 for name in RARE)
