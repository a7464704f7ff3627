"""Views of one table, and the reads that are too short for one."""

from libc.stdint cimport int64_t, uint64_t

from engine.layout cimport kn_published
from engine.snapshot cimport StoreView
from engine.store cimport Store


cdef class Reader:
    cdef object __weakref__
    cdef Store store, catalog
    cdef object describe
    cdef object known           # the definition as of that state of the catalog
    cdef uint64_t publication   # of the catalog, at which `describe` was last asked
    cdef bint expires
    cdef StoreView idle         # a closed view to be opened again; None while a read has it
    cdef int look(self) except -1
    cdef kn_published* state(self) except NULL
    cdef bint is_as(self, object definition, uint64_t names) except -1
    cdef int64_t records(self) except -1
    cdef StoreView begin(self)
    cdef void end(self, StoreView view) noexcept
