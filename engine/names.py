"""The rules for names of schemas, tables, primary keys and attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from engine.errors import InvalidName

MAX_LENGTH = 250  # characters of a schema, table or key name, bytes of an attribute name
PRINTABLE = re.compile(r"[\x20-\x2e\x30-\x5f\x61-\x7e]*")  # ASCII without slash and backtick
IMPOSSIBLE_ATTRIBUTES = ("", "null", "undefined")


def check_name(name: Any, label: str) -> None:
    """InvalidName unless `name` can name a schema, a table or a primary key; `label` says which in the text."""
    if not isinstance(name, str):
        raise InvalidName(f"'{label}' must be a string")
    if not name:
        raise InvalidName(f"'{label}' is not allowed to be empty")
    if len(name) > MAX_LENGTH:
        raise InvalidName(f"'{label}' length must be less than or equal to {MAX_LENGTH} characters long")
    if not PRINTABLE.fullmatch(name):
        raise InvalidName(f"'{label}' names cannot include backticks or forward slashes")


def check_attributes(names: Iterable[Any]) -> None:
    """InvalidName, with everything that is wrong, unless all of these can name attributes."""
    complaints = dict.fromkeys(complaint for complaint in map(_complaint, names) if complaint)
    if complaints:
        raise InvalidName(". ".join(complaints))


def _complaint(name: Any) -> str | None:
    if not isinstance(name, str) or name in IMPOSSIBLE_ATTRIBUTES:
        return f"Invalid attribute name: '{name}'"
    if "/" in name or "`" in name:
        return "Attribute names cannot include backticks or forward slashes"
    if len(name.encode(errors="surrogatepass")) > MAX_LENGTH:
        return (
            f"transaction aborted due to attribute name {name} being too long. "
            f"Attribute names cannot be longer than {MAX_LENGTH} bytes."
        )
    return None
