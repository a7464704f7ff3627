"""Commit.

A commit, under the writer mutex of the table: copy `head`; judge each operation against the trees as the operations before
it have left them; append it to the frame in memory; change the trees (copy on write, nothing published); write the frame at
the end of the log; publish the new head. A reply may leave when the frame is on disk and the state visible: sync.pyx.

The last operation on a record changes the trees when the frame has been written: who writes one record has the disk begin
before that, and waits for it less. Should the trees not take it, the frame is withdrawn.

If the frame does not fit into the rest of the segment the transaction is thrown away and composed again for the next one.
"""

from engine.apply cimport apply_header, forget_trees, store_trees
from engine.btree cimport tree_get
from engine.cursor cimport Cursor, cursor_key, cursor_seek
from engine.pager cimport Txn, pager_map, return_spares, txn_begin, txn_end
from engine.core cimport Core, big16, big32, locate
from engine.frame cimport append_op, apply_pending, compose_delete, compose_put, compose_superseded, make_frame_room
from engine.layout cimport (
    KN_ATTRIBUTE, KN_DROP_ATTRIBUTE, KN_MARK, KN_ORIGIN, KN_SEATS, KN_SEGMENT_HEADER, KN_USER, kn_add32, kn_add64, kn_crc32c, kn_frame,
    kn_locator, kn_meta, kn_op, kn_segment, kn_store32, kn_tombstone,
)
from engine.log cimport (
    MAX_FRAME, SEGMENTS, frame_is_whole, has_header, is_compacted, log_activate, log_blot, log_map, log_prepare, log_start_writing, log_sync,
    log_write, segment_header, segment_size,
)
from engine.page cimport compare
from engine.posix cimport EIO, ENOMEM, EROFS, EUCLEAN
from engine.shared cimport lock_writer, read_published, turn_slot, unlock, write_slot
from engine.vfs cimport (
    AT_COMPOSED, AT_HALF_WRITTEN, AT_LOCKED, AT_PUBLISHED, AT_ROLL, AT_SLOT, AT_UNLOCKED, AT_WRITTEN, failpoint,
    now_microseconds, watched,
)
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    NAME_KEY = 320


# ---- judging ----

cdef const uint8_t* _node_name(Core* core, Txn* txn, uint16_t origin, int* length) noexcept nogil:
    """The name of the node behind an origin number; 0 stands for this node. NULL when the index does not tell it. Valid until
    the trees change."""
    cdef uint8_t key[3]
    cdef Cursor cursor
    cdef const uint8_t* found
    length[0] = core.node_name_length
    if origin == 0:
        return <const uint8_t*>core.node_name
    key[0] = b'O'
    big16(key + 1, origin)
    cursor_seek(&cursor, &core.pager, &txn.meta.names, key, 3)
    if not cursor.valid:
        return NULL
    found = cursor_key(&cursor, length)
    length[0] -= 23
    return found + 23


cdef int _judge(Core* core, Txn* txn, Batch* batch, Operation* operation, uint16_t origin, uint64_t version) noexcept nogil:
    """Decides on one operation and, unless it is skipped, composes it. A Verdict, or a negative errno."""
    cdef kn_locator place
    cdef kn_locator* there = NULL
    cdef const uint8_t* found
    cdef uint64_t applied
    cdef int result = apply_pending(core, txn)
    if result < 0:
        return result
    operation.outcome = DONE
    if operation.intent == INTRODUCE or operation.intent == WITHDRAW:
        return append_op(core, txn, KN_ATTRIBUTE if operation.intent == INTRODUCE else KN_DROP_ATTRIBUTE, operation.key,
                         operation.key_length, operation.body, operation.body_length, 0, 0)
    if operation.intent == ADVANCE:
        result = _applied_of(core, txn, origin, &applied) if origin != 0 else 0
        if result < 0:
            return result
        if origin != 0 and operation.version <= applied:
            operation.outcome = SKIPPED
            return 0
        return append_op(core, txn, KN_MARK, b"", 0, b"", 0, origin, operation.version)
    result = tree_get(&core.pager, &txn.meta.primary, operation.key, operation.key_length, &found)
    if result < 0:
        return result
    if found != NULL:
        memcpy(&place, found, sizeof(kn_locator))
        there = &place
    if operation.expected_segno != 0 and (there == NULL or place.segno != operation.expected_segno
                                          or place.offset != operation.expected_offset):
        return CONFLICT
    if operation.intent >= REPLICATE_PUT:
        return _judge_replicated(core, txn, batch, operation, origin, there)
    if (operation.intent == INSERT and there != NULL) or (operation.intent in (UPDATE, REMOVE) and there == NULL):
        operation.outcome = SKIPPED
        return 0
    if operation.intent == REMOVE:
        return compose_delete(core, operation, 0, version, there)
    return compose_put(core, operation, True, 0, version, version, there)


