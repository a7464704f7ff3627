"""Durable inserts beside the bare disk, and several processes on one table: `python -m bench.scale`.

The bare disk is measured with as many processes as the contenders, each appending to a file of its own and syncing:
one process that has to wait for a core after each sync looks slow however fast the disk is. The page tells how long a
single bare sync takes. Where its median is far above its fastest the machine was not idle, and the figures for durable
inserts tell of the scheduler.

Rounds are short and alternate between the contenders, so that a disk with moods is fair to all; the median counts.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from bench import records, results, scratch
from bench.compare import Contender
from bench.compare.bare import BareDisk
from bench.compare.kennel import Kennel
from bench.compare.lmdb_store import Lmdb
from bench.compare.sqlite import Sqlite
from bench.results import Figure

CONTENDERS: tuple[type[Contender], ...] = (Kennel, Sqlite, Lmdb)
BARE_SYNCS = 500
WRITERS = (1, 4)
READERS = (1, 2)
TEMPLATES = 1000
READS_BETWEEN_LOOKS = 500
KEYS_OF_A_WRITER = 10**9
PATIENCE = 120  # seconds until a process that does not get ready has failed

spawned = multiprocessing.get_context("spawn")
Subject = type[Contender] | type[BareDisk]
Work = Callable[[Any, int], Callable[[], int]]


# --- work; what it gives counts up by as many pieces as were done


def inserting(contender: Contender, number: int) -> Callable[[], int]:
    """One durable insert after the other, of keys that no other process uses."""
    keys = itertools.count(number * KEYS_OF_A_WRITER)
    templates = itertools.cycle(records.batch(0, TEMPLATES))

    def insert() -> int:
        contender.insert([next(templates) | {"id": next(keys)}])
        return 1

    return insert


def reading(contender: Contender, number: int) -> Callable[[], int]:
    """Random records by key."""
    keys = records.shuffled_keys(records.COUNT)
    random.Random(number).shuffle(keys)
    following = itertools.cycle(keys)

    def read() -> int:
        for key in itertools.islice(following, READS_BETWEEN_LOOKS):
            contender.get(key)
        return READS_BETWEEN_LOOKS

    return read


def appending(disk: BareDisk, number: int) -> Callable[[], int]:
    """One entry after the other."""

    def append() -> int:
        disk.append()
        return 1

    return append


def per_second(piece: Callable[[], int], seconds: float) -> float:
    started = time.perf_counter()
    deadline, done = started + seconds, 0
    while (now := time.perf_counter()) < deadline:
        done += piece()
    return done / (now - started)


# --- processes


def in_processes(count: int, kind: Subject, directory: Path, work: Work, first: int, seconds: float) -> float:
    """How much `count` processes at once do per second, in sum."""
    ready, rates = spawned.Barrier(count), spawned.SimpleQueue()
    processes = [
        spawned.Process(target=_take_part, args=(kind, directory, work, first + number, seconds, ready, rates))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE + 2 * seconds)
        if process.exitcode != 0:
            process.kill()
            raise SystemExit(f"a process with {kind.name} ended with {process.exitcode}")
    return sum(rates.get() for _ in processes)


def _take_part(
    kind: Subject,
    directory: Path,
    work: Work,
    number: int,
    seconds: float,
    ready: Barrier,
    rates: SimpleQueue[float],
) -> None:
    subject = kind(directory)
    piece = work(subject, number)
    ready.wait(PATIENCE)
    rates.put(per_second(piece, seconds))
    subject.close()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many other processes want a core each."""
    others = [spawned.Process(target=_want_a_core, daemon=True) for _ in range(count)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.join()


def _want_a_core() -> None:
    while True:
        pass


# --- runs


def bare_sync(directory: Path) -> str:
    """How long one process waits for the disk, in words."""
    disk = BareDisk(directory)
    times = sorted(disk.append() * 1000 for _ in range(BARE_SYNCS))
    disk.close()
    return f"{statistics.median(times):.2f} ms in the median and {times[0]:.2f} ms at the fastest"


def load(directory: Path) -> None:
    for kind in CONTENDERS:
        contender = kind(directory / kind.name)
        for batch in records.batches():
            contender.insert(batch)
        contender.close()


def measure_reads(directory: Path, rounds: int, seconds: float) -> Iterator[Figure]:
    rates: dict[tuple[int, str], list[float]] = {}
    for _, count, kind in itertools.product(range(rounds), READERS, CONTENDERS):
        rate = in_processes(count, kind, directory / kind.name, reading, 0, seconds)
        rates.setdefault((count, kind.name), []).append(rate)
    for (count, who), found in rates.items():
        yield Figure(f"gets by key, {_processes(count)}", who, statistics.median(found), {})


def measure_inserts(directory: Path, rounds: int, seconds: float) -> Iterator[Figure]:
    rates: dict[tuple[int, str], list[float]] = {}
    grouped: dict[int, list[float]] = {count: [] for count in WRITERS}
    writer = itertools.count(1, max(WRITERS))
    for _, count in itertools.product(range(rounds), WRITERS):
        commits, syncs = _commits_and_syncs(directory / Kennel.name)
        for kind in CONTENDERS:
            rate = in_processes(count, kind, directory / kind.name, inserting, next(writer), seconds)
            rates.setdefault((count, kind.name), []).append(rate)
        bare = in_processes(count, BareDisk, directory / BareDisk.name, appending, 0, seconds)
        rates.setdefault((count, BareDisk.name), []).append(bare)
        later = _commits_and_syncs(directory / Kennel.name)
        grouped[count].append((later[0] - commits) / (later[1] - syncs))
    for (count, who), found in rates.items():
        more = {"commits per sync": round(statistics.median(grouped[count]), 2)} if who == Kennel.name else {}
        yield Figure(f"single inserts, {_processes(count)}", who, statistics.median(found), more)


def _commits_and_syncs(directory: Path) -> tuple[int, int]:
    kennel = Kennel(directory)
    try:
        return kennel.commits_and_syncs()
    finally:
        kennel.close()


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round and contender")
    parser.add_argument("--busy", type=int, default=0, help="other processes that want a core each")
    given = parser.parse_args()
    with scratch.directory() as directory:
        load(directory)
        with busy(given.busy):
            sync = bare_sync(directory / BareDisk.name)
            figures = [
                *measure_reads(directory, given.rounds, given.seconds),
                *measure_inserts(directory, given.rounds, given.seconds),
            ]
    title = "Several processes on one table, and the bare disk"
    page = results.write(
        f"scale-busy-{given.busy}" if given.busy else "scale",
        title,
        figures,
        records=records.COUNT,
        rounds=given.rounds,
        seconds=given.seconds,
        one_bare_sync=sync,
        other_processes=given.busy,
    )
    print(page.read_text())


if __name__ == "__main__":
    main()
