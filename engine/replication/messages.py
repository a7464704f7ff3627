"""The wire format between nodes: numbered frames of MessagePack with a schema, checked before anything is allocated.

A frame is an 8-byte big-endian number, counted from 1 on every link, and one message: a MessagePack array whose first
element is the message's tag. The number stands outside the message, so that a malformed message costs only itself.
Record images travel as opaque bytes (`Entry.payload`, `Rows.rows`); what is in them is the business of
`engine.replication.records`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

PROTOCOL = 1

# One entry is one transaction; an engine frame is at most 64 MiB, and JSON may need some more room than its records.
MAX_PAYLOAD = 192 << 20
MAX_FRAME = 256 << 20
NUMBER_BYTES = 8

Name = Annotated[str, Meta(max_length=250)]
NodeId = Annotated[str, Meta(max_length=36, pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
NodeName = Annotated[str, Meta(max_length=250, pattern=r"^[^.,*>\s]*$")]
Text = Annotated[str, Meta(max_length=2000)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Epoch = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e15)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Stream(NamedTuple):
    """The transactions of one table, by its name: what a subscription is about."""

    schema: Name
    table: Name


class Origin(NamedTuple):
    """Who wrote a transaction: a node by its uuid, in one epoch, in which its numbers have no gaps."""

    node: NodeId
    epoch: Epoch


Vector = dict[Origin, int]
"""The number up to which an origin's transactions are all there, per origin."""


