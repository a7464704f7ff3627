"""The error of the SQL layer, and the texts that HarperDB gives to it."""

from __future__ import annotations

from engine import InvalidRequest

ADVICE = "Please ensure your SQL is valid. Try adding backticks to reserved words and schema table references."
NOT_SQL = f"We had trouble parsing your request. {ADVICE}"
MISSING = "The 'sql' parameter is missing from the request body"
ONE_STATEMENT = "Only one SQL statement is allowed per request."
FRAGMENT_LENGTH = 20


class SqlError(InvalidRequest):
    """A statement that cannot be understood or makes no sense for the tables it names.

    `line` and `column` (from 1) tell where a syntax error is, `expected` what would have been right there.
    """

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, expected: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.expected = expected


def syntax_error(sql: str, position: int, expected: tuple[str, ...] = ()) -> SqlError:
    """The error for the token that starts at `position`; HarperDB quotes 20 characters on either side of its start."""
    before = sql[max(0, position - FRAGMENT_LENGTH) : position]
    ellipsis = "..." if position > FRAGMENT_LENGTH else ""
    fragment = (ellipsis + before + sql[position : position + FRAGMENT_LENGTH]).replace("\r", "").replace("\n", "")
    line = sql.count("\n", 0, position) + 1
    column = position - (sql.rfind("\n", 0, position) + 1) + 1
    return SqlError(f"Invalid SQL at: {fragment}. {ADVICE}", line=line, column=column, expected=expected)


def unknown_column(name: str) -> SqlError:
    return SqlError(f"unknown column {name}")


def ambiguous_column(name: str, where: str = "") -> SqlError:
    return SqlError(f"ambiguous column reference {name}{where}")
