"""CAST and CONVERT: what each type makes of a value. Null stays null."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

import msgspec

from grammar.errors import SqlError
from grammar.functions.dateformat import formatted
from grammar.functions.signature import function
from grammar.syntax import Type
from grammar.values import Value, finite, number_of, text_of, truth

Convert = Callable[[Value], Value]

_INTEGERS = """
    INT INTEGER TINYINT SMALLINT MEDIUMINT BIGINT INT2 INT4 INT8 SERIAL SMALLSERIAL BIGSERIAL LONG UNSIGNED SIGNED
"""
INTEGERS = frozenset(_INTEGERS.split())
NUMBERS = frozenset(["FLOAT", "NUMBER", "DECIMAL", "NUMERIC", "DEC", "DOUBLE", "REAL", "FLOAT4", "FLOAT8"])
TEXTS = frozenset(["STRING", "VARCHAR", "NVARCHAR", "TEXT", "CLOB"])
PADDED = frozenset(["CHAR", "NCHAR"])
BOOLEANS = frozenset(["BOOLEAN", "BOOL", "BIT"])
DATE_FORMATS = {"DATE": "YY.MM.DD", "DATETIME": "YYYY.MM.DD HH:mm:ss.SSS", "DATETIME2": "YYYY.MM.DD HH:mm:ss.SSS"}
FALSE_TEXTS = frozenset({"", "0", "false"})
STYLES = {
    1: "MM/DD/YY",
    2: "YY.MM.DD",
    3: "DD/MM/YY",
    4: "DD.MM.YY",
    5: "DD-MM-YY",
    6: "DD MMM YY",
    7: "MMM DD,YY",
    8: "HH:mm:ss",
    10: "MM-DD-YY",
    11: "YY/MM/DD",
    12: "YYMMDD",
}
LONG_YEARS = {100 + style: layout.replace("YY", "YYYY") for style, layout in STYLES.items()}


def cast(target: Type) -> Convert:
    """The conversion to a type. Raises SqlError for a type that does not exist."""
    convert = _conversion(target)
    return lambda value: None if value is None else convert(value)


def _conversion(target: Type) -> Convert:
    name, sizes = target.name, target.sizes
    if name in INTEGERS:
        return to_integer
    if name in NUMBERS:
        return lambda value: to_number(value, *sizes)
    if name in TEXTS:
        return lambda value: text_of(value)[: sizes[0]] if sizes else text_of(value)
    if name in PADDED:
        return lambda value: text_of(value)[: sizes[0]].ljust(sizes[0]) if sizes else text_of(value)
    if name in BOOLEANS:
        return to_boolean
    if name in DATE_FORMATS:
        return lambda value: formatted(value, DATE_FORMATS[name])
    if name == "MONEY":
        return to_money
    if name == "JSON":
        return to_json
    raise SqlError(f"unknown type '{name}'")


def to_integer(value: Value) -> int:
    """Towards zero; 0 for what is no number."""
    number = number_of(value)
    return 0 if number is None else math.trunc(number)


def to_number(value: Value, precision: int | None = None, scale: int | None = None) -> Value:
    """`precision` counts significant digits, `scale` decimals."""
    number = number_of(value)
    if number is None or precision is None:
        return number
    exact = Decimal(repr(number))
    if scale is not None:
        with_scale = exact.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, Context(prec=400))
        return finite(float(with_scale))
    return finite(float(Context(prec=max(precision, 1), rounding=ROUND_HALF_UP).create_decimal(exact)))


def to_money(value: Value) -> Value:
    number = number_of(value)
    if number is None:
        return None
    return finite(float(Decimal(repr(number)).quantize(Decimal("0.01"), ROUND_DOWN, Context(prec=400))))


def to_boolean(value: Value) -> bool | None:
    return value not in FALSE_TEXTS if type(value) is str else truth(value)


def to_json(value: Value) -> Value:
    if type(value) is not str:
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise SqlError(f"'{value[:40]}' is no JSON") from None


def convert_date(_type: Value, value: Value, style: Value) -> Value:
    """CONVERT with a style: a date as text. Raises SqlError for an unknown style."""
    number = number_of(style)
    if number == 108:
        number = 8
    layout = {**STYLES, **LONG_YEARS}.get(number)  # type: ignore[arg-type]
    if layout is None:
        raise SqlError(f"unknown CONVERT style {text_of(style)}")
    text = formatted(value, layout)
    return text.lower() if number in (6, 106) else text


FUNCTIONS = (function("CONVERT", convert_date, 3),)
