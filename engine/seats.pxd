"""Small writes that wait to be committed together."""

from libc.stdint cimport uint32_t, uint64_t

from engine.layout cimport kn_seat, kn_shared
from engine.transaction cimport Batch, Operation


cdef bint fits_a_seat(const Batch* batch) noexcept nogil
cdef kn_seat* take_seat(kn_shared* shared, uint32_t pid, uint64_t started) noexcept nogil
cdef void give_seat(kn_shared* shared, kn_seat* seat) noexcept nogil
cdef void submit(kn_shared* shared, kn_seat* seat, const Batch* batch) noexcept nogil
cdef bint withdraw(kn_shared* shared, kn_seat* seat) noexcept nogil
cdef int count_submitted(kn_shared* shared) noexcept nogil
cdef bint is_service_due(kn_shared* shared) noexcept nogil
cdef kn_seat* take_submitted(kn_shared* shared) noexcept nogil
cdef void put_back(kn_shared* shared, kn_seat* seat) noexcept nogil
cdef void read_seat(kn_seat* seat, Batch* batch, Operation* operation) noexcept nogil
cdef void answer_seat(kn_seat* seat, const Batch* batch, int verdict) noexcept nogil
cdef void end_serving(kn_shared* shared, uint64_t txn, bint holds) noexcept nogil
cdef void free_seat(kn_shared* shared, kn_seat* seat) noexcept nogil
cdef void forget_seats(kn_shared* shared) noexcept nogil
