"""Sync: how processes that wait for the disk share one fdatasync.

Whoever needs a state on disk takes the syncer mutex, if it is free, and leads: he commits what waits in seats
(combining.pyx), notes in `syncing_txn` how far head reaches, syncs the log, publishes that state as `visible`, and lets go.
The others sleep, in one of two places:

    sync_word    those whose transaction the running sync covers; all are woken when it has ended
    queue_word   those who came later; one of them is woken when it has ended, to lead the next sync for all of them

A leader moves everybody from the queue to `sync_word` when he begins, since what they wait for was in head before they
slept, or he has served it. So in the steady state each of them sleeps and is woken once per commit. The next leader is woken before those who
are done: the disk is what everybody waits for.

Writers that were woken together commit again one soon after the other, and one sync can serve all of them instead of two.
So they gather: until as many have committed as last time, no longer than four syncs take. Who writes alone never waits.
There are two ways, and `crowded` tells which:

    Mostly the first to come leads, serves those who come, and gives his core away until the others have come. He need not
    be woken then, and cores and caches stay awake, too.
    Where cores are busy with other work, who gives his core away has lost it for a whole turn of somebody else, of
    milliseconds. Once this was seen, those who come sleep in the queue for the next CROWDED syncs, and who completes
    the company leads.

No wake-up is lost: a word is read before what is asked of the state, and moves after the state has changed. Moved too
early, by a leader who did not cover him, a sleeper wakes for nothing and asks again. The kernel is called to wake somebody
only while `sleepers` says that there may be one: it goes up before the words are read, and is read after they have moved.

All sleep in spells of SPELL µs, because a leader may die: then the mutex goes to whoever tries it next, and a spell that
ended is followed by a try.
"""

from engine.combining cimport serve
from engine.core cimport Core
from engine.layout cimport (
    KN_IDLE, KN_SERVED, kn_add32, kn_fence, kn_futex_requeue, kn_futex_wait, kn_futex_wake, kn_futex_wake_one, kn_load32,
    kn_load64, kn_meta, kn_seat, kn_shared, kn_store32, kn_store64,
)
from engine.log cimport log_sync
from engine.posix cimport EROFS, ETIMEDOUT, sched_yield
from engine.seats cimport count_submitted, fits_a_seat, give_seat, is_service_due, submit, take_seat, withdraw
from engine.shared cimport lock_writer, publish, read_published, try_lock, unlock
from engine.transaction cimport ALONE, STALE_NAMES, TOO_LARGE, Outcome, core_commit
from engine.vfs cimport (
    AT_SUBMITTED, AT_SYNC, AT_SYNC_LOCKED, AT_SYNCED, AT_TURNED, AT_VISIBLE, AT_YIELDED, failpoint,
    now_microseconds,
)
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    SPELL = 10000               # µs
    LONGEST_GATHERING = 1000    # µs
    CROWDED = 256               # syncs
    SERVE_MS = 10
    RETURN_MS = 1000


cdef inline uint64_t _arrivals(kn_shared* shared) noexcept nogil:
    """How many writes have been committed or answered otherwise."""
    return shared.commits + shared.skips


cdef uint64_t _time_to_gather(kn_shared* shared, uint64_t since) noexcept nogil:
    """How many µs the others still have to come, since when somebody waits: none when as many have written as last time."""
    cdef uint64_t patience, waited
    if shared.company < 2:
        return 0
    if _arrivals(shared) - shared.synced_arrivals + <uint64_t>count_submitted(shared) >= shared.company:
        return 0
    patience = min(4 * shared.sync_took, <uint32_t>LONGEST_GATHERING)
    waited = now_microseconds() - since
    return patience - waited if waited < patience else 0


cdef void _gather(Core* core) noexcept nogil:
    """Serves those who come, and gives the core away until the others have come, or it takes too long."""
    cdef kn_shared* shared = core.shared
    cdef uint64_t began = now_microseconds(), gone
    if shared.crowded > 0:
        shared.crowded -= 1
        return
    while _time_to_gather(shared, began) > 0:
        if is_service_due(shared) and serve(core, SERVE_MS) == 0:
            continue
        gone = now_microseconds()
        sched_yield()
        failpoint(AT_YIELDED)
        if now_microseconds() - gone > LONGEST_GATHERING:
            shared.crowded = CROWDED
            return


