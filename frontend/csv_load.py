"""CSV files as records, and their way into a table.

RFC 4180 with a header line; empty lines are skipped. Cells that read like numbers, booleans or null become such, unless
the table declares the attribute as text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import engine
from frontend.errors import Refused

CHUNK = 1000  # records that are written in one transaction
ACTIONS = ("insert", "update", "upsert")
TEXT_TYPES = ("String", "ID")

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")
_COLUMN = re.compile(r"[\x20-\x2e\x30-\x5f\x61-\x7e]+")
_WORDS = {"": "", "true": True, "TRUE": True, "false": False, "FALSE": False}
_WORDS |= dict.fromkeys(("null", "NULL", "undefined"))

csv.field_size_limit(16 << 20)

Record = dict[str, Any]


def load(
    lines: Iterable[str],
    table: engine.Table,
    action: str,
    user: str,
    check: Callable[[tuple[str, ...]], None],
) -> str:
    """Write the records of a CSV file in chunks, each of them atomic; gives the message about it.

    `check` is called with the columns before anything is written, and raises if the user may not write them.
    """
    rows = csv.reader(lines)
    columns = _columns(rows)
    check(columns)
    texts = {attribute.name for attribute in table.definition.attributes if attribute.type in TEXT_TYPES}
    write = {"insert": table.insert, "update": table.update, "upsert": table.upsert}[action]
    found = written = 0
    for chunk in _chunks(_records(rows, columns, texts)):
        found += len(chunk)
        written += len(write(chunk, user=user).written)
    return f"successfully loaded {written} of {found} records" if found else "No records parsed from csv file."


def _columns(rows: Iterator[list[str]]) -> tuple[str, ...]:
    header = next((row for row in rows if row), [])
    columns = tuple(name.removeprefix("\ufeff") if place == 0 else name for place, name in enumerate(header))
    for name in columns:
        if not _COLUMN.fullmatch(name):
            raise Refused(400, f"Invalid column name '{name}', cancelling load operation")
    return columns


def _records(rows: Iterator[list[str]], columns: tuple[str, ...], texts: set[str]) -> Iterator[Record]:
    for row in rows:
        if row:
            cells = zip(columns, row, strict=False)
            yield {name: cell if name in texts else value_of(cell) for name, cell in cells}


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


def _chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    while chunk := list(islice(records, CHUNK)):
        yield chunk
