"""Which segments a table has."""

from engine.log cimport Log


cdef list list_segments(Log* log, str directory)