cdef void _remember(kn_shared* shared, uint64_t covered) noexcept nogil:
    """The company that the next sync will wait for: as many as this one has covered, or came while it ran."""
    cdef uint64_t came = _arrivals(shared) - covered + <uint64_t>count_submitted(shared)
    shared.company = <uint32_t>max(covered - shared.synced_arrivals, came + 1)
    shared.synced_arrivals = covered


cdef bint _has_sleepers(kn_shared* shared) noexcept nogil:
    kn_fence()
    return kn_load32(&shared.sleepers) > 0


cdef void _ring(Core* core) noexcept nogil:
    if core.doorbell != NULL:
        kn_add32(&core.doorbell.word, 1)
        if kn_load32(&core.doorbell.waiters):
            kn_futex_wake(&core.doorbell.word)


cdef int _sync_locked(Core* core) noexcept nogil:
    """Makes everything that is in head durable and then visible."""
    cdef kn_shared* shared = core.shared
    cdef kn_meta candidate, visible
    cdef uint64_t began, arrivals
    cdef int result = 0
    failpoint(AT_SYNC_LOCKED)
    if shared.poisoned:
        return -EROFS
    read_published(&shared.visible, &visible)
    _gather(core)
    if is_service_due(shared):
        serve(core, SERVE_MS)       # who cannot be served waits for the next one
    arrivals = _arrivals(shared)
    read_published(&shared.head, &candidate)
    began = now_microseconds()
    kn_store64(&shared.syncing_txn, candidate.txn)
    kn_add32(&shared.queue_word, 1)
    if _has_sleepers(shared):
        kn_futex_requeue(&shared.queue_word, &shared.sync_word)
    if candidate.txn != visible.txn:
        result = failpoint(AT_SYNC)
        if result == 0 and candidate.segno > 0 and not shared.poisoned:
            result = log_sync(&core.log, visible.segno if visible.segno else 1, candidate.segno)
        if result < 0:
            kn_store32(&shared.poisoned, <uint32_t>-result)
        if shared.poisoned:         # perhaps by who served
            kn_store64(&shared.syncing_txn, 0)
            return -EROFS
        failpoint(AT_SYNCED)
        shared.sync_took = <uint32_t>(now_microseconds() - began)
        publish(&shared.visible, &candidate)
        shared.syncs += 1
        failpoint(AT_TURNED)
    _remember(shared, arrivals)
    if kn_load64(&shared.synced_txn) != candidate.txn:      # also when a leader died before he could say so
        kn_store64(&shared.synced_txn, candidate.txn)
        _ring(core)
    failpoint(AT_VISIBLE)
    return 0


cdef uint64_t _awaited(kn_seat* seat, uint64_t txn) noexcept nogil:
    """The transaction that has to be visible: `txn`, or what the seat says; none can be while that has no answer."""
    if seat == NULL:
        return txn
    if kn_load32(&seat.state) != KN_SERVED:
        return KN_IDLE
    return 0 if seat.verdict in (ALONE, STALE_NAMES, TOO_LARGE) else seat.txn


cdef int _lead(Core* core, kn_seat* seat, uint64_t txn) noexcept nogil:
    """With the syncer mutex, which it lets go."""
    cdef kn_shared* shared = core.shared
    cdef int result = 0
    if kn_load64(&shared.synced_txn) < _awaited(seat, txn):
        result = _sync_locked(core)
    unlock(&shared.syncer)
    kn_add32(&shared.queue_word, 1)
    kn_add32(&shared.sync_word, 1)
    if not _has_sleepers(shared):
        return result
    if result < 0:
        kn_futex_wake(&shared.queue_word)       # it is for each of them to know
    else:
        kn_futex_wake_one(&shared.queue_word)
    kn_futex_wake(&shared.sync_word)
    return result


