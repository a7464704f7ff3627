"""Figures on paper: bench/results/NAME.json for programs, NAME.md for people; both tell the machine and the commit."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lmdb

import engine

RESULTS = Path(__file__).parent / "results"
IDLE = 0.3  # a load average above it says that others were at work too
LOAD_AT_START = os.getloadavg()[0]  # before we added our own


@dataclass(frozen=True, slots=True)
class Figure:
    """How often per second `who` did `work`. `more` holds what else belongs to it, by name."""

    work: str
    who: str
    per_second: float
    more: dict[str, Any]


def circumstances() -> dict[str, Any]:
    """The machine, the versions and the commit; nothing that tells which machine it was."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "kennel": engine.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "lmdb": ".".join(map(str, lmdb.version())),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
        "load_at_start": round(LOAD_AT_START, 2),
        "idle": LOAD_AT_START < IDLE,
    }


def write(name: str, title: str, figures: Sequence[Figure], **parameters: Any) -> Path:
    """Keep the figures of a run; gives the page for people."""
    return _keep(name, title, {"figures": list(map(asdict, figures))}, _table(figures), parameters)


def write_table(
    name: str, title: str, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, str], **parameters: Any
) -> Path:
    """Keep a table whose columns are the members of its rows, and single facts below it; gives the page for people."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    lines += ["| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |" for row in rows]
    if facts:
        lines += ["", "| | |", "| --- | ---: |", *(f"| {fact} | {value} |" for fact, value in facts.items())]
    return _keep(name, title, {"rows": list(map(dict, rows)), "facts": dict(facts)}, lines, parameters)


def _keep(name: str, title: str, measured: dict[str, Any], lines: Iterable[str], parameters: Mapping[str, Any]) -> Path:
    found = circumstances()
    content = {"title": title, "circumstances": found, "parameters": dict(parameters), **measured}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    page = RESULTS / f"{name}.md"
    page.write_text("\n".join([f"# {title}", "", *_preface(found, parameters), "", *lines, ""]))
    return page


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _preface(found: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterable[str]:
    yield f"{found['date']}, commit {found['commit']}, KennelDB {found['kennel']}, Python {found['python']},"
    yield f"SQLite {found['sqlite']}, LMDB {found['lmdb']}, Linux {found['kernel']},"
    yield f"{found['cores']} cores ({found['cpu']})."
    if parameters:
        yield ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in parameters.items()).capitalize() + "."
    if not found["idle"]:
        yield ""
        yield f"**The machine was not idle** (load {found['load_at_start']} at the start): mind ratios, not rates."
        yield "Leave durable writes one by one aside: after its sync a writer waits for a core, which hides all else."


def _table(figures: Sequence[Figure]) -> Iterable[str]:
    """A row for each work; contenders side by side, and how many times the peer's rate ours is."""
    columns = list(dict.fromkeys(figure.who for figure in figures))  # the first to appear is ours
    others = sorted({name for figure in figures for name in figure.more})
    ours, *peers = columns
    heads = ["per second", *columns, *(f"{ours} / {peer}" for peer in peers), *others]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- |" + " ---: |" * (len(heads) - 1)
    for work in dict.fromkeys(figure.work for figure in figures):
        row = {figure.who: figure for figure in figures if figure.work == work}
        rates = {who: figure.per_second for who, figure in row.items()}
        ratios = [f"{rates[ours] / rates[peer]:.2f}" if {ours, peer} <= rates.keys() else "" for peer in peers]
        more = {name: value for figure in row.values() for name, value in figure.more.items()}
        cells = [work, *(f"{rates[who]:,.0f}" if who in rates else "" for who in columns), *ratios]
        yield "| " + " | ".join([*cells, *(str(more.get(name, "")) for name in others)]) + " |"


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=RESULTS.parent, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + changed


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
