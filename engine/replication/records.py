"""What is in an entry and in a row on the wire: JSON, as the engine keeps records, so that values survive unchanged.

JSON rather than MessagePack here: nothing in it announces a length, so there is nothing to allocate before it is there.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.replication.messages import Count, Malformed, Name, Origin


class Change(msgspec.Struct, array_like=True, frozen=True):
    """One record after a write. `kind` is "put" or "delete"; `record` holds its attributes without the two times, None
    for a delete; version and created are in microseconds."""

    kind: str
    key: Any
    version: Count
    created: Count
    record: dict[str, Any] | None


class Content(msgspec.Struct, array_like=True, frozen=True):
    """What a transaction did, and on whose behalf."""

    user: Annotated[str, Meta(max_length=1000)] | None
    operation: Name
    changes: list[Change]


class Row(msgspec.Struct, array_like=True, frozen=True):
    """A record or tombstone as it is, with the node that wrote it."""

    origin: Origin
    name: Name
    change: Change


_encoder = msgspec.json.Encoder()
_contents = msgspec.json.Decoder(Content)
_rows = msgspec.json.Decoder(Row)


def encode(value: Content | Row) -> bytes:
    return _encoder.encode(value)


def decode_content(payload: bytes) -> Content:
    """Malformed when the bytes are not the content of a transaction."""
    return _sound(_decoded(_contents, payload))


def decode_row(row: bytes) -> Row:
    """Malformed when the bytes are not a row."""
    decoded: Row = _decoded(_rows, row)
    _check(decoded.change)
    return decoded


def _decoded(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise Malformed(str(error)) from error


def _sound(content: Content) -> Content:
    for change in content.changes:
        _check(change)
    return content


def _check(change: Change) -> None:
    if change.kind not in ("put", "delete") or (change.kind == "put") != (change.record is not None):
        raise Malformed(f"a {change.kind} {'without' if change.record is None else 'with'} a record")
