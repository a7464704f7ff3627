"""Bodies in and out, and the negotiation of types and codings."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from typing import Any

import brotli
import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend import coding, wire
from frontend.errors import Refused

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))


@given(VALUES)
def test_every_value_comes_back_from_every_format(value: Any) -> None:
    for content_type, encode in (
        (wire.JSON, wire.encode_json),
        (wire.CBOR, wire.encode_cbor),
        (wire.MESSAGE_PACK, wire.encode_message_pack),
    ):
        assert wire.decode(content_type, encode(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1.0], b"[1]"),
        ([-0.0], b"[0]"),
        ({"a": 2.0, "b": "2.0,"}, b'{"a":2,"b":"2.0,"}'),
        ([1795538069346.9568], b"[1795538069346.9568]"),
        ([0.5, 100.0, 3.05], b"[0.5,100,3.05]"),
        ([2**64 - 1, -(2**63)], b"[18446744073709551615,-9223372036854775808]"),
        ({"b": 1, "a": 2}, b'{"b":1,"a":2}'),
    ],
)
def test_numbers_print_as_javascript_prints_them_and_members_keep_their_order(value: Any, text: bytes) -> None:
    assert wire.encode_json(value) == text


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"", 400),
        ("application/json", b"{bad", 400),
        ("application/json", b'{"a":NaN}', 400),
        ("application/json", b'"\\ud800"', 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b'{"a":"\xff"}', 400),
        ("application/cbor", b"", 400),
        ("application/cbor", b"\x01\x01", 400),
        ("application/cbor", b"\x81" * 100_000, 400),
        ("application/cbor", b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff", 400),
        ("application/x-msgpack", b"\x01\x01", 400),
        ("application/x-msgpack", b"\x91" * 100_000, 400),
        ("application/x-msgpack", b"\xdd\xff\xff\xff\xff", 400),
        ("application/xml", b"<a/>", 415),
        ("application/msgpack", b"\x80", 415),
        ("", b"{}", 415),
    ],
)
def test_bodies_that_are_no_request(content_type: str, body: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        wire.decode(content_type, body)
    assert refused.value.status == status


def test_unsupported_types_are_named() -> None:
    with pytest.raises(Refused, match="Unsupported Media Type: application/xml"):
        wire.decode("application/xml; charset=utf-8", b"<a/>")


def test_json_may_say_its_charset() -> None:
    assert wire.decode("Application/JSON; charset=utf-8", '{"ü":1}'.encode()) == {"ü": 1}


@given(st.binary(max_size=200))
def test_no_bytes_break_a_decoder(body: bytes) -> None:
    for content_type in (wire.JSON, wire.CBOR, wire.MESSAGE_PACK):
        try:
            wire.decode(content_type, body)
        except Refused as refused:
            assert refused.status == 400


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", wire.JSON),
        ("application/json", wire.JSON),
        ("application/json, application/cbor", wire.CBOR),
        ("application/cbor;q=0.5, application/json", wire.JSON),
        ("application/x-msgpack, application/json", wire.MESSAGE_PACK),
        ("text/html, */*;q=0.8", wire.JSON),
        ("text/csv", wire.CSV),
        ("text/csv, */*;q=0.1", wire.CSV),
        ("application/*", wire.JSON),
    ],
)
def test_accept_picks_the_type(accept: str, content_type: str) -> None:
    assert wire.negotiate(accept).content_type == content_type


@pytest.mark.parametrize("accept", ["application/xml", "application/json;q=0", "application/json;q=x", ","])
def test_no_acceptable_type_is_a_406(accept: str) -> None:
    with pytest.raises(Refused, match="No supported content types found in Accept header") as refused:
        wire.negotiate(accept)
    assert refused.value.status == 406


def test_csv_quotes_texts_and_objects_and_nothing_else() -> None:
    rows = [{"id": 1, "name": 'a "b", c', "ok": True, "n": 1.5}, {"id": 2.0, "o": {"x": [1]}, "n": None}]
    body = wire.encode_csv(rows).decode()
    assert body.splitlines() == [
        '"id","name","ok","n","o"',
        '1,"a ""b"", c",true,1.5,',
        '2,,,,"{""x"":[1]}"',
    ]


def test_csv_of_one_object_is_one_row() -> None:
    assert wire.encode_csv({"error": "x"}) == b'"error"\r\n"x"\r\n'


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))


@given(st.lists(st.fixed_dictionaries({"a": CELLS})))
def test_csv_can_be_read_back(rows: list[dict[str, str]]) -> None:
    body = wire.encode_csv(rows).decode()
    assert [row["a"] for row in csv.DictReader(io.StringIO(body, newline=""))] == [row["a"] for row in rows]


def test_codings_are_negotiated_and_can_be_undone() -> None:
    body = json.dumps(list(range(1000))).encode()
    undo = {"br": brotli.decompress, "gzip": gzip.decompress, "deflate": zlib.decompress}
    for name, decompress in undo.items():
        assert coding.negotiate(name) == name
        assert decompress(coding.compress(body, name)) == body


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [("", None), ("identity", None), ("gzip, br", "br"), ("gzip;q=0", None), ("*", "br"), ("br;q=0, *", "zstd")],
)
def test_accept_encoding(accepted: str, chosen: str | None) -> None:
    assert coding.negotiate(accepted) == chosen


def test_what_other_libraries_write_is_understood() -> None:
    request = {"operation": "insert", "records": [{"id": 1.5, "tags": [True, None]}]}
    assert wire.decode(wire.CBOR, cbor2.dumps(request)) == request
    assert wire.decode(wire.MESSAGE_PACK, msgspec.msgpack.encode(request)) == request
