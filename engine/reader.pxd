"""Views of one table, and the reads that are too short for one."""

from libc.stdint cimport uint64_t

from engine.snapshot cimport StoreView
from engine.store cimport Store


cdef class Reader:
    cdef Store store, catalog
    cdef object describe
    cdef object known           # the definition as of that state of the catalog
    cdef uint64_t publication   # of the catalog, at which `describe` was last asked
    cdef bint expires
    cdef StoreView idle         # a closed view to be opened again; None while a read has it
    cdef int look(self) except -1
    cdef StoreView begin(self)
    cdef void end(self, StoreView view) noexcept
