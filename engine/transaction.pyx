"""Commit, sync and replay.

A commit, under the writer mutex of the table: copy `head`; judge each operation against the trees as the operations before
it have left them; append it to the frame in memory; change the trees (copy on write, nothing published); write the frame at
the end of the log; publish the new head. A reply may leave when `core_sync` has the frame on disk, which makes the state
visible to readers. One sync serves everybody who waits.

Because the frame carries whole records after the change, replay needs no judgement: `_apply` of the operations of a frame
does to the trees what it did at the commit. Recovery is replay from the last checkpoint, or from the beginning.

If the frame does not fit into the rest of the segment the transaction is thrown away and composed again for the next one.

The names tree (values of 8 bytes) keeps what gives table-local numbers their meaning:
    'A' number u32 name          -> flags u32, 0           'a' name               -> number u32, flags u32
    'U' number u16 name          -> 0                      'u' name               -> number u32, 0
    'O' number u16 uuid epoch u32 name -> 0                'o' uuid epoch u32     -> number u32, 0
    'M' origin u16               -> last origin_seq applied u64
Numbers in keys are big endian. A dropped attribute keeps its number and loses its 'A' and 'a' entries.
"""

from engine.btree cimport (
    Cursor, Pager, Txn, cursor_key, cursor_seek, pager_close, pager_map, return_spares, tree_delete, tree_discard, tree_get, tree_insert, txn_begin, txn_end,
)
from engine.keys cimport (
    MAX_KEY, MAX_VALUE_KEY, element_key_from_json, json_array_next, key_from_double, key_from_json,
)
from engine.layout cimport (
    KN_ATTRIBUTE, KN_DELETE, KN_DROP_ATTRIBUTE, KN_MARK, KN_NOT_INDEXED, KN_ORIGIN, KN_PUT, KN_SEGMENT_HEADER, KN_SUPERSEDED,
    KN_USER, kn_add32, kn_crc32c, kn_frame, kn_futex_wait, kn_futex_wake, kn_load32, kn_load64, kn_locator, kn_meta, kn_op,
    kn_segment, kn_store32, kn_store64, kn_tombstone, kn_tree,
)
from engine.log cimport (
    LAST_SEGMENT, MAX_FRAME, SEGMENTS, has_header, log_activate, log_close, log_map, log_prepare, log_sync, log_write, op_at,
    segment_header, segment_size,
)
from engine.posix cimport EIO, ENOENT, ENOMEM, EROFS, ETIMEDOUT
from engine.record cimport MAX_RECORD, Field, record_count, record_fields, record_merge, record_merge_bound
from engine.shared cimport lock, publish, read_published, try_lock, unlock
from engine.vfs cimport (
    AT_COMPOSED, AT_HALF_WRITTEN, AT_LOCKED, AT_PUBLISHED, AT_ROLL, AT_SLOT, AT_SYNC, AT_SYNCED, AT_SYNC_LOCKED, AT_UNLOCKED,
    AT_VISIBLE, AT_WRITTEN, failpoint, now_microseconds,
)
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    FIELDS = 128                # fields of a record handled without an allocation
    NAME_KEY = 320
    UNOPENED = 0
    OPEN = 1
    CHANGED = 2
    NOT_INDEXED = 3


cdef struct Fields:
    Field* at
    int count
    Field few[FIELDS]


# ---- small parts ----

cdef inline void _big32(uint8_t* out, uint32_t value) noexcept nogil:
    out[0], out[1], out[2], out[3] = value >> 24, value >> 16 & 255, value >> 8 & 255, value & 255


cdef inline void _big16(uint8_t* out, uint32_t value) noexcept nogil:
    out[0], out[1] = value >> 8 & 255, value & 255


cdef uint32_t op_length(const kn_op* op) noexcept nogil:
    return sizeof(kn_op) + op.key_length + op.body_length


cdef inline const uint8_t* _op_key(const kn_op* op) noexcept nogil:
    return <const uint8_t*>op + sizeof(kn_op)


cdef inline const uint8_t* _op_body(const kn_op* op) noexcept nogil:
    return <const uint8_t*>op + sizeof(kn_op) + op.key_length


cdef bint op_is_sound(const kn_op* op, uint64_t room) noexcept nogil:
    """Its lengths fit into `room` bytes and its checksum holds."""
    if room < sizeof(kn_op) or <uint64_t>op.key_length + op.body_length > room - sizeof(kn_op):
        return False
    return kn_crc32c(0, &op.kind, op_length(op) - 4) == op.crc


cdef int _load_fields(const uint8_t* body, uint32_t size, Fields* fields) noexcept nogil:
    cdef int count = record_count(body, size)
    fields.at = fields.few
    fields.count = 0
    if count < 0:
        return -EIO
    if count > FIELDS:
        fields.at = <Field*>malloc(count * sizeof(Field))
        if fields.at == NULL:
            return -ENOMEM
    fields.count = record_fields(body, size, fields.at, count)
    return 0 if fields.count >= 0 else -EIO


