"""Counted copy-on-write B+trees."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from engine.layout cimport kn_tree
from engine.pager cimport Pager, Txn


cdef enum:
    MAX_HEIGHT = 16


cdef enum Violation:            # of what tree_check demands
    OUTSIDE = 1                 # a page number that is not in the index
    REACHED_TWICE
    DAMAGED                     # by its checksum, or not the page that it should be
    OUT_OF_ORDER                # keys within the page, or against its separators
    WRONG_COUNT                 # of the entries below a cell
    WRONG_TOTAL                 # of the entries of the tree


cdef int tree_insert(Txn* txn, kn_tree* tree, const uint8_t* key, int key_length, const void* value) noexcept nogil
cdef int tree_delete(Txn* txn, kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil
cdef int tree_discard(Txn* txn, kn_tree* tree) noexcept nogil
cdef int tree_get(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length, const uint8_t** value) noexcept nogil
cdef uint32_t tree_leaf(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil
cdef int tree_rank(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length, uint64_t* rank) noexcept nogil
cdef int tree_check(Pager* pager, const kn_tree* tree, uint64_t txn, uint8_t* seen, uint32_t next_pgno) noexcept nogil
