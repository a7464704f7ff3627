"""The errors of the SQL layer: HarperDB's texts, and after them what it does not tell."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from engine import InvalidRequest, NoSuchTable

ADVICE = "Please ensure your SQL is valid. Try adding backticks to reserved words and schema table references."
NOT_SQL = f"We had trouble parsing your request. {ADVICE}"
MISSING = "The 'sql' parameter is missing from the request body"
ONE_STATEMENT = "Only one SQL statement is allowed per request."
FRAGMENT_LENGTH = 20
LIKENESS = 0.65  # from here on a name is taken for a misspelled other one; capitals and small letters differ

# What the grammar calls its tokens, where that is not the token itself.
TOKENS = {
    **{"$END": "the end of the statement", "NAME": "a name", "QUOTED": "a name in backticks", "TEXT": "a text"},
    **{"INTEGER": "a whole number", "DECIMAL": "a number", "JSON": "a JSON value", "SIGN": "+ or -", "TILDE": "~"},
    **{"POSITIONAL": "?", "NUMBERED": "$n", "NAMED": ":name", "LPAR": "(", "RPAR": ")", "COMMA": ",", "DOT": "."},
    **{"STAR": "*", "EQUAL": "=", "COMPARE": "a comparison", "RATIO": "/ or %", "BITS": "& | << >>", "CARET": "^"},
    **{"CONCAT": "||", "CONVERT": "::", "ARROW": "->", "SEMICOLON": ";"},
}
# Where all of these may stand, their groups have one name.
GROUPS = {
    "an expression": (
        "CASE DECIMAL EXISTS FALSE INTEGER JSON LPAR NAME NAMED NULL NUMBERED POSITIONAL QUOTED SIGN TEXT TILDE TRUE"
    ),
    "an operator": "ARROW BETWEEN BITS CARET COMPARE CONCAT CONVERT EQUAL IN IS LIKE RATIO SIGN STAR",
    "a parameter": "NAMED NUMBERED POSITIONAL",
    "a name": "NAME QUOTED",
}


class SqlError(InvalidRequest):
    """A statement that cannot be understood or makes no sense for the tables it names.

    `line` and `column` (from 1) tell where a syntax error is, `expected` what would have been right there, in terms of
    the grammar.
    """

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, expected: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.expected = expected


class UnknownColumn(SqlError):
    """A name that no source has; `plain` is the message for those who may not know which names there are."""

    def __init__(self, name: str, meant: str | None = None) -> None:
        self.plain = f"unknown column {name}"
        super().__init__(self.plain + _suggestion(meant))


class UnknownTable(NoSuchTable):
    """A table that does not exist; `suggestion` is the end of the message."""

    def __init__(self, schema: str, table: str, meant: str | None) -> None:
        super().__init__(schema, table)
        self.suggestion = _suggestion(meant and f"{schema}.{meant}")
        self.args = (f"{self.message}{self.suggestion}",)


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that an unknown one may be meant to be."""
    found = get_close_matches(name, list(known), n=1, cutoff=LIKENESS)
    return found[0] if found else None


def _suggestion(meant: str | None) -> str:
    return f". Did you mean {meant}?" if meant else ""


def syntax_error(sql: str, position: int, token: str = "", expected: tuple[str, ...] = ()) -> SqlError:
    """The error for the `token` that starts at `position`, or for characters that are no token.

    HarperDB quotes 20 characters on either side of the start.
    """
    before = sql[max(0, position - FRAGMENT_LENGTH) : position]
    ellipsis = "..." if position > FRAGMENT_LENGTH else ""
    fragment = (ellipsis + before + sql[position : position + FRAGMENT_LENGTH]).replace("\r", "").replace("\n", "")
    line = sql.count("\n", 0, position) + 1
    column = position - (sql.rfind("\n", 0, position) + 1) + 1
    detail = f"Line {line}, column {column}: {_problem(sql, position, token)}"
    if expected:
        detail += f", where {_listed(expected)} is expected"
    return SqlError(f"Invalid SQL at: {fragment}. {ADVICE} {detail}.", line=line, column=column, expected=expected)


def _problem(sql: str, position: int, token: str) -> str:
    if position >= len(sql):
        return "the statement ends"
    if token:
        shown = token if len(token) <= FRAGMENT_LENGTH else f"{token[:FRAGMENT_LENGTH]}..."
        return f"there is {' '.join(shown.split())}"
    opening = next((each for each in ("/*", "'", '"', "`", "[") if sql.startswith(each, position)), None)
    return f"{opening} is never closed" if opening else f"nothing can start with {sql[position]!r}"


def _listed(expected: tuple[str, ...]) -> str:
    """The tokens as words, the groups that are all there as one."""
    left, words = set(expected), []
    for name, members in GROUPS.items():
        group = set(members.split())
        if group <= left:
            words.append(name)
            left -= group
    words += sorted([TOKENS.get(each, each) for each in left])
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def ambiguous_column(name: str, where: str = "") -> SqlError:
    return SqlError(f"ambiguous column reference {name}{where}")
