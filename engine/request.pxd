"""A transaction as the core takes it: operations on keys, and the node that they come from."""

from engine.nametree cimport Attributes
from engine.transaction cimport Intent, Operation, Source
from libc.stdint cimport uint64_t


cdef class Origin:
    """The source of a replicated transaction and the bytes it points to."""
    cdef Source source
    cdef bytes name


cdef class Request:
    """Operations and the bytes they point to."""
    cdef Operation* at
    cdef int count
    cdef list kept
    cdef uint64_t generation    # of the names that it was encoded with
    cdef uint64_t version       # of its commit, in microseconds
    cdef Operation* add(self, Intent intent, bytes key, bytes body)
    cdef int introduce(self, dict numbers, number, list fresh, check_name, not_indexed) except -1
    cdef int expect(self, at) except -1
    cdef tuple outcomes(self, keys)
    cdef int won(self)


cdef bytes short_name(str name, str what)                       # raises InvalidName
cdef Request request_to_write(Intent intent, records, keys, Attributes attributes, frozenset skip, check_name, not_indexed)
cdef Request request_to_change_attribute(str name, bint wanted, Attributes attributes, not_indexed)
cdef Request request_to_replicate(changes, Attributes attributes, frozenset skip, not_indexed)
cdef Request request_to_advance(uint64_t to, Attributes attributes)
