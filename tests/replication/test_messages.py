"""The wire format: what goes in comes out, and what should not come in does not."""

from __future__ import annotations

import contextlib
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.feed import Writer
from engine.history import Change
from engine.replication import records
from engine.replication.messages import (
    MAX_FRAME,
    PROTOCOL,
    Agree,
    AnyMessage,
    Beat,
    Card,
    Data,
    Entry,
    Fetch,
    Follow,
    Head,
    Heads,
    Hello,
    Malformed,
    Stream,
    Term,
    Want,
    decode_frame,
    encode_frame,
    frame_number,
    prove,
    proves,
)

STREAM = Stream("dev", "dog")
NODE = "00000000-0000-4000-8000-000000000001"
CARD = Card(PROTOCOL, "kennel", NODE, "north", "session", 9932, 9925, "1.0", "linux", 0.5)
MESSAGES: list[AnyMessage] = [
    Hello(CARD, bytes(32)),
    Beat(1.0, None, 0.0, 5.0),
    Agree(7, [Term("dev", "dog", 12, True, False, None, "id")]),
    Heads(STREAM, True, [Head(NODE, 3, "north", 9)]),
    Follow(STREAM, [Want(NODE, 3, 0)]),
    Data(STREAM, [Entry(NODE, "north", 3, 1, 2, b"payload")]),
    Fetch(4, STREAM, None, True, b"key"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_its_frame(message: AnyMessage) -> None:
    frame = encode_frame(2**40, message)
    assert frame_number(frame) == 2**40
    assert decode_frame(frame) == message


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_malformed(noise: bytes) -> None:
    with contextlib.suppress(Malformed):
        frame_number(noise)
        decode_frame(noise)


@given(st.sampled_from(MESSAGES), st.data())
def test_a_message_with_a_changed_byte_is_a_message_or_malformed(message: AnyMessage, data: st.DataObject) -> None:
    frame = bytearray(encode_frame(1, message))
    frame[data.draw(st.integers(8, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        decode_frame(bytes(frame))


@pytest.mark.parametrize(
    "noise",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 2**32 elements
        b"\x93\x07\x00\xdd\xff\xff\xff\xff",  # Agree with 2**32 terms
        b"\x93\x0a\x92\xa3dev\xa3dog\xdd\xff\xff\xff\xff",  # Data with 2**32 entries
        b"\x93\x0a\x92\xa3dev\xa3dog\x91\x96\xa1u\xa1n\x01\x01\x01\xc6\xff\xff\xff\xff",  # a payload of 4 GiB
        b"\x91" * 100_000,
        b"\x92\x05\xdb\xff\xff\xff\xff",  # Bye with a reason of 4 GiB
    ],
)
def test_announced_sizes_are_not_believed(noise: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            decode_frame(bytes(8) + noise)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_frame_beyond_the_limit_is_malformed() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_FRAME + 1

    with pytest.raises(Malformed):
        frame_number(Huge())


def test_a_proof_holds_for_its_card_channel_key_and_role_only() -> None:
    proof = prove(b"secret", "hello", "channel", "key", CARD)
    assert proves(proof, b"secret", "hello", "channel", "key", CARD)
    other = msgspec.structs.replace(CARD, name="south")
    for secret, role, channel, key, card in [
        (b"guess", "hello", "channel", "key", CARD),
        (b"secret", "welcome", "channel", "key", CARD),
        (b"secret", "hello", "other", "key", CARD),
        (b"secret", "hello", "channel", "other", CARD),
        (b"secret", "hello", "channel", "key", other),
    ]:
        assert not proves(proof, secret, role, channel, key, card)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)  # fmt: skip


@given(st.dictionaries(st.text(min_size=1), values, max_size=4))
def test_records_survive_the_wire(record: dict[str, object]) -> None:
    put = Change("put", 1, record, 5, 4, False, None)
    gone = Change("delete", [1, "a"], None, 6, 6, False, None)
    payload = records.encode_content("alice", "insert", [put, gone, put])
    assert records.decode_content(payload) == ("alice", "insert", [put, gone, put])
    writer = Writer(NODE, 1, "north")
    for change in (put, gone):
        assert records.decode_row(records.encode_row(writer, change)) == (writer, change)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[",
        b"null",
        b'["alice","insert",[],[["put",1,5,4,0,[]]]]',  # no such shape
        b'["alice","insert",[["a"]],[["put",1,5,4,-1,[1]]]]',
        b'["alice","insert",[["a","b"]],[["put",1,5,4,0,[1]]]]',  # fewer values than attributes
        b'["alice","insert",[[]],[["drop",1,5,4,0,[]]]]',
        b'["alice","insert",[[]],[["put",1,-5,4,0,[]]]]',
        b'["alice","insert",[["a"]],[["put",1,5,4,0,[' + b"[" * 100_000 + b"]" * 100_000 + b"]]]]",
    ],
)
def test_content_that_makes_no_sense_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        records.decode_content(payload)
