"""A table that several processes work on, failpoints in them, and the library between them and the system."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import interposer
import pytest
from workbench import Bench

MEMORY = Path("/dev/shm")


@pytest.fixture
def tell(record_property: Callable[[str, Any], None]) -> Callable[[str], None]:
    """Puts lines into the summary at the end of the run."""
    return lambda text: record_property("torture", text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    told = [value for report in reports for name, value in report.user_properties if name == "torture"]
    if not told:
        return
    terminalreporter.section("torture")
    for text in told:
        terminalreporter.write_line(text)
    images = sum(int(text.split()[0]) for text in told if " images of " in text)
    terminalreporter.write_line(f"{images} images of cut disks in all")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interposer."""
    return interposer.build(tmp_path_factory.mktemp("interposer"))


@pytest.fixture
def make_bench() -> Iterator[Callable[[], Bench]]:
    root = Path(tempfile.mkdtemp(prefix="kennel-bench-", dir=MEMORY if MEMORY.is_dir() else None))
    made: list[Bench] = []

    def make() -> Bench:
        directory = root / str(len(made))
        directory.mkdir()
        made.append(Bench(directory))
        return made[-1]

    yield make
    for bench in made:
        bench.kill_all()
    shutil.rmtree(root)


@pytest.fixture
def bench(make_bench: Callable[[], Bench]) -> Bench:
    return make_bench()
