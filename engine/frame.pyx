"""The frame of the running transaction, in memory: appending operations to it, under the writer mutex.

An operation changes the trees when the next one is judged, which has to find them as this one left them; the last one
changes them when the frame has been written. Formats of frame and operation: c/layout.h. What is appended and why:
transaction.pyx.
"""

from engine.apply cimport apply_op
from engine.core cimport Core, locate, op_body, op_length
from engine.layout cimport KN_DELETE, KN_PUT, KN_SUPERSEDED, kn_crc32c, kn_frame, kn_locator, kn_op
from engine.pager cimport Txn
from engine.posix cimport EIO, ENOMEM
from engine.record cimport MAX_RECORD, record_merge, record_merge_bound
from engine.transaction cimport REPLICATE_PUT, TOO_LARGE, Operation
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset


cdef int make_frame_room(Core* core, size_t size) noexcept nogil:
    cdef size_t room = core.frame_room if core.frame_room else 4096
    cdef uint8_t* grown
    if core.frame_used + size <= core.frame_room:
        return 0
    while room < core.frame_used + size:
        room *= 2
    grown = <uint8_t*>realloc(core.frame, room)
    if grown == NULL:
        return -ENOMEM
    core.frame, core.frame_room = grown, room
    return 0


cdef kn_op* _begin_op(Core* core, uint8_t kind, const uint8_t* key, uint32_t key_length) noexcept nogil:
    """There must be room. The body follows; _end_op closes it."""
    cdef kn_op* op = <kn_op*>(core.frame + core.frame_used)
    memset(op, 0, sizeof(kn_op))
    op.kind = kind
    op.key_length = key_length
    memcpy(<uint8_t*>op + sizeof(kn_op), key, key_length)
    return op


cdef void _end_op(Core* core, kn_op* op) noexcept nogil:
    """Seals the operation; the trees are still to be changed by it."""
    op.crc = kn_crc32c(0, &op.kind, op_length(op) - 4)
    core.frame_pending = core.frame_used
    core.frame_used += op_length(op)
    (<kn_frame*>core.frame).operations += 1


cdef int apply_pending(Core* core, Txn* txn) noexcept nogil:
    """Changes the trees by the operation that was composed last, if they are not yet."""
    cdef size_t at = core.frame_pending
    core.frame_pending = 0
    return apply_op(core, txn, <const kn_op*>(core.frame + at), core.frame_segno, core.frame_start + <uint32_t>at) if at > 0 else 0


cdef int append_op(Core* core, Txn* txn, uint8_t kind, const uint8_t* key, uint32_t key_length, const void* body,
                   uint32_t body_length, uint16_t origin, uint64_t version) noexcept nogil:
    cdef kn_op* op
    if make_frame_room(core, sizeof(kn_op) + key_length + body_length) < 0:
        return -ENOMEM
    op = _begin_op(core, kind, key, key_length)
    op.origin, op.version, op.body_length = origin, version, body_length
    memcpy(<uint8_t*>op + sizeof(kn_op) + key_length, body, body_length)
    _end_op(core, op)
    return apply_pending(core, txn)


cdef int compose_put(Core* core, Operation* operation, bint merge, uint16_t origin, uint64_t version, uint64_t created,
                     const kn_locator* place) noexcept nogil:
    """Appends the record after the change; place is of the record before it, or NULL. A Verdict, or a negative errno."""
    cdef const kn_op* old = NULL
    cdef kn_op* op
    cdef uint8_t* body
    cdef Py_ssize_t size = operation.body_length
    if place != NULL:
        old = locate(core, place.segno, place.offset)
        if old == NULL:
            return -EIO
        if merge:
            size = record_merge_bound(old.body_length, operation.body_length)
    if make_frame_room(core, sizeof(kn_op) + operation.key_length + size) < 0:
        return -ENOMEM
    op = _begin_op(core, KN_PUT, operation.key, operation.key_length)
    body = <uint8_t*>op + sizeof(kn_op) + operation.key_length
    if place != NULL:
        old = locate(core, place.segno, place.offset)
        op.previous_segno, op.previous_offset = place.segno, place.offset
    if old != NULL and merge:
        size = record_merge(op_body(old), old.body_length, operation.body, operation.body_length, body, size)
        if size < 0:
            return -EIO
        created = old.created
    else:
        memcpy(body, operation.body, size)
    if size > MAX_RECORD:
        return TOO_LARGE
    op.body_length, op.origin, op.version, op.created = <uint32_t>size, origin, version, created
    _end_op(core, op)
    return 0


cdef int compose_delete(Core* core, Operation* operation, uint16_t origin, uint64_t version, const kn_locator* place) noexcept nogil:
    cdef kn_op* op
    if make_frame_room(core, sizeof(kn_op) + operation.key_length) < 0:
        return -ENOMEM
    op = _begin_op(core, KN_DELETE, operation.key, operation.key_length)
    if place != NULL:
        op.previous_segno, op.previous_offset = place.segno, place.offset
    op.origin, op.version, op.created = origin, version, version
    _end_op(core, op)
    return 0


cdef int compose_superseded(Core* core, Operation* operation, uint16_t origin) noexcept nogil:
    """The loser of a conflict: kept in the log for audit and relay."""
    cdef kn_op* op
    cdef uint8_t kind = KN_PUT if operation.intent == REPLICATE_PUT else KN_DELETE
    if make_frame_room(core, sizeof(kn_op) + operation.key_length + operation.body_length) < 0:
        return -ENOMEM
    op = _begin_op(core, kind, operation.key, operation.key_length)
    op.flags = KN_SUPERSEDED
    op.origin, op.version, op.created, op.body_length = origin, operation.version, operation.created, operation.body_length
    if operation.body_length > 0:
        memcpy(<uint8_t*>op + sizeof(kn_op) + operation.key_length, operation.body, operation.body_length)
    _end_op(core, op)
    return 0
