"""A walk along an index that a filter has passed on."""

from engine.cursor cimport Cursor
from engine.fragments cimport Writer
from engine.layout cimport kn_op, kn_tree
from engine.program cimport Program
from engine.snapshot cimport StoreView, _Columns
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef struct Found:
    const kn_op* op         # NULL when the entry was enough
    size_t entry            # where it is in `entries`
    int length, value_length
    bint open               # whether only Python can tell that it passes


cdef class Selection:
    cdef StoreView view
    cdef Program program
    cdef object test
    cdef _Columns tested
    cdef kn_tree tree
    cdef Cursor cursor
    cdef int attribute
    cdef bint primary, reverse, by_name
    cdef bint entries_tell      # something to the program
    cdef bint entries_suffice   # for what is wanted of a record that passes
    cdef uint64_t* firsts       # ranks of the first entries of the ranges still to be walked
    cdef uint64_t* sizes        # and how many entries they have
    cdef int range, ranges
    cdef uint64_t left
    cdef Found* found           # of the last step, `count` of them
    cdef int count
    cdef Writer entries         # the index entries of `found`
    cdef int size               # how many entries the next step looks at
    cdef bint advance(self) except -1
    cdef int walk(self) noexcept nogil
    cdef bint step(self) noexcept nogil
    cdef int look_at(self, Found* found, const uint8_t* entry) noexcept nogil
    cdef int fetch(self, Found* found, const uint8_t* entry) noexcept nogil
    cdef const uint8_t* key_of(self, const Found* found) noexcept nogil
    cdef const kn_op* op_at_place(self, const uint8_t* place) noexcept nogil
    cdef int explain(self, int problem) except -1
    cdef int judge_open(self) except -1
    cdef const kn_op* op_of(self, Found* found) except NULL
    cdef tuple row_of(self, Found* found, _Columns columns)
    cdef object entry_value(self, Found* found, int number)
    cdef object key_value(self, Found* found)
