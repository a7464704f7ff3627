"""Seats: small writes in shared memory that wait to be committed together (combining.pyx).

Who has a small write takes a seat, puts the write into it, and sleeps; whoever leads the next sync serves all seats. A seat
whose bit in `seats_taken` is set belongs to one thread of one process. Its states:

    EMPTY       nothing is asked for, or the answer has been read; the owner may write to it
    SUBMITTED   the write is whole: its owner may withdraw it, who serves may take it, whoever swaps the state first
    JUDGED      who serves has taken it; its answer holds if transaction `serving` is published
    SERVED      the answer counts once transaction `txn` is on disk; the owner's again

The bits in `submitted` tell where to look for those that are submitted, and how many there are.

Who serves may die. `serving` is set before the first seat is taken, and cleared when all of them are served; so the next one
who gets the writer mutex knows what happened: if the head has reached that transaction the answers hold, else the seats
are submitted again (`end_serving`).
"""

from engine.layout cimport (
    KN_EMPTY, KN_JUDGED, KN_SEATS, KN_SEAT_ROOM, KN_SERVED, KN_SUBMITTED, kn_clear64, kn_count64, kn_load32, kn_load64, kn_lowest64,
    kn_set64, kn_store32, kn_store64, kn_swap32,
)
from engine.transaction cimport INSERT, REMOVE, UPDATE, UPSERT, Intent
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef inline uint64_t _bit(kn_shared* shared, kn_seat* seat) noexcept nogil:
    return <uint64_t>1 << (seat - shared.seats)


# ---- the owner's side ----

cdef bint fits_a_seat(const Batch* batch) noexcept nogil:
    """Whether it is one operation on one record, of this node, and small."""
    cdef const Operation* operation = batch.operations
    return (batch.count == 1 and batch.source == NULL and operation.intent in (INSERT, UPDATE, UPSERT, REMOVE)
            and <uint64_t>operation.key_length + operation.body_length + batch.user_length <= KN_SEAT_ROOM)


cdef kn_seat* take_seat(kn_shared* shared, uint32_t pid, uint64_t started) noexcept nogil:
    """A seat for one write, or NULL when all are taken."""
    cdef uint64_t free = ~kn_load64(&shared.seats_taken) & ((<uint64_t>1 << KN_SEATS) - 1)
    cdef kn_seat* seat
    while free != 0:
        seat = &shared.seats[kn_lowest64(free)]
        if not kn_set64(&shared.seats_taken, _bit(shared, seat)) & _bit(shared, seat):
            seat.started = started
            kn_store32(&seat.pid, pid)
            return seat
        free &= ~_bit(shared, seat)
    return NULL


cdef void give_seat(kn_shared* shared, kn_seat* seat) noexcept nogil:
    kn_store32(&seat.state, KN_EMPTY)
    kn_store32(&seat.pid, 0)            # nobody's, until the next owner has said who he is
    kn_clear64(&shared.seats_taken, _bit(shared, seat))


cdef void submit(kn_shared* shared, kn_seat* seat, const Batch* batch) noexcept nogil:
    """Puts a batch that fits into the seat."""
    cdef const Operation* operation = batch.operations
    seat.intent, seat.operation, seat.unreplicated = operation.intent, batch.operation, batch.unreplicated
    seat.names_generation = batch.names_generation
    seat.expected_segno, seat.expected_offset = operation.expected_segno, operation.expected_offset
    seat.key_length, seat.body_length = <uint16_t>operation.key_length, <uint16_t>operation.body_length
    seat.user_length = <uint16_t>batch.user_length
    memcpy(seat.bytes, operation.key, operation.key_length)
    if operation.body_length > 0:
        memcpy(seat.bytes + operation.key_length, operation.body, operation.body_length)
    memcpy(seat.bytes + operation.key_length + operation.body_length, batch.user, batch.user_length)
    kn_store32(&seat.state, KN_SUBMITTED)
    kn_set64(&shared.submitted, _bit(shared, seat))


