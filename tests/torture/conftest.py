"""A table that several processes work on, failpoints in them, and the library between them and the system."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import interposer
import pytest
from workbench import Bench

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interposer."""
    return interposer.build(tmp_path_factory.mktemp("interposer"))


@pytest.fixture
def bench() -> Iterator[Bench]:
    root = Path(tempfile.mkdtemp(prefix="kennel-bench-", dir=MEMORY if MEMORY.is_dir() else None))
    made = Bench(root)
    yield made
    made.kill_all()
    shutil.rmtree(root)
