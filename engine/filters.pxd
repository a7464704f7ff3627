"""What a program may be for the record that its columns were read from."""

from engine.fields cimport Stored
from engine.program cimport Program


cdef enum:
    DAMAGED = 0     # in place of a set: what is stored is malformed, or there is no memory for it


cdef unsigned char verdict_of(Program program) noexcept nogil

# The value of a term: HIDDEN where only Python can tell it, MALFORMED where what is stored is.
cdef void evaluate(Program program, int index, Stored* out) noexcept nogil
