"""PostgreSQL as Debian packages it: a cluster of its own with default settings, on a socket in its directory.

There is no driver here: libpq is called directly. Its results stay in its own memory while statements are measured, so
that PostgreSQL is spared the making of Python objects that the others do.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.records import Record

PACKAGED = Path("/usr/lib/postgresql")
USER = "nobody"  # runs the server for root, whom PostgreSQL refuses

_COMMAND_DONE, _ROWS, _COPYING = 1, 2, 4  # what PQresultStatus gives
_CONVERSIONS: dict[int, Callable[[bytes], Any]] = {
    16: lambda text: text == b"t",
    **dict.fromkeys((20, 21, 23), int),
    **dict.fromkeys((700, 701, 1700), float),
}
_TYPES = {int: "bigint", float: "double precision", bool: "boolean", str: "text", dict: "jsonb"}


def missing() -> str | None:
    """What there is not, of what it takes to run PostgreSQL here."""
    if not list(PACKAGED.glob("*/bin/initdb")):
        return f"{PACKAGED}/*/bin"
    return None if ctypes.util.find_library("pq") else "libpq"


class Postgres:
    name = "PostgreSQL"

    def __init__(self) -> None:
        self._programs = max(PACKAGED.glob("*/bin"), key=lambda path: int(path.parent.name))
        self._directory = Path(tempfile.mkdtemp(prefix="kennel-bench-pg-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self._directory, USER)
        try:
            self._do("initdb", "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale", "C")
            self._do(
                "pg_ctl", "-w", "-o", f"-c listen_addresses= -c unix_socket_directories={self._directory}", "start"
            )
        except BaseException:
            shutil.rmtree(self._directory)
            raise
        self._library = _library()
        self._connection = self._library.PQconnectdb(f"host={self._directory} user=bench dbname=postgres".encode())
        self.run("CREATE SCHEMA bench")

    def _do(self, program: str, *arguments: str) -> None:
        others: dict[str, Any] = {"user": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run(
            [self._programs / program, "-D", self._directory / "data", *arguments],
            check=True, cwd=self._directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **others,
        )  # fmt: skip

    def fill(self, table: str, batches: Iterable[Sequence[Record]]) -> None:
        """Makes a table; the first attribute of its records is the primary key, all others have indexes but objects."""
        made = False
        for batch in batches:
            if not made:
                kinds = {name: _TYPES[type(value)] for name, value in batch[0].items()}
                key = next(iter(kinds))
                self.run(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in kinds.items())})")
                made = True
            self._copy(table, b"".join(_line(record) for record in batch))
        self.run(f"ALTER TABLE {table} ADD PRIMARY KEY ({key})")
        for name in [name for name, kind in kinds.items() if name != key and kind != "jsonb"]:
            self.run(f"CREATE INDEX ON {table} ({name})")
        self.run(f"VACUUM ANALYZE {table}")

    def run(self, sql: str) -> None:
        """The rows are all there, and dropped."""
        self._library.PQclear(self._executed(sql))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found, result = self._library, self._executed(sql)
        columns = [
            (place, found.PQfname(result, place).decode(), _CONVERSIONS.get(found.PQftype(result, place), bytes.decode))
            for place in range(found.PQnfields(result))
        ]
        rows = [
            {
                name: None if found.PQgetisnull(result, row, place) else convert(found.PQgetvalue(result, row, place))
                for place, name, convert in columns
            }
            for row in range(found.PQntuples(result))
        ]
        found.PQclear(result)
        return rows

    def close(self) -> None:
        self._library.PQfinish(self._connection)
        self._do("pg_ctl", "-m", "fast", "stop")
        shutil.rmtree(self._directory)

    def _executed(self, sql: str) -> int:
        result: int = self._library.PQexec(self._connection, sql.encode())
        if self._library.PQresultStatus(result) not in (_COMMAND_DONE, _ROWS, _COPYING):
            raise RuntimeError(self._library.PQerrorMessage(self._connection).decode())
        return result

    def _copy(self, table: str, lines: bytes) -> None:
        self.run(f"COPY {table} FROM STDIN")
        self._library.PQputCopyData(self._connection, lines, len(lines))
        self._library.PQputCopyEnd(self._connection, None)
        while result := self._library.PQgetResult(self._connection):
            if self._library.PQresultStatus(result) != _COMMAND_DONE:
                raise RuntimeError(self._library.PQerrorMessage(self._connection).decode())
            self._library.PQclear(result)


def _line(record: Record) -> bytes:
    """As COPY reads it; no value here has anything to escape."""
    return (
        "\t".join(
            orjson.dumps(value).decode() if isinstance(value, dict) else str(value) for value in record.values()
        ).encode()
        + b"\n"
    )


def _library() -> Any:
    library = ctypes.CDLL(ctypes.util.find_library("pq"))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    faces: dict[str, tuple[Any, list[Any]]] = {
        "PQconnectdb": (pointer, [text]), "PQfinish": (None, [pointer]), "PQexec": (pointer, [pointer, text]),
        "PQclear": (None, [pointer]), "PQresultStatus": (number, [pointer]), "PQerrorMessage": (text, [pointer]),
        "PQntuples": (number, [pointer]), "PQnfields": (number, [pointer]), "PQfname": (text, [pointer, number]),
        "PQftype": (ctypes.c_uint, [pointer, number]), "PQgetvalue": (text, [pointer, number, number]),
        "PQgetisnull": (number, [pointer, number, number]), "PQputCopyData": (number, [pointer, text, number]),
        "PQputCopyEnd": (number, [pointer, text]), "PQgetResult": (pointer, [pointer]),
    }  # fmt: skip
    for name, (result, arguments) in faces.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
