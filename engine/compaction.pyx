"""Compaction: what is still needed of adjacent sealed segments is written into one new segment, and they go.

Steps, each of which may be the last one before a crash:
  1. gather   The survivors are copied, with the sequence numbers that they have, into a compacted segment that is on disk
              when it appears (log_install). From now on a replay from nothing reads it in place of the old ones.
  2. adopt    In small batches under the writer mutex, trees that point to an old copy are made to point to the new one,
              if they still do point to the old one. This changes no record, so nothing is written to the log.
  3. anchor   Two checkpoints, so that neither slot holds a state that points to an old segment.
  4. remove   When no reader is left that may have begun before step 2 ended, the old segments are unlinked.
`finish` does 2 to 4, and also takes up what an earlier process left after step 1.

Survivors are: the operations that hold a record or a tombstone as it is now; what introduces or drops attributes, users and
origins; and of each origin the last frame, if need be without operations, because it says how far the origin is applied.
Superseded operations go. A tombstone may be forgotten when it is old enough and nothing older than the segments at hand is
left in the log, in which an earlier record of its key might be.
"""

import os
from pathlib import Path

from engine.checkpoint cimport begin_checkpoint, write_checkpoint
from engine.core cimport Core, locate, op_is_sound, op_key, op_length
from engine.cursor cimport Cursor, cursor_next, cursor_seek, cursor_value
from engine.btree cimport tree_delete, tree_get, tree_insert
from engine.layout cimport (
    KN_COMPACTED, KN_DELETE, KN_PUT, KN_SEGMENT_HEADER, KN_SUPERSEDED, kn_add32, kn_add64, kn_crc32c, kn_frame, kn_load32, kn_locator,
    kn_meta, kn_op, kn_segment, kn_tombstone, kn_tree,
)
from engine.log cimport SEGMENTS, log_install, log_map, op_at, segment_header
from engine.pager cimport Txn, pager_map, return_spares, txn_begin, txn_end
from engine.posix cimport EIO, ENOMEM
from engine.segments cimport list_segments
from engine.shared cimport lock_writer, oldest_reader, publish, read_published, unlock
from engine.store cimport Store
from engine.sync cimport core_sync
from engine.vfs cimport AT_ADOPTED, AT_ADOPTING, AT_ANCHORED, AT_GATHERED, AT_REMOVED, failpoint, now_microseconds
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from engine.errors import Corrupt, raise_errno
from engine.files import failure
from engine.segments import Segment, split

LIVE_SHARE = 0.5            # a sealed segment with less than this share in use is worth compacting
cdef double WORTH = 0.75    # of the size of a run is what its replacement must stay below

cdef enum:
    BATCH = 256             # operations adopted under one hold of the writer mutex
    LOCK_MS = 20000
    ORIGINS = 65536


cdef struct Gathered:
    uint8_t* at
    size_t used, room
    uint64_t last_of[ORIGINS]       # sequence number of the last numbered frame of each origin


# ---- what is in use ----

cdef int _count_live(Core* core, const kn_tree* tree, bint primary, uint64_t* live) noexcept nogil:
    """Adds, per segment number, the bytes of the operations that the tree points to."""
    cdef Cursor cursor
    cdef kn_locator place
    cdef kn_tombstone stone
    cursor_seek(&cursor, &core.pager, tree, b"", 0)
    while cursor.valid:
        if primary:
            memcpy(&place, cursor_value(&cursor), sizeof(kn_locator))
        else:
            memcpy(&stone, cursor_value(&cursor), sizeof(kn_tombstone))
            place.segno, place.length = stone.segno, sizeof(kn_op) + 32
        if place.segno >= SEGMENTS:
            return -EIO
        live[place.segno] += place.length
        cursor_next(&cursor)
    return cursor.error


cdef dict _live_bytes(Store store, const kn_meta* meta):
    """Segment number -> bytes of it that are still in use."""
    cdef uint32_t highest = kn_load32(&store.core.shared.next_segno), segno
    cdef uint64_t* live = <uint64_t*>calloc(SEGMENTS, sizeof(uint64_t))
    cdef int result
    if live == NULL:
        raise MemoryError
    try:
        with nogil:
            result = _count_live(&store.core, &meta.primary, True, live)
            if result == 0:
                result = _count_live(&store.core, &meta.tombstones, False, live)
        if result == -EIO:
            raise Corrupt(f"{store.label}: an index points to a segment that cannot be")
        if result < 0:
            store.fail(result)
        return {segno: live[segno] for segno in range(1, highest)}
    finally:
        free(live)


