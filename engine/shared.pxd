"""The coordination file of a table: locks, published states, reader slots."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from engine.layout cimport kn_meta, kn_published, kn_shared, pthread_mutex_t


cdef int lock(pthread_mutex_t* mutex, int milliseconds) noexcept nogil
cdef int lock_writer(kn_shared* shared, int milliseconds) noexcept nogil
cdef bint try_lock(pthread_mutex_t* mutex) noexcept nogil
cdef void unlock(pthread_mutex_t* mutex) noexcept nogil
cdef void write_slot(kn_published* published, const kn_meta* meta) noexcept nogil
cdef void turn_slot(kn_published* published) noexcept nogil
cdef void publish(kn_published* published, const kn_meta* meta) noexcept nogil
cdef uint64_t read_published(kn_published* published, kn_meta* meta) noexcept nogil
cdef uint64_t published_records(kn_published* published) noexcept nogil
cdef uint64_t published_names(kn_published* published) noexcept nogil
cdef void begin_read(kn_shared* shared, uint32_t slot, kn_published* source, kn_meta* meta) noexcept nogil
cdef void end_read(kn_shared* shared, uint32_t slot) noexcept nogil
cdef uint64_t oldest_reader(kn_shared* shared) noexcept nogil
cdef int claim_slot(kn_shared* shared, uint32_t pid, uint64_t started) noexcept nogil
cdef void release_slot(kn_shared* shared, uint32_t slot) noexcept nogil


cdef class Coordination:
    cdef kn_shared* at
    cdef int fd
    cdef readonly bint fresh
    cdef uint32_t pid
    cdef uint64_t started
    cdef readonly uint64_t last_kept    # last transaction that the disk of a poisoned table has kept; else KN_IDLE
    cdef readonly uint64_t promised     # the log of a table that was not closed must reach so far
    cdef readonly bint index_is_damaged
    cdef uint16_t free_slots[1024]      # of those that are this object's, the ones that nobody uses, the last given back on top
    cdef int free_count
    cdef readonly int taken             # slots in use here now
    cdef unsigned char owned[1024]      # reader slots of this object
    cdef uint32_t take_slot(self) except? 0xFFFFFFFF
    cdef void give_slot(self, uint32_t slot) noexcept
    cdef int _map(self) except -1
    cdef bint is_last(self) except -1
    cdef void mark_closed(self) noexcept
    cdef void _release_slots(self) noexcept
    cdef void _let_go(self) noexcept
