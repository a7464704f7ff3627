"""What an operation of the log does to the trees."""

from libc.stdint cimport uint8_t, uint32_t

from engine.pager cimport Txn
from engine.core cimport Core
from engine.layout cimport kn_frame, kn_op


cdef void forget_trees(Core* core) noexcept nogil
cdef int store_trees(Core* core, Txn* txn) noexcept nogil
cdef void tell_changes(Core* core, Txn* txn, const kn_op* old, const kn_op* new, const uint8_t* key, uint32_t key_length) noexcept nogil
cdef int change_entry(Core* core, Txn* txn, uint32_t attribute, const uint8_t* entry, int length, bint add) noexcept nogil
cdef int apply_op(Core* core, Txn* txn, const kn_op* op, uint32_t segno, uint32_t offset) noexcept nogil
cdef int apply_header(Txn* txn, const kn_frame* frame) noexcept nogil
