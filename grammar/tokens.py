"""Cuts a statement into tokens."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from grammar.errors import syntax_error
from grammar.literals import number_literal, text_literal

# Words that are never names unless quoted. NATURAL, SEMI and ANTI are here so that they are not taken for aliases.
_RESERVED = """
    ALL AND ANTI AS BETWEEN BY CASE CROSS DELETE DISTINCT ELSE END EXCEPT EXISTS FALSE FROM GROUP HAVING IN INNER INSERT
    INTERSECT INTO IS JOIN LEFT LIKE LIMIT NATURAL NOT NULL ON OR ORDER OUTER RIGHT SELECT SEMI SET THEN TRUE UNION
    UPDATE USING WHEN WHERE
"""
# Words of the grammar that are names wherever the grammar has no use for them.
_CONTEXTUAL = """
    ANALYZE ANY ASC BOTH COLLATE CONFLICT DEFAULT DESC DO ESCAPE EXPLAIN FETCH FIRST FULL GLOB ILIKE LAST LEADING NEXT
    NOTHING NULLS OFFSET ONLY PERCENT REGEXP ROW ROWS SOME TOP TRAILING UPSERT VALUE VALUES WITH
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
NUMBER = r"(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
PATTERNS = {
    "SPACE": rf"(?:\s++|{COMMENT})++",
    "UNCLOSED": r"/\*",
    "TEXT": rf"(?:[Nn](?='))?(?:{TEXT})",
    "WORD": r"[A-Za-z_][A-Za-z0-9_]*+",
    "NUMBER": rf"{NUMBER}(?![A-Za-z_])",
    "QUOTED": QUOTED,
    "NUMBERED": r"\$[0-9]++",
    "NAMED": r"(?<!:):[A-Za-z_][A-Za-z0-9_]*+",
    "JSON": r"@(?=[{\[])",
    "SYMBOL": r"===|!==|==|<>|!=|<=|>=|<<|>>|\|\||->|::|[-=<>+*/%^~&|.,();?]",
}
SCANNER = re.compile("|".join([f"(?P<{name}>{pattern})" for name, pattern in PATTERNS.items()]), re.DOTALL)


class Token(NamedTuple):
    """`type` is a terminal of the grammar, `value` what a literal stands for or the number of a `?`, both from 0.

    `slot` is the number of a literal among the literals.
    """

    type: str
    value: Any
    text: str
    start: int
    slot: int | None = None


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
            return "TEXT", text_literal(text.lstrip("Nn"))
        case "NUMBER":
            return ("INTEGER" if text.isdigit() else "DECIMAL"), number_literal(text)
        case "QUOTED":
            return "QUOTED", text[1:-1]
        case "SYMBOL":
            return SYMBOLS[text], text
        case "NUMBERED":
            return "NUMBERED", int(text[1:])
    return group, text[1:]


def _json_literal(sql: str, start: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(sql, start + 1)
    except (ValueError, RecursionError):
        raise syntax_error(sql, start) from None