cdef inline void _drop_fields(Fields* fields) noexcept nogil:
    if fields.at != fields.few:
        free(fields.at)


cdef const kn_op* _locate(Core* core, uint32_t segno, uint32_t offset) noexcept nogil:
    """The operation at this place: in the log, or in the frame that is being composed. NULL when its segment is missing."""
    if segno == core.frame_segno and offset >= core.frame_start:
        return <const kn_op*>(core.frame + (offset - core.frame_start))
    if log_map(&core.log, segno) < 0:
        return NULL
    return op_at(&core.log, segno, offset)


# ---- attribute trees of the running transaction ----

cdef bint attribute_tree(Core* core, const kn_meta* meta, uint32_t attribute, kn_tree* tree) noexcept nogil:
    """The index of this attribute in a published state; False when the attribute is not indexed."""
    cdef uint8_t key[4]
    _big32(key, attribute)
    cdef const uint8_t* found = tree_get(&core.pager, &meta.directory, key, 4)
    if found == NULL:
        memset(tree, 0, sizeof(kn_tree))
        return True
    memcpy(tree, found, sizeof(kn_tree))
    return tree.value_size != KN_NOT_INDEXED


cdef int _make_tree_room(Core* core, uint32_t attributes) noexcept nogil:
    cdef uint32_t room = core.tree_room if core.tree_room else 64
    if attributes <= core.tree_room:
        return 0
    while room < attributes:
        room *= 2
    cdef kn_tree* trees = <kn_tree*>realloc(core.trees, room * sizeof(kn_tree))
    if trees == NULL:
        return -ENOMEM
    core.trees = trees
    cdef uint8_t* states = <uint8_t*>realloc(core.tree_states, room)
    if states == NULL:
        return -ENOMEM
    core.tree_states = states
    memset(states + core.tree_room, UNOPENED, room - core.tree_room)
    core.tree_room = room
    return 0


cdef int _open_tree(Core* core, Txn* txn, uint32_t attribute, kn_tree** tree) noexcept nogil:
    """1 with the tree to change, 0 when the attribute is not indexed."""
    cdef int error
    if attribute >= core.tree_room:
        error = _make_tree_room(core, attribute + 1)
        if error < 0:
            return error
    if core.tree_states[attribute] == UNOPENED:
        if attribute_tree(core, &txn.meta, attribute, &core.trees[attribute]):
            core.tree_states[attribute] = OPEN
        else:
            core.tree_states[attribute] = NOT_INDEXED
    if core.tree_states[attribute] == NOT_INDEXED:
        return 0
    core.tree_states[attribute] = CHANGED
    tree[0] = &core.trees[attribute]
    return 1


cdef int _store_trees(Core* core, Txn* txn) noexcept nogil:
    """Writes the changed attribute trees back into the directory."""
    cdef uint32_t attribute
    cdef uint8_t key[4]
    cdef int result
    for attribute in range(core.tree_room):
        if core.tree_states[attribute] == CHANGED:
            _big32(key, attribute)
            result = tree_insert(txn, &txn.meta.directory, key, 4, &core.trees[attribute])
            if result < 0:
                return result
    return 0


# ---- index entries ----

cdef int _change_entry(Core* core, Txn* txn, uint32_t attribute, const uint8_t* value, int value_length, const uint8_t* key,
                       uint32_t key_length, bint add) noexcept nogil:
    cdef uint8_t entry[MAX_KEY]
    cdef kn_tree* tree
    cdef int result = _open_tree(core, txn, attribute, &tree)
    if result <= 0:
        return result
    memcpy(entry, value, value_length)
    memcpy(entry + value_length, key, key_length)
    if add:
        result = tree_insert(txn, tree, entry, value_length + <int>key_length, NULL)
    else:
        result = tree_delete(txn, tree, entry, value_length + <int>key_length)
    return result if result < 0 else 0


cdef int _change_time(Core* core, Txn* txn, uint32_t attribute, uint64_t version, const uint8_t* key, uint32_t key_length,
                      bint add) noexcept nogil:
    cdef uint8_t value[MAX_VALUE_KEY + 1]
    cdef int length = <int>key_from_double(<double>version / 1000.0, value)
    return _change_entry(core, txn, attribute, value, length, key, key_length, add)


cdef int _change_field(Core* core, Txn* txn, const uint8_t* body, const Field* field, const uint8_t* key, uint32_t key_length,
                       bint add) noexcept nogil:
    """The entries of one attribute of one record: its value, and for an array each scalar element."""
    cdef uint8_t value[MAX_VALUE_KEY + 1]
    cdef const uint8_t* json = body + field.start
    cdef Py_ssize_t length = key_from_json(json, field.length, value), at = 0, start, end
    cdef int result
    if length < 0:
        return -EIO
    result = _change_entry(core, txn, field.attribute, value, <int>length, key, key_length, add)
    if result < 0 or field.length == 0 or json[0] != b'[':
        return result
    while True:
        result = json_array_next(json, field.length, &at, &start, &end)
        if result <= 0:
            return -EIO if result < 0 else 0
        length = element_key_from_json(json + start, end - start, value)
        if length < 0:
            return -EIO
        if length > 0:
            result = _change_entry(core, txn, field.attribute, value, <int>length, key, key_length, add)
            if result < 0:
                return result


