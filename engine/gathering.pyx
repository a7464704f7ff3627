"""Index entries, gathered and then handled in the order of their trees.

The entries of one record are in as many trees as it has attributes, and far away in them from those of the next record: handled
as they come, each descent meets pages that no cache of the processor holds. In the order of (attribute, entry), a descent
takes nearly the way of the one before, and a leaf is done with before the next one.

An entry has no value, it is there or it is not. So of several changes of the same one only the last counts.
"""

from engine.keybytes cimport MAX_KEY
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    USUAL = 32                  # bytes of an entry
    HEAD = 16


cdef bint prepare_gathering(Gathering* gathering, uint32_t room, Handling handle, void* handler) noexcept nogil:
    """Whether there is memory for so many entries at a time. In any case, end_gathering must follow."""
    memset(gathering, 0, sizeof(Gathering))
    gathering.room, gathering.handle, gathering.handler = room, handle, handler
    gathering.entries = <Entry*>malloc(room * sizeof(Entry))
    gathering.bytes = <uint8_t*>malloc(<uint64_t>room * USUAL + MAX_KEY)
    return gathering.entries != NULL and gathering.bytes != NULL


cdef void end_gathering(Gathering* gathering) noexcept nogil:
    """What has not been handled is dropped."""
    free(gathering.entries)
    free(gathering.bytes)
    gathering.entries, gathering.bytes = NULL, NULL


cdef inline void _put_head(Entry* kept, const uint8_t* bytes, int length) noexcept nogil:
    cdef int index
    kept.head[0] = kept.head[1] = 0
    for index in range(length if length < HEAD else HEAD):
        kept.head[index >> 3] |= <uint64_t>bytes[index] << (56 - 8 * (index & 7))


cdef int gather(Gathering* gathering, uint32_t attribute, const uint8_t* entry, int length, bint add) noexcept nogil:
    """0, or what the handling of those before has ended with."""
    cdef Entry* kept
    cdef int result
    if gathering.count == gathering.room or gathering.used > <uint64_t>gathering.room * USUAL:
        result = handle_gathered(gathering)
        if result < 0:
            return result
    kept = gathering.entries + gathering.count
    kept.attribute, kept.length, kept.add = attribute, length, add
    kept.bytes = gathering.bytes + gathering.used
    _put_head(kept, entry, length)
    memcpy(gathering.bytes + gathering.used, entry, length)
    gathering.used += length
    gathering.count += 1
    return 0


cdef inline int _compare(const Entry* left, const Entry* right) noexcept nogil:
    cdef int order
    if left.attribute != right.attribute:
        return -1 if left.attribute < right.attribute else 1
    if left.head[0] != right.head[0]:
        return -1 if left.head[0] < right.head[0] else 1
    if left.head[1] != right.head[1]:
        return -1 if left.head[1] < right.head[1] else 1
    order = memcmp(left.bytes, right.bytes, left.length if left.length < right.length else right.length)
    return order if order != 0 else <int>left.length - <int>right.length


cdef int _in_order(const void* one, const void* other) noexcept nogil:
    """Changes of the same entry stay in the order in which they came."""
    cdef const Entry* left = <const Entry*>one
    cdef const Entry* right = <const Entry*>other
    cdef int order = _compare(left, right)
    return order if order != 0 else (left.bytes > right.bytes) - (left.bytes < right.bytes)


cdef int handle_gathered(Gathering* gathering) noexcept nogil:
    """0, or the first negative number that handling one has ended with; then the rest is dropped."""
    cdef uint32_t index, count = gathering.count
    cdef Entry* entries = gathering.entries
    cdef int result = 0
    gathering.count, gathering.used = 0, 0
    qsort(entries, count, sizeof(Entry), _in_order)
    for index in range(count):
        if index + 1 < count and _compare(entries + index, entries + index + 1) == 0:
            continue
        result = gathering.handle(gathering.handler, entries + index)
        if result < 0:
            return result
    return 0
