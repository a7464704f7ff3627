"""Points in time: reading them from texts, their calendar fields, moving and subtracting them. All in UTC.

An instant is a number of milliseconds since the epoch. The calendar covers the years 1 to 9999.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_tz
from typing import NamedTuple

from grammar.errors import SqlError
from grammar.values import NUMBER_TYPES, Value

Instant = int | float

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY, WEEK = 1000, 60_000, 3_600_000, 86_400_000, 604_800_000

ISO_DATE = re.compile(
    r"""(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d))?|(?P<compact>\d{4}))
    (?:[T ](?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?)?
    \s*(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?)?""",
    re.VERBOSE | re.ASCII,
)
LOOSE_LAYOUTS = (
    "%d %b %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%b %d, %Y",
    "%B %d %Y",
    "%b %d %Y",
    "%Y/%m/%d",
    "%m/%d/%Y",
    "%a %b %d %Y",
)
LOOSE_TIMES = ("", " %H:%M", " %H:%M:%S")


class Unit(NamedTuple):
    """A unit of time: a number of months, or of milliseconds."""

    months: int
    milliseconds: int


UNITS = {
    "years": Unit(12, 0),
    "quarters": Unit(3, 0),
    "months": Unit(1, 0),
    "weeks": Unit(0, WEEK),
    "days": Unit(0, DAY),
    "hours": Unit(0, HOUR),
    "minutes": Unit(0, MINUTE),
    "seconds": Unit(0, SECOND),
    "milliseconds": Unit(0, 1),
}
SHORT_UNITS = {
    "y": "years",
    "Q": "quarters",
    "M": "months",
    "w": "weeks",
    "d": "days",
    "h": "hours",
    "m": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
}


def unit(name: str) -> Unit:
    """Long names in any case, singular or plural; short ones as they are. Raises SqlError for others."""
    long_name = SHORT_UNITS.get(name) or name.lower()
    found = UNITS.get(long_name) or UNITS.get(f"{long_name}s")
    if found is None:
        raise SqlError(f"unknown interval '{name}'")
    return found


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant with its calendar fields, as seen from `offset` minutes east of UTC."""

    instant: Instant
    date: datetime
    offset: int = 0

    @property
    def millisecond(self) -> int:
        return self.date.microsecond // 1000


def moment(instant: Instant, offset: int = 0) -> Moment | None:
    """None when it lies beyond the calendar."""
    try:
        date = EPOCH + timedelta(milliseconds=int(instant // 1))
        return Moment(instant, date.astimezone(timezone(timedelta(minutes=offset))), offset)
    except (OverflowError, ValueError):
        return None


def instant_of(value: Value) -> Instant | None:
    """A number as it is, a text read as a date; None for everything else."""
    if type(value) in NUMBER_TYPES:
        return value
    if type(value) is not str:
        return None
    text = value.strip()
    return _from_iso(text) if ISO_DATE.fullmatch(text) else None if text.isdigit() else _from_other(text)


def moment_of(value: Value, offset: int = 0) -> Moment | None:
    instant = instant_of(value)
    return None if instant is None else moment(instant, offset)


def milliseconds(date: datetime) -> int:
    return (date - EPOCH) // timedelta(milliseconds=1)


def _from_iso(text: str) -> Instant | None:
    match = ISO_DATE.fullmatch(text)
    assert match is not None
    part = match.groupdict()
    month, day = part["month"] or "01", part["day"] or "01"
    if part["compact"]:
        month, day = part["compact"][:2], part["compact"][2:]
    fraction = int(((part["fraction"] or "") + "000")[:3])
    try:
        date = datetime(int(part["year"]), int(month), int(day), tzinfo=UTC)
        if part["hour"] == "24" and not int(part["minute"] or 0) and not int(part["second"] or 0):
            return milliseconds(date) + DAY - _zone_offset(part["zone"]) * MINUTE
        date = date.replace(
            hour=int(part["hour"] or 0), minute=int(part["minute"] or 0), second=int(part["second"] or 0)
        )
    except ValueError:
        return None
    return milliseconds(date) + fraction - _zone_offset(part["zone"]) * MINUTE


def _zone_offset(zone: str | None) -> int:
    """Minutes east of UTC of Z, +05, +0530, +05:30."""
    if zone is None or zone == "Z":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -minutes if zone[0] == "-" else minutes


def _from_other(text: str) -> Instant | None:
    for layout in LOOSE_LAYOUTS:
        for time in LOOSE_TIMES:
            try:
                return milliseconds(datetime.strptime(text, layout + time).replace(tzinfo=UTC))
            except ValueError:
                continue
    fields = parsedate_tz(text)
    if fields is None:
        return None
    try:
        return milliseconds(datetime(*fields[:6], tzinfo=UTC)) - (fields[9] or 0) * SECOND
    except ValueError:
        return None


def shifted(start: Instant, amount: float, by: Unit) -> Instant | None:
    """Months, quarters and years clamp to the month's end; whole months and whole days only."""
    if by.months:
        return _shifted_by_months(start, _rounded(amount * by.months))
    if by.milliseconds >= DAY:
        return start + _rounded(amount * (by.milliseconds // DAY)) * DAY
    return start + amount * by.milliseconds


def _rounded(number: float) -> int:
    """Halves away from zero."""
    return int(abs(number) + 0.5) * (1 if number >= 0 else -1)


def _shifted_by_months(start: Instant, months: int) -> Instant | None:
    at = moment(start)
    if at is None:
        return None
    year, month = divmod(at.date.year * 12 + at.date.month - 1 + months, 12)
    for day in range(at.date.day, 27, -1) if at.date.day > 28 else (at.date.day,):
        try:
            return milliseconds(at.date.replace(year=year, month=month + 1, day=day))
        except (ValueError, OverflowError):
            continue
    return None


def difference(a: Instant, b: Instant, by: Unit) -> float | None:
    """a - b in units, with its fraction."""
    if by.milliseconds:
        return (a - b) / by.milliseconds
    months = _months_between(a, b)
    return None if months is None else months / by.months


def _months_between(a: Instant, b: Instant) -> float | None:
    first, second = moment(a), moment(b)
    if first is None or second is None:
        return None
    if first.date.day < second.date.day:
        turned = _months_between(b, a)
        return None if turned is None else -turned
    whole = (second.date.year - first.date.year) * 12 + second.date.month - first.date.month
    anchor = _shifted_by_months(a, whole)
    if anchor is None:
        return None
    neighbour = _shifted_by_months(a, whole - 1 if b < anchor else whole + 1)
    if neighbour is None:
        return None
    return -(whole + (b - anchor) / abs(anchor - neighbour))
