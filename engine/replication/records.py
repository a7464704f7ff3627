"""What is in an entry and in a row on the wire: JSON, as the engine keeps records, so that values survive unchanged.

JSON rather than MessagePack here: nothing in it announces a length, so there is nothing to allocate before it is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from engine import history
from engine.feed import Writer
from engine.replication.messages import Count, Malformed, Name, NodeName, Origin


class Change(msgspec.Struct, array_like=True, frozen=True):
    """One record after a write. `kind` is "put" or "delete"; version and created are in microseconds; a put has the
    values of the attributes that its shape names, without the two times."""

    kind: str
    key: Any
    version: Count
    created: Count
    shape: int
    values: list[Any]


class Content(msgspec.Struct, array_like=True, frozen=True):
    """What a transaction did, and on whose behalf. A shape is a list of attribute names; its records have few."""

    user: Name | None
    operation: Name
    shapes: list[list[str]]
    changes: list[Change]


class Row(msgspec.Struct, array_like=True, frozen=True):
    """A record or tombstone as it is, with the node that wrote it."""

    origin: Origin
    name: NodeName
    shape: list[str]
    change: Change


_encoder = msgspec.json.Encoder()
_contents = msgspec.json.Decoder(Content)
_rows = msgspec.json.Decoder(Row)


def encode_content(user: str | None, operation: str, changes: Iterable[history.Change]) -> bytes:
    shapes: dict[tuple[str, ...], int] = {}
    encoded = []
    for change in changes:
        record = change.record or {}
        shape = shapes.setdefault(tuple(record), len(shapes))
        encoded.append(_encoded(change, shape))
    return _encoder.encode(Content(user, operation, [list(shape) for shape in shapes], encoded))


def encode_row(writer: Writer, change: history.Change) -> bytes:
    return _encoder.encode(
        Row(Origin(writer.node, writer.epoch), writer.name, list(change.record or {}), _encoded(change, 0))
    )


def decode_content(payload: bytes) -> tuple[str | None, str, list[history.Change]]:
    """(user, operation, changes); Malformed when the bytes are not the content of a transaction."""
    content: Content = _decoded(_contents, payload)
    return content.user, content.operation, [_change(change, content.shapes) for change in content.changes]


def decode_row(encoded: bytes) -> tuple[Writer, history.Change]:
    """Malformed when the bytes are not a row."""
    row: Row = _decoded(_rows, encoded)
    return Writer(row.origin.node, row.origin.epoch, row.name), _change(row.change, [row.shape])


def _encoded(change: history.Change, shape: int) -> Change:
    values = list(change.record.values()) if change.record is not None else []
    return Change(change.kind, change.key, change.version, change.created, shape, values)


def _change(change: Change, shapes: list[list[str]]) -> history.Change:
    if change.kind == "delete":
        return history.Change("delete", change.key, None, change.version, change.created, False, None)
    if change.kind != "put" or not 0 <= change.shape < len(shapes):
        raise Malformed(f"a change of kind {change.kind!r} and shape {change.shape}")
    names = shapes[change.shape]
    if len(names) != len(change.values):
        raise Malformed(f"{len(change.values)} values for {len(names)} attributes")
    record = dict(zip(names, change.values, strict=True))
    return history.Change("put", change.key, record, change.version, change.created, False, None)


def _decoded(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise Malformed(str(error) or type(error).__name__) from error
