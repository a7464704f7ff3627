"""A CSV file loaded into a whole node: `python -m bench.csv_load --megabytes 1024`.

By csv_file_load, or with `--url` by csv_url_load from a server of this process.

The rows are those of `bench.records` without the object, with a text besides that makes them as long as `--row` says.
Told are rows per second, the progress that get_job showed, and the most memory that the node's processes took together
(proportional set sizes without file pages). `--sqlite` has the sqlite3 command line import the same file with the same
indexes, for comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench import memory, records, scratch
from bench.http_load import perform, running_node

COLUMNS = ("id", *records.SCALARS, "note")
CHOICE = 4096  # different notes and names; the other columns are drawn for every row
POLL = 0.5  # seconds between two looks at the job


def write_csv(path: Path, size: int, row: int) -> int:
    """A file of at least `size` bytes, rows of about `row` bytes; gives how many rows it has."""
    count = 0
    with path.open("w", buffering=1 << 20) as file:
        file.write(",".join(COLUMNS) + "\n")
        for line in _lines(row):
            file.write(line)
            count += 1
            if count % 1000 == 0 and file.tell() >= size:
                return count
    return count


def _lines(row: int) -> Iterator[str]:
    draw = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz     "
    known = [records.record(key) for key in range(CHOICE)]
    texts = ["".join(draw.choices(letters, k=max(0, row - 95))).strip() for _ in range(CHOICE)]
    key = 0
    while True:
        base, note = known[draw.randrange(CHOICE)], texts[draw.randrange(CHOICE)]
        yield (
            f"{key},{base['name']},{base['breed']},{base['age']},{base['weight']},"
            f"{draw.randrange(records.HIGHEST_SCORE)},{'true' if base['adopted'] else 'false'},{base['born']},"
            f"{base['breed'][-2:]}.{key}@kennel.example,{note} {key}\n"
        )
        key += 1


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """The URL of a directory."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def load(port: int, operation: str, **place: str) -> tuple[dict[str, Any], list[str]]:
    """Load what is there; gives the job as it ended, and what it said meanwhile."""
    table = {"schema": "bench", "table": "csv"}
    perform(port, "create_table", **table, hash_attribute="id")
    started = perform(port, operation, **table, **place)
    said: list[str] = []
    while True:
        job = perform(port, "get_job", id=started["job_id"])[0]
        if job["status"] in ("COMPLETE", "ERROR"):
            return job, said
        if job.get("message") and job["message"] not in said[-1:]:
            said.append(job["message"])
        time.sleep(POLL)


def sqlite(directory: Path, path: Path) -> float:
    """Seconds that the sqlite3 command line takes to import the file into a table with an index on every column."""
    columns = ", ".join(f"{name} {'INTEGER PRIMARY KEY' if name == 'id' else 'NUMERIC'}" for name in COLUMNS)
    indexes = "".join(f"CREATE INDEX i_{name} ON csv({name});\n" for name in COLUMNS[1:])
    script = f"PRAGMA journal_mode=WAL;\nPRAGMA synchronous=FULL;\nCREATE TABLE csv({columns});\n{indexes}"
    script += f".import --csv --skip 1 {path} csv\n"
    started = time.perf_counter()
    subprocess.run(["sqlite3", str(directory / "csv.db")], input=script, text=True, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.csv_load", description=__doc__)
    parser.add_argument("--megabytes", type=float, default=64)
    parser.add_argument("--row", type=int, default=250, help="bytes of a row, roughly")
    parser.add_argument("--url", action="store_true", help="by csv_url_load")
    parser.add_argument("--sqlite", action="store_true", help="have sqlite3 import the same file as well")
    given = parser.parse_args()
    with scratch.directory() as directory:
        path = directory / "dogs.csv"
        rows = write_csv(path, int(given.megabytes * (1 << 20)), given.row)
        print(f"{rows} rows, {path.stat().st_size / 1e6:.0f} MB")
        os.environ["BULK_URLPRIVATENETWORKS"] = "true"  # for the node
        with running_node(directory) as port, served(directory) as url:
            idle = sum(memory.of_node(directory / "root").values())
            with memory.Peak(directory / "root") as peak:
                if given.url:
                    job, said = load(port, "csv_url_load", csv_url=f"{url}/{path.name}")
                else:
                    job, said = load(port, "csv_file_load", file_path=str(path))
            seconds = (job["end_datetime"] - job["start_datetime"]) / 1000
            print(f"{job['status']}: {job['message']}; progress was told {len(said)} times, last '{said[-1:]}'")
            print(f"{rows / seconds:,.0f} rows/s ({seconds:.1f} s)")
            print(f"memory: {idle / 1e6:.0f} MB idle, {peak.bytes / 1e6:.0f} MB at most: {_megabytes(peak.by_process)}")
        if given.sqlite:
            taken = sqlite(directory, path)
            print(f"sqlite3 .import: {rows / taken:,.0f} rows/s ({taken:.1f} s)")


def _megabytes(taken: dict[str, int]) -> str:
    return ", ".join(f"{name} {count / 1e6:.0f}" for name, count in taken.items())


if __name__ == "__main__":
    main()