cdef bint withdraw(kn_shared* shared, kn_seat* seat) noexcept nogil:
    """Whether nobody has taken it, and nobody will."""
    if not kn_swap32(&seat.state, KN_SUBMITTED, KN_EMPTY):
        return False
    kn_clear64(&shared.submitted, _bit(shared, seat))
    return True


# ---- the side of who serves, under the writer mutex ----

cdef int count_submitted(kn_shared* shared) noexcept nogil:
    """Anybody may ask."""
    return kn_count64(kn_load64(&shared.submitted))


cdef bint is_service_due(kn_shared* shared) noexcept nogil:
    """Whether something is submitted, or somebody died while he served; for who may serve."""
    return kn_load64(&shared.submitted) != 0 or kn_load64(&shared.serving) != 0


cdef kn_seat* take_submitted(kn_shared* shared) noexcept nogil:
    """A write to be judged; NULL when there is none."""
    cdef uint64_t waiting = kn_load64(&shared.submitted)
    cdef kn_seat* seat
    while waiting != 0:
        seat = &shared.seats[kn_lowest64(waiting)]
        kn_clear64(&shared.submitted, _bit(shared, seat))
        if kn_swap32(&seat.state, KN_SUBMITTED, KN_JUDGED):
            return seat
        waiting &= ~_bit(shared, seat)
    return NULL


cdef void put_back(kn_shared* shared, kn_seat* seat) noexcept nogil:
    """It was taken and is not to be judged now."""
    kn_store32(&seat.state, KN_SUBMITTED)
    kn_set64(&shared.submitted, _bit(shared, seat))


cdef void read_seat(kn_seat* seat, Batch* batch, Operation* operation) noexcept nogil:
    """The write as a batch of one operation, which lies in the seat."""
    memset(batch, 0, sizeof(Batch))
    memset(operation, 0, sizeof(Operation))
    operation.intent = <Intent>seat.intent
    operation.key, operation.key_length = seat.bytes, seat.key_length
    operation.body, operation.body_length = seat.bytes + seat.key_length, seat.body_length
    operation.expected_segno, operation.expected_offset = seat.expected_segno, seat.expected_offset
    batch.operations, batch.count, batch.operation = operation, 1, seat.operation
    batch.user, batch.user_length = <const char*>(seat.bytes + seat.key_length + seat.body_length), seat.user_length
    batch.names_generation, batch.unreplicated = seat.names_generation, seat.unreplicated


cdef void answer_seat(kn_seat* seat, const Batch* batch, int verdict) noexcept nogil:
    seat.verdict, seat.outcome, seat.version = verdict, batch.operations.outcome, batch.version


cdef void end_serving(kn_shared* shared, uint64_t txn, bint holds) noexcept nogil:
    """The answers of those that were taken hold with state `txn`, or are forgotten."""
    cdef uint64_t taken = kn_load64(&shared.seats_taken)
    cdef uint32_t state
    cdef kn_seat* seat
    while taken != 0:
        seat = &shared.seats[kn_lowest64(taken)]
        taken &= ~_bit(shared, seat)
        state = kn_load32(&seat.state)
        if state == KN_JUDGED and holds:
            seat.txn = txn
            kn_store32(&seat.state, KN_SERVED)
        elif state == KN_JUDGED:
            put_back(shared, seat)
        elif state == KN_SUBMITTED:     # perhaps found by somebody who died before he took it
            kn_set64(&shared.submitted, _bit(shared, seat))
    kn_store64(&shared.serving, 0)


cdef void free_seat(kn_shared* shared, kn_seat* seat) noexcept nogil:
    """Of an owner who is dead, under the writer mutex: what nobody has judged yet is not judged any more."""
    withdraw(shared, seat)
    give_seat(shared, seat)


cdef void forget_seats(kn_shared* shared) noexcept nogil:
    """When nobody else has the table open."""
    cdef int index
    if shared.serving != 0:
        shared.litter = 1
    shared.seats_taken = shared.submitted = shared.serving = 0
    for index in range(KN_SEATS):
        shared.seats[index].state, shared.seats[index].pid = KN_EMPTY, 0
