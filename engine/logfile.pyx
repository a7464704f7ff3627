"""A segment file read by itself, without its table: what its header says, the frames in it, and what lies behind them.

Backups, restores and inspections use it: it needs no lock, changes nothing, and copes with anything that the bytes may be. The
formats stand in c/layout.h. Buffers are whole segment files, usually mapped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.core cimport op_is_sound, op_length
from engine.layout cimport (
    KN_COMPACTED, KN_FORMAT, KN_SEGMENT_HEADER, KN_SUPERSEDED, kn_checkpoint, kn_crc32c, kn_frame, kn_op, kn_segment,
)
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from engine.errors import Corrupt, RootError

HEADER_SIZE = KN_SEGMENT_HEADER
FORMAT = KN_FORMAT
KINDS = {1: "put", 2: "delete", 3: "attribute", 4: "drop_attribute", 5: "user", 6: "origin", 7: "mark"}


@dataclass(frozen=True, slots=True)
class Header:
    table_id: bytes
    segno: int
    first_seq: int
    last_seq: int | None    # of compacted segments
    salt: int
    created: int            # µs


@dataclass(frozen=True, slots=True)
class Frame:
    offset: int
    length: int
    seq: int
    version: int            # µs
    origin: int
    operations: int


@dataclass(frozen=True, slots=True)
class Operation:
    offset: int
    kind: str
    superseded: bool
    key: bytes
    body_length: int
    version: int            # µs
    previous: tuple[int, int]       # segment and offset, (0, 0) = none


def crc32c(const uint8_t[::1] data, uint32_t seed=0) -> int:
    """The checksum of `data`, or of what `seed` is the checksum of followed by `data`."""
    return kn_crc32c(seed, &data[0], data.shape[0]) if data.shape[0] else seed


def is_zero(const uint8_t[::1] data, Py_ssize_t start, Py_ssize_t end) -> bool:
    cdef Py_ssize_t at
    for at in range(start, min(end, data.shape[0])):
        if data[at] != 0:
            return False
    return True


def read_header(const uint8_t[::1] data, place: str) -> Header | None:
    """The header of a segment; None of a spare, which never came into use. Corrupt when it is damaged, RootError when it is of
    another version of this program.

    No frames stand behind the header of a spare: what bits may have changed in it is no matter."""
    cdef const kn_segment* header = <const kn_segment*>&data[0]
    if data.shape[0] < KN_SEGMENT_HEADER:
        raise Corrupt(f"{place} is cut off: it has {data.shape[0]} bytes")
    if is_zero(data, 0, sizeof(kn_segment)):
        return None
    sealed = kn_crc32c(0, header, <size_t>(<const char*>&header.crc - <const char*>header)) == header.crc
    if memcmp(header.magic, b"KNLG", 4) == 0 and sealed:
        if header.format != KN_FORMAT:
            raise RootError(f"{place} has format {header.format}; this version reads format {KN_FORMAT}")
        return Header(
            <bytes>header.table_id[:16], header.segno, header.first_seq,
            header.last_seq if header.flags & KN_COMPACTED else None, header.salt, header.created,
        )
    if is_zero(data, KN_SEGMENT_HEADER, KN_SEGMENT_HEADER + sizeof(kn_frame)):
        return None
    raise Corrupt(f"{place}: the segment's header at byte 0 is damaged")


cdef bint _is_whole(const uint8_t[::1] data, uint32_t salt, Py_ssize_t at):
    cdef const kn_frame* frame = <const kn_frame*>&data[at]
    cdef Py_ssize_t room = data.shape[0] - at
    return (room >= <Py_ssize_t>sizeof(kn_frame) and sizeof(kn_frame) <= frame.length <= <size_t>room and frame.length % 8 == 0
            and kn_crc32c(salt, &frame.seq, frame.length - 8) == frame.crc)


def frames(const uint8_t[::1] data, header: Header) -> Iterator[Frame]:
    """The segment's frames in order, up to the first that is not whole or does not follow on."""
    cdef Py_ssize_t at = KN_SEGMENT_HEADER
    cdef uint32_t salt = header.salt & 0xFFFFFFFF
    cdef const kn_frame* frame
    cdef uint64_t last = header.first_seq - 1
    cdef bint compacted = header.last_seq is not None
    while at < data.shape[0] and _is_whole(data, salt, at):
        frame = <const kn_frame*>&data[at]
        if frame.seq <= last or (frame.seq != last + 1 and not compacted):
            return
        last = frame.seq
        yield Frame(at, frame.length, frame.seq, frame.version, frame.origin, frame.operations)
        at += frame.length


def operations(const uint8_t[::1] data, frame: Frame) -> Iterator[Operation | None]:
    """The operations of a frame; None in the place of one that is not sound, and then no more."""
    cdef uint64_t at = frame.offset + sizeof(kn_frame), end = frame.offset + frame.length
    cdef const kn_op* op
    for _ in range(frame.operations):
        op = <const kn_op*>&data[at]
        if at >= end or not op_is_sound(op, end - at) or op.kind not in KINDS:
            yield None
            return
        yield Operation(
            at, KINDS[op.kind], bool(op.flags & KN_SUPERSEDED), <bytes>(<const uint8_t*>op + sizeof(kn_op))[:op.key_length],
            op.body_length, op.version, (op.previous_segno, op.previous_offset),
        )
        at += op_length(op)


def promise_beyond(const uint8_t[::1] data, header: Header, Py_ssize_t offset) -> int:
    """The place of a later whole frame that says that the bytes at `offset` were on disk; 0 when there is none."""
    cdef Py_ssize_t at = (offset + 8) & ~7
    cdef uint32_t salt = header.salt & 0xFFFFFFFF
    cdef const kn_frame* frame
    while at + <Py_ssize_t>sizeof(kn_frame) <= data.shape[0]:
        frame = <const kn_frame*>&data[at]
        if offset < <Py_ssize_t>frame.synced <= at and _is_whole(data, salt, at):
            return at
        at += 8
    return 0


def checkpoint_seq(const uint8_t[::1] page) -> int | None:
    """The last transaction of the checkpoint in one of the first two pages of an index; None when there is none. ValueError
    when it is not whole."""
    cdef const kn_checkpoint* slot = <const kn_checkpoint*>&page[0]
    if page.shape[0] < <Py_ssize_t>sizeof(kn_checkpoint) or is_zero(page, 0, sizeof(kn_checkpoint)):
        return None
    if kn_crc32c(0, slot, <size_t>(<const char*>&slot.crc - <const char*>slot)) != slot.crc:
        raise ValueError("not whole")
    return slot.meta.seq
