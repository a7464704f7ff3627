"""Whatever is sent as SQL gives a statement or an SqlError: no crash, no hang, no recursion error."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlgen import statement

import grammar
from grammar.parse import parse
from grammar.shape import shape
from grammar.tokens import CONTEXTUAL, RESERVED, SYMBOLS, tokenize

LONG = os.environ.get("KENNEL_TORTURE") == "long"
ROUNDS = 3_000
HOUR = 3_600  # seconds, which the long form shares among its tests
ATOMS = [
    *sorted(RESERVED),
    *sorted(CONTEXTUAL),
    *SYMBOLS,
    *[
        "a",
        "b.c",
        "`q`",
        "[r]",
        "x1",
        "1",
        "2.5",
        ".5",
        "1e3",
        "'text'",
        "'it''s'",
        '"d"',
        "?",
        "$0",
        ":p",
        "--",
        "/*",
        "*/",
        "@{}",
        "@[1]",
        "N'x'",
        "COUNT",
        "MAX",
        "CAST",
        "TRIM",
        "EXTRACT",
    ],
    *["-- remark\n", "/* remark */", "\n", "'", '"', "`", "[", "\0", "ü", "😀", "#", "\\", "1abc", "1e999", "9" * 40],
]
DEEP = ["(", "NOT ", "- ", "a IN (", "CASE WHEN ", "UPPER(", "(SELECT ", "a = ", "a AND ", "a OR ", "1 + ", "a->", "~"]


def rounds(count: int, share: float, capsys: pytest.CaptureFixture[str]) -> Iterator[int]:
    """Numbers of rounds: so many, or in the long form as many as there is time for."""
    if not LONG:
        yield from range(count)
        return
    end = time.monotonic() + HOUR * share
    for number in itertools.count():
        if number % 100 == 0 and time.monotonic() > end:
            break
        yield number
    with capsys.disabled():
        print(f" {number:,} texts", end="", flush=True)


def survives(sql: str) -> bool:
    """Whether it was a statement; any error but SqlError fails the test."""
    try:
        parse(sql)
    except grammar.SqlError:
        return False
    return True


@pytest.mark.torture
def test_soups_of_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    chance = Random(1)
    for _ in rounds(ROUNDS, 0.25, capsys):
        survives(" ".join(chance.choices(ATOMS, k=chance.randint(1, 25))))


@pytest.mark.torture
def test_statements_with_a_token_changed(capsys: pytest.CaptureFixture[str]) -> None:
    chance = Random(2)
    for _ in rounds(ROUNDS // 3, 0.25, capsys):
        sql = statement(chance)[0].kennel
        words = [token.text for token in tokenize(sql)]
        for _ in range(chance.randint(1, 3)):
            words[chance.randrange(len(words))] = chance.choice(ATOMS)
        survives(" ".join(words))


@pytest.mark.torture
def test_statements_with_a_character_changed(capsys: pytest.CaptureFixture[str]) -> None:
    chance = Random(3)
    for _ in rounds(ROUNDS // 3, 0.25, capsys):
        sql = statement(chance)[0].kennel
        place = chance.randrange(len(sql))
        survives(sql[:place] + chance.choice("'\"`[](),;.*-/@?:$%\0\n x1") + sql[place + chance.randint(0, 1) :])


@given(st.text(max_size=60))
def test_any_text(sql: str) -> None:
    survives(sql)


@settings(deadline=None)
@given(
    st.text(max_size=40),
    st.sampled_from(["SELECT '{}'", 'SELECT "{}"', "SELECT `{}`", "SELECT a FROM b.c WHERE d = '{}'"]),
)
def test_any_text_inside_quotes(text: str, frame: str) -> None:
    survives(frame.format(text))


@pytest.mark.parametrize("opening", DEEP)
@pytest.mark.parametrize("depth", [60, 1_000, 20_000])
def test_deep_nesting(opening: str, depth: int) -> None:
    survives(f"SELECT {opening * depth}")
    survives(f"SELECT {opening * depth}1{')' * depth}")


@pytest.mark.parametrize(
    "piece", ["/*", "[", "`", "'", '"', "''", "/*/", "@[", "@{", "--", "(first + ", "CASE first ", "1e", ". "]
)
def test_long_repetitions_take_linear_time(piece: str) -> None:
    """None of these takes a second; a quadratic one would take minutes."""
    survives(piece * 100_000)
    survives("SELECT " + piece * 100_000)


def test_a_moderately_deep_statement_is_understood() -> None:
    assert survives(f"SELECT {'(' * 500}1{')' * 500}")  # brackets alone add no depth
    assert survives(f"SELECT {'1 + ' * 100}1")
    assert survives(f"SELECT a FROM b.c WHERE {' AND '.join(['d = 1'] * 5_000)}")
    assert survives(f"SELECT a FROM b.c WHERE d IN ({', '.join(map(str, range(5_000)))})")


def test_what_is_too_deep_is_refused() -> None:
    with pytest.raises(grammar.SqlError, match="nested too deeply"):
        parse(f"SELECT {'- ' * 500}1")


@pytest.mark.torture
def test_the_shape_lifts_exactly_the_literals_that_the_tokens_have(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a statement could be answered with the tree of another."""
    chance = Random(4)
    for _ in rounds(ROUNDS, 0.25, capsys):
        sql = " ".join(
            chance.choices(
                [
                    *[
                        "a",
                        "=",
                        "1",
                        "2.5",
                        "'x'",
                        "'it''s'",
                        '"d"',
                        "`q'1`",
                        "[r'2]",
                        ",",
                        "(",
                        ")",
                        "t.5",
                        "x1",
                        "--",
                        "/*1*/",
                    ],
                    "--'5\n",
                ],
                k=12,
            )
        )
        try:
            tokens = tokenize(sql)
        except grammar.SqlError:
            continue
        key, literals = shape(sql)
        values = tuple(token.value for token in tokens if token.slot is not None)
        if literals == values:
            assert key.count("\0") == len(values)
            rebuilt = tokenize(key.replace("\0i", "7").replace("\0d", "7.5").replace("\0t", "'seven'"))
            assert [token.type for token in rebuilt] == [token.type for token in tokens]
