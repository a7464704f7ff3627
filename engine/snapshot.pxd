"""A state of one table, held open for reading."""

from libc.stdint cimport uint32_t, uint64_t

from engine.cursor cimport Cursor
from engine.keys cimport Bounds
from engine.layout cimport kn_meta, kn_op, kn_tree
from engine.store cimport Store


cdef class _Columns
cdef class _Scan


cdef class StoreView:
    cdef kn_meta meta
    cdef Store store
    cdef list names
    cdef dict numbers
    cdef uint32_t slot
    cdef readonly bint closed
    cdef int open(self) except -1
    cdef void let_go(self) noexcept
    cdef int need_open(self) except -1
    cdef dict find(self, object key, _Columns columns)
    cpdef list get_many(self, keys, columns=*)
    cdef int find_tree(self, str attribute, kn_tree* tree) except -1
    cdef uint64_t _rank(self, const kn_tree* tree, bytes key) except? 0xFFFFFFFFFFFFFFFF
    cdef int _number(self, str name) except -2
    cdef _Columns _project(self, columns)
    cdef object _key_value(self, const kn_op* op)
    cdef dict row(self, const kn_op* op, _Columns columns)
    cdef dict _projected_row(self, const kn_op* op, _Columns columns)
    cdef const kn_op* _record_of(self, _Scan scan) except NULL
    cdef tuple _tuple(self, const kn_op* op, _Columns columns)
    cdef _Scan _start(self, str attribute, Bounds bounds, bint reverse, long long offset, limit)
    cdef int _check_tree(self, str name, const kn_tree* tree, unsigned char* seen) except -1
    cdef int _check_indexes(self, unsigned char* seen) except -1
    cdef list _all_keys(self, const kn_tree* tree)
    cdef dict _expected_entries(self)
    cdef int _expect_record(self, const kn_op* op, bytes key, dict expected) except -1


cdef class _Columns:
    cdef int count
    cdef int* numbers
    cdef list names


cdef class _Scan:
    cdef StoreView view
    cdef kn_tree tree
    cdef Cursor cursor
    cdef bint primary, reverse
    cdef uint64_t left
    cdef const unsigned char* at
    cdef int length, value_length
    cdef void place(self, uint64_t rank, uint64_t left)
    cdef bint step(self) except -1
