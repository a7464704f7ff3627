"""What an operation of the log does to the trees: at its commit, and again when the log is replayed.

A frame carries whole records after the change, so nothing has to be judged here. Secondary entries change only where the
fragments of an attribute differ between the record before and the record after.

The names tree (values of 8 bytes) keeps what gives table-local numbers their meaning:
    'A' number u32 name          -> flags u32, 0           'a' name               -> number u32, flags u32
    'U' number u16 name          -> 0                      'u' name               -> number u32, 0
    'O' number u16 uuid epoch u32 name -> 0                'o' uuid epoch u32     -> number u32, 0
    'M' origin u16               -> last origin_seq applied u64
Numbers in keys are big endian. A dropped attribute keeps its number and loses its 'A' and 'a' entries.

Functions return 0 or a negative errno, unless they say otherwise.
"""

from engine.btree cimport tree_delete, tree_discard, tree_get, tree_insert
from engine.pager cimport Txn
from engine.core cimport (
    CREATED_TIME, UPDATED_TIME, Core, attribute_tree, big16, big32, locate, op_body, op_key, op_length,
)
from engine.fragments cimport json_array_next
from engine.keybytes cimport MAX_KEY, MAX_VALUE_KEY, element_key_from_json, key_from_double, key_from_json
from engine.layout cimport (
    KN_ATTRIBUTE, KN_DELETE, KN_DROP_ATTRIBUTE, KN_MARK, KN_NOT_INDEXED, KN_ORIGIN, KN_PUT, KN_SUPERSEDED, KN_USER, kn_frame,
    kn_locator, kn_op, kn_tombstone, kn_tree,
)
from engine.posix cimport EIO, ENOMEM
from engine.record cimport Field, record_count, record_fields
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
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


# ---- attribute trees of the running transaction ----

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
    cdef int error, indexed
    if attribute >= core.tree_room:
        error = _make_tree_room(core, attribute + 1)
        if error < 0:
            return error
    if core.tree_states[attribute] == UNOPENED:
        indexed = attribute_tree(core, &txn.meta, attribute, &core.trees[attribute])
        if indexed < 0:
            return indexed
        core.tree_states[attribute] = OPEN if indexed else NOT_INDEXED
    if core.tree_states[attribute] == NOT_INDEXED:
        return 0
    core.tree_states[attribute] = CHANGED
    tree[0] = &core.trees[attribute]
    return 1


cdef void forget_trees(Core* core) noexcept nogil:
    """At the beginning of a transaction."""
    if core.tree_room > 0:
        memset(core.tree_states, UNOPENED, core.tree_room)


cdef int store_trees(Core* core, Txn* txn) noexcept nogil:
    """Writes the changed attribute trees back into the directory."""
    cdef uint32_t attribute
    cdef uint8_t key[4]
    cdef int result
    for attribute in range(core.tree_room):
        if core.tree_states[attribute] == CHANGED:
            big32(key, attribute)
            result = tree_insert(txn, &txn.meta.directory, key, 4, &core.trees[attribute])
            if result < 0:
                return result
    return 0


# ---- index entries ----

cdef int _change_entry(Core* core, Txn* txn, uint32_t attribute, const uint8_t* value, int value_length, const uint8_t* key,
                       uint32_t key_length, bint add) noexcept nogil:
    cdef uint8_t entry[MAX_KEY]
    memcpy(entry, value, value_length)
    memcpy(entry + value_length, key, key_length)
    if txn.tell != NULL:
        return txn.tell(txn.listener, attribute, entry, value_length + <int>key_length, add)
    return change_entry(core, txn, attribute, entry, value_length + <int>key_length, add)


cdef int change_entry(Core* core, Txn* txn, uint32_t attribute, const uint8_t* entry, int length, bint add) noexcept nogil:
    """Changes the tree, whoever may listen."""
    cdef kn_tree* tree
    cdef int result = _open_tree(core, txn, attribute, &tree)
    if result <= 0:
        return result
    if add:
        result = tree_insert(txn, tree, entry, length, entry)   # its values have no bytes
    else:
        result = tree_delete(txn, tree, entry, length)
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
    cdef const uint8_t* old_body = op_body(old) if old != NULL else NULL
    cdef const uint8_t* new_body = op_body(new) if new != NULL else NULL
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


cdef void tell_changes(Core* core, Txn* txn, const kn_op* old, const kn_op* new, const uint8_t* key, uint32_t key_length) noexcept nogil:
    """Tells the listener of this transaction the entries that would change; of malformed records those before the fault."""
    if _change_fields(core, txn, old, new, key, key_length) >= 0:
        _change_times(core, txn, old, new, key, key_length)


