"""The log of a table read as what it records: transactions in the order of their commit.

The same frames serve the transaction log, the audit log and replication. Only what is visible is read; every frame's
checksum is verified. Sequence numbers rise, with gaps only where the log was compacted; the last one that a follower has
seen is all that it must remember.
"""

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from engine.cursor cimport Cursor, cursor_key, cursor_next, cursor_seek, cursor_value
from engine.keys cimport decode_key
from engine.layout cimport (
    KN_DELETE, KN_PUT, KN_SEGMENT_HEADER, KN_SUPERSEDED, kn_crc32c, kn_frame, kn_load32, kn_locator, kn_meta, kn_op, kn_tombstone,
    kn_tree,
)
from engine.log cimport is_compacted, log_map, op_at, segment_header
from engine.nametree cimport numbered
from engine.record cimport decode_record
from engine.segments cimport list_segments
from engine.store cimport Store
from engine.core cimport op_is_sound, op_length
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from engine.errors import Corrupt, raise_errno
from engine.segments import split
from engine.store import OPERATION_NAMES

PLACES = 64                 # followers whose place in the log is remembered


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction did to one record. `record` holds the user attributes after a put, without key and times;
    `previous` the ones before, where asked for and known. A superseded change lost against a later version."""

    kind: str               # "put" or "delete"
    key: Any
    record: dict[str, Any] | None
    version: int            # µs
    created: int            # µs
    superseded: bool
    previous: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Transaction:
    seq: int
    version: int            # µs
    origin: str | None      # id of the node that it comes from; None = this node
    origin_name: str
    epoch: int
    origin_seq: int         # its place among the origin's transactions on this table; 0 = none, it is not replicated by itself
    user: str | None
    operation: str          # what the request was called; "" when unknown
    changes: list[Change]
    whole: bool             # False in a compacted part of the log: only what was left of it


@dataclass(frozen=True, slots=True)
class Image:
    """A record or a tombstone as it is now, with the node that wrote it (None = this one)."""

    origin: str | None
    origin_name: str
    epoch: int
    change: Change


cdef class History:
    """Reads the log of an open store. Used by one thread at a time."""

    cdef Store store
    cdef object places      # seq -> (segno, offset) of the frame after it
    cdef dict users, origins
    cdef list firsts, segnos    # of the segments in order
    cdef tuple listed           # what the two were read at

    def __cinit__(self, Store store) -> None:
        self.firsts, self.segnos, self.listed = [], [], (-1, -1)
        self.store = store
        self.places = OrderedDict()
        self.users, self.origins = {}, {}

    def read(self, after: int, *, limit: int = 1000, max_bytes: int = 4 << 20, previous: bool = False) -> list[Transaction]:
        """The transactions after this sequence number: at most `limit`, and no more once `max_bytes` of log are read."""
        cdef kn_meta meta
        cdef uint32_t slot, offset
        cdef const kn_frame* frame
        found: list = []
        size = 0
        self.store.begin(&meta, False, &slot)
        try:
            if after >= meta.seq:  # nothing to find, and in a new table not even a frame to start from
                return found
            position, offset = self._place(after, &meta)
            while len(found) < limit and size < max_bytes and position < len(self.segnos):
                frame = self._frame(position, offset, &meta)
                if frame == NULL:
                    if position + 1 == len(self.segnos):
                        break
                    self._need_end(position, offset, after)
                    position, offset = position + 1, KN_SEGMENT_HEADER
                    continue
                found.append(self._transaction(frame, self.segnos[position], offset, &meta, previous))
                size += frame.length
                offset += frame.length
                after = frame.seq
            if position < len(self.segnos):
                self._remember(after, self.segnos[position], offset)
        finally:
            self.store.shared.give_slot(slot)
        return found

    def images(self, after: bytes | None, *, max_bytes: int = 4 << 20) -> tuple[list[Image], bytes | None]:
        """Records in key order, then tombstones, from where the last call ended (None = the beginning) on; and where this
        one ended, None at the end of all. Each call reads the state that is visible then."""
        cdef kn_meta meta
        cdef uint32_t slot
        found: list = []
        self.store.begin(&meta, False, &slot)
        try:
            if after is None or after[:1] == b"P":
                after = self._images(&meta, &meta.primary, b"P", after, max_bytes, found)
                after = b"T" if after is None else after
            if after[:1] == b"T" and not found:
                after = self._images(&meta, &meta.tombstones, b"T", after, max_bytes, found)
        finally:
            self.store.shared.give_slot(slot)
        return found, after

    cdef object _images(self, const kn_meta* meta, const kn_tree* tree, bytes kind, after, long long max_bytes, list found):
        cdef Cursor cursor
        cdef int length
        cdef const uint8_t* key
        cdef const kn_op* op
        cdef bytes start = after[1:] + b"\0" if after is not None and len(after) > 1 else b""
        cursor_seek(&cursor, &self.store.core.pager, tree, <const uint8_t*>(<char*>start), <int>len(start))
        while cursor.valid:
            if max_bytes <= 0:
                return kind + last
            key = cursor_key(&cursor, &length)
            last = <bytes>key[:length]
            op = self._image_op(cursor_value(&cursor), kind == b"P")
            origin, name, epoch = self._origin(op.origin, meta)
            found.append(Image(origin, name, epoch, self._change(op, False)))
            max_bytes -= op_length(op)
            cursor_next(&cursor)
        if cursor.error < 0:
            self.store.fail(cursor.error)
        return None

    cdef const kn_op* _image_op(self, const uint8_t* value, bint live) except NULL:
        cdef kn_locator place
        cdef kn_tombstone stone
        if live:
            memcpy(&place, value, sizeof(kn_locator))
        else:
            memcpy(&stone, value, sizeof(kn_tombstone))
            place.segno, place.offset = stone.segno, stone.offset
        self._map(place.segno)
        cdef const kn_op* op = op_at(&self.store.core.log, place.segno, place.offset)
        if not op_is_sound(op, self.store.core.log.size[place.segno] - place.offset):
            raise Corrupt(f"{self.store.label}: the record at byte {place.offset} of segment {place.segno:06}.log is damaged")
        return op

    def origin_names(self) -> dict[str, str]:
        """Node id -> name, of every other node that has written to this table."""
        cdef kn_meta meta
        cdef uint32_t slot
        self.store.begin(&meta, False, &slot)
        try:
            return {str(UUID(bytes=key[:16])): key[20:].decode() for _, key in self._numbered(c"O", &meta)}
        finally:
            self.store.shared.give_slot(slot)

    def _map(self, segno: int) -> None:
        cdef int result = log_map(&self.store.core.log, segno)
        if result < 0:
            raise_errno(result, f"{self.store.label}: segment {segno:06}.log")

    def _remember(self, after: int, segno: int, offset: int) -> None:
        self.places[after] = (segno, offset)
        self.places.move_to_end(after)
        while len(self.places) > PLACES:
            self.places.popitem(last=False)

    cdef int _list(self, const kn_meta* meta) except -1:
        """Learns which segments the log now consists of, unless that is known."""
        cdef uint32_t removals = kn_load32(&self.store.core.shared.removals)
        if self.listed == (meta.segno, removals):
            return 0
        live, _ = split(list_segments(&self.store.core.log, self.store.directory))
        numbers = [s.segno for s in live]
        if meta.segno in numbers:  # behind the one in use there are only segments that never came into the log
            live = live[: numbers.index(meta.segno) + 1]
        self.firsts, self.segnos = [s.first_seq for s in live], [s.segno for s in live]
        if removals != self.listed[1]:
            self.places.clear()
        self.listed = (meta.segno, removals)
        return 0

    cdef tuple _place(self, uint64_t after, const kn_meta* meta):
        """Index in the segment list, and offset, of the frame after this sequence number."""
        cdef uint32_t offset = KN_SEGMENT_HEADER
        cdef const kn_frame* frame
        self._list(meta)
        if after in self.places:
            segno, offset = self.places[after]
            return self.segnos.index(segno), offset
        position = max(bisect_right(self.firsts, after + 1) - 1, 0)
        while position < len(self.segnos):
            frame = self._frame(position, offset, meta)
            if frame == NULL or frame.seq > after:
                break
            offset += frame.length
        return position, offset

    cdef const kn_frame* _frame(self, position, uint32_t offset, const kn_meta* meta) except? NULL:
        """The frame at this place, NULL where the segment's visible frames end; Corrupt when it is damaged."""
        cdef uint32_t segno = self.segnos[position]
        self._map(segno)
        cdef uint64_t size = self.store.core.log.size[segno]
        cdef const kn_frame* frame = <const kn_frame*>(self.store.core.log.base[segno] + offset)
        cdef uint32_t salt = <uint32_t>segment_header(&self.store.core.log, segno).salt
        if offset + sizeof(kn_frame) > size or frame.length == 0 or (segno == meta.segno and offset >= meta.log_end):
            return NULL
        if (frame.length < sizeof(kn_frame) or frame.length > size - offset
                or kn_crc32c(salt, &frame.seq, frame.length - 8) != frame.crc):
            if position + 1 < len(self.segnos) and not is_compacted(&self.store.core.log, segno):
                return NULL     # a torn tail: the next segment goes on where this one broke off
            raise Corrupt(f"{self.store.label}: the frame at byte {offset} of segment {segno:06}.log is damaged")
        return frame if frame.seq <= meta.seq else NULL

    cdef int _need_end(self, position, uint32_t offset, uint64_t last) except -1:
        """Corrupt unless the segment ends at this place, after transaction `last`: the next one must go on there."""
        cdef uint32_t segno = self.segnos[position]
        if is_compacted(&self.store.core.log, segno):
            return 0
        if self.firsts[position + 1] > max(last, self.firsts[position] - 1) + 1:
            raise Corrupt(f"{self.store.label}: the frame at byte {offset} of segment {segno:06}.log is damaged")
        return 0

    cdef object _transaction(self, const kn_frame* frame, uint32_t segno, uint32_t offset, const kn_meta* meta, bint previous):
        cdef uint32_t at = offset + sizeof(kn_frame), index
        cdef const kn_op* op
        changes = []
        for index in range(frame.operations):
            op = op_at(&self.store.core.log, segno, at)
            if op.kind == KN_PUT or op.kind == KN_DELETE:
                changes.append(self._change(op, previous))
            at += op_length(op)
        origin, origin_name, _ = self._origin(frame.origin, meta)
        return Transaction(
            frame.seq, frame.version, origin, origin_name, frame.epoch, frame.origin_seq, self._user(frame.user, meta),
            OPERATION_NAMES.get(frame.operation, ""), changes, not is_compacted(&self.store.core.log, segno),
        )

    cdef object _change(self, const kn_op* op, bint previous):
        cdef const uint8_t* body = <const uint8_t*>op + sizeof(kn_op) + op.key_length
        key = decode_key(<const uint8_t*>op + sizeof(kn_op), op.key_length)
        record = decode_record(body, op.body_length, self.store.attributes.names) if op.kind == KN_PUT else None
        return Change(
            "put" if op.kind == KN_PUT else "delete", key, record, op.version, op.created, bool(op.flags & KN_SUPERSEDED),
            self._previous(op) if previous else None,
        )

    cdef object _previous(self, const kn_op* op):
        """The record that this operation replaced, None when there was none or it is no longer kept."""
        cdef const kn_op* before
        if op.previous_segno == 0 or log_map(&self.store.core.log, op.previous_segno) < 0:
            return None
        before = op_at(&self.store.core.log, op.previous_segno, op.previous_offset)
        if not op_is_sound(before, self.store.core.log.size[op.previous_segno] - op.previous_offset):
            raise Corrupt(f"{self.store.label}: the record at byte {op.previous_offset} of segment "
                          f"{op.previous_segno:06}.log is damaged")
        return decode_record(<const uint8_t*>before + sizeof(kn_op) + before.key_length, before.body_length, self.store.attributes.names)

    cdef object _user(self, uint32_t number, const kn_meta* meta):
        if number == 0:
            return None
        if number not in self.users:
            self.users = {n: key.decode() for n, key in self._numbered(c"U", meta)}
        return self.users[number]

    cdef tuple _origin(self, uint32_t number, const kn_meta* meta):
        """(node id, node name, epoch); (None, "", …) for this node."""
        if number == 0:
            return None, "", meta.local_epoch
        if number not in self.origins:
            self.origins = {
                n: (str(UUID(bytes=key[:16])), key[20:].decode(), int.from_bytes(key[16:20], "big"))
                for n, key in self._numbered(c"O", meta)
            }
        return self.origins[number]

    cdef list _numbered(self, char kind, const kn_meta* meta):
        cdef int error = 0
        found = numbered(&self.store.core.pager, meta, kind, &error)
        if error < 0:
            self.store.fail(error)
        return found
