"""After a modelled power cut everything acknowledged is there, as a prefix of the transactions; also after several.

Lives of a table and of a node are recorded (lives.py). At every point of the record the disks that a cut could leave
are built (disk.py), laid out where no process has been, and checked (images.py). One of them is the beginning of the
next life.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from images import Site

LONG = os.environ.get("KENNEL_TORTURE") == "long"
MEMORY = Path("/dev/shm")
CHAINS, IMAGES = (40, 2500) if LONG else (4, 1250)
SEED = int(os.environ.get("KENNEL_SEED") or int.from_bytes(os.urandom(4))) if LONG else 7


@pytest.fixture
def root() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="kennel-cut-", dir=MEMORY if MEMORY.is_dir() else None))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.torture
@pytest.mark.parametrize("number", range(CHAINS))
def test_a_power_cut_takes_back_nothing_that_was_acknowledged(
    root: Path, library: Path, number: int, tell: Callable[[str], None]
) -> None:
    kind = "node" if number % 4 == 3 else "table"
    print(f"seed {SEED + number}, {kind}")
    site = Site(root, library, kind, SEED + number)
    while site.images.total() < IMAGES:
        site.live_and_be_cut()
    manners = ", ".join(f"{count} {manner}" for manner, count in site.images.items())
    tell(f"{site.images.total()} images of {site.points} calls in {site.lives} lives of a {kind}: {manners}")
