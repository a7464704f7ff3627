"""Pages of the index file and the counted copy-on-write B+trees on them."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from engine.layout cimport kn_meta, kn_page, kn_shared, kn_tree


cdef enum:
    CHUNK_BITS = 14             # pages per mapped chunk: 64 MiB
    CHUNK_PAGES = 16384
    CHUNKS = 65536              # 4 TiB of index per table
    MAX_HEIGHT = 16


cdef struct Pager:
    int fd
    uint8_t** chunks            # mapped on first use, never unmapped while the table is open
    kn_shared* shared


cdef struct Txn:
    Pager* pager
    kn_meta meta                # working copy; published by the commit
    uint64_t id
    uint64_t safe               # pages freed by transactions up to this one are read by nobody
    bint safe_known
    uint32_t* spare             # pages made and freed by this very transaction
    int spares, spare_room


cdef struct Cursor:
    Pager* pager
    int height
    uint32_t pgno[MAX_HEIGHT]
    int index[MAX_HEIGHT]
    bint valid


cdef inline kn_page* page_at(Pager* pager, uint32_t pgno) noexcept nogil:
    return <kn_page*>(pager.chunks[pgno >> CHUNK_BITS] + (<uint64_t>(pgno & (CHUNK_PAGES - 1)) << 12))


cdef int pager_open(Pager* pager, int fd, kn_shared* shared) noexcept nogil
cdef void pager_close(Pager* pager) noexcept nogil
cdef int pager_map(Pager* pager, uint32_t next_pgno) noexcept nogil
cdef int pager_grow(Pager* pager, uint64_t pages) noexcept nogil

cdef void txn_begin(Txn* txn, Pager* pager, const kn_meta* meta) noexcept nogil
cdef void txn_end(Txn* txn) noexcept nogil
cdef void return_spares(Txn* txn) noexcept nogil

cdef int tree_insert(Txn* txn, kn_tree* tree, const uint8_t* key, int key_length, const void* value) noexcept nogil
cdef int tree_delete(Txn* txn, kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil
cdef int tree_discard(Txn* txn, kn_tree* tree) noexcept nogil
cdef const uint8_t* tree_get(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil
cdef uint64_t tree_rank(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil
cdef int tree_check(Pager* pager, const kn_tree* tree, uint64_t txn, uint8_t* seen, uint32_t next_pgno) noexcept nogil

cdef void cursor_seek(Cursor* cursor, Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil
cdef void cursor_rank(Cursor* cursor, Pager* pager, const kn_tree* tree, uint64_t rank) noexcept nogil
cdef void cursor_next(Cursor* cursor) noexcept nogil
cdef void cursor_previous(Cursor* cursor) noexcept nogil
cdef const uint8_t* cursor_key(Cursor* cursor, int* key_length) noexcept nogil
cdef const uint8_t* cursor_value(Cursor* cursor) noexcept nogil
