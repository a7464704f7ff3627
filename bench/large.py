"""A large table: `python -m bench.large --records 10000000 --directory DIR`.

A process of its own loads the records through the embedded API, streamed, so many a transaction, and is killed after
the last one. Then, as after a power cut: the coordination file is made that of another boot, the files are put on disk
and dropped from the page cache, and the table is opened. At the end a whole node is started on it.

Told are, along the way, the rate of inserting (without the making of the records), the memory, and how much log a
recovery would have to replay; then the disk, how long the opening took, the rates of gets and counts, and the memory of
the node.

Memory is what nobody can take back: the proportional share of anonymous pages and of shared memory that is no file on
disk (Pss_Anon + Pss_Shmem of /proc/PID/smaps_rollup). Mapped pages of files are the page cache's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import engine
from bench import records, results
from bench.compare import allocated_bytes
from bench.compare.kennel import Kennel
from bench.http_load import perform, running_node

BOOT = slice(16, 32)  # of shared.shm: the boot id, see kn_shared
STEPS = 20  # at which the load tells how it goes
PROBES = 2000
HALF = records.HIGHEST_SCORE // 2
MIB = 1 << 20

spawned = multiprocessing.get_context("spawn")


# --- memory


def unevictable_bytes(processes: Iterable[int]) -> int:
    """The memory that these processes take, shared pages divided among who shares them, no pages of files."""
    total = 0
    for process in processes:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total * 1024


def processes_of(root: Path) -> list[int]:
    """Those that name the root directory on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if os.fspath(root).encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


# --- the load


def load(root: Path, count: int, batch: int, progress: Connection) -> None:
    """Inserts `count` records and tells at every step (records, seconds spent in inserting, of them the longest wait,
    bytes of memory, bytes of log that a recovery would replay). Ends by being killed."""
    kennel = Kennel(root)
    step, spent, longest = max(count // STEPS, batch), 0.0, 0.0
    for first in range(0, count, batch):
        made = records.batch(first, min(batch, count - first))
        started = time.perf_counter()
        kennel.insert(made)
        took = time.perf_counter() - started
        spent, longest = spent + took, max(longest, took)
        done = first + len(made)
        if done % step < batch or done == count:
            replay = kennel.table._store.replay_bytes
            progress.send((done, spent, longest, unevictable_bytes([os.getpid()]), replay))
            spent = longest = 0.0
    progress.send(None)
    signal.pause()


def watched_load(root: Path, count: int, batch: int) -> list[dict[str, Any]]:
    """Loads in a process of its own, and kills it; what it told on the way."""
    receiver, sender = spawned.Pipe(duplex=False)
    process = spawned.Process(target=load, args=(root, count, batch, sender))
    process.start()
    sender.close()
    steps, before = [], 0
    try:
        while (told := receiver.recv()) is not None:
            done, spent, longest, memory, replay = told
            steps.append(
                {
                    "records": done,
                    "inserted per s": round((done - before) / spent),
                    "longest transaction ms": round(longest * 1000),
                    "memory MiB": round(memory / MIB, 1),
                    "to replay MiB": round(replay / MIB, 1),
                    "disk bytes per record": round(allocated_bytes(root) / done),
                }
            )
            print(steps[-1], flush=True)
            before = done
    finally:
        process.kill()
        process.join()
    return steps


# --- after the load


def cut_the_power(root: Path) -> None:
    """Coordination files become those of another boot, and what is in the page cache goes to disk and out of memory."""
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        if path.name == "shared.shm":
            with path.open("r+b") as file:
                content = bytearray(file.read(BOOT.stop))
                content[BOOT] = bytes(BOOT.stop - BOOT.start)
                file.seek(0)
                file.write(content)
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


OPENING = """
import sys, time, engine
started = time.perf_counter()
table = engine.open_node(sys.argv[1], create=False).table("bench", "dog")
record = table.get(int(sys.argv[2]))
print(time.perf_counter() - started)
assert record is not None
"""


def seconds_to_open(root: Path, key: int) -> float:
    """Of a process that has imported all it needs, until it has the first record."""
    done = subprocess.run([sys.executable, "-c", OPENING, root, str(key)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def microseconds(piece: Callable[[], object], times: int) -> float:
    """The median of how long this takes."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        piece()
        took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e6


def look_around(root: Path, count: int) -> Iterator[tuple[str, str]]:
    """What reads cost on the loaded table, once the pages they need are in memory."""
    with engine.open_node(root, create=False) as node:
        table = node.table("bench", "dog")
        keys = iter(random.Random(5).choices(range(count), k=3 * PROBES))
        yield "first gets at random places, µs", f"{microseconds(lambda: table.get(next(keys)), PROBES):.1f}"
        few = random.Random(6).choices(range(count), k=PROBES)
        for key in few:
            table.get(key)
        again = iter(few)
        yield "gets of the same again, µs", f"{microseconds(lambda: table.get(next(again)), PROBES):.1f}"
        if table.count() != count:
            raise SystemExit(f"the table has {table.count()} records, not {count}")
        yield "count, µs", f"{microseconds(table.count, PROBES):.1f}"
        half = microseconds(lambda: table.count("score", "greater_than_equal", HALF), PROBES)
        yield "count over a range of half the table, µs", f"{half:.1f}"


def memory_of_a_node(directory: Path, seconds: float) -> Iterator[tuple[str, str]]:
    """A whole node on the table: supervisor, node process, gunicorn and its workers; at its highest while the upkeep
    and some reading requests go on."""
    with running_node(directory) as port:
        highest, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            perform(port, "search_by_value", schema="bench", table="dog", search_attribute="score", search_value=7)
            perform(port, "sql", sql="SELECT COUNT(*) FROM bench.dog")
            found = processes_of(directory / "root")
            highest = max(highest, unevictable_bytes(found))
            time.sleep(0.2)
        yield "processes of the node", str(len(found))
        yield "memory of the node at its highest, MiB", f"{highest / MIB:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=5000, help="records of a transaction")
    parser.add_argument("--directory", type=Path, help="where the data lies; default: a temporary directory")
    parser.add_argument("--seconds", type=float, default=20.0, help="that the node is watched")
    parser.add_argument("--keep", action="store_true", help="leave the data there")
    given = parser.parse_args()
    directory = given.directory or Path(tempfile.mkdtemp(prefix="kennel-bench-"))
    root = directory / "root"
    try:
        steps = watched_load(root, given.records, given.batch)
        facts = {"disk bytes per record when the load had ended": str(steps[-1]["disk bytes per record"])}
        cut_the_power(root)
        facts["opening after a power cut, nothing in memory, s"] = f"{seconds_to_open(root, given.records // 2):.2f}"
        facts |= look_around(root, given.records)
        facts |= memory_of_a_node(directory, given.seconds)
        facts["disk bytes per record after the node's upkeep"] = f"{allocated_bytes(root) / given.records:.0f}"
    finally:
        if not given.keep:
            shutil.rmtree(directory)
    page = results.write_table("large", "A large table", steps, facts, records=given.records, batch=given.batch)
    print(page.read_text())


if __name__ == "__main__":
    main()
