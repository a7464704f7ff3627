"""Where the data lies while it is measured."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory for the time of the block, in KENNEL_BENCH_DIRECTORY if that is set."""
    with tempfile.TemporaryDirectory(prefix="kennel-bench-", dir=os.environ.get("KENNEL_BENCH_DIRECTORY")) as made:
        yield Path(made)
