"""Where the time goes, in instructions: `python -m bench.instructions` (needs valgrind).

Counts do not depend on what else the machine does. Each piece of work runs in a process of its own under callgrind,
which looks on only while the work is repeated, with caches simulated (the machine's own sizes). Told are instructions
and misses of the last-level cache for one piece, and which parts of the program the instructions are in.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import records, results, scratch
from bench.compare.kennel import Kennel

TIMES = 1000
WARM = 50
SHOWN = 4  # parts of the program that are named
VALGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--cache-sim=yes", "--quiet")

_NAMED = re.compile(r"\((\d+)\)(?: (.*))?$")


# --- the work


def works(kennel: Kennel) -> dict[str, Callable[[], object]]:
    """One piece of each, on other records every time."""
    keys = itertools.cycle(records.shuffled_keys(records.COUNT))
    scores = itertools.cycle(random.Random(3).choices(range(records.HIGHEST_SCORE * 9 // 10), k=TIMES))
    templates, fresh = itertools.cycle(records.batch(0, TIMES)), itertools.count(records.COUNT)

    def insert(count: int) -> None:
        kennel.insert([next(templates) | {"id": next(fresh)} for _ in range(count)])

    return {
        "get": lambda: kennel.get(next(keys)),
        "range of 20": lambda: kennel.range("score", next(scores), 20),
        "count over half": lambda: kennel.count_from("score", records.HIGHEST_SCORE // 2),
        "insert": lambda: insert(1),
        "insert of 1,000": lambda: insert(1000),
        "update": lambda: kennel.update("score", {next(keys): next(scores)}),
        "delete": lambda: kennel.delete([next(keys)]),
    }


def take_part(root: Path, work: str, times: int) -> None:
    """What runs under callgrind."""
    kennel = Kennel(root)
    piece = works(kennel)[work]
    for _ in range(min(WARM, times)):
        piece()
    subprocess.run(["callgrind_control", "--instr=on", str(os.getpid())], check=True, stdout=subprocess.DEVNULL)
    for _ in range(times):
        piece()
    subprocess.run(["callgrind_control", "--instr=off", str(os.getpid())], check=True, stdout=subprocess.DEVNULL)
    kennel.close()


# --- what callgrind wrote


def costs(path: Path) -> tuple[list[str], Iterator[tuple[str, list[int]]]]:
    """The names of the events, and the own cost of each line of the program: (object file, costs)."""
    lines = path.read_text().splitlines()
    events = next(line for line in lines if line.startswith("events:")).split()[1:]
    return events, _own_costs(lines)


def _own_costs(lines: list[str]) -> Iterator[tuple[str, list[int]]]:
    names: dict[str, str] = {}
    here, of_a_call = "", False
    for line in lines:
        if line.startswith("ob="):
            here = _name(line[3:], names)
        elif line.startswith("cob="):
            _name(line[4:], names)
        elif line.startswith("calls="):
            of_a_call = True
        elif line[:1] in "0123456789+-*" and line:
            if not of_a_call:
                yield here, [int(cost) for cost in line.split()[1:]]
            of_a_call = False


def _name(text: str, names: dict[str, str]) -> str:
    match = _NAMED.match(text)
    if match is None:
        return text
    if match[2]:
        names[match[1]] = match[2]
    return names[match[1]]


def part_of(path: str) -> str:
    """A part of the program that people know, by object file."""
    name = Path(path).name
    found = re.match(r"(\w+)\.cpython.*\.so", name)
    if found is not None:
        return f"{Path(path).parent.name}.{found[1]}"
    return "Python" if name.startswith(("python", "libpython")) else "libc" if name.startswith("libc") else name


def measure(root: Path, work: str, times: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as made:
        output = Path(made) / "out"
        command = [*VALGRIND, f"--callgrind-out-file={output}", sys.executable, "-m", "bench.instructions"]
        command += ["--take-part", os.fspath(root), work, "--times", str(times)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        events, lines = costs(output)
        total: collections.Counter[str] = collections.Counter()
        parts: collections.Counter[str] = collections.Counter()
        for place, found in lines:
            total.update(dict(zip(events, found, strict=False)))
            parts[part_of(place)] += found[0] if found else 0
    misses = sum(total[event] for event in ("ILmr", "DLmr", "DLmw"))
    shares = [f"{part} {100 * count / total['Ir']:.0f} %" for part, count in parts.most_common(SHOWN)]
    return {
        "work": work,
        "instructions": round(total["Ir"] / times),
        "last-level misses": round(misses / times, 1),
        "where": ", ".join(shares),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--take-part", nargs=2, metavar=("ROOT", "WORK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.take_part:
        take_part(Path(given.take_part[0]), given.take_part[1], given.times)
        return
    with scratch.directory() as made:
        root = made / "root"
        kennel = Kennel(root)
        for batch in records.batches():
            kennel.insert(batch)
        names = list(works(kennel))
        kennel.close()
        rows = []
        for work in names:
            rows.append(measure(root, work, max(given.times // 100, 3) if "1,000" in work else given.times))
            print(rows[-1], flush=True)
    page = results.write_table(
        "instructions", "Instructions of one piece of work", rows, {}, records=records.COUNT, times=given.times
    )
    print(page.read_text())


if __name__ == "__main__":
    main()