class Message(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Everything that may stand in a frame."""


class Card(Message):
    """What a node says of itself. `session` is new with every start of the process; `uptime` is in ms."""

    protocol: Count
    cluster: Name
    uuid: NodeId
    name: NodeName
    session: Name
    clustering_port: Port
    operations_port: Port
    software: Name
    platform: Name
    uptime: Milliseconds


class Hello(Message, tag=1):
    """Dialler to listener, first on every link. The proof binds card and channel to the cluster's password."""

    card: Card
    proof: Digest


class Welcome(Message, tag=2):
    """The listener's answer to Hello: from here on both know with whom they speak."""

    card: Card
    proof: Digest


class Refuse(Message, tag=3):
    """The listener's answer to a Hello that it does not accept; the dialler closes."""

    reason: Text


class Begin(Message, tag=4):
    """The node with the smaller uuid picks this of the links between the two as the one in use."""


class Bye(Message, tag=5):
    """This link is over; whoever dialled dials again."""

    reason: Text


class Beat(Message, tag=6):
    """Sign of life, each second. `mark` is the sender's clock in ms, `echo` the latest mark it got, `held` ms ago."""

    mark: Milliseconds
    echo: Milliseconds | None
    held: Milliseconds
    uptime: Milliseconds


class Term(Message):
    """One table of the subscription between two nodes, as its sender sees it.

    `stamp` (microseconds) orders the changes to this term, `start_time` is in microseconds, `primary_key` is None where
    the sender lacks the table."""

    schema: Name
    table: Name
    stamp: Count
    publish: bool
    subscribe: bool
    start_time: Count | None
    primary_key: Name | None

    @property
    def stream(self) -> Stream:
        return Stream(self.schema, self.table)


Terms = Annotated[list[Term], Meta(max_length=100_000)]


class Agree(Message, tag=7):
    """What the sender holds to be agreed between the two nodes; both repeat it until they hold the same."""

    removed: Count
    terms: Terms


class Head(Message):
    """An origin in a stream, the number of its last transaction that is there, and the node's name as tie-break."""

    node: NodeId
    epoch: Epoch
    name: NodeName
    last: Count

    @property
    def origin(self) -> Origin:
        return Origin(self.node, self.epoch)


class Heads(Message, tag=8):
    """How far the sender's copy of a stream reaches. `fresh`: an earlier Follow of this stream is forgotten."""

    stream: Stream
    fresh: bool
    heads: Annotated[list[Head], Meta(max_length=65_535)]


def heads_of(vector: Vector, names: dict[str, str]) -> list[Head]:
    """A vector on the wire."""
    return [
        Head(origin.node, origin.epoch, names.get(origin.node, ""), last) for origin, last in sorted(vector.items())
    ]


class Want(Message):
    """An origin of which a subscriber wants everything after `have`."""

    node: NodeId
    epoch: Epoch
    have: Count


class Follow(Message, tag=9):
    """Send these origins of the stream from now on, and no others; replaces any Follow of this stream before it."""

    stream: Stream
    wants: Annotated[list[Want], Meta(max_length=65_535)]


class Entry(Message):
    """One transaction on its way: who wrote it, its number there, its version (microseconds) and its content."""

    node: NodeId
    name: NodeName
    epoch: Epoch
    number: Count
    version: Count
    payload: Annotated[bytes, Meta(max_length=MAX_PAYLOAD)]

    @property
    def origin(self) -> Origin:
        return Origin(self.node, self.epoch)


class Data(Message, tag=10):
    """Transactions of one stream, in each origin's order."""

    stream: Stream
    entries: Annotated[list[Entry], Meta(max_length=65_535)]


class Ack(Message, tag=11):
    """So many Data frames of the stream are durably applied (or known already): room for as many more."""

    stream: Stream
    frames: Count


class Short(Message, tag=12):
    """The log no longer (or never did) reach back to what a Follow wants of these origins: fetch the rows."""

    stream: Stream
    origins: Annotated[list[Origin], Meta(max_length=65_535)]


class Fetch(Message, tag=13):
    """Ask for the rows of a table after the key `after`; `since` (microseconds) leaves out older ones; without `rows`
    only the vector is wanted: as it is now or, with `since`, as it was then."""

    request: Count
    stream: Stream
    since: Count | None
    rows: bool
    after: Annotated[bytes, Meta(max_length=2000)] | None


class Rows(Message, tag=14):
    """Answer to Fetch. `after` is where the next Fetch goes on, None after the last row. The vector holds for this and
    all later answers of the series: everything up to it is in the rows."""

    request: Count
    rows: Annotated[list[Annotated[bytes, Meta(max_length=MAX_PAYLOAD)]], Meta(max_length=100_000)]
    after: Annotated[bytes, Meta(max_length=2000)] | None
    vector: Annotated[list[Head], Meta(max_length=65_535)]


class Propose(Message, tag=15):
    """Ask the peer to take these terms; the answer is a Verdict."""

    request: Count
    terms: Terms


class Verdict(Message, tag=16):
    """Answer to Propose: each proposed table's primary key attribute, in order, None for a table on neither node."""

    request: Count
    primary_keys: Annotated[list[Name | None], Meta(max_length=100_000)]


class Survey(Message, tag=17):
    """Who is there? Passed on to the nodes that are not among `asked`; the answer is a Found."""

    request: Count
    survey: Name
    asked: Annotated[list[NodeId], Meta(max_length=10_000)]
    timeout: Milliseconds


class Member(Message):
    """A node's own answer to a Survey; `response_time` (ms) is added up on the way."""

    name: NodeName
    response_time: Milliseconds
    connected_nodes: Annotated[list[Name], Meta(max_length=10_000)]
    routes: Annotated[list[tuple[Name, Port]], Meta(max_length=10_000)]


class Found(Message, tag=18):
    """Answer to Survey: this node and those that answered it."""

    request: Count
    members: Annotated[list[Member], Meta(max_length=10_000)]


class Sorry(Message, tag=19):
    """Answer to any question that fails: the name of the error class in `engine.errors`, and its text."""

    request: Count
    kind: Name
    text: Text


AnyMessage = (
    Hello | Welcome | Refuse | Begin | Bye | Beat | Agree | Heads | Follow | Data | Ack | Short
    | Fetch | Rows | Propose | Verdict | Survey | Found | Sorry
)  # fmt: skip
Question = Fetch | Propose | Survey
Answer = Rows | Verdict | Found | Sorry

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


class Malformed(ValueError):
    """Bytes from outside that do not follow the schema."""


def encode_frame(number: int, message: AnyMessage) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "big") + _encoder.encode(message)


def frame_number(frame: bytes) -> int:
    """The number of a frame; Malformed when the frame is too short or too long to be one."""
    if not NUMBER_BYTES < len(frame) <= MAX_FRAME:
        raise Malformed(f"a frame of {len(frame)} bytes")
    return int.from_bytes(frame[:NUMBER_BYTES], "big")


def decode_frame(frame: bytes) -> AnyMessage:
    """The message in a frame; Malformed when it does not follow the schema or its limits."""
    try:
        return _decoder.decode(memoryview(frame)[NUMBER_BYTES:])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise Malformed(str(error) or type(error).__name__) from error


def prove(secret: bytes, role: str, channel: str, key: str, card: Card) -> bytes:
    """What shows that the sender of `card` knows the cluster's secret, good for this channel and transport key only."""
    text = b"\0".join((role.encode(), channel.encode(), key.encode(), _encoder.encode(card)))
    return hmac.digest(secret, text, hashlib.sha256)


def proves(proof: bytes, secret: bytes, role: str, channel: str, key: str, card: Card) -> bool:
    return hmac.compare_digest(proof, prove(secret, role, channel, key, card))
