"""The index file as pages: mapping, growing, making and freeing them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from engine.layout cimport kn_free_page, kn_meta, kn_page, kn_shared


cdef enum:
    CHUNK_BITS = 14             # pages per mapped chunk: 64 MiB
    CHUNK_PAGES = 16384
    CHUNKS = 65536              # 4 TiB of index per table
    READING = 32                # states that are read, as far as a transaction remembers them


cdef struct Pager:
    int fd
    uint8_t** chunks            # mapped on first use, never unmapped while the table is open
    uint64_t** examined         # for each chunk a bit per page: found sound, or made, by this process
    uint32_t mapped             # chunks
    uint64_t sealed             # pages of states up to this one had checksums when the table was opened
    uint64_t recovered, first   # no page in use was made between these states
    kn_shared* shared


cdef struct PageList:           # in memory
    kn_free_page* at
    int count, room


# Hears of an entry that comes into an attribute's index, or goes from it.
ctypedef int (*Hearing)(void* listener, uint32_t attribute, const uint8_t* entry, int length, bint add) noexcept nogil


cdef struct Txn:
    Pager* pager
    kn_meta meta                # working copy; published by the commit
    uint64_t id
    uint64_t visible, oldest    # when it first took a free page: the visible state, and the oldest one that is read
    uint64_t reading[READING]   # the states before the visible one that are read, when there are so few
    int readers                 # how many there are
    bint readers_known
    int passed_over             # free pages that it could not take, less what those that it took are worth
    uint32_t* spare             # pages made and freed by this very transaction
    int spares, spare_room
    PageList early, late        # free pages that the rings have no room for; the last checkpoint has the late ones
    Hearing tell                # unless NULL, entries are told to the listener instead of being changed
    void* listener


cdef inline kn_page* page_at(Pager* pager, uint32_t pgno) noexcept nogil:
    return <kn_page*>(pager.chunks[pgno >> CHUNK_BITS] + (<uint64_t>(pgno & (CHUNK_PAGES - 1)) << 12))


cdef inline bint is_examined(Pager* pager, uint32_t pgno) noexcept nogil:
    """Whether this process has read the page, or made it; so it is in memory, most likely."""
    return pager.examined[pgno >> CHUNK_BITS][(pgno & (CHUNK_PAGES - 1)) >> 6] >> (pgno & 63) & 1


cdef inline kn_page* read_page(Pager* pager, uint32_t pgno, int level, uint64_t txn) noexcept nogil:
    """The page, or NULL when it is damaged. `level` and `txn` are what whoever names it knows: on which level it must be,
    and that it was made not later than that."""
    if is_examined(pager, pgno):
        return page_at(pager, pgno)
    return examine_page(pager, pgno, level, txn)


cdef kn_page* examine_page(Pager* pager, uint32_t pgno, int level, uint64_t txn) noexcept nogil
cdef int pager_open(Pager* pager, int fd, kn_shared* shared) noexcept nogil
cdef void pager_close(Pager* pager) noexcept nogil
cdef int pager_map(Pager* pager, uint32_t next_pgno) noexcept nogil
cdef void pager_will_need(Pager* pager, uint32_t pgno, uint32_t pages) noexcept nogil
cdef int ask_for_children(Pager* pager, kn_page* page, int index, int direction, int most) noexcept nogil
cdef void ask_for_leaves(Pager* pager, kn_page* page) noexcept nogil
cdef int pager_grow(Pager* pager, uint64_t pages) noexcept nogil
cdef int pager_shorten(Pager* pager, uint32_t next_pgno) noexcept nogil

cdef void txn_begin(Txn* txn, Pager* pager, const kn_meta* meta) noexcept nogil
cdef void txn_end(Txn* txn) noexcept nogil
cdef int return_spares(Txn* txn) noexcept nogil
cdef kn_page* new_page(Txn* txn, int* error) noexcept nogil
cdef kn_page* writable_page(Txn* txn, kn_page* page, int* error) noexcept nogil
cdef int free_page(Txn* txn, uint32_t pgno) noexcept nogil
