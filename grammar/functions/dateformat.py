"""DATE_FORMAT: dates as texts by patterns like YYYY-MM-DD, in English."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from grammar.functions.instant import Moment, moment_of
from grammar.values import Value

INVALID = "Invalid date"
ISO_SECONDS = "YYYY-MM-DDTHH:mm:ss[Z]"
ISO_OFFSET = "YYYY-MM-DDTHH:mm:ss.SSSZZ"
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
LAYOUTS = {
    "LT": "h:mm A",
    "LTS": "h:mm:ss A",
    "L": "MM/DD/YYYY",
    "LL": "MMMM D, YYYY",
    "LLL": "MMMM D, YYYY h:mm A",
    "LLLL": "dddd, MMMM D, YYYY h:mm A",
    "l": "M/D/YYYY",
    "ll": "MMM D, YYYY",
    "lll": "MMM D, YYYY h:mm A",
    "llll": "ddd, MMM D, YYYY h:mm A",
}
LAYOUT_TOKEN = re.compile(r"(\[[^\[\]]*\])|\\?(LTS|LT|L{1,4}|l{1,4})|.", re.DOTALL)


def ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _weekday(at: Moment) -> int:
    """0 = Sunday."""
    return at.date.isoweekday() % 7


def _day_of_year(at: Moment) -> int:
    return at.date.timetuple().tm_yday


def _local_week(at: Moment) -> tuple[int, int]:
    """Year and week; weeks start on Sunday and belong to the year of their Saturday."""
    ordinal_of_saturday = at.date.toordinal() + 6 - _weekday(at)
    saturday = date.fromordinal(min(ordinal_of_saturday, date.max.toordinal()))
    return saturday.year, (saturday.timetuple().tm_yday - 1) // 7 + 1


def _iso_week(at: Moment) -> tuple[int, int]:
    return at.date.isocalendar()[:2]


def _hour12(at: Moment) -> int:
    return at.date.hour % 12 or 12


def _zone(at: Moment, separator: str) -> str:
    hours, minutes = divmod(abs(at.offset), 60)
    return f"{'-' if at.offset < 0 else '+'}{hours:02}{separator}{minutes:02}"


def _fraction(digits: int) -> Callable[[Moment], str]:
    return lambda at: f"{at.millisecond:03}".ljust(9, "0")[:digits]


def _is_utc(name: str) -> Callable[[Moment], str]:
    return lambda at: name if at.offset == 0 else ""


TOKENS: dict[str, Callable[[Moment], str]] = {
    "M": lambda at: f"{at.date.month}",
    "Mo": lambda at: ordinal(at.date.month),
    "MM": lambda at: f"{at.date.month:02}",
    "MMM": lambda at: MONTHS[at.date.month - 1][:3],
    "MMMM": lambda at: MONTHS[at.date.month - 1],
    "Q": lambda at: f"{(at.date.month + 2) // 3}",
    "Qo": lambda at: ordinal((at.date.month + 2) // 3),
    "D": lambda at: f"{at.date.day}",
    "Do": lambda at: ordinal(at.date.day),
    "DD": lambda at: f"{at.date.day:02}",
    "DDD": lambda at: f"{_day_of_year(at)}",
    "DDDo": lambda at: ordinal(_day_of_year(at)),
    "DDDD": lambda at: f"{_day_of_year(at):03}",
    "d": lambda at: f"{_weekday(at)}",
    "do": lambda at: ordinal(_weekday(at)),
    "dd": lambda at: DAYS[_weekday(at)][:2],
    "ddd": lambda at: DAYS[_weekday(at)][:3],
    "dddd": lambda at: DAYS[_weekday(at)],
    "e": lambda at: f"{_weekday(at)}",
    "E": lambda at: f"{at.date.isoweekday()}",
    "w": lambda at: f"{_local_week(at)[1]}",
    "wo": lambda at: ordinal(_local_week(at)[1]),
    "ww": lambda at: f"{_local_week(at)[1]:02}",
    "W": lambda at: f"{_iso_week(at)[1]}",
    "Wo": lambda at: ordinal(_iso_week(at)[1]),
    "WW": lambda at: f"{_iso_week(at)[1]:02}",
    "YY": lambda at: f"{at.date.year % 100:02}",
    "YYYY": lambda at: f"{at.date.year:04}",
    "YYYYY": lambda at: f"{at.date.year:05}",
    "YYYYYY": lambda at: f"+{at.date.year:06}",
    "Y": lambda at: f"{at.date.year}",
    "y": lambda at: f"{at.date.year}",
    "gg": lambda at: f"{_local_week(at)[0] % 100:02}",
    "gggg": lambda at: f"{_local_week(at)[0]:04}",
    "GG": lambda at: f"{_iso_week(at)[0] % 100:02}",
    "GGGG": lambda at: f"{_iso_week(at)[0]:04}",
    **dict.fromkeys(("N", "NN", "NNN", "NNNNN"), lambda at: "AD"),
    "NNNN": lambda at: "Anno Domini",
    "A": lambda at: "AM" if at.date.hour < 12 else "PM",
    "a": lambda at: "am" if at.date.hour < 12 else "pm",
    "H": lambda at: f"{at.date.hour}",
    "HH": lambda at: f"{at.date.hour:02}",
    "h": lambda at: f"{_hour12(at)}",
    "hh": lambda at: f"{_hour12(at):02}",
    "k": lambda at: f"{at.date.hour or 24}",
    "kk": lambda at: f"{at.date.hour or 24:02}",
    "m": lambda at: f"{at.date.minute}",
    "mm": lambda at: f"{at.date.minute:02}",
    "s": lambda at: f"{at.date.second}",
    "ss": lambda at: f"{at.date.second:02}",
    **{"S" * digits: _fraction(digits) for digits in range(1, 10)},
    "z": _is_utc("UTC"),
    "zz": _is_utc("Coordinated Universal Time"),
    "Z": lambda at: _zone(at, ":"),
    "ZZ": lambda at: _zone(at, ""),
    "X": lambda at: f"{int(at.instant // 1000)}",
    "x": lambda at: f"{int(at.instant // 1)}",
}
TOKEN = re.compile(
    r"\[([^\[\]]*)\]|\\("
    + "|".join(sorted(TOKENS, key=len, reverse=True))
    + r"|.)|("
    + "|".join(sorted(TOKENS, key=len, reverse=True))
    + r")|(.)",
    re.DOTALL,
)


def render(at: Moment, layout: str) -> str:
    """A moment by a pattern; [text] is literal, a backslash escapes the token after it."""
    expanded = LAYOUT_TOKEN.sub(lambda match: LAYOUTS.get(match.group(), match.group()), layout)

    def piece(match: re.Match[str]) -> str:
        literal, escaped, token, other = match.groups()
        return TOKENS[token](at) if token is not None else literal or escaped or other or ""

    return TOKEN.sub(piece, expanded)


def formatted(value: Value, layout: str, offset: int = 0) -> str:
    """A date by a pattern, seen from `offset` minutes east of UTC; "Invalid date" for what is no date."""
    at = moment_of(value, offset)
    return INVALID if at is None else render(at, layout)
