"""Combining: small writes of several processes become one transaction of the trees, each with a frame of its own.

Where several processes write, the next one finds the pages that the one before has changed in another core's cache, and
copies them again. Instead, who leads a sync commits all small writes that wait for it (seats.pyx): the upper pages of the
trees are copied once for all of them, by a core that has them. Published is one state after the last of them.

Flat combining: Hendler, Incze, Shavit, Tzafrir, "Flat combining and the synchronization-parallelism tradeoff", SPAA 2010.

A write that cannot be judged without changing the trees by what may not come into the log, or that fails, is answered ALONE:
its owner commits it by itself, and learns what is wrong.
"""

from engine.apply cimport forget_trees
from engine.core cimport Core
from engine.layout cimport KN_IDLE, KN_SEATS, kn_meta, kn_seat, kn_shared, kn_store64
from engine.pager cimport Txn, txn_begin, txn_end
from engine.seats cimport answer_seat, count_submitted, end_serving, put_back, read_seat, take_submitted
from engine.shared cimport lock_writer, unlock
from engine.transaction cimport (
    ALONE, COMMITTED, NO_ROOM, STALE_NAMES, Batch, Operation, add_frame, begin_commit, end_trees, knows_user, publish_head, roll,
    withdraw_frames,
)
from engine.vfs cimport AT_UNLOCKED, failpoint
from libc.stdint cimport uint32_t, uint64_t


cdef struct Group:
    kn_seat* seats[KN_SEATS]    # those that were taken
    int count
    uint32_t places[KN_SEATS]   # where their frames begin
    int frames
    uint64_t bytes


cdef int _judge(Core* core, Txn* txn, Group* group, kn_seat* seat, bint last) noexcept nogil:
    """Answers a seat: a Verdict, or a negative errno."""
    cdef Batch batch
    cdef Operation operation
    cdef uint32_t place = txn.meta.log_end
    cdef int verdict
    read_seat(seat, &batch, &operation)
    batch.awaited = last
    if batch.names_generation != txn.meta.names_generation:
        verdict = STALE_NAMES
    elif not knows_user(core, txn, &batch):
        verdict = ALONE
    else:
        verdict = add_frame(core, txn, &batch)
    if txn.meta.log_end != place:
        group.places[group.frames] = place
        group.frames += 1
        group.bytes += txn.meta.log_end - place
    answer_seat(seat, &batch, verdict)
    return verdict


cdef int _judge_all(Core* core, Txn* txn, Group* group) noexcept nogil:
    """0 when no seat is left, NO_ROOM when the segment is full before one that was put back, or a negative errno."""
    cdef kn_shared* shared = core.shared
    cdef kn_seat* seat
    cdef int verdict = COMMITTED
    while group.count < KN_SEATS:
        seat = take_submitted(shared)
        if seat == NULL:
            return 0
        verdict = _judge(core, txn, group, seat, count_submitted(shared) == 0)
        if verdict == NO_ROOM:
            put_back(shared, seat)
            return NO_ROOM
        group.seats[group.count] = seat
        group.count += 1
        if verdict < 0:
            return verdict
    return 0


cdef void _send_away(Core* core, Txn* txn, Group* group) noexcept nogil:
    """The transaction failed: each commits by itself."""
    cdef int index
    if group.frames > 0:
        withdraw_frames(core, txn.meta.segno, group.places, group.frames)
    group.frames = 0
    for index in range(group.count):
        group.seats[index].verdict = ALONE


cdef int _serve_group(Core* core, const kn_meta* start) noexcept nogil:
    """One transaction of what is submitted: 0, or NO_ROOM when the segment does not even hold the first frame."""
    cdef kn_shared* shared = core.shared
    cdef Group group
    cdef Txn txn
    cdef int result, error
    group.count = group.frames = 0
    group.bytes = 0
    forget_trees(core)
    txn_begin(&txn, &core.pager, start)
    kn_store64(&shared.serving, txn.id)
    result = _judge_all(core, &txn, &group)
    error = result if result < 0 else end_trees(core, &txn) if group.frames > 0 else 0
    if error < 0:
        _send_away(core, &txn, &group)
    if group.frames > 0:
        publish_head(core, &txn.meta)
        shared.commits += group.frames
        shared.appended += group.bytes
    shared.skips += group.count - group.frames
    end_serving(shared, txn.id if group.frames > 0 else start.txn, True)
    txn_end(&txn)
    core.frame_segno = 0
    return NO_ROOM if result == NO_ROOM and group.count == 0 else 0


cdef void _send_all_away(Core* core) noexcept nogil:
    """Nothing can be committed; their owners learn why when they try."""
    cdef kn_shared* shared = core.shared
    cdef kn_seat* seat
    kn_store64(&shared.serving, KN_IDLE)
    seat = take_submitted(shared)
    while seat != NULL:
        seat.verdict = ALONE
        seat = take_submitted(shared)
    end_serving(shared, 0, True)


cdef int serve(Core* core, int milliseconds) noexcept nogil:
    """Commits what waits in seats: 0, or a negative errno when the writer mutex cannot be had. Nothing is durable yet."""
    cdef kn_meta start
    cdef int result = lock_writer(core.shared, milliseconds)
    if result < 0:
        return result
    while count_submitted(core.shared) > 0:
        result = begin_commit(core, &start)
        if result == 0:
            result = _serve_group(core, &start)
        while result == NO_ROOM:
            result = roll(core, &start, core.frame_used + 16)
            if result == 0:
                result = _serve_group(core, &start)
        if result < 0:
            _send_all_away(core)
    unlock(&core.shared.writer)
    failpoint(AT_UNLOCKED)
    return 0
