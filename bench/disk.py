"""Bytes on disk beside SQLite and LMDB: `python -m bench.disk`.

Allocated blocks of all files after the records were loaded, 1,000 a transaction: for KennelDB once its upkeep has come
to rest, for SQLite with the log put into the database, and once more after VACUUM.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import records, results, scratch
from bench.compare import Contender, allocated_bytes
from bench.compare.kennel import Kennel
from bench.compare.lmdb_store import Lmdb
from bench.compare.sqlite import Sqlite
from engine.locks import lock
from engine.upkeep import LOCK_NAME

ROUNDS = 6  # of upkeep; a table that nobody writes to is at rest after a few


def load(contender: Contender) -> None:
    for batch in records.batches():
        contender.insert(batch)


def row(who: str, directory: Path, sqlite: float) -> dict[str, Any]:
    each = allocated_bytes(directory) / records.COUNT
    return {"who": who, "bytes per record": round(each), "times SQLite": f"{each / sqlite:.2f}" if sqlite else ""}


def main() -> None:
    with scratch.directory() as made:
        sqlite, lmdb, kennel = Sqlite(made / Sqlite.name), Lmdb(made / Lmdb.name), Kennel(made / Kennel.name)
        contenders: list[Contender] = [sqlite, lmdb, kennel]
        for contender in contenders:
            load(contender)
        sqlite.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        base = allocated_bytes(made / sqlite.name) / records.COUNT
        rows = [row("SQLite as loaded", made / sqlite.name, base)]
        sqlite.connection.execute("VACUUM")
        sqlite.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows.append(row("SQLite after VACUUM", made / sqlite.name, base))
        rows.append(row("LMDB as loaded", made / lmdb.name, base))
        rows.append(row("KennelDB as loaded", made / kennel.name, base))
        with lock(kennel.node.root / LOCK_NAME) as held:
            for _ in range(ROUNDS if held else 0):
                kennel.node.maintain()
        rows.append(row("KennelDB after its upkeep", made / kennel.name, base))
        facts = where_the_bytes_are(kennel)
        for contender in contenders:
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
