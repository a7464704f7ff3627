"""Endless updates: `python -m bench.churn --seconds 120`.

One process updates random records of a table, one by one or some at a time, while the node process makes checkpoints
and compacts. Told are, along the way, how large the files are beside what is live in them, and how long writers waited.
The live data is what the table takes after its upkeep, before it is churned.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import records, results, scratch
from bench.compare import allocated_bytes
from bench.compare.kennel import Kennel

STEPS = 12
PATIENCE = 60.0  # seconds until a table that nobody writes to is at rest


@contextlib.contextmanager
def node_process(root: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "engine.node", "--root", os.fspath(root)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def size_at_rest(directory: Path) -> int:
    """What the files take once they have not changed for some rounds of upkeep."""
    deadline, same, last = time.monotonic() + PATIENCE, 0, -1
    while same < 5 and time.monotonic() < deadline:
        time.sleep(1.0)
        size = allocated_bytes(directory)
        same, last = (same + 1 if size == last else 0), size
    return last


def churn(kennel: Kennel, seconds: float, batch: int) -> list[float]:
    """The seconds that each transaction took."""
    draw, took = random.Random(), []
    deadline = time.perf_counter() + seconds
    while (started := time.perf_counter()) < deadline:
        keys = draw.sample(range(records.COUNT), batch)
        kennel.table.update([{"id": key, "score": draw.randrange(records.HIGHEST_SCORE)} for key in keys])
        took.append(time.perf_counter() - started)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.churn", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--batch", type=int, default=20, help="records of a transaction")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch.directory() as made:
        root = made / "root"
        kennel = Kennel(root)
        directory = kennel.table.directory
        for batch in records.batches():
            kennel.insert(batch)
        with node_process(root):
            live = size_at_rest(directory)
            for step in range(STEPS):
                took = sorted(churn(kennel, given.seconds / STEPS, given.batch))
                size = allocated_bytes(directory)
                rows.append(
                    {
                        "seconds": round((step + 1) * given.seconds / STEPS),
                        "files MiB": round(size / (1 << 20), 1),
                        "times live": f"{size / live:.2f}",
                        "transactions": len(took),
                        "99 % below ms": round(took[len(took) * 99 // 100] * 1000, 1),
                        "longest ms": round(took[-1] * 1000, 1),
                    }
                )
                print(rows[-1], flush=True)
            rest = size_at_rest(directory)
        kennel.close()
    facts = {"live, MiB": f"{live / (1 << 20):.1f}", "at rest afterwards, times live": f"{rest / live:.2f}"}
    page = results.write_table("churn", "Endless updates", rows, facts, records=records.COUNT, batch=given.batch)
    print(page.read_text())


if __name__ == "__main__":
    main()