# ---- applying one operation of a frame to the trees ----

cdef int apply_op(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil:
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


cdef inline void _raise_clock(Txn* txn, uint64_t version) noexcept nogil:
    """What is written here next must be later than any record it may meet."""
    if version > txn.meta.version:
        txn.meta.version = version


cdef int _apply_put(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil:
    cdef const uint8_t* key = op_key(op)
    cdef kn_locator place
    cdef const kn_op* old = NULL
    cdef const uint8_t* found
    cdef int result = tree_get(&core.pager, &txn.meta.primary, key, op.key_length, &found)
    if result < 0:
        return result
    if found != NULL:
        memcpy(&place, found, sizeof(kn_locator))
        old = locate(core, place.segno, place.offset)
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
    _raise_clock(txn, op.version)
    place.segno, place.offset, place.length = segno, offset, op_length(op)
    result = tree_insert(txn, &txn.meta.primary, key, op.key_length, &place)
    return result if result < 0 else 0


cdef int _apply_delete(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil:
    cdef const uint8_t* key = op_key(op)
    cdef kn_locator place
    cdef kn_tombstone stone
    cdef const kn_op* old
    cdef const uint8_t* found
    cdef int result = tree_get(&core.pager, &txn.meta.primary, key, op.key_length, &found)
    if found != NULL:
        memcpy(&place, found, sizeof(kn_locator))
        old = locate(core, place.segno, place.offset)
        if old == NULL:
            return -EIO
        result = _change_fields(core, txn, old, NULL, key, op.key_length)
        if result >= 0:
            result = _change_times(core, txn, old, NULL, key, op.key_length)
        if result >= 0:
            result = tree_delete(txn, &txn.meta.primary, key, op.key_length)
    if result < 0:
        return result
    _raise_clock(txn, op.version)
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
    memcpy(&number, op_body(op), 4)
    memcpy(&flags, op_body(op) + 4, 4)
    key[0] = b'a'
    memcpy(key + 1, op_key(op), op.key_length)
    result = tree_insert(txn, &txn.meta.names, key, 1 + op.key_length, op_body(op))
    if result < 0:
        return result
    key[0] = b'A'
    big32(key + 1, number)
    memcpy(key + 5, op_key(op), op.key_length)
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
    big32(key, number)
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
    memcpy(&number, op_body(op), 4)
    key[0] = b'a'
    memcpy(key + 1, op_key(op), op.key_length)
    result = tree_delete(txn, &txn.meta.names, key, 1 + op.key_length)
    if result >= 0:
        key[0] = b'A'
        big32(key + 1, number)
        memcpy(key + 5, op_key(op), op.key_length)
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
    memcpy(&number, op_body(op), 4)
    memset(value, 0, 8)
    memcpy(value, &number, 4)
    key[0] = kind + 32
    memcpy(key + 1, op_key(op), found)
    result = tree_insert(txn, &txn.meta.names, key, 1 + found, value)
    if result < 0:
        return result
    memset(value, 0, 8)
    key[0] = kind
    big16(key + 1, number)
    memcpy(key + 3, op_key(op), op.key_length)
    result = tree_insert(txn, &txn.meta.names, key, 3 + op.key_length, value)
    if kind == b'U' and number >= txn.meta.next_user:
        txn.meta.next_user = number + 1
    if kind == b'O' and number >= txn.meta.next_origin:
        txn.meta.next_origin = number + 1
    return result if result < 0 else 0


cdef int _apply_mark(Txn* txn, uint16_t origin, uint64_t sequence) noexcept nogil:
    cdef uint8_t key[3]
    key[0] = b'M'
    big16(key + 1, origin)
    cdef int result = tree_insert(txn, &txn.meta.names, key, 3, &sequence)
    return result if result < 0 else 0


cdef int apply_header(Txn* txn, const kn_frame* frame) noexcept nogil:
    """What the frame itself says: its place in the log, the clock, and how far its origin has been applied."""
    txn.meta.seq = frame.seq
    _raise_clock(txn, frame.version)
    if frame.origin == 0:
        if frame.origin_seq:
            txn.meta.local_epoch, txn.meta.local_seq = frame.epoch, frame.origin_seq
        return 0
    return _apply_mark(txn, frame.origin, frame.origin_seq) if frame.origin_seq else 0