def choose(segments: list[Segment], live: dict[int, int], active: int, keep_from: int, largest: int) -> list[Segment]:
    """The first run of adjacent sealed segments that is worth compacting; empty when there is none. Segments with sequence
    numbers from `keep_from` on stay as they are. No more than `largest` bytes are in use in it, unless it is one segment."""
    run: list[Segment] = []
    room = 0
    for segment, following in zip(segments, [*segments[1:], None], strict=False):
        last = segment.last_seq if segment.last_seq is not None else following.first_seq - 1 if following else None
        sealed = segment.segno != active and last is not None and segment.first_seq <= last < keep_from
        used = live.get(segment.segno, 0)
        if sealed and used < LIVE_SHARE * (segment.size - KN_SEGMENT_HEADER) and (not run or room + used <= largest):
            run.append(segment)
            room += used
            continue
        if run:
            break
    return run


# ---- 1. gather ----

cdef int _survives(Core* core, const kn_meta* meta, const kn_op* op, uint32_t segno, uint32_t offset, bint oldest,
                   uint64_t forget_before) noexcept nogil:
    """1 or 0, or a negative errno."""
    cdef const uint8_t* found
    cdef kn_locator place
    cdef kn_tombstone stone
    cdef int result
    if op.kind != KN_PUT and op.kind != KN_DELETE:
        return 1
    if op.flags & KN_SUPERSEDED:
        return 0
    result = tree_get(&core.pager, &meta.primary if op.kind == KN_PUT else &meta.tombstones, op_key(op), op.key_length, &found)
    if result <= 0:
        return result
    if op.kind == KN_PUT:
        memcpy(&place, found, sizeof(kn_locator))
        return place.segno == segno and place.offset == offset
    memcpy(&stone, found, sizeof(kn_tombstone))
    return stone.segno == segno and stone.offset == offset and not (oldest and stone.version < forget_before)


cdef int _make_room(Gathered* gathered, size_t size) noexcept nogil:
    cdef size_t room = gathered.room if gathered.room else 1 << 20
    cdef uint8_t* grown
    if gathered.used + size <= gathered.room:
        return 0
    while room < gathered.used + size:
        room *= 2
    grown = <uint8_t*>realloc(gathered.at, room)
    if grown == NULL:
        return -ENOMEM
    gathered.at, gathered.room = grown, room
    return 0


cdef uint32_t _end_of(Core* core, uint32_t segno, uint64_t last_seq) noexcept nogil:
    """Where the frames of a sealed segment end."""
    cdef uint32_t offset = KN_SEGMENT_HEADER
    cdef const kn_frame* frame
    while offset + sizeof(kn_frame) <= core.log.size[segno]:
        frame = <const kn_frame*>(core.log.base[segno] + offset)
        if frame.length < sizeof(kn_frame) or frame.length > core.log.size[segno] - offset or frame.seq > last_seq:
            break
        if frame.seq < segment_header(&core.log, segno).first_seq:
            break
        offset += frame.length
        if frame.seq == last_seq:
            break
    return offset


