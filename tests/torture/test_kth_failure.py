"""Every k-th call of the system in turn fails: a clear error or none, nothing corrupted, everything acknowledged kept.

The work, what fails in it, and how the rest is checked stand in faulting.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import interposer
import pytest

LONG = os.environ.get("KENNEL_TORTURE") == "long"
MEMORY = Path("/dev/shm")
WORKS = ["table", "node"]
FAULTS = [  # call, error, manner
    ("READ", "EIO", "once"),
    ("WRITE", "EIO", "once"),
    ("WRITE", "ENOSPC", "on"),
    ("WRITE", "SHORT", "on"),
    ("SYNC", "EIO", "once"),
    ("SPACE", "ENOSPC", "on"),
    ("MEMORY", "ENOMEM", "once"),
    ("MAP", "ENOMEM", "once"),
    ("OPEN", "EMFILE", "once"),
    ("NAME", "ENOSPC", "once"),
]
MORE = [
    ("WRITE", "EINTR", "once"),
    ("WRITE", "EIO", "on"),
    ("SYNC", "ENOSPC", "on"),
    ("SPACE", "EDQUOT", "once"),
    ("MEMORY", "ENOMEM", "on"),
    ("MAP", "ENOMEM", "on"),
    ("OPEN", "EMFILE", "on"),
    ("NAME", "EIO", "on"),
]


@dataclass(frozen=True, slots=True)
class Faults:
    root: Path
    library: Path
    tell: Callable[[str], None]

    def run(self, work: str, call: str, error: str, manner: str, step: int = 1) -> int:
        """How many runs there were in which a call failed."""
        script = str(Path(__file__).with_name("faulting.py"))
        done = subprocess.run(
            [sys.executable, script, work, str(self.root / "work"), call, error, manner, str(step)],
            env=interposer.environment(self.library, self.root / "work") | {"PYTHONMALLOC": "malloc"},
            capture_output=True,
            text=True,
            timeout=None if LONG else 170,
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        self.tell(f"{work}: {call} fails with {error}, {manner}: {report['runs']} runs, {report['met']}")
        assert report["failures"] == []
        return int(report["runs"])


@pytest.fixture
def faults(library: Path, tell: Callable[[str], None]) -> Iterator[Faults]:
    root = Path(tempfile.mkdtemp(prefix="kennel-fault-", dir=MEMORY if MEMORY.is_dir() else None))
    yield Faults(root, library, tell)
    shutil.rmtree(root)


@pytest.mark.torture
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize(("call", "error", "manner"), [*FAULTS, *(MORE if LONG else [])])
def test_every_call_may_fail(faults: Faults, work: str, call: str, error: str, manner: str) -> None:
    assert faults.run(work, call, error, manner) > 0


@pytest.mark.torture
@pytest.mark.parametrize("work", WORKS)
def test_every_allocation_of_the_interpreter_may_fail(faults: Faults, work: str) -> None:
    """There are some ten thousand; the suite tries a few hundred of them."""
    assert faults.run(work, "INTERPRETER", "ENOMEM", "once", step=7 if LONG else 211) > 0
