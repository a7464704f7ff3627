"""What the same work costs as the table grows: `python -m bench.growth --sizes 10000 100000 1000000`.

Each contender's table is loaded up to the first size, measured, loaded on to the next, and so on; the contenders take
turns at each size. A contender whose loading takes longer than `--cap` seconds in sum is left behind there, and the
page says so. Figures are microseconds, the median of what fits into a fraction of a second.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import records, results, scratch
from bench.compare import Contender, allocated_bytes
from bench.compare.kennel import Kennel
from bench.compare.lmdb_store import Lmdb
from bench.compare.sqlite import Sqlite

CONTENDERS: tuple[type[Contender], ...] = (Kennel, Sqlite, Lmdb)
BATCH = 1000
RANGE = 20
HALF = records.HIGHEST_SCORE // 2
SECONDS = 0.5  # of each piece of work
TEMPLATES = 1000
OTHER_KEYS = 1 << 40  # those of records that are written for measuring begin here


class Table:
    """A contender's table, how many records it was loaded with, and how long that took."""

    def __init__(self, kind: type[Contender], directory: Path) -> None:
        self.name = kind.name
        self.directory = directory
        self.contender = kind(directory)
        self.records = 0
        self.seconds = 0.0
        self.keys = itertools.count(OTHER_KEYS)

    def load(self, size: int, cap: float) -> bool:
        """Whether it got there before its time was up."""
        while self.records < size and self.seconds < cap:
            batch = records.batch(self.records, min(BATCH, size - self.records))
            started = time.perf_counter()
            self.contender.insert(batch)
            self.seconds += time.perf_counter() - started
            self.records += len(batch)
        return self.records >= size


def median_microseconds(piece: Callable[[Any], object], arguments: Iterator[Any]) -> float:
    """Of one call, repeated for SECONDS; once at least."""
    took: list[float] = []
    deadline = time.perf_counter() + SECONDS
    while not took or time.perf_counter() < deadline:
        argument = next(arguments)
        started = time.perf_counter()
        piece(argument)
        took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e6


def measure(table: Table) -> Iterator[tuple[str, float]]:
    """Each piece of work and its microseconds."""
    contender, size = table.contender, table.records
    draw = random.Random(size)
    keys = iter(lambda: draw.randrange(size), None)
    lows = iter(lambda: draw.randrange(records.HIGHEST_SCORE * 9 // 10), None)
    templates = itertools.cycle(records.batch(0, TEMPLATES))

    def fresh(count: int) -> Iterator[list[records.Record]]:
        while True:
            yield [next(templates) | {"id": next(table.keys)} for _ in range(count)]

    def update(key: int) -> None:
        contender.update("score", {key: draw.randrange(records.HIGHEST_SCORE)})

    yield "get by key", median_microseconds(contender.get, keys)
    yield f"{RANGE} records by an index", median_microseconds(lambda low: contender.range("score", low, RANGE), lows)
    half = median_microseconds(lambda low: contender.count_from("score", low), itertools.repeat(HALF))
    yield "count over half the table", half
    scan = median_microseconds(lambda part: contender.containing("name", part), itertools.repeat(records.SYLLABLE))
    yield "filtered scan, per record", scan / contender.count()
    yield f"insert of {BATCH:,}, per record", median_microseconds(contender.insert, fresh(BATCH)) / BATCH
    yield "insert of one", median_microseconds(contender.insert, fresh(1))
    yield "update of one attribute", median_microseconds(update, keys)


def rows_of(tables: list[Table], sizes: list[int], cap: float) -> Iterator[dict[str, Any]]:
    """A row per work, size and contender that got there."""
    for size in sizes:
        for table in tables:
            if table.seconds >= cap:
                continue  # left behind
            before = table.records, table.seconds
            arrived = table.load(size, cap)
            loaded = (table.seconds - before[1]) * 1e6 / max(table.records - before[0], 1)
            place = {"who": table.name, "records": table.records}
            yield place | {"work": f"load, {BATCH:,} a transaction, per record", "µs": loaded}
            if not arrived:
                yield place | {"work": f"stopped by the cap of {cap:.0f} s on the way to {size:,}", "µs": None}
                continue
            for work, cost in measure(table):
                yield place | {"work": work, "µs": cost}
            yield place | {"work": "disk bytes per record", "µs": allocated_bytes(table.directory) / table.records}


def side_by_side(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per work and contender, a column per size; how many times the cost at the first size the last one is."""
    page = []
    sizes = sorted({row["records"] for row in rows})
    for work in dict.fromkeys(row["work"] for row in rows):
        for who in dict.fromkeys(row["who"] for row in rows):
            found = {row["records"]: row["µs"] for row in rows if row["work"] == work and row["who"] == who}
            if not found:
                continue
            costs = {f"{size:,}": "" if found.get(size) is None else f"{found[size]:.3g}" for size in sizes}
            known = [found[size] for size in sizes if found.get(size) is not None]
            growth = f"{known[-1] / known[0]:.2f}" if len(known) > 1 else ""
            page.append({"µs (or as said)": work, "who": who, **costs, "last / first": growth})
    return page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--cap", type=float, default=1800.0, help="seconds of loading of each contender")
    given = parser.parse_args()
    with scratch.directory() as made:
        tables = [Table(kind, made / kind.name) for kind in CONTENDERS]
        rows = []
        for row in rows_of(tables, sorted(given.sizes), given.cap):
            print(row, flush=True)
            rows.append(row)
        for table in tables:
            table.contender.close()
    facts: dict[str, str] = {}
    page = results.write_table("growth", "What work costs as the table grows", side_by_side(rows), facts, cap=given.cap)
    print(page.read_text())


if __name__ == "__main__":
    main()
