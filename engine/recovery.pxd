"""Replay of the log."""

from libc.stdint cimport uint32_t

from engine.core cimport Core
from engine.layout cimport kn_meta


cdef int core_replay(Core* core, kn_meta* meta, uint32_t* bad_segno, uint32_t* bad_offset) noexcept nogil
