"""Bringing a table's trees to the end of its log, when the coordination file is of another life of the machine.

The trees are those of the last checkpoint, or none. Frames that follow are applied as they were at their commit; the log
ends where no whole frame follows. Whoever recovers is alone with the table.

A rebuild makes the trees anew while others have the table open: one more transaction, which changes no record. Readers
keep the state that they have, writers wait.
"""

import errno as errno_codes
import os
from pathlib import Path

from engine.apply cimport apply_header, apply_op, change_entry, forget_trees, store_trees
from engine.pager cimport Txn, pager_close, pager_map, pager_open, pager_will_need, return_spares, txn_begin, txn_end
from engine.core cimport FIRST_ATTRIBUTE, Core, op_is_sound, op_length
from engine.checkpoint cimport check_trees, free_unreachable, read_checkpoint
from engine.gathering cimport Entry, Gathering, end_gathering, gather, handle_gathered, prepare_gathering
from engine.layout cimport (
    KN_ATTRIBUTE, KN_DROP_ATTRIBUTE, KN_FIRST_PAGE, KN_PAGE_SIZE, KN_SEGMENT_HEADER, kn_crc32c, kn_frame, kn_locator, kn_meta,
    kn_op, kn_store32, kn_tombstone, kn_tree,
)
from engine.log cimport frame_is_whole, is_compacted, log_blot, log_sync, op_at, segment_header
from engine.lookahead cimport Lookahead, begin_look, end_look, has_looked, is_granted, place_of, prepare_look, wait_for_look
from engine.posix cimport EIO, EROFS
from engine.segments cimport list_segments
from engine.shared cimport Coordination, lock_writer, publish, read_published, unlock
from engine.vfs cimport now_microseconds
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from engine.errors import Corrupt, KennelError
from engine.files import sync_directory
from engine.segments import split

cdef enum:
    EXAMINED_PAGES = 16384      # 64 MiB
    GATHERED = 1 << 19          # entries that are changed together, for which 32 MiB are needed


cdef struct Replay:
    Core* core
    Txn txn
    Gathering changes           # of index entries, which are not in the trees yet


cdef int _gather(void* listener, uint32_t attribute, const uint8_t* entry, int length, bint add) noexcept nogil:
    return gather(&(<Replay*>listener).changes, attribute, entry, length, add)


cdef int _change(void* handler, const Entry* entry) noexcept nogil:
    cdef Replay* replay = <Replay*>handler
    return change_entry(replay.core, &replay.txn, entry.attribute, entry.bytes, entry.length, entry.add)


cdef void _begin_replay(Replay* replay, Core* core, const kn_meta* meta) noexcept nogil:
    """Without memory to gather them, entries are changed one by one."""
    replay.core = core
    txn_begin(&replay.txn, &core.pager, meta)
    forget_trees(core)
    if prepare_gathering(&replay.changes, GATHERED, _change, replay):
        replay.txn.tell, replay.txn.listener = _gather, replay


cdef int _complete_replay(Replay* replay) noexcept nogil:
    cdef int result = handle_gathered(&replay.changes)
    if result == 0:
        result = store_trees(replay.core, &replay.txn)
    return result if result < 0 else return_spares(&replay.txn)


cdef void _end_replay(Replay* replay) noexcept nogil:
    end_gathering(&replay.changes)
    txn_end(&replay.txn)


