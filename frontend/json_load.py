"""JSON files that are one array of records, read record by record."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from frontend.errors import Refused
from frontend.loading import CHUNK_BYTES, CHUNK_RECORDS

PIECE = 1 << 16  # characters that are read at a time
MAX_ELEMENT = 16 << 20  # characters
_SPACE = " \t\r\n"

_decoder = json.JSONDecoder()

Record = dict[str, Any]


def parsed(file: BinaryIO) -> Iterator[list[Record]]:
    """The elements of an array of objects in chunks, read as they are asked for. Refused with 400 if it is no such."""
    reader = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    text = _Text(iter(partial(reader.read, PIECE), ""))
    chunk: list[Record] = []
    start = text.taken
    for record in _elements(text):
        chunk.append(record)
        if len(chunk) == CHUNK_RECORDS or text.taken - start >= CHUNK_BYTES:
            yield chunk
            chunk, start = [], text.taken
    if chunk:
        yield chunk


def _elements(text: _Text) -> Iterator[Record]:
    if text.next() != "[":
        raise _bad("an array of records was expected")
    opening, separator = text.next(), ","
    if opening == "]":
        separator = opening
    while separator == ",":
        yield text.record(opening)
        separator = text.next()
        opening = text.next() if separator == "," else ""
    if separator != "]":
        raise _bad("a comma or the end of the array was expected")
    if text.next():
        raise _bad("it goes on after the end of the array")


class _Text:
    """A text that arrives in pieces, with the place up to which it was understood. `taken` counts its characters."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self.taken = 0
        self._pieces = pieces
        self._text = ""
        self._place = 0

    def next(self) -> str:
        """The next character that is no space; nothing at the end of the text."""
        while True:
            while self._place < len(self._text):
                character = self._text[self._place]
                self._place += 1
                if character not in _SPACE:
                    return character
            if not self._more():
                return ""

    def record(self, opening: str) -> Record:
        """The object whose opening brace, if it is one, was the character read last."""
        if opening != "{":
            raise _bad("every element must be an object")
        self._place -= 1
        wanted = 0
        while True:
            try:
                value, self._place = _decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as problem:
                # Perhaps only because its end has not arrived yet; each further try comes with twice as much text.
                wanted = 2 * max(wanted, len(self._text) - self._place)
                if wanted > 2 * MAX_ELEMENT or not self._more(wanted):
                    raise _bad(problem.msg) from None
            except ValueError as problem:  # a number of thousands of digits
                raise _bad(str(problem)) from None
            else:
                return dict(value)

    def _more(self, wanted: int = 1) -> bool:
        """Have at least this many characters ahead, or all that there are; false when nothing came."""
        parts = [self._text[self._place :]]
        have = before = len(parts[0])
        for piece in self._pieces:
            parts.append(piece)
            self.taken += len(piece)
            have += len(piece)
            if have >= wanted:
                break
        self._text, self._place = "".join(parts), 0
        return have > before


def _bad(reason: str) -> Refused:
    return Refused(400, f"The file is not a JSON array of records: {reason}")
