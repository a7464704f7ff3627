"""Functions on texts. Numbers and booleans are taken as their texts; lengths and positions count code points."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from grammar.errors import SqlError
from grammar.functions.signature import MANY, function
from grammar.patterns import regexp
from grammar.values import Value, number_of, text_of

LONGEST_TEXT = 16 * 1024 * 1024  # no record could hold more
TYPE_NAMES = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}


def _of_text(compute: Callable[[str], Value]) -> Callable[[Value], Value]:
    return lambda value: compute(text_of(value))


def length(value: Value) -> int:
    return len(value) if type(value) is list else len(text_of(value))


def trim(value: Value, side: str = "BOTH", characters: Value = None) -> str:
    text, unwanted = text_of(value), None if characters is None else text_of(characters)
    match side.upper():
        case "LEADING":
            return text.lstrip(unwanted)
        case "TRAILING":
            return text.rstrip(unwanted)
    return text.strip(unwanted)


def substring(value: Value, start: Value, count: Value = None) -> Value:
    """From position `start`, counted from 1, or from the end when negative; 0 is the place before the first."""
    text, start = text_of(value), number_of(start)
    if start is None:
        return None
    start = int(start)
    begin = start - 1 if start >= 0 else len(text) + start
    if count is None:
        return text[max(begin, 0) :]
    size = number_of(count)
    return None if size is None else text[max(begin, 0) : max(begin + int(size), 0)] if size > 0 else ""


def position(value: Value, part: Value) -> int:
    return text_of(value).find(text_of(part)) + 1


def replaced(value: Value, old: Value, new: Value) -> str:
    text, unwanted = text_of(value), text_of(old)
    return text.replace(unwanted, text_of(new)) if unwanted else text


def concat(*values: Value) -> str:
    return "".join([text_of(value) for value in values if value is not None])


def concat_with(separator: Value, *values: Value) -> Value:
    return (
        None
        if separator is None
        else text_of(separator).join([text_of(value) for value in values if value is not None])
    )


def characters(*codes: Value) -> Value:
    numbers = [number_of(code) for code in codes]
    if any(number is None or not 0 <= number < 0x110000 or 0xD800 <= number < 0xE000 for number in numbers):
        return None
    return "".join([chr(int(number)) for number in numbers if number is not None])


def code_of(value: Value) -> Value:
    text = text_of(value)
    return ord(text[0]) if text else None


def regexp_like(value: Value, pattern: Value, flags: Value = "") -> bool:
    return regexp(text_of(pattern), text_of(flags))(text_of(value))


def _pad(value: Value, size: Value, filler: Value, left: bool) -> Value:
    text, pad, wanted = text_of(value), text_of(filler), _size(size)
    if wanted is None or not pad:
        return None if wanted is None else text[:wanted]
    missing = wanted - len(text)
    padding = (pad * (missing // len(pad) + 1))[: max(missing, 0)]
    return (padding + text if left else text + padding)[:wanted]


def left_padded(value: Value, size: Value, filler: Value = " ") -> Value:
    return _pad(value, size, filler, left=True)


def right_padded(value: Value, size: Value, filler: Value = " ") -> Value:
    return _pad(value, size, filler, left=False)


def blanks(count: Value) -> Value:
    wanted = _size(count)
    return None if wanted is None else " " * wanted


def _size(value: Value) -> int | None:
    number = number_of(value)
    if number is None:
        return None
    if number > LONGEST_TEXT:
        raise SqlError(f"A text of {number} characters is too long.")
    return max(int(number), 0)


def type_name(value: Value) -> str:
    return "null" if value is None else TYPE_NAMES[type(value)]


def new_uuid() -> str:
    return str(uuid.uuid4())


FUNCTIONS = (
    function("UPPER UCASE", _of_text(str.upper), 1),
    function("LOWER LCASE", _of_text(str.lower), 1),
    function("LEN LENGTH", length, 1),
    function("CHAR_LENGTH", _of_text(len), 1),
    function("TRIM", trim, 1, 3),
    function("LTRIM", _of_text(lambda text: text.lstrip(" ")), 1),
    function("RTRIM", _of_text(lambda text: text.rstrip(" ")), 1),
    function("SUBSTRING SUBSTR MID", substring, 2, 3),
    function("INSTR", position, 2),
    function("REPLACE", replaced, 3),
    function("CONCAT", concat, 0, MANY, takes_null=True),
    function("CONCAT_WS", concat_with, 1, MANY, takes_null=True),
    function("CHAR", characters, 1, MANY),
    function("ASCII", code_of, 1),
    function("REGEXP_LIKE", regexp_like, 2, 3),
    function("REVERSE", _of_text(lambda text: text[::-1]), 1),
    function("LPAD", left_padded, 2, 3),
    function("RPAD", right_padded, 2, 3),
    function("SPACE", blanks, 1),
    function("TYPEOF", type_name, 1, takes_null=True),
    function("UUID NEWID GEN_RANDOM_UUID", new_uuid, 0, volatile=True),
)