cdef int _judge_replicated(Core* core, Txn* txn, Batch* batch, Operation* operation, uint16_t origin, kn_locator* there) noexcept nogil:
    """Last writer wins: the later version, on a tie the larger node name."""
    cdef kn_tombstone stone
    cdef const kn_op* rival = NULL
    cdef const uint8_t* found
    cdef bint wins = True
    cdef int result, order
    if there != NULL:
        rival = locate(core, there.segno, there.offset)
    else:
        result = tree_get(&core.pager, &txn.meta.tombstones, operation.key, operation.key_length, &found)
        if result < 0:
            return result
        if found != NULL:
            memcpy(&stone, found, sizeof(kn_tombstone))
            rival = locate(core, stone.segno, stone.offset)
            if rival == NULL:
                return -EIO
    if there != NULL and rival == NULL:
        return -EIO
    if rival != NULL:
        wins = operation.version > rival.version
        if operation.version == rival.version and origin != rival.origin:
            result = _name_order(core, txn, origin, rival.origin, &order)
            if result < 0:
                return result
            wins = order > 0
    if wins:
        if operation.intent == REPLICATE_REMOVE:
            return compose_delete(core, operation, origin, operation.version, there)
        return compose_put(core, operation, False, origin, operation.version, operation.created, there)
    if batch.source.sequence == 0:
        operation.outcome = SKIPPED
        return 0
    operation.outcome = SUPERSEDED
    return compose_superseded(core, operation, origin)


cdef int _name_order(Core* core, Txn* txn, uint16_t one, uint16_t other, int* order) noexcept nogil:
    cdef int first_length, second_length
    cdef const uint8_t* first = _node_name(core, txn, one, &first_length)
    cdef const uint8_t* second = _node_name(core, txn, other, &second_length)
    if first == NULL or second == NULL:
        return -EUCLEAN
    order[0] = compare(first, first_length, second, second_length)
    return 0


# ---- commit ----

cdef int _number_of(Core* core, Txn* txn, uint8_t kind, const uint8_t* identity, int identity_length, const uint8_t* name,
                    int name_length, uint32_t next, uint16_t* number) noexcept nogil:
    """The table-local number of a user or an origin, introduced by an operation of this frame if it is new."""
    cdef uint8_t key[NAME_KEY]
    cdef const uint8_t* found
    cdef uint32_t fresh
    key[0] = kind + 32
    memcpy(key + 1, identity, identity_length)
    cdef int result = tree_get(&core.pager, &txn.meta.names, key, 1 + identity_length, &found)
    if result < 0:
        return result
    if found != NULL:
        memcpy(number, found, 2)
        return 0
    fresh = next if next > 0 else 1
    if fresh > 65535:
        return -EIO
    number[0] = <uint16_t>fresh
    if kind == b'O':
        memcpy(key + 1 + identity_length, name, name_length)
    else:
        name_length = 0
    return append_op(core, txn, KN_USER if kind == b'U' else KN_ORIGIN, key + 1, identity_length + name_length, &fresh, 4, 0, 0)


