"""Cursors over the entries of a tree."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from engine.btree cimport MAX_HEIGHT
from engine.layout cimport kn_tree
from engine.pager cimport Pager


cdef struct Cursor:
    Pager* pager
    int height
    uint32_t pgno[MAX_HEIGHT]
    int index[MAX_HEIGHT]
    int window                  # leaves to ask for when the next comes that is not in memory
    int asked                   # leaves that were asked for and are still to come
    bint valid                  # stands on an entry
    int error                   # -EUCLEAN when it has become invalid at a damaged page


cdef void cursor_seek(Cursor* cursor, Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil
cdef void cursor_rank(Cursor* cursor, Pager* pager, const kn_tree* tree, uint64_t rank) noexcept nogil
cdef void cursor_next(Cursor* cursor) noexcept nogil
cdef void cursor_previous(Cursor* cursor) noexcept nogil
cdef const uint8_t* cursor_key(Cursor* cursor, int* key_length) noexcept nogil
cdef const uint8_t* cursor_value(Cursor* cursor) noexcept nogil
