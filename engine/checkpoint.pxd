"""Checkpoints of a table's index."""


from libc.stdint cimport uint32_t

from engine.layout cimport kn_meta
from engine.core cimport Core


cdef int seal(Core* core, const kn_meta* meta) noexcept nogil
cdef int begin_checkpoint(Core* core, uint32_t slot, kn_meta* meta, int milliseconds) noexcept nogil
cdef int write_checkpoint(Core* core, uint32_t reader, int index_fd, const kn_meta* meta) noexcept nogil
cdef bint read_checkpoint(Core* core, int index_fd, kn_meta* meta) noexcept nogil
cdef int free_unreachable(Core* core, kn_meta* meta) noexcept nogil
cdef int check_trees(Core* core, const kn_meta* meta) noexcept nogil
cdef int account(Core* core, uint32_t* lost, int milliseconds) noexcept nogil