cdef int _wait(Core* core, kn_seat* seat, uint64_t txn, int milliseconds) noexcept nogil:
    """Sleeps and leads until the state is visible."""
    cdef kn_shared* shared = core.shared
    cdef uint64_t came = now_microseconds(), deadline = came + <uint64_t>milliseconds * 1000, awaited, spell
    cdef uint32_t queued, syncing
    cdef bint covered, overslept = False
    cdef int result = 0
    kn_add32(&shared.sleepers, 1)
    kn_fence()
    while result == 0:
        queued, syncing = kn_load32(&shared.queue_word), kn_load32(&shared.sync_word)
        awaited = _awaited(seat, txn)
        covered = awaited <= kn_load64(&shared.syncing_txn)
        if kn_load64(&shared.synced_txn) >= awaited:
            break
        spell = _time_to_gather(shared, came) if shared.crowded > 0 and not covered else 0
        if spell == 0 and (not covered or overslept) and try_lock(&shared.syncer):
            result = _lead(core, seat, txn)
        elif now_microseconds() > deadline:
            result = -ETIMEDOUT
        elif covered:
            overslept = not kn_futex_wait(&shared.sync_word, syncing, SPELL)
        else:
            overslept = not kn_futex_wait(&shared.queue_word, queued, spell if spell > 0 else SPELL)
    kn_add32(&shared.sleepers, <uint32_t>-1)
    return result


cdef int core_sync(Core* core, uint64_t txn, int milliseconds) noexcept nogil:
    """Returns when the state is on disk and visible: 0, or a negative errno, -ETIMEDOUT when that takes too long."""
    cdef kn_shared* shared = core.shared
    if kn_load64(&shared.synced_txn) >= txn:
        return 0
    if shared.company < 2 and try_lock(&shared.syncer):
        return _lead(core, NULL, txn)
    return _wait(core, NULL, txn, milliseconds)


cdef void _give_up(kn_shared* shared, kn_seat* seat) noexcept nogil:
    """Gives a seat back that may be without an answer. While somebody serves, its owner has to wait for that; if that takes too
    long, it is marked as that of a dead process."""
    cdef bint locked = lock_writer(shared, RETURN_MS) == 0
    if kn_load32(&seat.state) == KN_SERVED or withdraw(shared, seat):
        give_seat(shared, seat)
    else:
        kn_store64(&seat.started, 1)
    if locked:
        unlock(&shared.writer)


cdef int _submit(Core* core, Batch* batch, int milliseconds) noexcept nogil:
    """Has a batch that fits a seat committed together with others, and returns when that is visible: a Verdict, ALONE when it
    has to be committed by itself, or a negative errno."""
    cdef kn_shared* shared = core.shared
    cdef kn_seat* seat = take_seat(shared, core.pid, core.started)
    cdef int result
    if seat == NULL:
        return ALONE
    submit(shared, seat, batch)
    failpoint(AT_SUBMITTED)
    result = _wait(core, seat, 0, milliseconds)
    if result < 0:
        _give_up(shared, seat)
        return result
    result = seat.verdict
    if result != ALONE:
        batch.operations.outcome, batch.version = <Outcome>seat.outcome, seat.version
    give_seat(shared, seat)
    return result


cdef int core_write(Core* core, Batch* batch, int milliseconds, int* waited) noexcept nogil:
    """Commits, and if the batch is awaited returns when that is visible: a Verdict, or a negative errno with nothing changed.
    `waited` is 0, or the negative errno that the wait has ended with: -ETIMEDOUT when it took too long."""
    cdef int verdict = ALONE
    waited[0] = 0
    if batch.awaited and core.shared.company > 1 and fits_a_seat(batch):
        verdict = _submit(core, batch, milliseconds)
        waited[0] = verdict if verdict < 0 else 0
    if verdict == ALONE:
        verdict = core_commit(core, batch, milliseconds)
        if batch.awaited and verdict >= 0 and verdict != STALE_NAMES and verdict != TOO_LARGE:
            waited[0] = core_sync(core, batch.txn, milliseconds)
    return verdict
