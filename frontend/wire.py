"""Bodies as bytes: JSON, CBOR and MessagePack in both directions, CSV outwards, and what Accept headers ask for.

The values in between are plain Python. Integers keep 64 bits; a float without a fraction leaves as an integer.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cbor2
import msgspec
import orjson

from frontend.errors import Refused
from frontend.rows import Rows

JSON = "application/json"
CBOR = "application/cbor"
MESSAGE_PACK = "application/x-msgpack"
CSV = "text/csv"

SPOOL_BYTES = 1 << 20  # of a long answer that are kept in memory while it is counted
PIECE = 1 << 16  # bytes of a file that are sent at a time

_INTEGRAL_FLOAT = re.compile(rb"\.0[,}\]]")


@dataclass(frozen=True, slots=True)
class Format:
    """A content type that answers can have; `preference` breaks ties between types that a client likes equally."""

    content_type: str
    preference: float
    encode: Callable[[Any], bytes]
    stream: Callable[[Rows], Iterator[bytes]]
    headers: tuple[tuple[str, str], ...] = ()


# ---------------------------------------------------------------------------------------------------------- requests


def decode(content_type: str, body: bytes) -> Any:
    """The value of a request body; 400 when malformed, 415 when the type is not one that requests may have."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return _decode_json(body)
    if kind == CBOR:
        return _decode_cbor(body)
    if kind == MESSAGE_PACK:
        return _decode_message_pack(body)
    if kind == "text/plain":
        return body.decode(errors="replace")
    raise Refused(415, f"Unsupported Media Type: {kind}")


def _decode_json(body: bytes) -> Any:
    if not body:
        raise Refused(400, f"Body cannot be empty when content-type is set to '{JSON}'")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise Refused(400, f"The body is not valid JSON: {problem}") from None


def _decode_cbor(body: bytes) -> Any:
    stream = io.BytesIO(body)
    try:
        value = cbor2.load(stream)
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as problem:
        raise Refused(400, f"The body is not valid CBOR: {problem}") from None
    if stream.tell() != len(body):
        raise Refused(400, "Data read, but end of buffer not reached")
    return value


def _decode_message_pack(body: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as problem:
        raise Refused(400, f"The body is not valid MessagePack: {problem}") from None


# ----------------------------------------------------------------------------------------------------------- answers


def encode_json(value: Any) -> bytes:
    encoded = orjson.dumps(value)
    if _INTEGRAL_FLOAT.search(encoded) is None:
        return encoded
    return orjson.dumps(whole_numbers(value))


def encode_cbor(value: Any) -> bytes:
    return cbor2.dumps(whole_numbers(value))


def encode_message_pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(whole_numbers(value))


def encode_csv(value: Any) -> bytes:
    """A header line, then a line a row: texts quoted, numbers and booleans bare, null empty, the rest quoted JSON."""
    rows = [row if isinstance(row, dict) else {"value": row} for row in (value if isinstance(value, list) else [value])]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return _csv_lines([dict(zip(columns, columns, strict=True)), *rows], columns)


def _csv_lines(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> bytes:
    return "".join(",".join(_cell(row.get(name)) for name in columns) + "\r\n" for row in rows).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return encode_json([value]).decode()[1:-1]
    text = value if isinstance(value, str) else encode_json(value).decode()
    return '"' + text.replace('"', '""') + '"'


def whole_numbers(value: Any) -> Any:
    """The same value with floats like 2.0 as integers, as far as doubles name integers exactly."""
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and abs(value) <= 2**53 else value
    if kind is dict:
        return {name: whole_numbers(item) for name, item in value.items()}
    if kind is list or kind is tuple:
        return [whole_numbers(item) for item in value]
    return value


# ------------------------------------------------------------------------------------------------------ long answers


def stream_json(rows: Rows) -> Iterator[bytes]:
    opening = b"["
    for chunk in rows.chunks():
        yield opening + encode_json(chunk)[1:-1]
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


def stream_cbor(rows: Rows) -> Iterator[bytes]:
    """An array of indefinite length."""
    yield b"\x9f"
    for chunk in rows.chunks():
        yield b"".join(map(encode_cbor, chunk))
    yield b"\xff"


def stream_message_pack(rows: Rows) -> Iterator[bytes]:
    """Its arrays begin with their length, so the rows wait in a file until they have been counted."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        count = 0
        for chunk in rows.chunks():
            count += len(chunk)
            spool.write(b"".join(map(encode_message_pack, chunk)))
        yield b"\xdd" + count.to_bytes(4, "big")
        spool.seek(0)
        yield from iter(lambda: spool.read(PIECE), b"")


def stream_csv(rows: Rows) -> Iterator[bytes]:
    columns = rows.columns()
    yield _csv_lines([dict(zip(columns, columns, strict=True))], columns)
    for chunk in rows.chunks():
        yield _csv_lines(chunk, columns)


FORMATS = (
    Format(CBOR, 1.0, encode_cbor, stream_cbor),
    Format(MESSAGE_PACK, 0.9, encode_message_pack, stream_message_pack),
    Format(JSON, 0.8, encode_json, stream_json),
    Format(CSV, 0.1, encode_csv, stream_csv, (("Content-Disposition", 'attachment; filename="data.csv"'),)),
)
DEFAULT = FORMATS[2]
ANYTHING_PREFERENCE = 0.5


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Format:
    """The format that an Accept header asks for: client quality times server preference decides. 406 when none fits."""
    best: tuple[float, Format] | None = None
    for pattern, quality in qualities(accept):
        for score, candidate in _matches(pattern, quality):
            if score > 0 and (best is None or score > best[0]):
                best = (score, candidate)
    if best is None:
        supported = ", ".join(candidate.content_type for candidate in FORMATS)
        raise Refused(406, f"No supported content types found in Accept header, supported types include: {supported}")
    return best[1]


def _matches(pattern: str, quality: float) -> Iterable[tuple[float, Format]]:
    if pattern in ("*/*", "*", "application/*"):
        return [(quality * ANYTHING_PREFERENCE, DEFAULT)]
    if pattern == "text/*":
        pattern = CSV
    return [(quality * candidate.preference, candidate) for candidate in FORMATS if candidate.content_type == pattern]


def qualities(header: str) -> Iterable[tuple[str, float]]:
    """The elements of an Accept-like header with their quality from 0 to 1; an unreadable quality counts as 0."""
    for element in header.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        if not name:
            continue
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            yield name, min(max(float(quality), 0.0), 1.0)
        except ValueError:
            yield name, 0.0
