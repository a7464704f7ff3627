"""Bytes on disk beside SQLite and LMDB: `python -m bench.disk`.

Allocated blocks of all files after the records were loaded, 1,000 a transaction: for KennelDB once its upkeep has come
to rest, for SQLite with the log put into the database, and once more after VACUUM.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from bench import records, results
from bench.compare import Contender, allocated_bytes
from bench.compare.kennel import Kennel
from bench.compare.lmdb_store import Lmdb
from bench.compare.sqlite import Sqlite
from engine.locks import lock
from engine.upkeep import LOCK_NAME

BATCH = 1000
ROUNDS = 6  # of upkeep; a table that nobody writes to is at rest after a few


def load(contender: Contender) -> None:
    for first in range(0, records.COUNT, BATCH):
        contender.insert(records.batch(first, min(BATCH, records.COUNT - first)))


def row(who: str, directory: Path, sqlite: float) -> dict[str, Any]:
    each = allocated_bytes(directory) / records.COUNT
    return {"who": who, "bytes per record": round(each), "times SQLite": f"{each / sqlite:.2f}" if sqlite else ""}


def main() -> None:
    where = os.environ.get("KENNEL_BENCH_DIRECTORY")
    with tempfile.TemporaryDirectory(prefix="kennel-bench-", dir=where) as made:
        sqlite, lmdb, kennel = (kind(Path(made) / kind.name) for kind in (Sqlite, Lmdb, Kennel))
        for contender in (sqlite, lmdb, kennel):
            load(contender)
        sqlite.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        base = allocated_bytes(Path(made) / sqlite.name) / records.COUNT
        rows = [row("SQLite as loaded", Path(made) / sqlite.name, base)]
        sqlite.connection.execute("VACUUM")
        sqlite.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows.append(row("SQLite after VACUUM", Path(made) / sqlite.name, base))
        rows.append(row("LMDB as loaded", Path(made) / lmdb.name, base))
        rows.append(row("KennelDB as loaded", Path(made) / kennel.name, base))
        with lock(kennel.node.root / LOCK_NAME) as held:
            for _ in range(ROUNDS if held else 0):
                kennel.node.maintain()
        rows.append(row("KennelDB after its upkeep", Path(made) / kennel.name, base))
        facts = where_the_bytes_are(kennel)
        for contender in (sqlite, lmdb, kennel):
            contender.close()
    page = results.write_table("disk", "Bytes on disk", rows, facts, records=records.COUNT)
    print(page.read_text())


def where_the_bytes_are(kennel: Kennel) -> dict[str, str]:
    """Of KennelDB's table, by file."""
    found: dict[str, str] = {}
    for suffix in (".log", ".kbt", ".shm"):
        size = sum(path.stat().st_blocks * 512 for path in kennel.table.directory.glob(f"*{suffix}"))
        found[f"bytes per record in *{suffix}"] = f"{size / records.COUNT:.0f}"
    counters = kennel.table.counters()
    found["pages of the index"] = f"{counters['pages']:,}, of them {counters['free_pages']:,} free"
    return found


if __name__ == "__main__":
    main()
