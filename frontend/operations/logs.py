"""Operations that read what a node has logged."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from engine.logs import FILE_NAME
from engine.settings import LOG_LEVELS
from frontend.errors import Refused
from frontend.operations.members import Check, Invalid, Member, integer, one_of
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER

#: Files by the names that clients use.
FILES = {"hdb.log": FILE_NAME, FILE_NAME: FILE_NAME, "install.log": "install.log"}

Line = dict[str, Any]


def read_log(call: Call) -> list[Line]:
    name = FILES[call["log_name"]]
    path = Path(call.node.configuration.get("logging.root")) / name
    if not path.exists():
        if name == FILE_NAME:  # the node's own, in which nothing was worth a line yet
            return []
        raise Refused(400, f"'log_name' '{call['log_name']}' does not exist.")
    start, stop = call["start"], call["start"] + call["limit"]
    found = (line for line in _lines(path) if _is_wanted(line, call["level"], call["from"], call["until"]))
    if call["order"] == "desc":
        return list(islice(reversed(deque(found, maxlen=stop)), start, stop))
    return list(islice(found, start, stop))


def _lines(path: Path) -> Iterator[Line]:
    """The lines of a log; what is no object in JSON (say, the rest of a line that a full disk cut) is left out."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line


def _is_wanted(line: Line, level: str | None, start: str | None, end: str | None) -> bool:
    """Times are compared as texts, which all have the same form."""
    if level is not None and line.get("level") != level:
        return False
    timestamp = str(line.get("timestamp"))
    return (start is None or timestamp >= start) and (end is None or timestamp <= end)


# ----------------------------------------------------------------------------------------------------------- members


def _moment(name: str) -> Check:
    """A time as ISO 8601 or in milliseconds; the value is its text in the form of the log."""

    def check(value: Any, label: str) -> str:
        try:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            moment = datetime.fromtimestamp(value / 1000, UTC) if is_number else datetime.fromisoformat(value)
        except (TypeError, ValueError, OverflowError, OSError):
            raise Invalid(f"'{name}' date '{value}' is invalid.") from None
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return check


def _log_name(value: Any, label: str) -> str:
    if not isinstance(value, str) or value not in FILES:
        raise Invalid(f"'{label}' '{value}' is invalid.")
    return value


OPERATIONS = (
    Operation(
        "read_log",
        read_log,
        SUPER_USER,
        (
            Member("start", integer(0), default=0),
            Member("limit", integer(1), default=1000),
            Member("level", one_of(*LOG_LEVELS)),
            Member("from", _moment("from")),
            Member("until", _moment("until"), ("until", "to")),
            Member("order", one_of("asc", "desc"), default="asc"),
            Member("log_name", _log_name, default="hdb.log"),
        ),
    ),
)
