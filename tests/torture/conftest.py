"""A table that several processes work on, and failpoints in them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from workbench import Bench

MEMORY = Path("/dev/shm")


@pytest.fixture
def bench() -> Iterator[Bench]:
    root = Path(tempfile.mkdtemp(prefix="kennel-bench-", dir=MEMORY if MEMORY.is_dir() else None))
    made = Bench(root)
    yield made
    made.kill_all()
    shutil.rmtree(root)