cdef int _replay_op(Replay* replay, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil:
    cdef int result = 0
    if op.kind == KN_ATTRIBUTE or op.kind == KN_DROP_ATTRIBUTE:    # decide about an index, which has to be as it was then
        result = handle_gathered(&replay.changes)
    return result if result < 0 else apply_op(replay.core, &replay.txn, op, segno, offset)


cdef int _replay_frame(Replay* replay, uint32_t segno, uint32_t offset) noexcept nogil:
    cdef Core* core = replay.core
    cdef Txn* txn = &replay.txn
    cdef const kn_frame* frame = <const kn_frame*>(core.log.base[segno] + offset)
    cdef uint32_t at = offset + sizeof(kn_frame), end = offset + frame.length, index
    cdef const kn_op* op
    cdef int result
    for index in range(frame.operations):
        op = op_at(&core.log, segno, at)
        if not op_is_sound(op, end - at):
            return -EIO
        result = _replay_op(replay, op, segno, at)
        if result < 0:
            return result
        at += op_length(op)
    txn.meta.segno, txn.meta.log_end = segno, end
    return apply_header(txn, frame)


cdef bint _follows(Core* core, Txn* txn, uint32_t segno, uint32_t offset) noexcept nogil:
    """Whether a whole frame stands here that comes next. Only in compacted segments are there gaps."""
    cdef const kn_frame* frame = <const kn_frame*>(core.log.base[segno] + offset)
    if not frame_is_whole(&core.log, segno, offset):
        return False
    return frame.seq > txn.meta.seq if is_compacted(&core.log, segno) else frame.seq == txn.meta.seq + 1


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


cdef int _await_look(Replay* replay, Lookahead* ahead, uint64_t place) noexcept nogil:
    """Rather than wait, handles what was gathered so far."""
    cdef int result = 0
    if not has_looked(ahead, place):
        result = handle_gathered(&replay.changes)
    wait_for_look(ahead, place)
    return result


cdef int _replay_segment(Replay* replay, Lookahead* ahead, int index, uint32_t segno, uint32_t offset, uint64_t last,
                         uint32_t* end) noexcept nogil:
    """Applies the frames from `offset` on, up to number `last`, and tells where they end. What follows is a torn tail that was never acknowledged, or,
    when a later frame promised that it was on disk, damage: -EIO. After a torn tail nothing more is written into this
    segment: what lies there could look like the next frame."""
    cdef Core* core = replay.core
    cdef Txn* txn = &replay.txn
    cdef int result = 0
    while result == 0 and txn.meta.seq < last and _follows(core, txn, segno, offset):
        end[0] = offset
        if not is_granted(ahead, place_of(index, offset)):
            result = _await_look(replay, ahead, place_of(index, offset))
        if result == 0:
            result = _replay_frame(replay, segno, offset)
            offset = txn.meta.log_end
    if result < 0:
        return result
    end[0] = offset
    if is_compacted(&core.log, segno):
        txn.meta.seq = segment_header(&core.log, segno).last_seq
        return 0 if offset == core.log.size[segno] else -EIO
    if offset < core.log.size[segno] and not _rest_is_zero(core, segno, offset):
        if _promise_beyond(core, segno, offset):
            return -EIO
        if txn.meta.segno == segno:
            txn.meta.log_end = <uint32_t>core.log.size[segno]
    return 0


cdef enum:
    AGAIN = 1
    LOCK_MS = 20000


cdef struct Replayed:
    uint32_t segno
    uint32_t start          # of the frames to replay
    uint32_t end            # of its frames; at damage, where that is
    bint belongs            # to the log


cdef int _replay(Core* core, kn_meta* meta, Lookahead* ahead, uint64_t last, Replayed* segments, int count, int* index) noexcept nogil:
    """Applies the frames after the state `meta`, which are in these segments, up to number `last`, and leaves in it the state
    after the last one. Damage is -EIO, in segment *index. Alone with the table, so all changes are one transaction of the
    trees.

    The first segment may be the one that `meta` ends in. One whose first frame does not follow on, or is not whole, came
    into use in a life that ended before anything in it was acknowledged (its frames would promise otherwise)."""
    cdef Replay replay
    cdef Replayed* segment
    cdef uint32_t offset
    cdef uint64_t before
    cdef int result = 0
    _begin_replay(&replay, core, meta)
    for index[0] in range(count):
        segment = segments + index[0]
        offset = meta.log_end if segment.segno == meta.segno else KN_SEGMENT_HEADER
        segment.start, segment.end, segment.belongs = offset, offset, segment.segno == meta.segno
        if not segment.belongs and segment_header(&core.log, segment.segno).first_seq != replay.txn.meta.seq + 1:
            if _promise_beyond(core, segment.segno, KN_SEGMENT_HEADER):
                result = -EIO
                break
            continue
        before = replay.txn.meta.seq
        result = _replay_segment(&replay, ahead, index[0], segment.segno, offset, last, &segment.end)
        if result < 0:
            break
        segment.belongs = segment.belongs or replay.txn.meta.seq > before
    if result == 0:
        result = _complete_replay(&replay)
    if result == 0:
        memcpy(meta, &replay.txn.meta, sizeof(kn_meta))
    _end_replay(&replay)
    return result


cdef void _look_ahead(Lookahead* ahead, Core* core, const kn_meta* meta, const Replayed* segments, int count) noexcept nogil:
    """A smaller index is in memory: it was examined."""
    cdef int index
    if meta.next_pgno <= EXAMINED_PAGES or not prepare_look(ahead, core, meta, count):
        return
    for index in range(count):
        ahead.segnos[index] = segments[index].segno
    begin_look(ahead)


cdef int _last_of(const Replayed* segments, int count) noexcept nogil:
    """Index of the last segment of the log; 0 when none belongs to it."""
    cdef int index = count - 1
    while index > 0 and not segments[index].belongs:
        index -= 1
    return index if index > 0 else 0


cdef int _settle(Core* core, const Replayed* segments, int count) noexcept nogil:
    """Puts what was replayed on disk, because a kill may have left it unsynced and it is about to be seen; and takes away
    the head of a torn frame behind it, which readers of the log could take for one."""
    cdef int index, result = 0
    for index in range(count):
        if segments[index].belongs and result == 0:
            result = log_blot(&core.log, segments[index].segno, segments[index].end, sizeof(kn_frame))
        if segments[index].belongs and result == 0:
            result = log_sync(&core.log, segments[index].segno, segments[index].segno)
    return result


cdef int recover(Core* core, int index_fd, str directory, Coordination shared) except -1:
    """Publishes the state at the end of the log, or of what the disk of a poisoned table has kept, as head and visible. Corrupt
    names the frame that is damaged.

    What goes wrong from a checkpoint on may be the index's fault, or that of an operation before the checkpoint, which only a
    replay from nothing finds."""
    cdef kn_meta meta
    segments = list_segments(&core.log, directory)
    core.shared.next_segno = max((segment.segno for segment in segments), default=0) + 1
    core.shared.log_bytes = sum(segment.size for segment in segments)
    if not shared.index_is_damaged and _start_from_checkpoint(core, index_fd, &meta):
        try:
            return _recover_from(core, directory, segments, &meta, shared)
        except Corrupt:
            pass    # told again, with its place, if it is in the log
    _start_from_nothing(core, index_fd, &meta)
    return _recover_from(core, directory, segments, &meta, shared)


cdef int rebuild(Core* core, str directory) except -1:
    """Makes the index of an open table anew from its log, and publishes that as head. Corrupt when the log is damaged, too;
    then the index stays as it is. Only for the holder of the maintenance lock: no segment may go meanwhile."""
    cdef int result = AGAIN, count, index = 0
    cdef Replayed* replayed
    while result == AGAIN:
        chosen = _to_replay(list_segments(&core.log, directory), 0)
        count = <int>len(chosen)
        replayed = <Replayed*>calloc(count + 1, sizeof(Replayed))
        if replayed == NULL:
            raise MemoryError
        for index, segment in enumerate(chosen):
            replayed[index].segno = segment.segno
        with nogil:
            result = lock_writer(core.shared, LOCK_MS)
            if result == 0:
                result = _rebuild_locked(core, replayed, count, &index)
                unlock(&core.shared.writer)
        damage = f"{directory}: the frame at byte {replayed[index].end} of segment {replayed[index].segno:06}.log is damaged"
        free(replayed)
    if result == -errno_codes.EIO:
        raise Corrupt(damage)
    return result


cdef int _rebuild_locked(Core* core, Replayed* segments, int count, int* index) noexcept nogil:
    """AGAIN when the log has gone on in a segment that is not among these."""
    cdef kn_meta head, meta
    cdef Lookahead ahead
    cdef int result
    read_published(&core.shared.head, &head)
    if core.shared.poisoned:
        return -EROFS
    if head.segno != 0 and (count == 0 or segments[count - 1].segno < head.segno):
        return AGAIN
    result = pager_map(&core.pager, head.next_pgno)
    if result < 0:
        return result
    memcpy(&meta, &head, sizeof(kn_meta))
    _empty(&meta)
    memset(&ahead, 0, sizeof(Lookahead))        # there is nothing to read
    result = _replay(core, &meta, &ahead, head.seq, segments, count, index)
    if result == 0 and meta.seq != head.seq:
        index[0] = _last_of(segments, count)
        result = -EIO
    if result == 0:
        result = free_unreachable(core, &meta)
    if result < 0:
        return result
    meta.segno, meta.log_end = head.segno, head.log_end
    meta.version = head.version if head.version > meta.version else meta.version
    meta.names_generation = head.names_generation + 1
    publish(&core.shared.head, &meta)
    kn_store32(&core.shared.damaged, 0)
    return 0


cdef int _recover_from(Core* core, str directory, list segments, kn_meta* meta, Coordination shared) except -1:
    cdef int result, count, index = 0
    cdef uint64_t last = shared.last_kept
    cdef Lookahead ahead
    memset(&ahead, 0, sizeof(Lookahead))
    chosen = _to_replay(segments, meta.segno)
    count = <int>len(chosen)
    cdef Replayed* replayed = <Replayed*>calloc(count + 1, sizeof(Replayed))
    if replayed == NULL:
        raise MemoryError
    try:
        for index, segment in enumerate(chosen):
            replayed[index].segno = segment.segno
        with nogil:
            _look_ahead(&ahead, core, meta, replayed, count)
            result = _replay(core, meta, &ahead, last, replayed, count, &index)
            end_look(&ahead)
            if result == 0 and meta.seq < shared.promised:
                index, result = _last_of(replayed, count), -EIO
            if result == 0:
                result = _settle(core, replayed, count)
        if result == -errno_codes.EUCLEAN:
            raise Corrupt(f"{directory}: page {core.shared.damaged} of index.kbt is damaged")
        if result == -errno_codes.EIO and count == 0:
            raise Corrupt(f"{directory}: the log is missing")
        if result == -errno_codes.EIO:
            raise Corrupt(f"{directory}: the frame at byte {replayed[index].end} of segment {replayed[index].segno:06}.log is damaged")
        if result < 0:
            raise KennelError(f"{directory} could not be recovered: {os.strerror(-result)}")
        _set_aside(directory, [replayed[index].segno for index in range(count) if not replayed[index].belongs])
        appended = sum(replayed[index].end - replayed[index].start for index in range(count) if replayed[index].belongs)
    finally:
        free(replayed)
    publish(&core.shared.head, meta)
    publish(&core.shared.visible, meta)
    core.shared.synced_txn = meta.txn
    core.shared.appended = appended     # until the next checkpoint, another recovery replays it again
    return 0


def _to_replay(segments: list, first: int) -> list:
    """From a checkpoint in segment `first`: that one and those after it as they were written. From nothing (0): the log as it
    is now, compacted."""
    if first == 0:
        return split(segments)[0]
    start = next((segment for segment in segments if segment.segno == first), None)
    if start is None:
        raise Corrupt(f"segment {first:06}.log is missing")
    return [start] + [s for s in segments if s.last_seq is None and s.first_seq > start.first_seq]


def _set_aside(directory: str, segnos: list[int]) -> None:
    """Segments of a life that ended before anything in them was acknowledged must not be taken for part of the log: later
    the numbers of their frames might happen to follow on."""
    for segno in segnos:
        os.rename(os.path.join(directory, f"{segno:06}.log"), os.path.join(directory, f"{segno:06}.stale"))
    if segnos:
        sync_directory(Path(directory))


cdef bint _start_from_checkpoint(Core* core, int index_fd, kn_meta* meta) except -1:
    """Whether there is one. An index that is soon read is examined whole, so that damage is mended before anybody meets it."""
    cdef int result = 0
    if not read_checkpoint(core, index_fd, meta):
        return False
    core.shared.index_pages = os.fstat(index_fd).st_size // KN_PAGE_SIZE
    core.shared.checkpoint = core.shared.sealed = core.pager.sealed = meta.txn
    if meta.next_pgno > core.shared.index_pages:
        return False
    if pager_map(&core.pager, meta.next_pgno) < 0:
        raise MemoryError
    if meta.next_pgno <= EXAMINED_PAGES:
        with nogil:
            pager_will_need(&core.pager, 0, meta.next_pgno)
            result = check_trees(core, meta)
    if result < 0:
        return False
    core.shared.index_pages = meta.next_pgno    # behind them there may be no blocks
    meta.young_head, meta.old_head = meta.young_tail, meta.old_tail     # the rings are gone; what was in them is in the chains
    _begin_numbers(core, meta)
    publish(&core.shared.head, meta)
    publish(&core.shared.visible, meta)
    return True


cdef int _start_from_nothing(Core* core, int index_fd, kn_meta* meta) except -1:
    """The state before the first transaction, in an empty index."""
    pager_close(&core.pager)
    core.shared.sealed = 0
    if pager_open(&core.pager, index_fd, core.shared) < 0:
        raise MemoryError
    os.ftruncate(index_fd, 0)
    core.shared.index_pages = core.shared.checkpoint = 0
    core.shared.damaged = 0
    memset(meta, 0, sizeof(kn_meta))
    _begin_numbers(core, meta)
    publish(&core.shared.head, meta)
    publish(&core.shared.visible, meta)
    meta.next_pgno = KN_FIRST_PAGE
    _empty(meta)
    return 0


cdef void _begin_numbers(Core* core, kn_meta* meta) noexcept nogil:
    """From the next state on, numbers are later than those of any page that processes before have made."""
    cdef uint64_t now = now_microseconds()
    core.shared.recovered = core.pager.recovered = meta.txn
    core.shared.first = core.pager.first = now if now > meta.txn else meta.txn + 1
    meta.txn = core.pager.first - 1


cdef void _empty(kn_meta* meta) noexcept nogil:
    """What the log says has not happened yet."""
    meta.seq = meta.version = meta.local_seq = 0
    meta.local_epoch = meta.segno = meta.log_end = 0
    meta.next_attribute, meta.next_user, meta.next_origin = FIRST_ATTRIBUTE, 1, 1
    memset(&meta.primary, 0, sizeof(kn_tree))
    memset(&meta.tombstones, 0, sizeof(kn_tree))
    memset(&meta.names, 0, sizeof(kn_tree))
    memset(&meta.directory, 0, sizeof(kn_tree))
    meta.primary.value_size = sizeof(kn_locator)
    meta.tombstones.value_size = sizeof(kn_tombstone)
    meta.names.value_size = 8
    meta.directory.value_size = sizeof(kn_tree)