cdef int _copy_frame(Core* core, const kn_meta* meta, uint32_t segno, uint32_t offset, uint32_t salt, bint oldest,
                     uint64_t forget_before, Gathered* gathered) noexcept nogil:
    """Appends what survives of a frame, if anything does."""
    cdef const kn_frame* frame = <const kn_frame*>(core.log.base[segno] + offset)
    cdef uint32_t own_salt = <uint32_t>segment_header(&core.log, segno).salt
    cdef uint32_t at = offset + sizeof(kn_frame), index, kept = 0
    cdef size_t start = gathered.used, size
    cdef const kn_op* op
    cdef kn_frame* copy
    cdef int survives
    if kn_crc32c(own_salt, &frame.seq, frame.length - 8) != frame.crc:
        return -EIO
    if _make_room(gathered, frame.length + 8) < 0:
        return -ENOMEM
    memcpy(gathered.at + start, frame, sizeof(kn_frame))
    gathered.used += sizeof(kn_frame)
    for index in range(frame.operations):
        op = op_at(&core.log, segno, at)
        survives = _survives(core, meta, op, segno, at, oldest, forget_before)
        if survives < 0:
            return survives
        if survives:
            memcpy(gathered.at + gathered.used, op, op_length(op))
            gathered.used += op_length(op)
            kept += 1
        at += op_length(op)
    if kept == 0 and gathered.last_of[frame.origin] != frame.seq:
        gathered.used = start
        return 0
    size = (gathered.used - start + 7) & ~<size_t>7
    memset(gathered.at + gathered.used, 0, start + size - gathered.used)
    gathered.used = start + size
    copy = <kn_frame*>(gathered.at + start)
    copy.length, copy.operations = <uint32_t>size, kept
    copy.synced = KN_SEGMENT_HEADER + start
    copy.crc = kn_crc32c(salt, &copy.seq, size - 8)
    return 0


cdef int _gather(Core* core, const kn_meta* meta, const uint32_t* segnos, const uint64_t* last_seqs, int count, uint32_t salt,
                 bint oldest, uint64_t forget_before, Gathered* gathered) noexcept nogil:
    cdef int index, result
    cdef uint32_t offset, end, step
    cdef const kn_frame* frame
    for step in range(2):           # first which frames are the last of their origin, then the copy
        for index in range(count):
            result = log_map(&core.log, segnos[index])
            if result < 0:
                return result
            offset, end = KN_SEGMENT_HEADER, _end_of(core, segnos[index], last_seqs[index])
            while offset < end:
                frame = <const kn_frame*>(core.log.base[segnos[index]] + offset)
                if step == 0 and frame.origin_seq != 0:
                    gathered.last_of[frame.origin] = frame.seq
                elif step == 1:
                    result = _copy_frame(core, meta, segnos[index], offset, salt, oldest, forget_before, gathered)
                    if result < 0:
                        return result
                offset += frame.length
    return 0


cdef uint32_t _write_compacted(Store store, const kn_meta* meta, run, following, bint oldest, uint64_t forget_before) except? 0:
    """Step 1; the number of the new segment, or 0 when it would hardly be smaller than what it replaces: what neither a record
    nor a tombstone points to, but must stay, would else be copied again and again."""
    cdef Gathered* gathered = <Gathered*>calloc(1, sizeof(Gathered))
    cdef uint32_t* segnos = <uint32_t*>malloc(len(run) * sizeof(uint32_t))
    cdef uint64_t* last_seqs = <uint64_t*>malloc(len(run) * sizeof(uint64_t))
    cdef kn_segment header
    cdef uint32_t segno = kn_add32(&store.core.shared.next_segno, 1) - 1
    cdef int result, count = <int>len(run)
    cdef double size = sum(segment.size - KN_SEGMENT_HEADER for segment in run)
    try:
        if gathered == NULL or segnos == NULL or last_seqs == NULL:
            raise MemoryError
        for index, (segment, after) in enumerate(zip(run, [*run[1:], following], strict=True)):
            segnos[index] = segment.segno
            last_seqs[index] = segment.last_seq if segment.last_seq is not None else after.first_seq - 1
        memset(&header, 0, sizeof(kn_segment))
        header.flags = KN_COMPACTED
        header.first_seq, header.last_seq = run[0].first_seq, last_seqs[count - 1]
        header.salt, header.created = now_microseconds() * 2654435761u + segno, run[count - 1].created
        with nogil:
            # What makes an old version superfluous must itself be on disk: durability "interval" lets readers run ahead.
            result = core_sync(&store.core, meta.txn, LOCK_MS)
            if result == 0:
                result = _gather(&store.core, meta, segnos, last_seqs, count, <uint32_t>header.salt, oldest, forget_before, gathered)
            if result == 0 and gathered.used >= WORTH * size:
                return 0
            if result == 0:
                result = log_install(&store.core.log, segno, &header, gathered.at, gathered.used)
            if result == 0:
                result = failpoint(AT_GATHERED)
        if result < 0:
            raise_errno(result, f"{store.label}: compaction of segments {[s.segno for s in run]}")
        return segno
    finally:
        if gathered != NULL:
            free(gathered.at)
        free(gathered)
        free(segnos)
        free(last_seqs)


