"""Bodies as bytes: JSON, CBOR and MessagePack in both directions, CSV outwards, and what Accept headers ask for.

The values in between are plain Python. Integers keep 64 bits; a float without a fraction leaves as an integer.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import brotli
import cbor2
import msgspec
import orjson

from frontend.errors import Refused

JSON = "application/json"
CBOR = "application/cbor"
MESSAGE_PACK = "application/x-msgpack"
CSV = "text/csv"

#: Bodies shorter than this many bytes are sent as they are.
COMPRESSION_THRESHOLD = 1200

_INTEGRAL_FLOAT = re.compile(rb"\.0[,}\]]")


@dataclass(frozen=True, slots=True)
class Format:
    """A content type that answers can have; `preference` breaks ties between types that a client likes equally."""

    content_type: str
    preference: float
    encode: Callable[[Any], bytes]
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
    lines = [",".join(map(_cell, columns)), *(",".join(_cell(row.get(name)) for name in columns) for row in rows)]
    return ("\r\n".join(lines) + "\r\n").encode()


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


FORMATS = (
    Format(CBOR, 1.0, encode_cbor),
    Format(MESSAGE_PACK, 0.9, encode_message_pack),
    Format(JSON, 0.8, encode_json),
    Format(CSV, 0.1, encode_csv, (("Content-Disposition", 'attachment; filename="data.csv"'),)),
)
DEFAULT = FORMATS[2]
ANYTHING_PREFERENCE = 0.5


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Format:
    """The format that an Accept header asks for: client quality times server preference decides. 406 when none fits."""
    best: tuple[float, Format] | None = None
    for pattern, quality in _qualities(accept):
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


def _qualities(header: str) -> Iterable[tuple[str, float]]:
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


# ------------------------------------------------------------------------------------------------------- compression

_COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda body: brotli.compress(body, quality=4),
    "gzip": lambda body: gzip.compress(body, compresslevel=4, mtime=0),
    "deflate": lambda body: zlib.compress(body, 4),
}


@lru_cache(maxsize=256)
def negotiate_encoding(accept_encoding: str) -> str | None:
    """The content coding that an Accept-Encoding header likes best, None for none; ties go to br, then gzip."""
    wanted = dict(_qualities(accept_encoding))
    otherwise = wanted.get("*", 0.0)
    best = max(_COMPRESSORS, key=lambda name: wanted.get(name, otherwise))
    return best if wanted.get(best, otherwise) > 0 else None


def compress(body: bytes, encoding: str) -> bytes:
    return _COMPRESSORS[encoding](body)
