"""The members of a request: their names and synonyms, and the checks that give HarperDB's texts.

A check takes the value that was sent and the label under which it was sent; it returns the value to use, or raises
Invalid with the text that the client sees. All problems of a request are collected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MAX_NAME = 250
MOST = 1 << 60  # of anything that is counted; two of them still fit 64 bits

#: Any printable ASCII except the slash and the backtick.
_NAME = re.compile(r"[\x20-\x2e\x30-\x5f\x61-\x7e]*")
_INTEGER = re.compile(r"[+-]?\d+")

Check = Callable[[Any, str], Any]
JsonSchema = dict[str, Any]

#: What values a check lets through, for the API's own description; checks that are missing may take anything.
SCHEMAS: dict[Check, JsonSchema] = {}


def described(schema: JsonSchema) -> Callable[[Check], Check]:
    """Decorates a check with the JSON schema of what it lets through."""

    def keep(check: Check) -> Check:
        SCHEMAS[check] = schema
        return check

    return keep


class Invalid(Exception):
    """One problem with one member; the text is for the client."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a request, known to the operation as `name`, to clients by any of `labels` (the first one wins)."""

    name: str
    check: Check
    labels: tuple[str, ...] = ()
    required: bool = False
    absent: str = ""  # the text when a required member is missing; "'name' is required" by default
    null_is_absent: bool = False
    default: Any = None

    def label(self, request: dict[str, Any]) -> str | None:
        """The label under which the request has this member, None when it has not."""
        for label in self.labels or (self.name,):
            if label in request and not (self.null_is_absent and request[label] is None):
                return label
        return None


