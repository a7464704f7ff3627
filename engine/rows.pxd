"""Rows of stored values; rows.pyx tells more."""

from engine.fields cimport Columns, Stored
from engine.selection cimport Selection


cdef enum Outcome:
    # what `next` comes to
    NO_MEMORY = -2
    DAMAGED = -1
    STEP_ENDED = 0
    ROW = 1
    NEED_RECORD = 2         # an index entry does not hold a value
    PAUSED = 3              # it may go on, but its asker should look at the clock


cdef class Rows:
    cdef int width          # how many values a row has
    cdef bint advance(self) except -1
    cdef int next(self) noexcept nogil
    cdef int help(self, int outcome) except -1
    cdef int enter(self) except -1
    cdef int leave(self) except -1
    cdef Stored* value(self, tuple key) except? NULL
    cdef void save(self, Stored* out) noexcept nogil
    cdef void restore(self, const Stored* values) noexcept nogil


cdef class Scanned(Rows):
    cdef Selection selection
    cdef Columns columns
    cdef int number
    cdef int index          # of the next record among those that the selection found
