"""CSV files as records.

RFC 4180 with a header line; empty lines are skipped. Cells that read like numbers, booleans or null become such, unless
the table declares the attribute as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from engine.catalog import TableDefinition
from frontend.csv_rows import Malformed, Reader
from frontend.errors import Refused
from frontend.loading import CHUNK_BYTES, CHUNK_RECORDS

TEXT_TYPES = ("String", "ID")

_COLUMN = re.compile(r"[\x20-\x2e\x30-\x5f\x61-\x7e]+")

Record = dict[str, Any]


def parsed(file: BinaryIO, definition: TableDefinition) -> tuple[tuple[str, ...], Iterator[list[Record]]]:
    """The columns of a CSV file, and its records in chunks, which are read as they are asked for. Refused with 400."""
    texts = frozenset(attribute.name for attribute in definition.attributes if attribute.type in TEXT_TYPES)
    reader = Reader(file.read)
    try:
        columns = tuple(reader.row())
    except Malformed as problem:
        raise _bad(problem) from None
    for name in columns:
        if not _COLUMN.fullmatch(name):
            raise Refused(400, f"Invalid column name '{name}', cancelling load operation")
    return columns, _chunks(reader, columns, texts)


def _chunks(reader: Reader, columns: tuple[str, ...], texts: frozenset[str]) -> Iterator[list[Record]]:
    try:
        while chunk := reader.records(columns, texts, CHUNK_RECORDS, CHUNK_BYTES):
            yield chunk
    except Malformed as problem:
        raise _bad(problem) from None


def _bad(problem: Malformed) -> Refused:
    return Refused(400, f"The file is not valid CSV: {problem}")
