"""Pages of the index file and the cells in them; the layout stands in c/layout.h."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from engine.layout cimport kn_page


cdef enum:
    HEADER = 32
    ROOM = 4064                 # bytes of a page behind its header
    BRANCH_HEAD = 14            # child u32 | count u64 | klen u16
    LEAF_HEAD = 2               # klen u16


cdef inline uint16_t* slots_of(kn_page* page) noexcept nogil:
    return <uint16_t*>(<uint8_t*>page + HEADER)


cdef inline uint8_t* cell_at(kn_page* page, int index) noexcept nogil:
    return <uint8_t*>page + slots_of(page)[index]


cdef inline int read16(const uint8_t* at) noexcept nogil:
    return at[0] | at[1] << 8


cdef inline int cell_key_length(kn_page* page, const uint8_t* cell) noexcept nogil:
    return read16(cell) if page.level == 0 else read16(cell + 12)


cdef inline const uint8_t* cell_key(kn_page* page, const uint8_t* cell) noexcept nogil:
    return cell + (LEAF_HEAD if page.level == 0 else BRANCH_HEAD)


cdef inline int cell_size(kn_page* page, const uint8_t* cell) noexcept nogil:
    if page.level == 0:
        return LEAF_HEAD + read16(cell) + page.value_size
    return BRANCH_HEAD + read16(cell + 12)


cdef inline uint32_t child_of(const uint8_t* cell) noexcept nogil:
    cdef uint32_t pgno
    memcpy(&pgno, cell, 4)
    return pgno


cdef inline uint64_t count_below(const uint8_t* cell) noexcept nogil:
    cdef uint64_t count
    memcpy(&count, cell + 4, 8)
    return count


cdef inline void set_child(uint8_t* cell, uint32_t pgno) noexcept nogil:
    memcpy(cell, &pgno, 4)


cdef inline void set_below(uint8_t* cell, uint64_t count) noexcept nogil:
    memcpy(cell + 4, &count, 8)


cdef inline int compare(const uint8_t* one, int one_length, const uint8_t* other, int other_length) noexcept nogil:
    cdef int order = memcmp(one, other, one_length if one_length < other_length else other_length)
    return order if order != 0 else one_length - other_length


cdef inline int free_room(kn_page* page) noexcept nogil:
    return page.upper - page.lower + page.unused


cdef inline int used_room(kn_page* page) noexcept nogil:
    return ROOM - free_room(page)


cdef inline void fill_leaf(uint8_t* cell, const uint8_t* key, int key_length, const void* value, int value_size) noexcept nogil:
    cell[0] = key_length & 255
    cell[1] = key_length >> 8
    memcpy(cell + LEAF_HEAD, key, key_length)
    memcpy(cell + LEAF_HEAD + key_length, value, value_size)


cdef inline void fill_branch(uint8_t* cell, uint32_t child, uint64_t below, const uint8_t* key, int key_length) noexcept nogil:
    set_child(cell, child)
    set_below(cell, below)
    cell[12] = key_length & 255
    cell[13] = key_length >> 8
    memcpy(cell + BRANCH_HEAD, key, key_length)


cdef inline int lower_bound(kn_page* page, const uint8_t* key, int key_length, bint* exact) noexcept nogil:
    """Index of the first cell of a leaf whose key is not below `key`."""
    cdef int low = 0, high = page.count, middle, order
    cdef uint8_t* cell
    exact[0] = False
    while low < high:
        middle = (low + high) >> 1
        cell = cell_at(page, middle)
        order = compare(cell + LEAF_HEAD, read16(cell), key, key_length)
        if order < 0:
            low = middle + 1
        else:
            high = middle
            if order == 0:
                exact[0] = True
    return low


cdef inline int branch_index(kn_page* page, const uint8_t* key, int key_length) noexcept nogil:
    """Index of the branch cell under which `key` belongs: the last whose key is not above it."""
    cdef int low = 1, high = page.count, middle
    cdef uint8_t* cell
    while low < high:
        middle = (low + high) >> 1
        cell = cell_at(page, middle)
        if compare(cell + BRANCH_HEAD, read16(cell + 12), key, key_length) <= 0:
            low = middle + 1
        else:
            high = middle
    return low - 1


cdef uint32_t page_checksum(const kn_page* page) noexcept nogil
cdef bint page_is_sound(kn_page* page, uint64_t pages) noexcept nogil
cdef uint64_t entries_of(kn_page* page) noexcept nogil
cdef void format_page(kn_page* page, int level, int value_size) noexcept nogil
cdef void compact_page(kn_page* page) noexcept nogil
cdef uint8_t* open_cell(kn_page* page, int index, int size) noexcept nogil
cdef void remove_cell(kn_page* page, int index) noexcept nogil
