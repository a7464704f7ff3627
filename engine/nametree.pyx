"""What the names tree of a state holds: the attributes, users and nodes that the log and the records call by numbers.

    A attribute u32, name
    U user u16, name
    O origin u16, node id, epoch u32, node name
    M origin u16            with the last transaction of the origin that is applied without a gap before it

A process reads the attributes when it meets a state with other names than it knows; a commit that was encoded with names that
are no longer those of the head is refused (transaction.pyx).
"""

from engine.btree cimport tree_get
from engine.cursor cimport Cursor, cursor_key, cursor_next, cursor_seek
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef list entries(Pager* pager, const kn_meta* meta, char kind, int* error):
    """The keys of one kind, without it."""
    cdef Cursor cursor
    cdef int length
    cdef const uint8_t* key
    cdef uint8_t prefix = kind
    cdef list found = []
    cursor_seek(&cursor, pager, &meta.names, &prefix, 1)
    while cursor.valid:
        key = cursor_key(&cursor, &length)
        if key[0] != prefix:
            break
        found.append(<bytes>key[1:length])
        cursor_next(&cursor)
    error[0] = cursor.error if cursor.error < 0 else 0
    return found


cdef Attributes attributes_of(Pager* pager, const kn_meta* meta, int* error):
    cdef Attributes attributes = Attributes()
    cdef bytes key
    cdef str name
    attributes.generation = meta.names_generation
    attributes.names, attributes.numbers = [None] * meta.next_attribute, {}
    for key in entries(pager, meta, c"A", error):
        number, name = int.from_bytes(key[:4], "big"), key[4:].decode()
        attributes.names[number] = name
        attributes.numbers[name] = number
    return attributes


cdef list numbered(Pager* pager, const kn_meta* meta, char kind, int* error):
    return [(int.from_bytes(key[:2], "big"), key[2:]) for key in entries(pager, meta, kind, error)]


cdef dict marks_of(Pager* pager, const kn_meta* meta, int* error):
    cdef const uint8_t* mark
    cdef uint64_t sequence
    cdef bytes key, place
    cdef dict found = {}
    for key in entries(pager, meta, c"O", error):
        if error[0] < 0:
            break
        place = b"M" + key[:2]
        error[0] = tree_get(pager, &meta.names, <const uint8_t*>(<char*>place), 3, &mark)
        if error[0] < 0:
            break
        sequence = 0
        if mark != NULL:
            memcpy(&sequence, mark, 8)
        found[key[2:18], int.from_bytes(key[18:22], "big")] = sequence
    return found
