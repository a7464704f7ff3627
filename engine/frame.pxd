"""The frame of the running transaction."""

from engine.core cimport Core
from engine.layout cimport kn_locator
from engine.pager cimport Txn
from engine.transaction cimport Operation
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef int make_frame_room(Core* core, size_t size) noexcept nogil
cdef int apply_pending(Core* core, Txn* txn) noexcept nogil
cdef int append_op(Core* core, Txn* txn, uint8_t kind, const uint8_t* key, uint32_t key_length, const void* body,
                   uint32_t body_length, uint16_t origin, uint64_t version) noexcept nogil
cdef int compose_put(Core* core, Operation* operation, bint merge, uint16_t origin, uint64_t version, uint64_t created,
                     const kn_locator* place) noexcept nogil
cdef int compose_delete(Core* core, Operation* operation, uint16_t origin, uint64_t version, const kn_locator* place) noexcept nogil
cdef int compose_superseded(Core* core, Operation* operation, uint16_t origin) noexcept nogil
