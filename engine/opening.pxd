"""Laying, opening and closing the files of a table."""

from engine.core cimport Core
from engine.shared cimport Coordination


cdef int lay(str directory, bytes table_id) except -1
cdef Coordination attach(Core* core, str directory, bytes table_id, int* index_fd)
cdef int detach(Core* core, Coordination shared, int index_fd, str directory) except -1
