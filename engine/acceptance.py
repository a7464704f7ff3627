"""What a table accepts: the checks on records and keys before they are written, with HarperDB's texts.

Records come out with a valid primary key each, their own or a new one. In schema-defined tables values are checked
against the declared types; attributes that are not declared are stored unchecked.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from typing import Any

from engine import keys
from engine.catalog import TIMES, Attribute, TableDefinition
from engine.errors import InvalidKey, InvalidRecord

MISSING = (None, "")  # keys that stand for none
IMPOSSIBLE_KEYS = ("null", "undefined")
NUMERIC = ("Int", "Long", "Float", "BigInt")  # declared for a key, they rule out a UUID
REQUIRED = "Property {} is required (and not does not allow null values)"

Record = dict[str, Any]


def accept(definition: TableDefinition, kind: str, records: Any, exists: Callable[[Any], bool]) -> list[Record]:
    """The records of a request as they can be written; those that get a key are copies.

    `kind` is "insert", "update" or "upsert". `exists` tells whether a key is in the table; it is asked only for
    upserts that lack a required attribute. InvalidRecord, InvalidKey.
    """
    if not isinstance(records, list | tuple):
        raise InvalidRecord("'records' must be an array")
    accepted = [_with_key(definition, kind, record, position) for position, record in enumerate(records)]
    if definition.attributes:
        complaints = [text for record in accepted for text in _complaints(definition, kind, record, exists)]
        if complaints:
            raise InvalidRecord(". ".join(complaints))
    return accepted


def accept_keys(listed: Any) -> list[Any]:
    """The keys of a delete request; InvalidKey."""
    if not isinstance(listed, list | tuple):
        raise InvalidKey("'hash_values' must be an array")
    for key in listed:
        keys.encode_primary(key)
    return list(listed)


def _with_key(definition: TableDefinition, kind: str, record: Any, position: int) -> Record:
    if not isinstance(record, dict):
        raise InvalidRecord(f"'records[{position}]' must be of type object")
    key = record.get(definition.primary_key)
    if isinstance(key, str) and key in IMPOSSIBLE_KEYS:
        raise InvalidKey(f"Invalid hash value: '{key}' is not a valid hash attribute value, check log for more info")
    if key is not None and key != "":
        return record
    if kind == "update":
        raise InvalidKey("a valid hash attribute must be provided with update record, check log for more info")
    if any(item.is_primary_key and item.type in NUMERIC for item in definition.attributes):
        raise InvalidKey(REQUIRED.format(definition.primary_key))
    return {**record, definition.primary_key: str(uuid.uuid4())}


# --- declared types --------------------------------------------------------------------------------------------------


def _complaints(definition: TableDefinition, kind: str, record: Record, exists: Callable[[Any], bool]) -> Iterator[str]:
    for attribute in definition.attributes:
        if attribute.name in TIMES:
            continue
        value = record.get(attribute.name)
        if value is not None:
            yield from _type_complaint(attribute, value)
        elif attribute.nullable is False and (
            attribute.name in record
            or kind == "insert"
            or (kind == "upsert" and not exists(record[definition.primary_key]))
        ):
            yield REQUIRED.format(attribute.name)


def _type_complaint(attribute: Attribute, value: Any) -> Iterator[str]:
    fits, wanted = TYPES.get(attribute.type or "Any", TYPES["Any"])
    if not fits(value):
        shown = json.dumps(value, ensure_ascii=False, default=str)
        yield f"Value {shown} in property {attribute.name} must be {wanted}"


def _integer(least: int, most: int) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value == value // 1 and least <= value <= most

    return fits


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(map(_is_text, value)))


def _is_date(value: Any) -> bool:
    """A point in time as JSON can have it: milliseconds, or a text in ISO 8601."""
    if isinstance(value, date) or _is_number(value):
        return True
    if not isinstance(value, str):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


INT = (-(2**31), 2**31 - 1)
LONG = (-(2**63), 2**63 - 1)

# Declared type -> (what fits it, how the complaint ends); other names are accepted and mean Any.
TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "String": (_is_text, "a string"),
    "Int": (_integer(*INT), f"an integer (from {INT[0]} to {INT[1]})"),
    "Long": (_integer(*LONG), f"an integer (from {LONG[0]} to {LONG[1]})"),
    "Float": (_is_number, "a number"),
    "BigInt": (_integer(*LONG), "a bigint"),
    "Boolean": (lambda value: isinstance(value, bool), "a boolean"),
    "ID": (_is_id, "a string, or an array of strings"),
    "Date": (_is_date, "a date"),
    "Bytes": (lambda value: isinstance(value, str | bytes), "bytes, or a text of them in base64"),
    "Blob": (lambda value: isinstance(value, str | bytes), "bytes, or a text of them in base64"),
    "Any": (lambda value: True, "anything"),
}


def attributes_in(records: Iterable[Record]) -> Iterator[Any]:
    """The attribute names of some records in order of appearance, each once."""
    return iter(dict.fromkeys(name for record in records for name in record))
