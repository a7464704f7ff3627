"""Index entries, gathered and then handled in the order of their trees."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Entry:
    uint64_t head[2]            # its first bytes, as numbers that compare as they do
    const uint8_t* bytes        # later ones have higher addresses
    uint32_t attribute
    uint16_t length
    uint16_t add                # 0: it goes


ctypedef int (*Handling)(void* handler, const Entry* entry) noexcept nogil


cdef struct Gathering:
    Entry* entries
    uint8_t* bytes
    uint32_t count, room
    uint64_t used
    Handling handle
    void* handler


cdef bint prepare_gathering(Gathering* gathering, uint32_t room, Handling handle, void* handler) noexcept nogil
cdef void end_gathering(Gathering* gathering) noexcept nogil
cdef int gather(Gathering* gathering, uint32_t attribute, const uint8_t* entry, int length, bint add) noexcept nogil
cdef int handle_gathered(Gathering* gathering) noexcept nogil
