"""Bound statements that are kept; kept.pyx tells more."""

from libc.stdint cimport uint64_t

from engine.reader cimport Reader


cdef class TableState:
    cdef object table, reader_of        # weak references to it and to its reader
    cdef object definition
    cdef uint64_t names_version
    cdef Reader reader(self)
    cdef bint is_current(self) except -1


cdef class Binding:
    cdef object node            # a weak reference
    cdef readonly object statement, bound, direct
    cdef readonly tuple touches, tables, parameters
    cdef readonly tuple counted
    cdef bint holds(self, object node) except -1
    cdef list count(self)


cdef class Known:
    cdef readonly object parsed
    cdef readonly Binding binding


cpdef Known by_text(object node, object sql)
