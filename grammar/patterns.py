"""LIKE, GLOB and REGEXP: from a pattern to a test on texts.

LIKE and GLOB match the whole text and ignore case. Between two wildcards for any run stands a segment of fixed length,
so the leftmost place of each is as good as any other: segments are matched atomically, and no pattern backtracks badly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import regex

from grammar.errors import SqlError

Test = Callable[[str], bool]
Segment = list[str]  # regular expressions for one character each

REGEXP_SECONDS = 2.0
CACHED = 1024
# What else than its two ASCII forms equals a letter when case is ignored.
FOLDED_BEYOND_ASCII = {"i": "\u0130\u0131", "k": "\u212a", "s": "\u017f"}


class Wildcards(NamedTuple):
    run: str
    single: str


LIKE_SIGNS = Wildcards("%", "_")
GLOB_SIGNS = Wildcards("*", "?")


@lru_cache(CACHED)
def like(pattern: str, escape: str | None = None) -> Test:
    return _matcher(pattern, LIKE_SIGNS, escape)


@lru_cache(CACHED)
def glob(pattern: str) -> Test:
    return _matcher(pattern, GLOB_SIGNS, None)


def regexp(pattern: str, flags: str = "") -> Test:
    """Finds the pattern anywhere in a text; case counts, unless `flags` has an i."""
    compiled = _compiled(pattern, flags)

    def test(text: str) -> bool:
        try:
            return compiled.search(text, timeout=REGEXP_SECONDS, concurrent=True) is not None
        except TimeoutError:
            raise SqlError(f"The regular expression '{pattern}' took too long") from None

    return test


@lru_cache(CACHED)
def _compiled(pattern: str, flags: str) -> regex.Pattern[str]:
    options = 0
    for flag in flags:
        if flag not in "gimsu":
            raise SqlError(f"Invalid regular expression flags '{flags}'")
        options |= {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL}.get(flag, 0)
    try:
        return regex.compile(pattern, options)
    except (regex.error, RecursionError, OverflowError, MemoryError):
        raise SqlError(f"Invalid regular expression '{pattern}'") from None


def like_prefix(pattern: str, escape: str | None = None) -> str:
    """The text that everything LIKE the pattern starts with, case aside."""
    segments = _segments(pattern, LIKE_SIGNS, escape)
    prefix = ""
    for piece in segments[0]:
        character = piece.removeprefix("\\")
        if len(character) != 1 or piece == ".":
            break
        prefix += character
    return prefix


def plain_segments(sign: str, pattern: str, escape: str | None = None) -> tuple[str, ...] | None:
    """What stands between the wildcards for any run, in small letters; None for patterns that this does not tell whole:
    with other wildcards, classes or letters outside ASCII, and regular expressions."""
    if sign == "REGEXP":
        return None
    signs, escape = (GLOB_SIGNS, None) if sign == "GLOB" else (LIKE_SIGNS, escape)
    texts = [_plain(segment) for segment in _segments(pattern, signs, escape)]
    return tuple([text for text in texts if text is not None]) if None not in texts else None


def _matcher(pattern: str, signs: Wildcards, escape: str | None) -> Test:
    segments = _segments(pattern, signs, escape)
    whole = re.compile(_regular(segments), re.IGNORECASE | re.DOTALL)
    quick = _quick(segments)
    if quick is None:
        return lambda text: whole.match(text) is not None
    return lambda text: quick(text.lower()) if text.isascii() else whole.match(text) is not None


def _regular(segments: list[Segment]) -> str:
    if len(segments) == 1:
        return rf"{''.join(segments[0])}\Z"
    first, *middle, last = ["".join(segment) for segment in segments]
    return first + "".join([f"(?>.*?{segment})" for segment in middle]) + rf".*{last}\Z"


def _quick(segments: list[Segment]) -> Test | None:
    """A test on lower-case ASCII texts without regular expression, for the plainest patterns."""
    texts = [_plain(segment) for segment in segments]
    match texts:
        case [str(whole)]:
            return lambda text: text == whole
        case ["", ""]:
            return lambda text: True
        case [str(prefix), ""]:
            return lambda text: text.startswith(prefix)
        case ["", str(suffix)]:
            return lambda text: text.endswith(suffix)
        case ["", str(part), ""]:
            return lambda text: part in text
    return None


def _plain(segment: Segment) -> str | None:
    characters = [piece.removeprefix("\\") for piece in segment]
    if any(piece == "." or len(character) != 1 for piece, character in zip(segment, characters, strict=True)):
        return None
    text = "".join(characters)
    return text.lower() if text.isascii() else None


def _segments(pattern: str, signs: Wildcards, escape: str | None) -> list[Segment]:
    segments: list[Segment] = [[]]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == escape and position < len(pattern):
            segments[-1].append(re.escape(pattern[position]))
            position += 1
        elif character == signs.run:
            segments.append([])
        elif character == signs.single:
            segments[-1].append(".")
        elif character == "[" and (end := pattern.find("]", position)) >= 0:
            segments[-1].append(_character_class(pattern[position:end]))
            position = end + 1
        else:
            segments[-1].append(re.escape(character))
    return segments


def _character_class(body: str) -> str:
    negated = body.startswith("^")
    body = body[1:] if negated else body
    members, position = "", 0
    while position < len(body):
        if body[position + 1 : position + 2] == "-" and position + 2 < len(body):
            low, high = body[position], body[position + 2]
            members += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
            position += 3
        else:
            members += re.escape(body[position])
            position += 1
    if not members:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{members}]"
