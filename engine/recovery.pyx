"""Replay: from a state of the trees to the end of the log.

After a power cut the trees are those of the last checkpoint, or none. Frames that follow are applied as they were at their
commit; the log ends where no whole frame follows.
"""

from engine.apply cimport apply_header, apply_op, forget_trees, store_trees
from engine.pager cimport Txn, return_spares, txn_begin, txn_end
from engine.core cimport Core, op_is_sound, op_length
from engine.layout cimport KN_SEGMENT_HEADER, kn_crc32c, kn_frame, kn_meta, kn_op
from engine.log cimport SEGMENTS, has_header, log_map, op_at, segment_header
from engine.posix cimport EIO, ENOENT
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy


cdef int _replay_frame(Core* core, Txn* txn, uint32_t segno, uint32_t offset) noexcept nogil:
    cdef const kn_frame* frame = <const kn_frame*>(core.log.base[segno] + offset)
    cdef uint32_t at = offset + sizeof(kn_frame), end = offset + frame.length, index
    cdef const kn_op* op
    cdef int result
    for index in range(frame.operations):
        op = op_at(&core.log, segno, at)
        if not op_is_sound(op, end - at):
            return -EIO
        result = apply_op(core, txn, op, segno, at)
        if result < 0:
            return result
        at += op_length(op)
    txn.meta.segno, txn.meta.log_end = segno, end
    return apply_header(txn, frame)


cdef bint _frame_is_whole(Core* core, uint32_t segno, uint32_t offset, uint64_t seq) noexcept nogil:
    cdef const kn_frame* frame = <const kn_frame*>(core.log.base[segno] + offset)
    cdef uint64_t room = core.log.size[segno] - offset
    cdef uint32_t salt = <uint32_t>segment_header(&core.log, segno).salt
    return (room >= sizeof(kn_frame) and sizeof(kn_frame) <= frame.length <= room and frame.length % 8 == 0
            and frame.seq == seq and kn_crc32c(salt, &frame.seq, frame.length - 8) == frame.crc)


cdef uint32_t _promise_beyond(Core* core, uint32_t segno, uint32_t offset) noexcept nogil:
    """The place of a later whole frame of this segment that says that `offset` was on disk, or 0."""
    cdef uint64_t at = offset + 8
    cdef const kn_frame* frame
    cdef uint32_t salt = <uint32_t>segment_header(&core.log, segno).salt
    while at + sizeof(kn_frame) <= core.log.size[segno]:
        frame = <const kn_frame*>(core.log.base[segno] + at)
        if (sizeof(kn_frame) <= frame.length <= core.log.size[segno] - at and frame.length % 8 == 0
                and offset < frame.synced <= at and kn_crc32c(salt, &frame.seq, frame.length - 8) == frame.crc):
            return <uint32_t>at
        at += 8
    return 0


cdef bint _rest_is_zero(Core* core, uint32_t segno, uint64_t offset) noexcept nogil:
    cdef const uint64_t* word = <const uint64_t*>(core.log.base[segno] + offset)
    cdef const uint64_t* end = <const uint64_t*>(core.log.base[segno] + core.log.size[segno])
    while word < end:
        if word[0] != 0:
            return False
        word += 1
    return True


cdef int _replay_segment(Core* core, Txn* txn, uint32_t segno, uint32_t offset, uint32_t* bad_offset) noexcept nogil:
    """Applies the frames from `offset` on. What follows the last whole one is a torn tail that was never acknowledged, or,
    when a later frame promised that it was on disk, damage: -EIO. After a torn tail nothing more is written into this
    segment: what lies there could look like the next frame."""
    cdef int result = 0
    while result == 0 and offset < core.log.size[segno] and _frame_is_whole(core, segno, offset, txn.meta.seq + 1):
        bad_offset[0] = offset
        result = _replay_frame(core, txn, segno, offset)
        offset = txn.meta.log_end
    if result < 0:
        return result
    bad_offset[0] = offset
    if offset < core.log.size[segno] and not _rest_is_zero(core, segno, offset):
        if _promise_beyond(core, segno, offset):
            return -EIO
        txn.meta.segno, txn.meta.log_end = segno, <uint32_t>core.log.size[segno]
    return 0


cdef int core_replay(Core* core, kn_meta* meta, uint32_t* bad_segno, uint32_t* bad_offset) noexcept nogil:
    """Applies the frames after the state `meta`, and leaves in it the state after the last one. Damage is -EIO with its
    place. Alone with the table, so all changes are one transaction of the trees.

    A segment whose first frame does not follow on is one that came into use in a life that a power cut ended before
    anything in it was acknowledged; its frames would promise otherwise."""
    cdef Txn txn
    cdef uint32_t segno = meta.segno if meta.segno else 1
    cdef uint32_t offset = meta.log_end if meta.segno else KN_SEGMENT_HEADER
    cdef int result = 0
    txn_begin(&txn, &core.pager, meta)
    forget_trees(core)
    while segno < SEGMENTS:
        bad_segno[0], bad_offset[0] = segno, offset
        result = log_map(&core.log, segno)
        if result == -ENOENT:
            result = 0
            break
        if result < 0 or not has_header(&core.log, segno):
            break
        if offset == KN_SEGMENT_HEADER and segment_header(&core.log, segno).first_seq != txn.meta.seq + 1:
            result = -EIO if _promise_beyond(core, segno, KN_SEGMENT_HEADER) else 0
            break
        result = _replay_segment(core, &txn, segno, offset, bad_offset)
        if result < 0:
            break
        segno += 1
        offset = KN_SEGMENT_HEADER
    if result == 0:
        result = store_trees(core, &txn)
        return_spares(&txn)
        memcpy(meta, &txn.meta, sizeof(kn_meta))
    txn_end(&txn)
    return result
