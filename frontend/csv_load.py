"""CSV files as records.

RFC 4180 with a header line; empty lines are skipped. Cells that read like numbers, booleans or null become such, unless
the table declares the attribute as text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from engine.catalog import TableDefinition
from frontend.errors import Refused

TEXT_TYPES = ("String", "ID")

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")
_COLUMN = re.compile(r"[\x20-\x2e\x30-\x5f\x61-\x7e]+")
_WORDS = {"": "", "true": True, "TRUE": True, "false": False, "FALSE": False}
_WORDS |= dict.fromkeys(("null", "NULL", "undefined"))

csv.field_size_limit(16 << 20)

Record = dict[str, Any]


def parsed(lines: Iterable[str], definition: TableDefinition) -> tuple[tuple[str, ...], Iterator[Record]]:
    """The columns of a CSV file, and its records, which are read as they are asked for."""
    rows = csv.reader(lines)
    columns = _columns(rows)
    texts = {attribute.name for attribute in definition.attributes if attribute.type in TEXT_TYPES}
    return columns, _records(rows, columns, texts)


def _columns(rows: Iterator[list[str]]) -> tuple[str, ...]:
    try:
        header = next((row for row in rows if row), [])
    except csv.Error as problem:
        raise Refused(400, f"The file is not valid CSV: {problem}") from None
    columns = tuple(name.removeprefix("\ufeff") if place == 0 else name for place, name in enumerate(header))
    for name in columns:
        if not _COLUMN.fullmatch(name):
            raise Refused(400, f"Invalid column name '{name}', cancelling load operation")
    return columns


def _records(rows: Iterator[list[str]], columns: tuple[str, ...], texts: set[str]) -> Iterator[Record]:
    try:
        for row in rows:
            if row:
                cells = zip(columns, row, strict=False)
                yield {name: cell if name in texts else value_of(cell) for name, cell in cells}
    except csv.Error as problem:
        raise Refused(400, f"The file is not valid CSV: {problem}") from None


def value_of(cell: str) -> Any:
    """The value that a cell stands for."""
    if cell in _WORDS:
        return _WORDS[cell]
    number = _NUMBER.fullmatch(cell)
    if number is None:
        return _moment_text(cell) if _MOMENT.fullmatch(cell) else cell
    if number[1] is not None:
        return float(cell)
    integer = int(cell) if len(cell) <= 20 else 2**64
    return integer if -(2**63) <= integer < 2**64 else cell


def _moment_text(cell: str) -> str:
    """A time as every other one is written: with milliseconds."""
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:  # the 30th of February, say
        return cell
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
