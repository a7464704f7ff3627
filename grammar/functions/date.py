"""Functions on dates and times, all in UTC. Bad dates: functions with a text result say so, the others give null."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from grammar.errors import SqlError
from grammar.functions.dateformat import INVALID, ISO_OFFSET, ISO_SECONDS, formatted, render
from grammar.functions.instant import Moment, difference, instant_of, moment, moment_of, shifted, unit
from grammar.functions.signature import Function, function
from grammar.values import Value, finite, number_of, text_of

DATE = "YYYY-MM-DD"
TIME = "HH:mm:ss.SSS"
OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
LARGEST_OFFSET_IN_HOURS = 16
PARTS = {"year": "YYYY", "month": "MM", "day": "DD", "hour": "HH", "minute": "mm", "second": "ss", "millisecond": "SSS"}


def date_text(now: int, value: Value = None) -> str:
    return formatted(now if value is None else value, ISO_OFFSET)


def server_time(now: int) -> str:
    at = datetime.fromtimestamp(now / 1000).astimezone()
    offset = at.utcoffset()
    return formatted(now, ISO_OFFSET, 0 if offset is None else int(offset.total_seconds()) // 60)


def date_add(value: Value, amount: Value, name: Value = "ms") -> Value:
    return _shift(value, amount, name, 1)


def date_subtract(value: Value, amount: Value, name: Value = "ms") -> Value:
    return _shift(value, amount, name, -1)


def _shift(value: Value, amount: Value, name: Value, sign: int) -> Value:
    start, number, by = instant_of(value), number_of(amount), unit(text_of(name))
    if start is None or number is None:
        return None
    end = shifted(start, sign * number, by)
    return None if end is None else finite(end)


def date_difference(first: Value, second: Value, name: Value = "ms") -> Value:
    a, b, by = instant_of(first), instant_of(second), unit(text_of(name))
    if a is None or b is None:
        return None
    found = difference(a, b, by)
    return None if found is None else finite(found)


def date_format(value: Value, layout: Value = ISO_SECONDS) -> str:
    return formatted(value, text_of(layout))


def extract(value: Value, part: Value) -> Value:
    """A part of a date, as text with leading zeros; null for an unknown part."""
    layout = PARTS.get(text_of(part).lower())
    return None if layout is None else formatted(value, layout)


def offset_utc(value: Value, offset: Value) -> str:
    """The date with an offset: hours when less than 16, else minutes, or a text like +05:30."""
    return formatted(value, ISO_OFFSET, _offset_minutes(offset))


def _offset_minutes(offset: Value) -> int:
    if type(offset) is str and (match := OFFSET.fullmatch(offset)):
        minutes = int(match[2]) * 60 + int(match[3])
        return -minutes if match[1] == "-" else minutes
    number = number_of(offset)
    if number is None:
        raise SqlError(f"'{text_of(offset)}' is no offset")
    if abs(number) < LARGEST_OFFSET_IN_HOURS:
        number *= 60
    return int(number)


def _field(names: str, read: Callable[[Moment], int]) -> Function:
    def evaluate(value: Value) -> Value:
        at = moment_of(value)
        return None if at is None else read(at)

    return function(names, evaluate, 1)


def _now_as(layout: str) -> Callable[[int], str]:
    def evaluate(now: int) -> str:
        at = moment(now)
        return INVALID if at is None else render(at, layout)

    return evaluate


def _date(now: int, *values: Value) -> Value:
    return None if values and values[0] is None else date_text(now, *values)


FUNCTIONS = (
    function("NOW GETDATE CURRENT_TIMESTAMP", lambda now: now, 0, timed=True),
    function("CURRENT_DATE CURDATE", _now_as(DATE), 0, timed=True),
    function("CURRENT_TIME", _now_as(TIME), 0, timed=True),
    function("GET_SERVER_TIME", server_time, 0, timed=True),
    function("DATE", _date, 0, 1, timed=True, takes_null=True),
    function("DATE_ADD", date_add, 2, 3),
    function("DATE_SUB", date_subtract, 2, 3),
    function("DATE_DIFF DATEDIFF", date_difference, 2, 3),
    function("DATE_FORMAT", date_format, 1, 2),
    function("EXTRACT", extract, 2),
    function("OFFSET_UTC", offset_utc, 2),
    _field("YEAR", lambda at: at.date.year),
    _field("MONTH", lambda at: at.date.month),
    _field("DAY DAYOFMONTH", lambda at: at.date.day),
    _field("HOUR", lambda at: at.date.hour),
    _field("MINUTE", lambda at: at.date.minute),
    _field("SECOND", lambda at: at.date.second),
    _field("DAYOFWEEK WEEKDAY", lambda at: at.date.isoweekday() % 7),
)
