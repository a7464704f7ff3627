"""SQLite through the standard sqlite3: an index for each scalar attribute, a write-ahead log, synchronous=FULL."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson

from bench.records import OBJECT, SCALARS, Record

_COLUMNS = ("id", *SCALARS, OBJECT)
_BOOLEAN = "adopted"  # SQLite has no booleans


class Sqlite:
    name = "SQLite"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(directory / "bench.db", isolation_level=None, timeout=60)
        self._run = self.connection.execute
        self._run("PRAGMA journal_mode = WAL")
        self._run("PRAGMA synchronous = FULL")
        self._run("PRAGMA cache_size = -65536")
        others = ", ".join(_COLUMNS[1:])
        self._run(f"CREATE TABLE IF NOT EXISTS dog (id INTEGER PRIMARY KEY, {others})")
        for name in SCALARS:
            self._run(f"CREATE INDEX IF NOT EXISTS dog_{name} ON dog ({name})")

    def get(self, key: int) -> Record | None:
        row = self.get_row(key)
        return _record(row) if row else None

    def get_row(self, key: int) -> tuple[Any, ...] | None:
        """The record as sqlite3 gives it: a tuple, the object a text."""
        row: tuple[Any, ...] | None = self._run("SELECT * FROM dog WHERE id = ?", (key,)).fetchone()
        return row

    def insert(self, records: list[Record]) -> None:
        self._run("BEGIN IMMEDIATE")
        places = ", ".join("?" * len(_COLUMNS))
        self.connection.executemany(f"INSERT OR IGNORE INTO dog VALUES ({places})", map(_row, records))
        self._run("COMMIT")

    def update(self, attribute: str, values: dict[int, object]) -> None:
        changes = [(value, key) for key, value in values.items()]
        self._change(f"UPDATE dog SET {attribute} = ? WHERE id = ?", changes)

    def delete(self, keys: list[int]) -> None:
        self._change("DELETE FROM dog WHERE id = ?", [(key,) for key in keys])

    def range(self, attribute: str, low: int, limit: int) -> list[Record]:
        statement = f"SELECT * FROM dog WHERE {attribute} >= ? ORDER BY {attribute} LIMIT ?"
        return [_record(row) for row in self._run(statement, (low, limit))]

    def containing(self, attribute: str, part: str) -> list[Record]:
        return [_record(row) for row in self._run(f"SELECT * FROM dog WHERE instr({attribute}, ?)", (part,))]

    def count(self) -> int:
        return self._number("SELECT COUNT(*) FROM dog")

    def count_from(self, attribute: str, low: int) -> int:
        return self._number(f"SELECT COUNT(*) FROM dog WHERE {attribute} >= ?", low)

    def close(self) -> None:
        self.connection.close()

    def _change(self, statement: str, each: list[tuple[Any, ...]]) -> None:
        """In one transaction; a statement alone is one."""
        if len(each) == 1:
            self._run(statement, each[0])
            return
        self._run("BEGIN IMMEDIATE")
        self.connection.executemany(statement, each)
        self._run("COMMIT")

    def _number(self, statement: str, *parameters: object) -> int:
        return int(self._run(statement, parameters).fetchone()[0])


def _row(record: Record) -> tuple[Any, ...]:
    *scalars, owner = record.values()
    return (*scalars, orjson.dumps(owner))


def _record(row: tuple[Any, ...]) -> Record:
    found = dict(zip(_COLUMNS, row, strict=True))
    found[_BOOLEAN] = bool(found[_BOOLEAN])
    found[OBJECT] = orjson.loads(found[OBJECT])
    return found
