"""Bringing a table's trees to the end of its log."""

from engine.core cimport Core


cdef int recover(Core* core, int index_fd, str directory) except -1