cdef int _change_fields(Core* core, Txn* txn, const kn_op* old, const kn_op* new, const uint8_t* key, uint32_t key_length) noexcept nogil:
    """Brings the indexes from the record in `old` to the one in `new`; either may be NULL. Equal fragments cost nothing."""
    cdef Fields before, after
    cdef const uint8_t* old_body = _op_body(old) if old != NULL else NULL
    cdef const uint8_t* new_body = _op_body(new) if new != NULL else NULL
    cdef int result = 0, i = 0, j = 0
    cdef Field* gone
    cdef Field* come
    before.at, before.count = before.few, 0
    after.at, after.count = after.few, 0
    if old != NULL:
        result = _load_fields(old_body, old.body_length, &before)
    if result == 0 and new != NULL:
        result = _load_fields(new_body, new.body_length, &after)
    while result >= 0 and (i < before.count or j < after.count):
        gone = before.at + i if i < before.count else NULL
        come = after.at + j if j < after.count else NULL
        if gone != NULL and come != NULL and gone.attribute == come.attribute:
            i += 1
            j += 1
            if gone.length == come.length and memcmp(old_body + gone.start, new_body + come.start, gone.length) == 0:
                continue
        elif come == NULL or (gone != NULL and gone.attribute < come.attribute):
            i += 1
            come = NULL
        else:
            j += 1
            gone = NULL
        if gone != NULL:
            result = _change_field(core, txn, old_body, gone, key, key_length, False)
        if result >= 0 and come != NULL:
            result = _change_field(core, txn, new_body, come, key, key_length, True)
    _drop_fields(&before)
    _drop_fields(&after)
    return result


cdef int _change_times(Core* core, Txn* txn, const kn_op* old, const kn_op* new, const uint8_t* key, uint32_t key_length) noexcept nogil:
    cdef int result = 0
    if not core.timestamps:
        return 0
    if old != NULL and (new == NULL or old.created != new.created):
        result = _change_time(core, txn, CREATED_TIME, old.created, key, key_length, False)
    if result >= 0 and new != NULL and (old == NULL or old.created != new.created):
        result = _change_time(core, txn, CREATED_TIME, new.created, key, key_length, True)
    if result >= 0 and old != NULL and (new == NULL or old.version != new.version):
        result = _change_time(core, txn, UPDATED_TIME, old.version, key, key_length, False)
    if result >= 0 and new != NULL and (old == NULL or old.version != new.version):
        result = _change_time(core, txn, UPDATED_TIME, new.version, key, key_length, True)
    return result


# ---- applying one operation of a frame to the trees ----

