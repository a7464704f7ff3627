"""Bringing a table's trees to the end of its log."""

from engine.core cimport Core
from engine.shared cimport Coordination


cdef int rebuild(Core* core, str directory) except -1
cdef int recover(Core* core, int index_fd, str directory, Coordination shared) except -1
