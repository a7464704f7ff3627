"""The CSV reader against the standard library's, however the bytes arrive."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.csv_rows import Malformed, Reader, value_of

#: Texts in which everything happens that can happen to a CSV file.
TEXTS = st.lists(
    st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", "a", "b c", "7", "-1.5", "ü", "\u20ac", "😀", "\x00", "true"])
).map("".join)
SIZES = st.lists(st.integers(1, 5), min_size=1)


def arriving(content: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """A source that gives its bytes in pieces of these sizes, over and over."""
    file, turn = io.BytesIO(content), 0

    def read(wanted: int) -> bytes:
        nonlocal turn
        turn += 1
        return file.read(min(wanted, sizes[turn % len(sizes)]))

    return read


def rows(reader: Reader) -> list[list[str]]:
    found = []
    while row := reader.row():
        found.append(row)
    return found


@given(TEXTS, SIZES)
def test_rows_are_those_of_the_standard_library(text: str, sizes: list[int]) -> None:
    expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    assert rows(Reader(arriving(text.encode(), sizes))) == expected


@given(TEXTS, SIZES, st.integers(1, 4))
def test_records_are_the_rows_with_their_values(text: str, sizes: list[int], most: int) -> None:
    columns = ("a", "b", "text")
    expected = [
        {name: cell if name == "text" else value_of(cell) for name, cell in zip(columns, row, strict=False)}
        for row in csv.reader(io.StringIO(text, newline=""))
        if row
    ]
    reader, found = Reader(arriving(text.encode(), sizes)), []
    while chunk := reader.records(columns, frozenset({"text"}), most, 1 << 20):
        assert len(chunk) <= most
        found += chunk
    assert found == expected


@given(st.binary())
def test_any_bytes_are_read_as_text(content: bytes) -> None:
    reader = Reader(arriving(content, [3]))
    assert all(isinstance(cell, str) for row in rows(reader) for cell in row)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfid\n1\n", b"id\n1\n"])
def test_a_byte_order_mark_is_no_text(content: bytes) -> None:
    assert rows(Reader(arriving(content, [1]))) == [["id"], ["1"]]


def test_a_chunk_ends_with_the_row_that_fills_it() -> None:
    reader = Reader(io.BytesIO(b"".join(b"%03d,x\n" % number for number in range(10))).read)
    chunks: list[list[dict[str, Any]]] = []
    while chunk := reader.records(("id", "name"), frozenset(), 100, 12):
        chunks.append(chunk)
    assert [len(chunk) for chunk in chunks] == [2] * 5
    assert reader.taken == 60


def test_a_quote_that_never_ends_is_no_csv() -> None:
    endless = chain([b'id\n"'], repeat(b"x" * (1 << 20)))
    reader = Reader(lambda wanted: next(endless))
    assert reader.row() == ["id"]
    with pytest.raises(Malformed):
        reader.row()
