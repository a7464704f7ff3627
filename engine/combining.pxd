"""Committing small writes of several processes together."""

from engine.core cimport Core


cdef int serve(Core* core, int milliseconds) noexcept nogil
