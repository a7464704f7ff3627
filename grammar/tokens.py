"""Cuts a statement into tokens, and finds its shape: the text with the literals lifted out.

Statements that differ only in their literals have one shape, and so share one parse. `shape` has to be quick, because
it is all that a repeated statement pays before its plan; it looks only for what may hold a quote or a digit.
"""

from __future__ import annotations

import json
import re
from math import isinf
from typing import Any, NamedTuple

from grammar.errors import SqlError, syntax_error
from grammar.values import whole

# Words that are never names unless quoted. NATURAL, SEMI and ANTI are here so that they are not taken for aliases.
_RESERVED = """
    ALL AND ANTI AS BETWEEN BY CASE CROSS DELETE DISTINCT ELSE END EXCEPT EXISTS FALSE FROM GROUP HAVING IN INNER INSERT
    INTERSECT INTO IS JOIN LEFT LIKE LIMIT NATURAL NOT NULL ON OR ORDER OUTER RIGHT SELECT SEMI SET THEN TRUE UNION
    UPDATE USING WHEN WHERE
"""
# Words of the grammar that are names wherever the grammar has no use for them.
_CONTEXTUAL = """
    ANY ASC BOTH COLLATE CONFLICT DEFAULT DESC DO ESCAPE EXPLAIN FETCH FIRST FULL GLOB ILIKE LAST LEADING NEXT NOTHING
    NULLS OFFSET ONLY PERCENT REGEXP ROW ROWS SOME TOP TRAILING UPSERT VALUE VALUES WITH
"""
RESERVED = frozenset(_RESERVED.split())
CONTEXTUAL = frozenset(_CONTEXTUAL.split())
SYMBOLS = {
    **dict.fromkeys(("==", "===", "<>", "!=", "!==", "<", "<=", ">", ">="), "COMPARE"),
    **{"=": "EQUAL", "(": "LPAR", ")": "RPAR", ",": "COMMA", ".": "DOT", "*": "STAR"},
    **{"+": "SIGN", "-": "SIGN", "/": "RATIO", "%": "RATIO", "^": "CARET", "~": "TILDE", "||": "CONCAT", "->": "ARROW"},
    **{"&": "BITS", "|": "BITS", "<<": "BITS", ">>": "BITS", "::": "CONVERT", ";": "SEMICOLON", "?": "POSITIONAL"},
}
LITERALS = frozenset({"INTEGER", "DECIMAL", "TEXT"})

# Nothing here backtracks (*+ keeps what it took), so that any text is cut in linear time.
COMMENT = r"--[^\n]*+|/\*(?:[^*]|\*(?!/))*+\*/"
TEXT = r"""'[^']*+(?:''[^']*+)*+'|"[^"]*+(?:""[^"]*+)*+\""""
QUOTED = r"`[^`]++`|\[[^\]]++\]"
NUMBER = r"(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?"
UNCLOSED = r"""(?:/\*|['"`\[]).*+"""
PATTERNS = {
    "SPACE": rf"(?:\s++|{COMMENT})++",
    "UNCLOSED": r"/\*",
    "TEXT": rf"(?:[Nn](?='))?(?:{TEXT})",
    "WORD": r"[A-Za-z_][A-Za-z0-9_]*+",
    "NUMBER": rf"{NUMBER}(?![A-Za-z_])",
    "QUOTED": QUOTED,
    "NUMBERED": r"\$\d++",
    "NAMED": r"(?<!:):[A-Za-z_][A-Za-z0-9_]*+",
    "JSON": r"@(?=[{\[])",
    "SYMBOL": r"===|!==|==|<>|!=|<=|>=|<<|>>|\|\||->|::|[-=<>+*/%^~&|.,();?]",
}
SCANNER = re.compile("|".join([f"(?P<{name}>{pattern})" for name, pattern in PATTERNS.items()]), re.DOTALL)
# The look-ahead spares the engine most positions. An N before a text stays in the key, which does no harm.
LIFTED = re.compile(
    rf"""(?=[-/'"`\[.\d])(?:{COMMENT}|{QUOTED}|(?P<text>{TEXT})|(?<![\w$])(?P<number>{NUMBER})|{UNCLOSED})""", re.DOTALL
)
SHAPE_MARKS = {"TEXT": "\0t", "INTEGER": "\0i", "DECIMAL": "\0d"}


class Token(NamedTuple):
    """`type` is a terminal of the grammar, `value` what a literal stands for or the number of a `?`, both from 0.

    `slot` is the number of a literal among the literals.
    """

    type: str
    value: Any
    text: str
    start: int
    slot: int | None = None


class Shape(NamedTuple):
    """`key` is equal for statements that differ in their literals only; `literals` are those, from left to right."""

    key: str
    literals: tuple[Any, ...]


def shape(sql: str) -> Shape:
    literals: list[Any] = []

    def lift(match: re.Match[str]) -> str:
        if match.lastgroup is None:
            return match.group()
        read = _number_literal if match.lastgroup == "number" else _text_literal
        kind, value = read(match.group())
        literals.append(value)
        return SHAPE_MARKS[kind]

    return Shape(LIFTED.sub(lift, sql), tuple(literals))


def tokenize(sql: str) -> list[Token]:
    """All tokens but blanks and comments. Raises SqlError where no token can start."""
    tokens: list[Token] = []
    position, slots, marks = 0, 0, 0
    while position < len(sql):
        match = SCANNER.match(sql, position)
        if match is None or match.lastgroup == "UNCLOSED":
            raise syntax_error(sql, position)
        start, position = position, match.end()
        group = match.lastgroup or ""
        if group == "SPACE":
            continue
        if group == "JSON":
            value, position = _json_literal(sql, start)
            tokens.append(Token("JSON", value, sql[start:position], start))
            continue
        kind, value = _classify(group, match.group())
        slot = None
        if kind in LITERALS:
            slot, slots = slots, slots + 1
        elif kind == "POSITIONAL":
            value, marks = marks, marks + 1
        tokens.append(Token(kind, value, match.group(), start, slot))
    return tokens


def _classify(group: str, text: str) -> tuple[str, Any]:
    match group:
        case "WORD":
            upper = text.upper()
            return (upper if upper in RESERVED or upper in CONTEXTUAL else "NAME"), text
        case "TEXT":
            return _text_literal(text)
        case "NUMBER":
            return _number_literal(text)
        case "QUOTED":
            return "QUOTED", text[1:-1]
        case "SYMBOL":
            return SYMBOLS[text], text
        case "NUMBERED":
            return "NUMBERED", int(text[1:])
    return group, text[1:]


def _text_literal(text: str) -> tuple[str, str]:
    body = text.lstrip("Nn")
    quote = body[0]
    return "TEXT", body[1:-1].replace(quote * 2, quote)


def _number_literal(text: str) -> tuple[str, int | float]:
    """Integers stay exact as far as the engine stores them, 64 bits; beyond they are doubles."""
    if text.isdigit():
        return "INTEGER", int(text) if len(text) < 20 or (len(text) == 20 and int(text) < 1 << 64) else _double(text)
    return "DECIMAL", whole(_double(text))


def _double(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise SqlError(f"The number {text[:20]}... is too large.")
    return value


def _json_literal(sql: str, start: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(sql, start + 1)
    except (ValueError, RecursionError):
        raise syntax_error(sql, start) from None
