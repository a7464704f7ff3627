"""Making commits durable, once for everybody who waits."""

from libc.stdint cimport uint64_t

from engine.core cimport Core
from engine.transaction cimport Batch


cdef int core_sync(Core* core, uint64_t txn, int milliseconds) noexcept nogil
cdef int core_write(Core* core, Batch* batch, int milliseconds, int* waited) noexcept nogil