cdef bint knows_user(Core* core, Txn* txn, const Batch* batch) noexcept nogil:
    """Whether the user of this batch, if it has one, has a number."""
    cdef uint8_t key[NAME_KEY]
    cdef const uint8_t* found
    if batch.user_length == 0:
        return True
    key[0] = b'u'
    memcpy(key + 1, batch.user, batch.user_length)
    return tree_get(&core.pager, &txn.meta.names, key, 1 + batch.user_length, &found) > 0


cdef int _applied_of(Core* core, Txn* txn, uint16_t origin, uint64_t* applied) noexcept nogil:
    """The last transaction of this origin that counts as applied."""
    cdef uint8_t key[3]
    cdef const uint8_t* found
    key[0] = b'M'
    big16(key + 1, origin)
    cdef int result = tree_get(&core.pager, &txn.meta.names, key, 3, &found)
    applied[0] = 0
    if result > 0:
        memcpy(applied, found, 8)
    return result if result < 0 else 0


cdef int _introduce_source(Core* core, Txn* txn, Batch* batch, uint16_t* origin) noexcept nogil:
    """The number of the batch's origin, and whether it is its turn: a Verdict."""
    cdef uint8_t identity[20]
    cdef uint64_t applied
    cdef int result
    memcpy(identity, batch.source.node, 16)
    big32(identity + 16, batch.source.epoch)
    result = _number_of(core, txn, b'O', identity, 20, <const uint8_t*>batch.source.name, batch.source.name_length,
                        txn.meta.next_origin, origin)
    if result != 0 or batch.source.sequence == 0:
        return result
    result = _applied_of(core, txn, origin[0], &applied)
    if result < 0:
        return result
    if batch.source.sequence <= applied:
        return DUPLICATE
    return COMMITTED if batch.source.sequence == applied + 1 else GAP


cdef int _compose(Core* core, Txn* txn, Batch* batch) noexcept nogil:
    """Composes the frame in memory, and applies all of it but the last operation to the trees: a Verdict, or a negative errno."""
    cdef kn_frame* frame
    cdef uint16_t origin = 0, user = 0
    cdef uint64_t version = now_microseconds()
    cdef int index, result = 0
    cdef bint changed = False
    if version <= txn.meta.version:
        version = txn.meta.version + 1
    core.frame_used = core.frame_pending = 0
    if make_frame_room(core, sizeof(kn_frame)) < 0:
        return -ENOMEM
    memset(core.frame, 0, sizeof(kn_frame))
    core.frame_used = sizeof(kn_frame)
    if batch.source != NULL:
        result = _introduce_source(core, txn, batch, &origin)
        version = batch.source.version
        changed = batch.source.sequence != 0
    if result == 0 and batch.user_length > 0:
        result = _number_of(core, txn, b'U', <const uint8_t*>batch.user, batch.user_length, NULL, 0, txn.meta.next_user, &user)
    for index in range(batch.count):
        if result != 0:
            return result
        result = _judge(core, txn, batch, batch.operations + index, origin, version)
        if batch.operations[index].outcome == DONE and (batch.operations[index].intent != INTRODUCE or batch.count == 1):
            changed = True          # new attributes alone, of records that are all skipped, are no change
        if core.frame_used > MAX_FRAME - 64:
            return TOO_LARGE
    if result != 0 or not changed:
        return result if result != 0 else NOTHING
    frame = <kn_frame*>core.frame
    frame.seq, frame.version, frame.origin, frame.user, frame.operation = txn.meta.seq + 1, version, origin, user, batch.operation
    if batch.source != NULL:
        frame.epoch, frame.origin_seq = batch.source.epoch, batch.source.sequence
    else:
        frame.epoch = txn.meta.local_epoch if txn.meta.local_epoch else core.epoch
        frame.origin_seq = 0 if batch.unreplicated else txn.meta.local_seq + 1
    batch.version = version
    return 0


cdef void withdraw_frames(Core* core, uint32_t segno, const uint32_t* places, int count) noexcept nogil:
    """Nobody may find these frames, not even after a power cut. The last one goes first: should this process die over it, those
    that are left follow on each other from the end of the log on."""
    cdef int result = 0, index
    for index in range(count):
        if result == 0:
            result = log_blot(&core.log, segno, places[count - 1 - index], sizeof(kn_frame))
    if result == 0:
        result = log_sync(&core.log, segno, segno)
    if result < 0:
        kn_store32(&core.shared.poisoned, <uint32_t>-result)