# ---- 2. adopt ----

cdef int _adopt_op(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset, const uint8_t* old) noexcept nogil:
    """Makes the tree point to this copy if it points to an old one of the same version."""
    cdef kn_locator place
    cdef kn_tombstone stone
    cdef const kn_op* there
    cdef const uint8_t* found
    cdef int result = 0
    cdef bint put = op.kind == KN_PUT
    if op.kind != KN_PUT and op.kind != KN_DELETE:
        return 0
    result = tree_get(&core.pager, &txn.meta.primary if put else &txn.meta.tombstones, op_key(op), op.key_length, &found)
    if result <= 0:
        return result
    if put:
        memcpy(&place, found, sizeof(kn_locator))
    else:
        memcpy(&stone, found, sizeof(kn_tombstone))
        place.segno, place.offset = stone.segno, stone.offset
    if not old[place.segno]:
        return 0
    there = locate(core, place.segno, place.offset)
    if there == NULL or there.version != op.version or there.origin != op.origin:
        return 0 if there != NULL else -EIO
    if put:
        place.segno, place.offset, place.length = segno, offset, op_length(op)
        result = tree_insert(txn, &txn.meta.primary, op_key(op), op.key_length, &place)
    else:
        stone.segno, stone.offset = segno, offset
        result = tree_insert(txn, &txn.meta.tombstones, op_key(op), op.key_length, &stone)
    return result if result < 0 else 0


