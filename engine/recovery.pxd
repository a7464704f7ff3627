"""Bringing a table's trees to the end of its log."""

from libc.stdint cimport uint64_t

from engine.core cimport Core


cdef int recover(Core* core, int index_fd, str directory, uint64_t last) except -1
