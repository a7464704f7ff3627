"""What a program may be for the record that its columns were read from."""

from engine.program cimport Program


cdef enum:
    DAMAGED = 0     # in place of a set: what is stored is malformed, or there is no memory for it


cdef unsigned char verdict_of(Program program) noexcept nogil