cdef int _write_frame(Core* core, Txn* txn, bint awaited) noexcept nogil:
    """Seals the frame and writes it where the log ends. The disk begins with it if it is `awaited` and nobody else is expected
    to write before the next sync; several writers would have it write the same block again and again."""
    cdef kn_frame* frame
    cdef size_t size = (core.frame_used + 7) & ~<size_t>7
    cdef size_t half = (size // 2) & ~<size_t>7 if watched() else 0     # in two parts only for the failpoint between them
    cdef uint64_t salt = segment_header(&core.log, core.frame_segno).salt
    cdef kn_meta visible
    cdef int result
    if make_frame_room(core, 8) < 0:
        return -ENOMEM
    memset(core.frame + core.frame_used, 0, size - core.frame_used)
    frame = <kn_frame*>core.frame
    frame.length = <uint32_t>size
    read_published(&core.shared.visible, &visible)
    frame.synced = visible.log_end if visible.segno == core.frame_segno else KN_SEGMENT_HEADER
    frame.crc = kn_crc32c(<uint32_t>salt, &frame.seq, size - 8)
    result = failpoint(AT_COMPOSED)
    if result == 0 and half > 0:
        result = log_write(&core.log, core.frame_segno, core.frame_start, core.frame, half)
        if result == 0:
            result = failpoint(AT_HALF_WRITTEN)
    if result == 0:
        result = log_write(&core.log, core.frame_segno, core.frame_start + half, core.frame + half, size - half)
    if result == 0 and awaited and frame.seq - visible.seq >= core.shared.company:
        log_start_writing(&core.log, core.frame_segno, core.frame_start, size)
    if result == 0:
        txn.meta.log_end = core.frame_start + <uint32_t>size
    return result


cdef int _clear_the_way(Core* core, uint32_t segno) noexcept nogil:
    """What writers that died or failed have left between the end of the log and this new segment: the head of a frame at the
    end of the old one, and segments that came into use but never into the log. Their frames have numbers that the log gives
    anew; so replay and readers of the log must not find them."""
    cdef kn_meta head
    cdef uint32_t between
    cdef int result = 0
    read_published(&core.shared.head, &head)
    if head.segno > 0:
        result = log_blot(&core.log, head.segno, head.log_end, sizeof(kn_frame))
    for between in range(head.segno + 1, segno):
        if result == 0 and log_map(&core.log, between) == 0 and has_header(&core.log, between) and not is_compacted(&core.log, between):
            result = log_blot(&core.log, between, 0, sizeof(kn_segment))
    return result


cdef int roll(Core* core, kn_meta* start, size_t room) noexcept nogil:
    """Brings the next segment into use, large enough for a frame of `room` bytes."""
    cdef uint32_t segno = 0
    cdef uint64_t size
    cdef int result = failpoint(AT_ROLL)
    while result == 0:
        segno = kn_add32(&core.shared.next_segno, 1) - 1
        if segno >= SEGMENTS:
            return -EIO
        size = segment_size(core.shared.log_bytes)
        if size < KN_SEGMENT_HEADER + room + 8:
            size = (KN_SEGMENT_HEADER + room + 8 + 4095) & ~<uint64_t>4095
        result = log_prepare(&core.log, segno, size)
        if result == 0:
            result = log_map(&core.log, segno)
        if result == 0 and core.log.size[segno] >= KN_SEGMENT_HEADER + room + 8:
            break
    if result == 0:
        result = _clear_the_way(core, segno)
    if result == 0:
        result = log_activate(&core.log, segno, start.seq + 1, now_microseconds() * 2654435761u + segno)
    if result == 0:
        kn_add64(&core.shared.log_bytes, core.log.size[segno])
    start.segno, start.log_end = segno, KN_SEGMENT_HEADER
    return result


cdef void _sweep(Core* core, const kn_meta* head) noexcept nogil:
    """Withdraws what a process that died has written behind the end of the log: several frames, of which the later ones would
    follow on what is written now if that is as long as the first."""
    cdef uint32_t places[KN_SEATS]
    cdef uint32_t place = head.log_end
    cdef int count = 0
    while count < KN_SEATS and frame_is_whole(&core.log, head.segno, place):
        places[count] = place
        count += 1
        place += (<const kn_frame*>(core.log.base[head.segno] + place)).length
    withdraw_frames(core, head.segno, places, count)
    core.shared.litter = 0


cdef int begin_commit(Core* core, kn_meta* start) noexcept nogil:
    """The state that the next transaction starts from, its pages and the end of its log mapped: 0, or a negative errno."""
    cdef int result
    failpoint(AT_LOCKED)
    read_published(&core.shared.head, start)
    if core.shared.poisoned:
        return -EROFS
    result = pager_map(&core.pager, start.next_pgno)
    if result == 0:
        result = roll(core, start, 0) if start.segno == 0 else log_map(&core.log, start.segno)
    if result == 0 and core.shared.litter:
        _sweep(core, start)
        return -EROFS if core.shared.poisoned else 0
    return result


cdef int add_frame(Core* core, Txn* txn, Batch* batch) noexcept nogil:
    """Judges the batch, writes its frame and changes the trees by it: a Verdict, NO_ROOM if the segment does not hold the
    frame, or a negative errno. The frame is in the log if the log's end has moved."""
    cdef int result
    core.frame_segno, core.frame_start = txn.meta.segno, txn.meta.log_end
    result = _compose(core, txn, batch)
    if result == 0 and core.frame_start + core.frame_used + 16 > core.log.size[core.frame_segno]:
        return NO_ROOM
    if result == 0:
        result = _write_frame(core, txn, batch.awaited)
        if result == 0:
            result = failpoint(AT_WRITTEN)
        if result == 0:
            result = apply_pending(core, txn)
        if result == 0:
            result = apply_header(txn, <const kn_frame*>core.frame)
    return result


cdef int end_trees(Core* core, Txn* txn) noexcept nogil:
    """Makes the state whole: 0, or a negative errno."""
    cdef int result = store_trees(core, txn)
    return return_spares(txn) if result == 0 else result


cdef void publish_head(Core* core, const kn_meta* meta) noexcept nogil:
    write_slot(&core.shared.head, meta)
    failpoint(AT_SLOT)
    turn_slot(&core.shared.head)
    failpoint(AT_PUBLISHED)


cdef int _commit_locked(Core* core, Batch* batch) noexcept nogil:
    cdef kn_meta start
    cdef Txn txn
    cdef uint64_t size = 0
    cdef int result = begin_commit(core, &start)
    batch.txn = start.txn
    if result == 0 and batch.names_generation != start.names_generation:
        return STALE_NAMES
    while result == 0:
        forget_trees(core)
        txn_begin(&txn, &core.pager, &start)
        result = add_frame(core, &txn, batch)
        size = core.frame_used + 16
        if result == NO_ROOM:
            txn_end(&txn)
            result = roll(core, &start, size)
            continue
        if result == 0:
            result = end_trees(core, &txn)
        if result < 0 and txn.meta.log_end != start.log_end:
            withdraw_frames(core, core.frame_segno, &core.frame_start, 1)
        if result == 0:
            publish_head(core, &txn.meta)
            batch.txn = txn.id
            core.shared.commits += 1
            core.shared.appended += size
        txn_end(&txn)
        break
    core.frame_segno = 0
    return result


cdef int core_commit(Core* core, Batch* batch, int milliseconds) noexcept nogil:
    """Applies the batch and writes its frame; nothing is durable yet. A Verdict, or a negative errno with nothing changed.
    `batch.txn` is what core_sync must be called with before a reply leaves, also when the verdict is NOTHING."""
    cdef int result = lock_writer(core.shared, milliseconds)
    if result < 0:
        return result
    result = _commit_locked(core, batch)
    unlock(&core.shared.writer)
    failpoint(AT_UNLOCKED)
    return result
