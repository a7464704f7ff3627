"""What the names tree of a state holds."""

from libc.stdint cimport uint64_t

from engine.layout cimport kn_meta
from engine.pager cimport Pager


cdef class Attributes:
    """What the attributes of a table are called in one state."""
    cdef uint64_t generation    # of the names, as the state counts it
    cdef list names             # attribute number -> name, None where dropped or never introduced
    cdef dict numbers           # name -> attribute number


# Each of a state on which the caller holds a reader slot; `error` becomes a negative errno when the tree is damaged.
cdef Attributes attributes_of(Pager* pager, const kn_meta* meta, int* error)
cdef dict marks_of(Pager* pager, const kn_meta* meta, int* error)       # (node id, epoch) -> last transaction applied
cdef list numbered(Pager* pager, const kn_meta* meta, char kind, int* error)    # (number, rest of the key) of users or origins