def read(members: Iterable[Member], request: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The checked values by member name, and the problems. A member with a problem has the value None."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for member in members:
        label = member.label(request)
        if label is None:
            values[member.name] = member.default
            if member.required:
                problems.append(member.absent or f"'{member.name}' is required")
            continue
        try:
            values[member.name] = member.check(request[label], label)
        except Invalid as problem:
            values[member.name] = None
            problems.append(str(problem))
    return values, problems


# ------------------------------------------------------------------------------------------------------------ checks


def anything(value: Any, label: str) -> Any:
    return value


@described({"type": "string", "minLength": 1})
def text(value: Any, label: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"'{label}' must be a string")
    if not value:
        raise Invalid(f"'{label}' is not allowed to be empty")
    return value


@described({"type": "string", "minLength": 1, "maxLength": MAX_NAME})
def name(value: Any, label: str) -> str:
    """The name of a schema, a table or a key attribute."""
    return _proper_name(text(value, label), label)


@described({"type": ["string", "number"]})
def name_or_number(value: Any, label: str) -> str:
    """The name of a schema, where numbers are taken for their text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Invalid(f"'{label}' must be one of [string, number]")
    return name(_number_text(value), label)


@described({"type": ["string", "number"]})
def attribute_name(value: Any, label: str) -> str:
    """The name of an attribute to search for; letters beyond ASCII are allowed, numbers are taken for their text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Invalid(f"'{label}' must be a string")
    written = text(_number_text(value), label)
    if "/" in written or "`" in written:
        raise Invalid(f"'{label}' names cannot include backticks or forward slashes")
    return written


@described({"type": "boolean"})
def boolean(value: Any, label: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"'{label}' must be a boolean")
    return value


@described({"type": "number"})
def number(value: Any, label: str) -> float:
    """A number, or a text that is one."""
    if isinstance(value, str):
        try:
            value = int(value) if _INTEGER.fullmatch(value) else float(value)
        except ValueError:
            raise Invalid(f"'{label}' must be a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise Invalid(f"'{label}' must be a number")
    return value


def integer(least: int) -> Check:
    """Integers from `least` on, also as text; those beyond all that can be counted are taken for the largest."""

    @described({"type": "integer", "minimum": least})
    def check(value: Any, label: str) -> int:
        given = number(value, label)
        if isinstance(given, float) and not given.is_integer():
            raise Invalid(f"'{label}' must be an integer")
        if given < least:
            raise Invalid(f"'{label}' must be greater than or equal to {least}")
        return min(int(given), MOST)

    return check


@described({"type": "integer", "minimum": 0, "maximum": 65535})
def port(value: Any, label: str) -> int:
    given = integer(0)(value, label)
    if given > 65535:
        raise Invalid(f"'{label}' must be a valid port")
    return given


def one_of(*choices: str, fold: bool = False) -> Check:
    """One of some texts; with `fold` in any case."""

    @described({"type": "string", "enum": list(choices)})
    def check(value: Any, label: str) -> str:
        given = value.lower() if fold and isinstance(value, str) else value
        if given not in choices:
            raise Invalid(f"'{label}' must be one of [{', '.join(choices)}]")
        return str(given)

    return check


def array(item: Check = anything, *, least: int = 0, items: str = "items") -> Check:
    """An array of at least `least` elements that all pass the check `item`, labelled `name[0]`, `name[1]`, …"""

    @described({"type": "array", "items": SCHEMAS.get(item, {}), "minItems": least})
    def check(value: Any, label: str) -> list[Any]:
        if not isinstance(value, list):
            raise Invalid(f"'{label}' must be an array")
        if len(value) < least:
            raise Invalid(f"'{label}' must contain at least {least} {items}")
        if item is anything:
            return value
        return [item(element, f"{label}[{index}]") for index, element in enumerate(value)]

    return check


@described({"type": "object"})
def record(value: Any, label: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"'{label}' must be of type object")
    return value


@described({"type": "array", "items": {"type": "object"}})
def records(value: Any, label: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Invalid(f"'{label}' must be an array")
    for index, element in enumerate(value):
        if not isinstance(element, dict):
            raise Invalid(f"'{label}[{index}]' must be of type object")
    return value


@described({"type": "array", "items": {"type": ["string", "number", "array"]}})
def keys(value: Any, label: str) -> list[Any]:
    """Primary keys to look up: texts, numbers, and arrays of them (compound keys)."""
    if not isinstance(value, list):
        raise Invalid(f"'{label}' must be an array")
    if not all(_is_key(element) for element in value):
        raise Invalid(f"'{label}' must be strings or numbers")
    return value


def object_of(*members: Member) -> Check:
    """An object with these members; problems of theirs are labelled `outer.inner`."""

    @described({"type": "object"})
    def check(value: Any, label: str) -> dict[str, Any]:
        given = record(value, label)
        values, problems = read(members, given)
        if problems:
            raise Invalid(". ".join(problem.replace("'", f"'{label}.", 1) for problem in problems))
        return values

    return check


@described({"type": "string", "format": "date-time"})
def iso_date(value: Any, label: str) -> str:
    """A time in ISO 8601, kept as it was written."""
    try:
        datetime.fromisoformat(text(value, label))
    except ValueError:
        raise Invalid(f"'{label}' must be in ISO 8601 date format") from None
    return str(value)


def _proper_name(value: str, label: str) -> str:
    if len(value) > MAX_NAME:
        raise Invalid(f"'{label}' length must be less than or equal to {MAX_NAME} characters long")
    if not _NAME.fullmatch(value):
        raise Invalid(f"'{label}' names cannot include backticks or forward slashes")
    return value


def _number_text(value: str | int | float) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else str(value)


def _is_key(value: Any) -> bool:
    if isinstance(value, list):
        return all(not isinstance(part, list) and _is_key(part) for part in value)
    return isinstance(value, str | int | float) and not isinstance(value, bool)


# ------------------------------------------------------------------------------------- members of several operations

DEFAULT_SCHEMA = "data"
SCHEMA_LABELS = ("database", "schema")

#: The schema of operations that make and drop things: a text.
NEW_SCHEMA = Member("schema", name, SCHEMA_LABELS, default=DEFAULT_SCHEMA)
SCHEMA = Member("schema", name_or_number, SCHEMA_LABELS, default=DEFAULT_SCHEMA)
TABLE = Member("table", name, required=True)
LIMIT = Member("limit", integer(1))
OFFSET = Member("offset", integer(0), default=0)
HASH_VALUE_LABELS = ("hash_values", "ids")


def get_attributes(*, required: bool = False, items: str = "items") -> Member:
    """`get_attributes`: names, and objects that pick members of nested objects."""
    return Member("get_attributes", _selection(items), ("get_attributes", "select"), required)


def _selection(items: str) -> Check:
    listed = array(least=1, items=items)

    @described({"type": "array", "items": {"type": ["string", "object"]}, "minItems": 1})
    def check(value: Any, label: str) -> list[Any]:
        return [_selected(element, label) for element in listed(value, label)]

    return check


def _selected(element: Any, label: str) -> Any:
    if isinstance(element, dict):
        name, picked = element.get("name"), element.get("select")
        if isinstance(name, str) and isinstance(picked, list) and all(isinstance(member, str) for member in picked):
            return element
    if isinstance(element, bool) or not isinstance(element, str | int | float):
        raise Invalid(f"'{label}' must be strings or numbers")
    return _number_text(element)
