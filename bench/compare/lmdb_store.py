"""LMDB with records as JSON and indexes made by hand: one database per scalar attribute, of value + key."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import orjson

from bench.records import SCALARS, Record

_ROOM = 64 << 30  # address space, not disk
_SIGN = 1 << 63
_DOUBLE = struct.Struct(">d")
_BITS = struct.Struct(">Q")


class Lmdb:
    name = "LMDB"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.environment = lmdb.open(str(directory), map_size=_ROOM, max_dbs=len(SCALARS) + 1)
        self.records = self.environment.open_db(b"records")
        self._indexes = {name: self.environment.open_db(name.encode()) for name in SCALARS}

    def get(self, key: int) -> Record | None:
        with self.environment.begin(db=self.records) as transaction:
            return self.get_within(transaction, key)

    def get_within(self, transaction: Any, key: int) -> Record | None:
        """The same in a transaction that is kept open."""
        body = transaction.get(encode_key(key))
        return orjson.loads(body) if body else None

    def insert(self, records: list[Record]) -> None:
        with self.environment.begin(write=True) as transaction:
            for record in records:
                key = encode_key(record["id"])
                if transaction.put(key, orjson.dumps(record), db=self.records, overwrite=False):
                    for name, index in self._indexes.items():
                        transaction.put(_encode(record[name]) + key, b"", db=index)

    def update(self, attribute: str, values: dict[int, object]) -> None:
        index = self._indexes[attribute]
        with self.environment.begin(write=True) as transaction:
            for key, value in values.items():
                encoded = encode_key(key)
                record = orjson.loads(transaction.get(encoded, b"", self.records))
                transaction.delete(_encode(record[attribute]) + encoded, db=index)
                record[attribute] = value
                transaction.put(_encode(value) + encoded, b"", db=index)
                transaction.put(encoded, orjson.dumps(record), db=self.records)

    def delete(self, keys: list[int]) -> None:
        with self.environment.begin(write=True) as transaction:
            for encoded in map(encode_key, keys):
                record = orjson.loads(transaction.pop(encoded, self.records) or b"")
                for name, index in self._indexes.items():
                    transaction.delete(_encode(record[name]) + encoded, db=index)

    def range(self, attribute: str, low: int, limit: int) -> list[Record]:
        with self.environment.begin(db=self.records) as transaction:
            entries = self._entries(transaction, attribute, low)
            return [
                orjson.loads(transaction.get(entry[-8:], b"")) for _, entry in zip(range(limit), entries, strict=False)
            ]

    def containing(self, attribute: str, part: str) -> list[Record]:
        with self.environment.begin() as transaction:
            every = map(orjson.loads, transaction.cursor(self.records).iternext(keys=False))
            return [record for record in every if part in record[attribute]]

    def count(self) -> int:
        with self.environment.begin() as transaction:
            return int(transaction.stat(self.records)["entries"])

    def count_from(self, attribute: str, low: int) -> int:
        with self.environment.begin() as transaction:
            return sum(1 for _ in self._entries(transaction, attribute, low))

    def close(self) -> None:
        self.environment.close()

    def _entries(self, transaction: Any, attribute: str, low: int) -> Iterator[bytes]:
        cursor = transaction.cursor(self._indexes[attribute])
        return cursor.iternext(values=False) if cursor.set_range(_encode(low)) else iter(())


def encode_key(key: int) -> bytes:
    return key.to_bytes(8, "big")


def _encode(value: Any) -> bytes:
    """A value so that bytes compare as values do, within one type."""
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, bool):
        return b"\1" if value else b"\0"
    (bits,) = _BITS.unpack(_DOUBLE.pack(value))
    return _BITS.pack(bits ^ (_SIGN | -(bits >> 63) & (_SIGN - 1)))
