"""Judging pages and changing their cells. The small and hot parts are inline in page.pxd.

A page is changed only by the transaction that made it; here nobody asks.
"""

from engine.layout cimport KN_CHAIN, KN_CHAINED, KN_FIRST_PAGE, KN_PAGE_SIZE, kn_chain, kn_crc32c, kn_page
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove


cdef uint32_t page_checksum(const kn_page* page) noexcept nogil:
    """Of everything but the checksum itself; never 0, which says that a page has none."""
    cdef size_t before = <size_t>(<const char*>&page.crc - <const char*>page)
    cdef uint32_t crc = kn_crc32c(kn_crc32c(0, page, before), &page.crc + 1, KN_PAGE_SIZE - before - sizeof(uint32_t))
    return crc if crc != 0 else 1


cdef bint page_is_sound(kn_page* page, uint64_t pages) noexcept nogil:
    """Whether it can be read without leaving it: its cells lie inside it, its children in the first `pages` of the file."""
    cdef int index, at, head = LEAF_HEAD if page.level == 0 else BRANCH_HEAD
    cdef uint32_t child
    if page.level == KN_CHAIN:
        return (<kn_chain*>page).count <= KN_CHAINED
    if page.count == 0 or page.lower != HEADER + 2 * page.count or page.lower > page.upper or page.upper > KN_PAGE_SIZE:
        return False
    for index in range(page.count):
        at = slots_of(page)[index]
        if at < page.upper or at + head > KN_PAGE_SIZE or at + cell_size(page, cell_at(page, index)) > KN_PAGE_SIZE:
            return False
        if page.level > 0:
            child = child_of(cell_at(page, index))
            if child < KN_FIRST_PAGE or child >= pages:
                return False
    return True


cdef uint64_t entries_of(kn_page* page) noexcept nogil:
    cdef uint64_t total = 0
    cdef int index
    if page.level == 0:
        return page.count
    for index in range(page.count):
        total += count_below(cell_at(page, index))
    return total


cdef void format_page(kn_page* page, int level, int value_size) noexcept nogil:
    page.level = level
    page.value_size = value_size
    page.count = 0
    page.lower = HEADER
    page.upper = KN_PAGE_SIZE
    page.unused = 0
    page.after = 0


cdef void compact_page(kn_page* page) noexcept nogil:
    """Moves the cells together so that all free room lies between lower and upper."""
    cdef uint8_t copy[KN_PAGE_SIZE]
    cdef int index, size, upper = KN_PAGE_SIZE
    cdef uint16_t* slots = slots_of(page)
    memcpy(copy, page, KN_PAGE_SIZE)
    for index in range(page.count):
        size = cell_size(page, copy + slots[index])
        upper -= size
        memcpy(<uint8_t*>page + upper, copy + slots[index], size)
        slots[index] = upper
    page.upper = upper
    page.unused = 0


cdef uint8_t* open_cell(kn_page* page, int index, int size) noexcept nogil:
    """Makes room for a cell of `size` bytes at `index`; the caller has checked that it fits, and fills it in."""
    cdef uint16_t* slots
    if page.upper - page.lower < size + 2:
        compact_page(page)
    slots = slots_of(page)
    memmove(slots + index + 1, slots + index, (page.count - index) * 2)
    page.upper -= size
    slots[index] = page.upper
    page.count += 1
    page.lower += 2
    return <uint8_t*>page + page.upper


cdef void remove_cell(kn_page* page, int index) noexcept nogil:
    cdef uint16_t* slots = slots_of(page)
    page.unused += cell_size(page, cell_at(page, index))
    memmove(slots + index, slots + index + 1, (page.count - index - 1) * 2)
    page.count -= 1
    page.lower -= 2
    if page.count == 0:
        page.upper, page.unused = KN_PAGE_SIZE, 0