cdef int _forget_tombstone(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil:
    """Takes a tombstone whose operation was not copied out of the tree."""
    cdef kn_tombstone stone
    cdef const uint8_t* found
    cdef int result
    if op.kind != KN_DELETE:
        return 0
    result = tree_get(&core.pager, &txn.meta.tombstones, op_key(op), op.key_length, &found)
    if result <= 0:
        return result
    memcpy(&stone, found, sizeof(kn_tombstone))
    if stone.segno != segno or stone.offset != offset:
        return 0
    result = tree_delete(txn, &txn.meta.tombstones, op_key(op), op.key_length)
    return result if result < 0 else 0


cdef int _adopt_batch(Core* core, uint32_t segno, uint32_t* offset, uint32_t end, const uint8_t* old, bint forget) noexcept nogil:
    """Adopts the operations of the frames from *offset on, some hundred at a time, and moves *offset."""
    cdef kn_meta start
    cdef Txn txn
    cdef const kn_frame* frame
    cdef const kn_op* op
    cdef uint32_t at, index, done = 0
    cdef int result = lock_writer(core.shared, LOCK_MS)
    if result < 0:
        return result
    read_published(&core.shared.head, &start)
    result = pager_map(&core.pager, start.next_pgno)
    txn_begin(&txn, &core.pager, &start)
    while result == 0 and offset[0] < end and done < BATCH:
        frame = <const kn_frame*>(core.log.base[segno] + offset[0])
        at = offset[0] + sizeof(kn_frame)
        for index in range(frame.operations):
            op = op_at(&core.log, segno, at)
            if not op_is_sound(op, core.log.size[segno] - at):
                result = -EIO
            if result == 0:
                result = (_forget_tombstone(core, &txn, op, segno, at) if forget
                          else _adopt_op(core, &txn, op, segno, at, old))
            at += op_length(op)
            done += 1
            if result < 0:
                break
        offset[0] += frame.length
    if result == 0:
        result = return_spares(&txn)
    if result == 0:
        result = failpoint(AT_ADOPTING)
    if result == 0:
        publish(&core.shared.head, &txn.meta)
        failpoint(AT_ADOPTED)
    txn_end(&txn)
    unlock(&core.shared.writer)
    return result


cdef int _walk(Store store, uint32_t segno, uint64_t last_seq, const uint8_t* old, bint forget) except -1:
    cdef uint32_t offset = KN_SEGMENT_HEADER, end
    cdef int result = log_map(&store.core.log, segno)
    if result == 0:
        end = _end_of(&store.core, segno, last_seq)
        while result == 0 and offset < end:
            with nogil:
                result = _adopt_batch(&store.core, segno, &offset, end, old, forget)
            if result == 0:
                store.sync()            # pages that a batch frees can be used by the next one only once that is visible
    if result < 0:
        raise_errno(result, f"{store.label}: compaction into segment {segno:06}.log")
    return 0


# ---- 3 and 4 ----

cdef int _anchor(Store store) except -1:
    """Two checkpoints of a state in which nothing points to an old segment."""
    cdef kn_meta meta
    cdef uint32_t slot
    cdef int result, turn
    slot = store.shared.take_slot()
    try:
        with nogil:
            result = begin_checkpoint(&store.core, slot, &meta, LOCK_MS)
            for turn in range(2):
                if result == 0:
                    result = write_checkpoint(&store.core, slot, store.index_fd, &meta)
        if result < 0:
            raise_errno(result, f"{store.label}: checkpoint after a compaction")
    finally:
        store.shared.give_slot(slot)
    return 0


def finish(Store store) -> int:
    """Takes compactions whose new segment is there to their end: steps 2 to 4. Returns the bytes of log that were removed;
    what readers may still need stays, for the next call."""
    cdef uint8_t* old
    cdef kn_meta head
    if store.awaited is not None:
        return _remove_when_unread(store)
    live, replaced = split(list_segments(&store.core.log, store.directory))
    if not replaced:
        return 0
    old = <uint8_t*>calloc(SEGMENTS, 1)
    if old == NULL:
        raise MemoryError
    try:
        for segment in replaced:
            old[segment.segno] = 1
        for segment in live:
            if segment.last_seq is not None:
                _walk(store, segment.segno, segment.last_seq, old, False)
        for segment in replaced:
            _walk(store, segment.segno, _last_of(segment, live), old, True)
    finally:
        free(old)
    _anchor(store)
    failpoint(AT_ANCHORED)
    read_published(&store.core.shared.head, &head)
    store.awaited = (replaced, head.txn)
    return _remove_when_unread(store)


def seq_at(Store store, uint64_t version) -> int:
    """A sequence number such that everything after it is younger than this time (µs), to the accuracy of a segment."""
    live, _ = split(list_segments(&store.core.log, store.directory))
    older = [following.first_seq for segment, following in zip(live, live[1:]) if following.created <= version]
    return max(older, default=0)


def _last_of(segment: Segment, live: list[Segment]) -> int:
    """The last sequence number that may be in a replaced segment."""
    return max(other.last_seq for other in live
               if other.last_seq is not None and other.first_seq <= segment.first_seq <= other.last_seq)


def _remove_when_unread(Store store) -> int:
    """Step 4, unless a reader of an earlier state is left; the bytes that were removed."""
    segments, txn = store.awaited
    store.sync()
    if oldest_reader(store.core.shared) < txn:
        return 0
    store.awaited = None
    try:
        for segment in segments:
            os.unlink(os.path.join(store.directory, f"{segment.segno:06}.log"))
            failpoint(AT_REMOVED)
    except OSError as error:
        raise failure(Path(store.directory), error) from error
    finally:
        kn_add32(&store.core.shared.removals, 1)
    size = sum(segment.size for segment in segments)
    kn_add64(&store.core.shared.log_bytes, <uint64_t>-<int64_t>size)
    return size


def compact(Store store, *, keep_from: int, forget_before: int, largest: int) -> bool:
    """Begins one compaction if a run of segments is worth it (step 1); `finish` does the rest. Whether it did.

    Transactions from sequence number `keep_from` on are kept whole, tombstones from version `forget_before` (µs) on are
    kept; `largest` bytes may go into the new segment, or what is in use in one."""
    cdef kn_meta meta
    cdef uint32_t slot
    segments, replaced = split(list_segments(&store.core.log, store.directory))
    if replaced:
        return False
    store.begin(&meta, False, &slot)
    try:
        run = choose(segments, _live_bytes(store, &meta), meta.segno, min(keep_from, meta.seq + 1), largest)
        if not run:
            return False
        position = segments.index(run[len(run) - 1])
        following = segments[position + 1] if position + 1 < len(segments) else None
        segno = _write_compacted(store, &meta, run, following, segments[0] is run[0], forget_before)
        if segno == 0:
            return False
        kn_add64(&store.core.shared.log_bytes, os.stat(os.path.join(store.directory, f"{segno:06}.log")).st_size)
    finally:
        store.shared.give_slot(slot)
    return True
