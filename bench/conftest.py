"""The loaded contenders, the measuring of one piece of work, and the page that the figures end on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import records, results, scratch
from bench.compare import Contender
from bench.compare.kennel import Kennel
from bench.compare.lmdb_store import Lmdb
from bench.compare.sqlite import Sqlite
from bench.results import Figure

CONTENDERS: tuple[type[Contender], ...] = (Kennel, Sqlite, Lmdb)
SPEAKING_SQL: tuple[type[Contender], ...] = (Kennel, Sqlite)

Measure = Callable[..., Any]


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    with scratch.directory() as made:
        yield made


@pytest.fixture(scope="session")
def loaded(request: pytest.FixtureRequest, directory: Path) -> Iterator[dict[str, Contender]]:
    """Every contender with the same records in it, before any work is measured; LMDB only where it has work to do."""
    of_engines = any(
        "contender" in item.fixturenames for item in request.session.items if isinstance(item, pytest.Function)
    )
    kinds = CONTENDERS if of_engines else SPEAKING_SQL
    contenders = {kind.name: kind(directory / kind.name) for kind in kinds}
    for batch in records.batches():
        for contender in contenders.values():
            contender.insert(batch)
    yield contenders
    for contender in contenders.values():
        contender.close()


@pytest.fixture(params=[kind.name for kind in CONTENDERS])
def contender(request: pytest.FixtureRequest, loaded: dict[str, Contender]) -> Contender:
    return loaded[request.param]


@pytest.fixture(scope="module")
def page(request: pytest.FixtureRequest) -> Iterator[list[Figure]]:
    """The figures of one module, written when its last test is done."""
    figures: list[Figure] = []
    yield figures
    if figures:
        name = request.module.__name__.rpartition("test_")[2]
        if records.COUNT > records.USUAL:
            name += f"-{records.COUNT}"
        results.write(name, request.module.TITLE, figures, records=records.COUNT)


@pytest.fixture
def measure(benchmark: BenchmarkFixture, page: list[Figure]) -> Measure:
    """measure(work, who, function, each=1, rounds=None, arguments=None): how often per second `function` does its work.

    `each` is how many pieces of work a call does. With `rounds` every call is timed alone, with arguments that are made
    outside the timing; else pytest-benchmark finds out how many calls it takes. The median counts.
    """

    def measure(
        work: str,
        who: str,
        function: Callable[..., Any],
        *,
        each: int = 1,
        rounds: int | None = None,
        arguments: Callable[[], tuple[Any, ...]] = tuple,
    ) -> None:
        benchmark.group = work
        if rounds is None:
            benchmark(function)
        else:
            benchmark.pedantic(function, setup=lambda: (arguments(), {}), rounds=rounds)
        if benchmark.stats is not None:
            page.append(Figure(work, who, each / benchmark.stats.stats.median, {}))

    return measure