cdef int _apply(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil:
    if op.flags & KN_SUPERSEDED:
        return 0
    if op.kind == KN_PUT:
        return _apply_put(core, txn, op, segno, offset)
    if op.kind == KN_DELETE:
        return _apply_delete(core, txn, op, segno, offset)
    if op.kind == KN_ATTRIBUTE:
        return _apply_attribute(core, txn, op)
    if op.kind == KN_DROP_ATTRIBUTE:
        return _apply_drop_attribute(core, txn, op)
    if op.kind == KN_USER:
        return _apply_number(txn, op, b'U', 0)
    if op.kind == KN_ORIGIN:
        return _apply_number(txn, op, b'O', 20)
    if op.kind == KN_MARK and op.origin == 0:
        txn.meta.local_epoch, txn.meta.local_seq = <uint32_t>op.version, 0
        return 0
    if op.kind == KN_MARK:
        return _apply_mark(txn, op.origin, op.version)
    return -EIO


cdef int _apply_put(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil:
    cdef const uint8_t* key = _op_key(op)
    cdef kn_locator place
    cdef const kn_op* old = NULL
    cdef int result
    cdef const uint8_t* found = tree_get(&core.pager, &txn.meta.primary, key, op.key_length)
    if found != NULL:
        memcpy(&place, found, sizeof(kn_locator))
        old = _locate(core, place.segno, place.offset)
        if old == NULL:
            return -EIO
    elif txn.meta.tombstones.entries > 0:
        result = tree_delete(txn, &txn.meta.tombstones, key, op.key_length)
        if result < 0:
            return result
    result = _change_fields(core, txn, old, op, key, op.key_length)
    if result >= 0:
        result = _change_times(core, txn, old, op, key, op.key_length)
    if result < 0:
        return result
    place.segno, place.offset, place.length = segno, offset, op_length(op)
    result = tree_insert(txn, &txn.meta.primary, key, op.key_length, &place)
    return result if result < 0 else 0


cdef int _apply_delete(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil:
    cdef const uint8_t* key = _op_key(op)
    cdef kn_locator place
    cdef kn_tombstone stone
    cdef const kn_op* old
    cdef int result = 0
    cdef const uint8_t* found = tree_get(&core.pager, &txn.meta.primary, key, op.key_length)
    if found != NULL:
        memcpy(&place, found, sizeof(kn_locator))
        old = _locate(core, place.segno, place.offset)
        if old == NULL:
            return -EIO
        result = _change_fields(core, txn, old, NULL, key, op.key_length)
        if result >= 0:
            result = _change_times(core, txn, old, NULL, key, op.key_length)
        if result >= 0:
            result = tree_delete(txn, &txn.meta.primary, key, op.key_length)
    if result < 0:
        return result
    stone.version, stone.segno, stone.offset = op.version, segno, offset
    result = tree_insert(txn, &txn.meta.tombstones, key, op.key_length, &stone)
    return result if result < 0 else 0


cdef int _apply_attribute(Core* core, Txn* txn, const kn_op* op) noexcept nogil:
    """Key: the name; body: number u32, flags u32 (1 = not indexed)."""
    cdef uint8_t key[NAME_KEY]
    cdef uint8_t swapped[8]
    cdef uint32_t number, flags
    cdef int result
    if op.body_length != 8 or op.key_length > 256:
        return -EIO
    memcpy(&number, _op_body(op), 4)
    memcpy(&flags, _op_body(op) + 4, 4)
    key[0] = b'a'
    memcpy(key + 1, _op_key(op), op.key_length)
    result = tree_insert(txn, &txn.meta.names, key, 1 + op.key_length, _op_body(op))
    if result < 0:
        return result
    key[0] = b'A'
    _big32(key + 1, number)
    memcpy(key + 5, _op_key(op), op.key_length)
    memset(swapped, 0, 8)
    memcpy(swapped, &flags, 4)
    result = tree_insert(txn, &txn.meta.names, key, 5 + op.key_length, swapped)
    if result >= 0 and flags & 1:
        result = _forbid_index(core, txn, number)
    if number >= txn.meta.next_attribute:
        txn.meta.next_attribute = number + 1
    txn.meta.names_generation += 1
    return result if result < 0 else 0


cdef int _forbid_index(Core* core, Txn* txn, uint32_t number) noexcept nogil:
    cdef uint8_t key[4]
    cdef kn_tree none
    cdef int result = _make_tree_room(core, number + 1)
    if result < 0:
        return result
    memset(&none, 0, sizeof(kn_tree))
    none.value_size = KN_NOT_INDEXED
    _big32(key, number)
    core.tree_states[number] = NOT_INDEXED
    return tree_insert(txn, &txn.meta.directory, key, 4, &none)


cdef int _apply_drop_attribute(Core* core, Txn* txn, const kn_op* op) noexcept nogil:
    """Key: the name; body: number u32, flags u32. The values stay in the records of the log and are no longer shown."""
    cdef uint8_t key[NAME_KEY]
    cdef uint32_t number
    cdef kn_tree* tree
    cdef int result
    if op.body_length != 8 or op.key_length > 256:
        return -EIO
    memcpy(&number, _op_body(op), 4)
    key[0] = b'a'
    memcpy(key + 1, _op_key(op), op.key_length)
    result = tree_delete(txn, &txn.meta.names, key, 1 + op.key_length)
    if result >= 0:
        key[0] = b'A'
        _big32(key + 1, number)
        memcpy(key + 5, _op_key(op), op.key_length)
        result = tree_delete(txn, &txn.meta.names, key, 5 + op.key_length)
    if result >= 0:
        result = _open_tree(core, txn, number, &tree)
        if result > 0:
            result = tree_discard(txn, tree)
    if result >= 0:
        result = _forbid_index(core, txn, number)
    txn.meta.names_generation += 1
    return result if result < 0 else 0


cdef int _apply_number(Txn* txn, const kn_op* op, uint8_t kind, int identity) noexcept nogil:
    """A user (key: name) or an origin (key: uuid, epoch u32 big endian, name): body number u32. The first `identity` bytes
    of the key (0 = all) find the number again."""
    cdef uint8_t key[NAME_KEY]
    cdef uint8_t value[8]
    cdef uint32_t number
    cdef int found = identity if identity else op.key_length
    cdef int result
    if op.body_length != 4 or op.key_length > 300 or op.key_length < identity:
        return -EIO
    memcpy(&number, _op_body(op), 4)
    memset(value, 0, 8)
    memcpy(value, &number, 4)
    key[0] = kind + 32
    memcpy(key + 1, _op_key(op), found)
    result = tree_insert(txn, &txn.meta.names, key, 1 + found, value)
    if result < 0:
        return result
    memset(value, 0, 8)
    key[0] = kind
    _big16(key + 1, number)
    memcpy(key + 3, _op_key(op), op.key_length)
    result = tree_insert(txn, &txn.meta.names, key, 3 + op.key_length, value)
    if kind == b'U' and number >= txn.meta.next_user:
        txn.meta.next_user = number + 1
    if kind == b'O' and number >= txn.meta.next_origin:
        txn.meta.next_origin = number + 1
    return result if result < 0 else 0


cdef int _apply_mark(Txn* txn, uint16_t origin, uint64_t sequence) noexcept nogil:
    cdef uint8_t key[3]
    key[0] = b'M'
    _big16(key + 1, origin)
    cdef int result = tree_insert(txn, &txn.meta.names, key, 3, &sequence)
    return result if result < 0 else 0


cdef int _apply_header(Txn* txn, const kn_frame* frame) noexcept nogil:
    """What the frame itself says: its place in the log, the clock, and how far its origin has been applied."""
    txn.meta.seq = frame.seq
    if frame.version > txn.meta.version:
        txn.meta.version = frame.version
    if frame.origin == 0:
        txn.meta.local_epoch, txn.meta.local_seq = frame.epoch, frame.origin_seq
        return 0
    return _apply_mark(txn, frame.origin, frame.origin_seq) if frame.origin_seq else 0


# ---- composing a frame ----

cdef int _make_frame_room(Core* core, size_t size) noexcept nogil:
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


cdef int _end_op(Core* core, Txn* txn, kn_op* op) noexcept nogil:
    """Seals the operation and changes the trees by it."""
    cdef uint32_t offset = core.frame_start + <uint32_t>core.frame_used
    cdef kn_frame* frame
    op.crc = kn_crc32c(0, &op.kind, op_length(op) - 4)
    core.frame_used += op_length(op)
    frame = <kn_frame*>core.frame
    frame.operations += 1
    return _apply(core, txn, op, core.frame_segno, offset)


cdef int _append(Core* core, Txn* txn, uint8_t kind, const uint8_t* key, uint32_t key_length, const void* body,
                 uint32_t body_length, uint16_t origin, uint64_t version) noexcept nogil:
    cdef kn_op* op
    if _make_frame_room(core, sizeof(kn_op) + key_length + body_length) < 0:
        return -ENOMEM
    op = _begin_op(core, kind, key, key_length)
    op.origin, op.version, op.body_length = origin, version, body_length
    memcpy(<uint8_t*>op + sizeof(kn_op) + key_length, body, body_length)
    return _end_op(core, txn, op)


cdef int _compose_put(Core* core, Txn* txn, Operation* operation, bint merge, uint16_t origin, uint64_t version, uint64_t created,
                      const kn_locator* place) noexcept nogil:
    """Appends the record after the change; place is of the record before it, or NULL."""
    cdef const kn_op* old = NULL
    cdef kn_op* op
    cdef uint8_t* body
    cdef Py_ssize_t size = operation.body_length
    if place != NULL:
        old = _locate(core, place.segno, place.offset)
        if old == NULL:
            return -EIO
        if merge:
            size = record_merge_bound(old.body_length, operation.body_length)
    if _make_frame_room(core, sizeof(kn_op) + operation.key_length + size) < 0:
        return -ENOMEM
    op = _begin_op(core, KN_PUT, operation.key, operation.key_length)
    body = <uint8_t*>op + sizeof(kn_op) + operation.key_length
    if place != NULL:
        old = _locate(core, place.segno, place.offset)
        op.previous_segno, op.previous_offset = place.segno, place.offset
    if old != NULL and merge:
        size = record_merge(_op_body(old), old.body_length, operation.body, operation.body_length, body, size)
        if size < 0:
            return -EIO
        created = old.created
    else:
        memcpy(body, operation.body, size)
    if size > MAX_RECORD:
        return TOO_LARGE
    op.body_length, op.origin, op.version, op.created = <uint32_t>size, origin, version, created
    return _end_op(core, txn, op)


cdef int _compose_delete(Core* core, Txn* txn, Operation* operation, uint16_t origin, uint64_t version, const kn_locator* place) noexcept nogil:
    cdef kn_op* op
    if _make_frame_room(core, sizeof(kn_op) + operation.key_length) < 0:
        return -ENOMEM
    op = _begin_op(core, KN_DELETE, operation.key, operation.key_length)
    if place != NULL:
        op.previous_segno, op.previous_offset = place.segno, place.offset
    op.origin, op.version, op.created = origin, version, version
    return _end_op(core, txn, op)


cdef int _compose_superseded(Core* core, Txn* txn, Operation* operation, uint16_t origin) noexcept nogil:
    """The loser of a conflict: kept in the log for audit and relay."""
    cdef kn_op* op
    cdef uint8_t kind = KN_PUT if operation.intent == REPLICATE_PUT else KN_DELETE
    if _make_frame_room(core, sizeof(kn_op) + operation.key_length + operation.body_length) < 0:
        return -ENOMEM
    op = _begin_op(core, kind, operation.key, operation.key_length)
    op.flags = KN_SUPERSEDED
    op.origin, op.version, op.created, op.body_length = origin, operation.version, operation.created, operation.body_length
    memcpy(<uint8_t*>op + sizeof(kn_op) + operation.key_length, operation.body, operation.body_length)
    return _end_op(core, txn, op)


# ---- judging ----

cdef const uint8_t* _node_name(Core* core, Txn* txn, uint16_t origin, int* length) noexcept nogil:
    """The name of the node behind an origin number; 0 stands for this node. Valid until the trees change."""
    cdef uint8_t key[3]
    cdef Cursor cursor
    cdef const uint8_t* found
    length[0] = core.node_name_length
    if origin == 0:
        return <const uint8_t*>core.node_name
    key[0] = b'O'
    _big16(key + 1, origin)
    cursor_seek(&cursor, &core.pager, &txn.meta.names, key, 3)
    length[0] = 0
    if not cursor.valid:
        return key
    found = cursor_key(&cursor, length)
    length[0] -= 23
    return found + 23


cdef int _judge(Core* core, Txn* txn, Batch* batch, Operation* operation, uint16_t origin, uint64_t version) noexcept nogil:
    """Decides on one operation and, unless it is skipped, composes and applies it. A Verdict, or a negative errno."""
    cdef kn_locator place
    cdef kn_locator* there = NULL
    cdef const uint8_t* found
    cdef int result = 0
    operation.outcome = DONE
    if operation.intent == INTRODUCE or operation.intent == WITHDRAW:
        return _append(core, txn, KN_ATTRIBUTE if operation.intent == INTRODUCE else KN_DROP_ATTRIBUTE, operation.key,
                       operation.key_length, operation.body, operation.body_length, 0, 0)
    if operation.intent == ADVANCE:
        return _append(core, txn, KN_MARK, NULL, 0, NULL, 0, origin, operation.version)
    found = tree_get(&core.pager, &txn.meta.primary, operation.key, operation.key_length)
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
        return _compose_delete(core, txn, operation, 0, version, there)
    return _compose_put(core, txn, operation, True, 0, version, version, there)


cdef int _judge_replicated(Core* core, Txn* txn, Batch* batch, Operation* operation, uint16_t origin, kn_locator* there) noexcept nogil:
    """Last writer wins: the later version, on a tie the larger node name."""
    cdef kn_tombstone stone
    cdef const kn_op* rival = NULL
    cdef const uint8_t* found
    cdef bint wins = True
    if there != NULL:
        rival = _locate(core, there.segno, there.offset)
    else:
        found = tree_get(&core.pager, &txn.meta.tombstones, operation.key, operation.key_length)
        if found != NULL:
            memcpy(&stone, found, sizeof(kn_tombstone))
            rival = _locate(core, stone.segno, stone.offset)
            if rival == NULL:
                return -EIO
    if there != NULL and rival == NULL:
        return -EIO
    if rival != NULL:
        wins = operation.version > rival.version
        if operation.version == rival.version and origin != rival.origin:
            wins = _name_order(core, txn, origin, rival.origin) > 0
    if wins:
        if operation.intent == REPLICATE_REMOVE:
            return _compose_delete(core, txn, operation, origin, operation.version, there)
        return _compose_put(core, txn, operation, False, origin, operation.version, operation.created, there)
    if batch.source.sequence == 0:
        operation.outcome = SKIPPED
        return 0
    operation.outcome = SUPERSEDED
    return _compose_superseded(core, txn, operation, origin)


cdef int _name_order(Core* core, Txn* txn, uint16_t one, uint16_t other) noexcept nogil:
    cdef int first_length, second_length, order
    cdef const uint8_t* first = _node_name(core, txn, one, &first_length)
    cdef const uint8_t* second = _node_name(core, txn, other, &second_length)
    order = memcmp(first, second, first_length if first_length < second_length else second_length)
    return order if order != 0 else first_length - second_length


# ---- commit ----

cdef int _number_of(Core* core, Txn* txn, uint8_t kind, const uint8_t* identity, int identity_length, const uint8_t* name,
                    int name_length, uint32_t next, uint16_t* number) noexcept nogil:
    """The table-local number of a user or an origin, introduced by an operation of this frame if it is new."""
    cdef uint8_t key[NAME_KEY]
    cdef const uint8_t* found
    cdef uint32_t fresh
    key[0] = kind + 32
    memcpy(key + 1, identity, identity_length)
    found = tree_get(&core.pager, &txn.meta.names, key, 1 + identity_length)
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
    return _append(core, txn, KN_USER if kind == b'U' else KN_ORIGIN, key + 1, identity_length + name_length, &fresh, 4, 0, 0)


cdef int _introduce_source(Core* core, Txn* txn, Batch* batch, uint16_t* origin) noexcept nogil:
    """The number of the batch's origin, and whether it is its turn: a Verdict."""
    cdef uint8_t identity[20]
    cdef uint8_t key[3]
    cdef uint64_t applied = 0
    cdef const uint8_t* found
    cdef int result
    memcpy(identity, batch.source.node, 16)
    _big32(identity + 16, batch.source.epoch)
    result = _number_of(core, txn, b'O', identity, 20, <const uint8_t*>batch.source.name, batch.source.name_length,
                        txn.meta.next_origin, origin)
    if result != 0 or batch.source.sequence == 0:
        return result
    key[0] = b'M'
    _big16(key + 1, origin[0])
    found = tree_get(&core.pager, &txn.meta.names, key, 3)
    if found != NULL:
        memcpy(&applied, found, 8)
    if batch.source.sequence <= applied:
        return DUPLICATE
    return COMMITTED if batch.source.sequence == applied + 1 else GAP


cdef int _compose(Core* core, Txn* txn, Batch* batch) noexcept nogil:
    """Composes the frame in memory and applies it to the trees: a Verdict, or a negative errno."""
    cdef kn_frame* frame
    cdef uint16_t origin = 0, user = 0
    cdef uint64_t version = now_microseconds()
    cdef int index, result = 0
    cdef bint changed = False
    if version <= txn.meta.version:
        version = txn.meta.version + 1
    core.frame_used = 0
    if _make_frame_room(core, sizeof(kn_frame)) < 0:
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
        if batch.operations[index].outcome == DONE:
            changed = True
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
        frame.origin_seq = txn.meta.local_seq + 1
    batch.version = version
    result = _apply_header(txn, frame)
    if result == 0:
        result = _store_trees(core, txn)
    if result == 0:
        return_spares(txn)
    return result


cdef int _write_frame(Core* core, Txn* txn) noexcept nogil:
    """Seals the frame and writes it where the log ends."""
    cdef kn_frame* frame
    cdef size_t size = (core.frame_used + 7) & ~<size_t>7
    cdef size_t half = (size // 2) & ~<size_t>7
    cdef uint64_t salt = segment_header(&core.log, core.frame_segno).salt
    cdef kn_meta visible
    cdef int result
    if _make_frame_room(core, 8) < 0:
        return -ENOMEM
    memset(core.frame + core.frame_used, 0, size - core.frame_used)
    frame = <kn_frame*>core.frame
    frame.length = <uint32_t>size
    read_published(&core.shared.visible, &visible)
    frame.synced = visible.log_end if visible.segno == core.frame_segno else KN_SEGMENT_HEADER
    frame.crc = kn_crc32c(<uint32_t>salt, &frame.seq, size - 8)
    result = failpoint(AT_COMPOSED)
    if result == 0:
        result = log_write(&core.log, core.frame_segno, core.frame_start, core.frame, half)
    if result == 0:
        result = failpoint(AT_HALF_WRITTEN)
    if result == 0:
        result = log_write(&core.log, core.frame_segno, core.frame_start + half, core.frame + half, size - half)
    if result == 0:
        result = failpoint(AT_WRITTEN)
    txn.meta.segno = core.frame_segno
    txn.meta.log_end = core.frame_start + <uint32_t>size
    return result


cdef int _roll(Core* core, kn_meta* start, size_t room) noexcept nogil:
    """Brings the next segment into use, large enough for a frame of `room` bytes."""
    cdef uint32_t segno = start.segno
    cdef uint64_t size
    cdef int result = failpoint(AT_ROLL)
    while result == 0:
        segno += 1
        if segno >= SEGMENTS:
            return -EIO
        size = segment_size(segno)
        if size < KN_SEGMENT_HEADER + room + 8:
            size = (KN_SEGMENT_HEADER + room + 8 + 4095) & ~<uint64_t>4095
        result = log_prepare(&core.log, segno, size)
        if result == 0:
            result = log_map(&core.log, segno)
        if result == 0 and core.log.size[segno] >= KN_SEGMENT_HEADER + room + 8:
            break
    if result == 0:
        result = log_activate(&core.log, segno, start.seq + 1, now_microseconds() * 2654435761u + segno)
    start.segno, start.log_end = segno, KN_SEGMENT_HEADER
    return result


cdef void _publish_head(Core* core, const kn_meta* meta) noexcept nogil:
    failpoint(AT_SLOT)
    publish(&core.shared.head, meta)
    failpoint(AT_PUBLISHED)


cdef int _commit_locked(Core* core, Batch* batch) noexcept nogil:
    cdef kn_meta start
    cdef Txn txn
    cdef size_t size
    cdef int result
    failpoint(AT_LOCKED)
    read_published(&core.shared.head, &start)
    batch.txn = start.txn
    if core.shared.poisoned:
        return -EROFS
    if batch.names_generation != start.names_generation:
        return STALE_NAMES
    result = pager_map(&core.pager, start.next_pgno)
    if result == 0:
        result = _roll(core, &start, 0) if start.segno == 0 else log_map(&core.log, start.segno)
    while result == 0:
        core.frame_segno, core.frame_start = start.segno, start.log_end
        memset(core.tree_states, UNOPENED, core.tree_room)
        txn_begin(&txn, &core.pager, &start)
        result = _compose(core, &txn, batch)
        size = core.frame_used + 16
        if result == 0 and core.frame_start + size > core.log.size[core.frame_segno]:
            txn_end(&txn)
            result = _roll(core, &start, size)
            continue
        if result == 0:
            result = _write_frame(core, &txn)
        if result == 0:
            _publish_head(core, &txn.meta)
            batch.txn = txn.id
            core.shared.commits += 1
        txn_end(&txn)
        break
    core.frame_segno = 0
    return result


cdef int core_commit(Core* core, Batch* batch, int milliseconds) noexcept nogil:
    """Applies the batch and writes its frame; nothing is durable yet. A Verdict, or a negative errno with nothing changed.
    `batch.txn` is what core_sync must be called with before a reply leaves, also when the verdict is NOTHING."""
    cdef int result = lock(&core.shared.writer, milliseconds)
    if result < 0:
        return result
    result = _commit_locked(core, batch)
    unlock(&core.shared.writer)
    failpoint(AT_UNLOCKED)
    return result


# ---- sync ----

cdef int _sync_locked(Core* core) noexcept nogil:
    """Makes everything that is in head durable and then visible."""
    cdef kn_meta candidate, visible
    cdef int result
    failpoint(AT_SYNC_LOCKED)
    if core.shared.poisoned:
        return -EROFS
    read_published(&core.shared.head, &candidate)
    read_published(&core.shared.visible, &visible)
    result = failpoint(AT_SYNC)
    if result == 0 and candidate.segno > 0:
        result = log_sync(&core.log, visible.segno if visible.segno else 1, candidate.segno)
    if result < 0:
        kn_store32(&core.shared.poisoned, <uint32_t>-result)
        return result
    failpoint(AT_SYNCED)
    publish(&core.shared.visible, &candidate)
    kn_store64(&core.shared.synced_txn, candidate.txn)
    core.shared.syncs += 1
    if core.doorbell != NULL:
        kn_add32(&core.doorbell.word, 1)
        if kn_load32(&core.doorbell.waiters):
            kn_futex_wake(&core.doorbell.word)
    failpoint(AT_VISIBLE)
    return 0


cdef int core_sync(Core* core, uint64_t txn, int milliseconds) noexcept nogil:
    """Returns when the state is on disk and visible. One caller does the fdatasync; the others sleep until it has
    ended, and are woken together. They sleep in short spells because a holder may die."""
    cdef uint64_t deadline = now_microseconds() + <uint64_t>milliseconds * 1000
    cdef uint32_t seen
    cdef int result
    while kn_load64(&core.shared.synced_txn) < txn:
        seen = kn_load32(&core.shared.sync_word)
        if kn_load64(&core.shared.synced_txn) >= txn:
            return 0
        if try_lock(&core.shared.syncer):
            result = 0
            if kn_load64(&core.shared.synced_txn) < txn:
                result = _sync_locked(core)
            unlock(&core.shared.syncer)
            kn_add32(&core.shared.sync_word, 1)
            kn_futex_wake(&core.shared.sync_word)
            if result < 0:
                return result
            continue
        if now_microseconds() > deadline:
            return -ETIMEDOUT
        kn_futex_wait(&core.shared.sync_word, seen, 10)
    return 0


# ---- replay ----

cdef int _replay_frame(Core* core, Txn* txn, uint32_t segno, uint32_t offset) noexcept nogil:
    cdef const kn_frame* frame = <const kn_frame*>(core.log.base[segno] + offset)
    cdef uint32_t at = offset + sizeof(kn_frame), end = offset + frame.length, index
    cdef const kn_op* op
    cdef int result
    for index in range(frame.operations):
        op = op_at(&core.log, segno, at)
        if not op_is_sound(op, end - at):
            return -EIO
        result = _apply(core, txn, op, segno, at)
        if result < 0:
            return result
        at += op_length(op)
    txn.meta.segno, txn.meta.log_end = segno, end
    return _apply_header(txn, frame)


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
    memset(core.tree_states, UNOPENED, core.tree_room)
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
        result = _store_trees(core, &txn)
        return_spares(&txn)
        memcpy(meta, &txn.meta, sizeof(kn_meta))
    txn_end(&txn)
    return result


cdef void core_close(Core* core) noexcept nogil:
    pager_close(&core.pager)
    log_close(&core.log)
    free(core.frame)
    free(core.trees)
    free(core.tree_states)
    core.frame, core.trees, core.tree_states = NULL, NULL, NULL
