"""Text to syntax tree: drives lark's LALR tables over our own tokens, and remembers the trees of recent shapes.

A word that is only sometimes a keyword is offered to the parser as such; if it is not wanted there, it is a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from lark import Lark, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from grammar import syntax, tables
from grammar.build import Builder
from grammar.errors import MISSING, NOT_SQL, ONE_STATEMENT, SqlError, syntax_error
from grammar.shape import shape
from grammar.tokens import CONTEXTUAL, Token, tokenize
from grammar.values import is_text

REFUSED = frozenset(["CREATE", "DROP", "ALTER", "TRUNCATE", "SHOW", "USE", "BEGIN", "MERGE", "SET"])
MAX_DEPTH = 150  # of the syntax tree; every later step walks it by recursion
MAX_OPEN = 5_000  # rules that the parser has begun at one time
KEPT_SHAPES = 512
KEPT_VARIANTS = 64
LONGEST_KEPT = 4_096  # characters of a shape; long INSERTs are not worth keeping
TOO_DEEP = "The statement is nested too deeply."


@dataclass(slots=True)
class Parsed:
    """A statement and the values of its literals, in the order of their slots.

    `kept` tells that the same tree is given for the next statement of this shape.
    """

    statement: syntax.Statement
    literals: tuple[Any, ...]
    kept: bool


@dataclass(slots=True)
class Known:
    """What is kept of a shape: which of its literals belong to the tree, and a tree for each set of values of those."""

    pinned: tuple[int, ...]
    variants: dict[tuple[Any, ...], syntax.Statement]


_known: dict[str, Known] = {}


def parse(sql: Any) -> Parsed:
    """The syntax tree of one statement. Raises SqlError."""
    if sql is None or sql == "":
        raise SqlError(MISSING)
    if not isinstance(sql, str) or not is_text(sql):
        raise SqlError(NOT_SQL)
    key, found = shape(sql)
    known = _known.get(key)
    if known is not None:
        statement = known.variants.get(_pinned_values(known.pinned, found))
        if statement is not None:
            return Parsed(statement, found, True)
    tokens = tokenize(sql)
    statement = _tree(sql, tokens)
    literals = tuple([token.value for token in tokens if token.slot is not None])
    kept = literals == found and len(key) <= LONGEST_KEPT
    if kept:
        _remember(key, literals, statement)
    return Parsed(statement, literals, kept)


def _remember(key: str, literals: tuple[Any, ...], statement: syntax.Statement) -> None:
    free = frozenset(_free_slots(statement))
    pinned = tuple([slot for slot in range(len(literals)) if slot not in free])
    if len(_known) >= KEPT_SHAPES:
        _known.clear()
    known = _known.setdefault(key, Known(pinned, {}))
    if len(known.variants) >= KEPT_VARIANTS:
        known.variants.clear()
    known.variants[_pinned_values(pinned, literals)] = statement


def _pinned_values(pinned: tuple[int, ...], literals: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([literals[slot] for slot in pinned]) if pinned else ()


def _free_slots(statement: syntax.Statement) -> Iterator[int]:
    """Literals whose value the tree does not depend on: those of conditions, limits and written values.

    Select lists, GROUP BY and ORDER BY give names and positions from their literals and are compared with each other;
    EXPLAIN shows all of them.
    """
    if isinstance(statement, syntax.Explain):
        return
    for node, _ in syntax.nodes(statement):
        for expression in _free_expressions(node):
            for each in syntax.walk(expression):
                if isinstance(each, syntax.Literal) and each.slot is not None:
                    yield each.slot


def _free_expressions(node: Any) -> Iterator[syntax.Expression]:
    match node:
        case syntax.Select(where=condition) | syntax.Join(condition=condition) | syntax.Delete(where=condition):
            yield from [condition] if condition is not None else []
        case syntax.Limit(count=count, offset=offset):
            yield from [each for each in (count, offset) if each is not None]
        case syntax.Update(assignments=assignments, where=condition):
            yield from [each.value for each in assignments]
            yield from [condition] if condition is not None else []
        case syntax.Insert(source=tuple(rows)):
            for row in rows:
                yield from row


def _tree(sql: str, tokens: list[Token]) -> syntax.Statement:
    while len(tokens) > 1 and tokens[-1].type == "SEMICOLON":
        tokens.pop()
    if not tokens or tokens[0].type == "SEMICOLON":
        raise SqlError(NOT_SQL)
    first = tokens[0].text.upper()
    if first in REFUSED:
        raise SqlError(f"unsupported SQL type {first.lower()} in SQL: {sql.strip()}")
    if any(token.type == "SEMICOLON" for token in tokens):
        raise SqlError(ONE_STATEMENT)
    statement: syntax.Statement = _run_tables(sql, tokens)
    if max(depth for _, depth in syntax.nodes(statement)) > MAX_DEPTH:
        raise SqlError(TOO_DEEP)
    return statement


def _run_tables(sql: str, tokens: list[Token]) -> Any:
    machine = _tables().parse_interactive()
    feed: Callable[[Any], None] = machine.feed_token  # our tokens have all that the tables look at: a type
    position, text = 0, ""
    try:
        for token in tokens:
            position, text = token.start, token.text
            if len(machine.parser_state.state_stack) > MAX_OPEN:
                raise SqlError(TOO_DEEP)
            feed(_contextual(machine, token) if token.type in CONTEXTUAL else token)
        position = len(sql)
        return machine.feed_eof()
    except UnexpectedToken as error:
        raise syntax_error(sql, position, text, tuple(sorted(error.expected))) from None


def _contextual(machine: InteractiveParser, token: Any) -> Any:
    """The token as a keyword if the parser takes it so here, else as a name."""
    trial = machine.copy(deepcopy_values=False)
    try:
        trial.feed_token(token)
    except UnexpectedToken:
        return token._replace(type="NAME")
    return token


@cache
def _tables() -> Lark:
    return tables.load(Builder())
