"""The coordination file of a table, `shared.shm`: what processes that have the table open tell each other.

It holds two robust, process-shared mutexes (writer and syncer), two published states of the table, a slot per open
snapshot, and seats for small writes. Nothing in it outlives the kernel: after a reboot, or when the directory was copied, it
is made anew and the table is recovered from its log.

Publication. A state (kn_meta) is published by writing it into the slot that is not current and then storing the
generation. `head` is what has been applied; `visible` is what is also on disk, and what readers use.

Reading. A reader copies the current slot, stores its transaction in a reader slot of its own, fences, and checks that the
generation has not moved; else it tries again. A writer that wants to reuse pages first loads `visible`, fences, and then
scans the reader slots. So either the writer sees the slot, or the reader sees the newer generation and retries.

Locks. A process that dies with a mutex leaves it to the next locker (EOWNERDEAD), who may simply go on: whatever the dead
one did lies past `head` and is not reachable from it. Only what he did for others, who wait in seats (seats.pyx), is brought
to an end by the next one who gets the writer mutex (`lock_writer`).

Opening. Each process holds a shared flock on the file for as long as it has the table open. Whoever gets it exclusively is
alone, and only he may throw the contents away. Opens and closes of one table are serialised by a flock on its directory
(opening.pyx). Whoever opens alone goes on with what is there only if the last process has closed the table: then every page
of the index has its checksum (checkpoint.pyx), and so has this file. What processes leave that died may be anything, and
they may have written anywhere into what they had mapped; then the table is recovered, as it is after a reboot. Of what the
dead left only this is heeded:
  - a failed fdatasync has poisoned the table: the kernel may show bytes that the disk does not have (`last_kept`);
  - a page of the index was found damaged (`index_is_damaged`);
  - how many transactions there were (`promised`), if the checksum of that state holds.
"""

import errno as errno_codes
import fcntl
import os
from pathlib import Path

from engine.layout cimport (
    KN_IDLE, KN_INDEX_FORMAT, KN_PAGE_SIZE, KN_READERS, KN_SEATS, kn_crc32c, kn_fence, kn_fence_loads, kn_load32, kn_load64, kn_meta, kn_pause,
    kn_published, kn_reader, kn_seat, kn_shared, kn_store32, kn_store64, kn_swap32, pthread_mutex_t,
)
from engine.posix cimport (
    CLOCK_REALTIME, EBUSY, EOWNERDEAD, LOCK_UN, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, PTHREAD_MUTEX_ROBUST,
    PTHREAD_PROCESS_SHARED, clock_gettime, errno, flock, getpid, mmap, munmap, pthread_mutex_consistent, pthread_mutex_init,
    pthread_mutex_timedlock, pthread_mutex_trylock, pthread_mutex_unlock, pthread_mutexattr_destroy, pthread_mutexattr_init,
    pthread_mutexattr_setpshared, pthread_mutexattr_setrobust, pthread_mutexattr_t, timespec,
)
from engine.seats cimport end_serving, forget_seats, free_seat
from engine.vfs cimport close_file
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from engine.errors import RootError, TooManySnapshots

cdef char* MAGIC = b"KNSHARED"
cdef enum:
    RECLAIM_MS = 1000
    PAUSES = 10                 # between two tries, about 0.2 µs
    TRIES = 100

# A commit holds the writer mutex for 10 to 20 µs. To sleep and be woken by another core takes as long, and costs both.
cdef int patience = TRIES if (os.cpu_count() or 1) > 1 else 0


cdef int lock(pthread_mutex_t* mutex, int milliseconds) noexcept nogil:
    """0, or a negative errno: -ETIMEDOUT when its holder did not let go in time."""
    cdef int result = pthread_mutex_trylock(mutex)
    cdef int turn, pause
    cdef timespec limit
    for turn in range(patience):
        if result != EBUSY:
            break
        for pause in range(PAUSES):
            kn_pause()
        result = pthread_mutex_trylock(mutex)
    if result == EBUSY:
        clock_gettime(CLOCK_REALTIME, &limit)
        limit.tv_sec += milliseconds // 1000
        limit.tv_nsec += (milliseconds % 1000) * 1000000
        if limit.tv_nsec >= 1000000000:
            limit.tv_sec += 1
            limit.tv_nsec -= 1000000000
        result = pthread_mutex_timedlock(mutex, &limit)
    if result == EOWNERDEAD:
        pthread_mutex_consistent(mutex)
        result = 0
    return -result


cdef int lock_writer(kn_shared* shared, int milliseconds) noexcept nogil:
    """0, or a negative errno. What the holder before, if he died, has judged is brought to an end first."""
    cdef int result = lock(&shared.writer, milliseconds)
    cdef kn_meta head
    if result == 0 and shared.serving != 0:
        read_published(&shared.head, &head)
        if head.txn < shared.serving:
            shared.litter = 1
        end_serving(shared, shared.serving, head.txn >= shared.serving)
    return result


cdef bint try_lock(pthread_mutex_t* mutex) noexcept nogil:
    cdef int result = pthread_mutex_trylock(mutex)
    if result == EOWNERDEAD:
        pthread_mutex_consistent(mutex)
    return result == 0 or result == EOWNERDEAD


cdef void unlock(pthread_mutex_t* mutex) noexcept nogil:
    pthread_mutex_unlock(mutex)


cdef uint32_t _meta_checksum(const kn_meta* meta) noexcept nogil:
    return kn_crc32c(0, meta, <size_t>(<const char*>&meta.crc - <const char*>meta))


cdef uint64_t _seq_of(const kn_published* published) noexcept nogil:
    """The last transaction of what a dead process has left as the current state; 0 when it is not sound."""
    cdef const kn_meta* meta = &published.slot[published.generation & 1]
    return meta.seq if _meta_checksum(meta) == meta.crc else 0


cdef uint32_t _checksum(const kn_shared* at) noexcept nogil:
    """Of everything but the checksum itself; never 0, which says that there is none."""
    cdef size_t before = <size_t>(<const char*>&at.crc - <const char*>at)
    cdef uint32_t crc = kn_crc32c(kn_crc32c(0, at, before), &at.crc + 1, sizeof(kn_shared) - before - sizeof(uint32_t))
    return crc if crc != 0 else 1


cdef void write_slot(kn_published* published, const kn_meta* meta) noexcept nogil:
    """The first half of a publication. The fence keeps it behind the one before: somebody may still copy that slot."""
    cdef kn_meta* slot = &published.slot[(published.generation + 1) & 1]
    kn_fence()
    memcpy(slot, meta, sizeof(kn_meta))
    slot.crc = _meta_checksum(slot)


cdef void turn_slot(kn_published* published) noexcept nogil:
    """The second half."""
    kn_store64(&published.generation, published.generation + 1)


cdef void publish(kn_published* published, const kn_meta* meta) noexcept nogil:
    """Only with the mutex that guards this state."""
    write_slot(published, meta)
    turn_slot(published)


cdef uint64_t read_published(kn_published* published, kn_meta* meta) noexcept nogil:
    """Copies the current state and returns its generation. Needs no lock, gives no protection to the pages."""
    cdef uint64_t generation
    while True:
        generation = kn_load64(&published.generation)
        memcpy(meta, &published.slot[generation & 1], sizeof(kn_meta))
        kn_fence()
        if kn_load64(&published.generation) == generation:
            return generation


cdef uint64_t published_records(kn_published* published) noexcept nogil:
    """How many records the current state has. A number needs no copy of the state, nor its pages."""
    cdef uint64_t generation, records
    while True:
        generation = kn_load64(&published.generation)
        records = published.slot[generation & 1].primary.entries
        kn_fence_loads()
        if kn_load64(&published.generation) == generation:
            return records


cdef uint64_t published_names(kn_published* published) noexcept nogil:
    """Which names its attributes have: the generation of these."""
    cdef uint64_t generation, names
    while True:
        generation = kn_load64(&published.generation)
        names = published.slot[generation & 1].names_generation
        kn_fence_loads()
        if kn_load64(&published.generation) == generation:
            return names


cdef void begin_read(kn_shared* shared, uint32_t slot, kn_published* source, kn_meta* meta) noexcept nogil:
    """Copies the current state of `source`; its pages stay as they are until end_read."""
    cdef uint64_t generation
    while True:
        generation = kn_load64(&source.generation)
        memcpy(meta, &source.slot[generation & 1], sizeof(kn_meta))
        kn_store64(&shared.readers[slot].txn, meta.txn)
        kn_fence()
        if kn_load64(&source.generation) == generation:
            return


cdef void end_read(kn_shared* shared, uint32_t slot) noexcept nogil:
    kn_store64(&shared.readers[slot].txn, KN_IDLE)


cdef uint64_t oldest_reader(kn_shared* shared) noexcept nogil:
    """The oldest transaction that some reader may need, at most the visible one."""
    cdef kn_meta visible
    read_published(&shared.visible, &visible)
    cdef uint64_t oldest = visible.txn
    kn_fence()
    cdef uint32_t limit = kn_load32(&shared.reader_limit)
    cdef uint32_t index
    cdef uint64_t txn
    for index in range(limit):
        txn = kn_load64(&shared.readers[index].txn)
        if txn < oldest:
            oldest = txn
    return oldest


cdef int claim_slot(kn_shared* shared, uint32_t pid, uint64_t started) noexcept nogil:
    """The index of a reader slot that is this process's until it gives it back, or -1 when all are taken."""
    cdef uint32_t index, limit
    for index in range(KN_READERS):
        if kn_load32(&shared.readers[index].pid) == 0 and kn_swap32(&shared.readers[index].pid, 0, pid):
            kn_store64(&shared.readers[index].started, started)
            kn_store64(&shared.readers[index].txn, KN_IDLE)
            limit = kn_load32(&shared.reader_limit)
            while limit < index + 1 and not kn_swap32(&shared.reader_limit, limit, index + 1):
                limit = kn_load32(&shared.reader_limit)
            return <int>index
    return -1


cdef void release_slot(kn_shared* shared, uint32_t slot) noexcept nogil:
    kn_store64(&shared.readers[slot].txn, KN_IDLE)
    kn_store64(&shared.readers[slot].started, 0)
    kn_store32(&shared.readers[slot].pid, 0)


def process_started(pid: int) -> int:
    """When this process started, in clock ticks since boot; 0 when there is none, or it has ended and nobody has waited for it.
    With the pid it names a process for good."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) if fields[0] not in ("Z", "X") else 0


def _boot() -> bytes:
    return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


cdef int _init_mutex(pthread_mutex_t* mutex) except -1:
    cdef pthread_mutexattr_t attributes
    pthread_mutexattr_init(&attributes)
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED)
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST)
    cdef int result = pthread_mutex_init(mutex, &attributes)
    pthread_mutexattr_destroy(&attributes)
    if result != 0:
        raise OSError(result, os.strerror(result))
    return 0


def _of_the_dead(taken: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Those (place, pid, start time) whose process is gone."""
    dead = []
    alive: dict[int, int] = {}
    for index, pid, started in taken:
        if pid == 0:
            continue
        if pid not in alive:
            alive[pid] = process_started(pid)
        if alive[pid] == 0 or (started != 0 and alive[pid] != started):
            dead.append((index, pid, started))
    return dead


cdef class Coordination:
    """The mapped coordination file. `fresh` tells that its contents were thrown away: the caller must recover the table,
    fill in `head` and `visible`, and call `ready`. The caller holds the directory's flock until then."""

    def __cinit__(self, path: str, index_fd: int) -> None:
        self.fd = -1
        self.at = NULL
        self.free_count = 0
        self.last_kept = KN_IDLE
        memset(self.owned, 0, sizeof(self.owned))
        self.pid = os.getpid()
        self.started = process_started(self.pid)
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        alone = self._lock_file()
        if os.fstat(self.fd).st_size == sizeof(kn_shared):
            self._map()
        index = os.fstat(index_fd)
        self.fresh = self.at == NULL or not self._is_current()
        if not alone:
            if self.fresh or self.at.index_inode != index.st_ino:
                raise RootError(f"{path} is in use by a process of another container or of another version")
            if self.at.seats_taken:     # what a dead process has left there must not happen after somebody has looked
                self.reclaim_slots()
            return
        if not self.fresh:
            self.fresh = not self._was_closed(index)
        if self.fresh:
            self._initialize(index.st_ino)
        self._forget_the_dead()
        self.at.crc = 0

    def __dealloc__(self) -> None:
        self._let_go()

    cdef int _map(self) except -1:
        cdef void* address = mmap(NULL, sizeof(kn_shared), PROT_READ | PROT_WRITE, MAP_SHARED, self.fd, 0)
        if address == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self.at = <kn_shared*>address
        return 0

    def _lock_file(self) -> bool:
        """Takes the shared flock; True when nobody else has the table open."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno_codes.EWOULDBLOCK, errno_codes.EACCES):
                raise
            fcntl.flock(self.fd, fcntl.LOCK_SH)
            return False
        return True

    def _is_current(self) -> bool:
        cdef kn_shared* at = self.at
        status = os.fstat(self.fd)
        boot = _boot()
        return (
            memcmp(at.magic, MAGIC, 8) == 0 and at.format == KN_INDEX_FORMAT and kn_load32(&at.ready) == 1
            and memcmp(at.boot, <char*>boot, 16) == 0 and at.device == status.st_dev and at.inode == status.st_ino
            and at.pid_namespace == _pid_namespace()
        )

    def _was_closed(self, index: os.stat_result) -> bool:
        """Whether the last process has closed the table and all is as it was then; else learns what the dead have left."""
        cdef kn_shared* at = self.at
        if (at.crc != 0 and at.crc == _checksum(at) and at.index_inode == index.st_ino
                and at.index_pages * KN_PAGE_SIZE <= <uint64_t>index.st_size):
            return True
        self.index_is_damaged = at.damaged != 0
        self.promised = _seq_of(&at.visible if at.poisoned else &at.head)
        if at.poisoned and self.promised != 0:
            self.last_kept = self.promised
        return False

    def _initialize(self, index_inode: int) -> None:
        """Its blocks are allocated now, because a store into a hole on a full disk is a SIGBUS."""
        cdef kn_shared* at
        if self.at == NULL:
            os.ftruncate(self.fd, 0)
            os.posix_fallocate(self.fd, 0, sizeof(kn_shared))
            self._map()
        at = self.at
        memset(at, 0, sizeof(kn_shared))
        status = os.fstat(self.fd)
        boot = _boot()
        memcpy(at.magic, MAGIC, 8)
        memcpy(at.boot, <char*>boot, 16)
        at.format, at.device, at.inode, at.pid_namespace = KN_INDEX_FORMAT, status.st_dev, status.st_ino, _pid_namespace()
        at.index_inode = index_inode

    def _forget_the_dead(self) -> None:
        """Alone: nobody can hold a lock or a slot."""
        cdef uint32_t index
        _init_mutex(&self.at.writer)
        _init_mutex(&self.at.syncer)
        self.at.syncing_txn = 0
        forget_seats(self.at)
        for index in range(KN_READERS):
            release_slot(self.at, index)
        self.at.reader_limit = 0

    def ready(self) -> None:
        """The table is recovered and both states are published; others may attach."""
        kn_store32(&self.at.ready, 1)
        self.fresh = False

    cdef bint is_last(self) except -1:
        """At the end, under the directory's flock: whether nobody else has the table open. Nobody can before `close`."""
        self._release_slots()
        return self._lock_file()

    cdef void mark_closed(self) noexcept:
        """The last one leaves, and all pages of the index have their checksums."""
        self.at.crc = _checksum(self.at)

    def share(self) -> None:
        """Opening has ended: others may open too."""
        fcntl.flock(self.fd, fcntl.LOCK_SH)

    cdef uint32_t take_slot(self) except? 0xFFFFFFFF:
        """A reader slot of this process; TooManySnapshots when all 1,024 are in use by living processes."""
        if self.free_count > 0:
            self.free_count -= 1
            self.taken += 1
            return self.free_slots[self.free_count]
        cdef int slot = claim_slot(self.at, self.pid, self.started)
        if slot < 0:
            self.reclaim_slots()
            slot = claim_slot(self.at, self.pid, self.started)
        if slot < 0:
            raise TooManySnapshots(f"All {KN_READERS} snapshots of the table are in use")
        self.owned[slot] = 1
        self.taken += 1
        return <uint32_t>slot

    cdef void give_slot(self, uint32_t slot) noexcept:
        end_read(self.at, slot)
        self.taken -= 1
        self.free_slots[self.free_count] = <uint16_t>slot
        self.free_count += 1

    def reclaim_slots(self) -> int:
        """Frees the reader slots and the seats of processes that no longer exist; returns how many slots.

        Under the writer mutex: if two did this at once, the slower one could free what a living process has just taken."""
        cdef kn_reader* reader
        cdef kn_seat* seat
        cdef int index, result
        dead, seats = self._dead_slots(), self._dead_seats()
        if not dead and not seats:
            return 0
        with nogil:
            result = lock_writer(self.at, RECLAIM_MS)
        if result < 0:
            return 0
        freed = 0
        for index, pid, started in dead:
            reader = &self.at.readers[index]
            if kn_load32(&reader.pid) == pid and kn_load64(&reader.started) == started:
                release_slot(self.at, <uint32_t>index)
                freed += 1
        for index, pid, started in seats:
            seat = &self.at.seats[index]
            if kn_load64(&self.at.seats_taken) >> index & 1 and seat.pid == pid and seat.started == started:
                free_seat(self.at, seat)
        unlock(&self.at.writer)
        return freed

    def _dead_slots(self) -> list[tuple[int, int, int]]:
        """(slot, pid, start time) of those whose process is gone; the start time is 0 if it died while it took the slot."""
        cdef uint32_t index
        taken = []
        for index in range(kn_load32(&self.at.reader_limit)):
            taken.append((index, kn_load32(&self.at.readers[index].pid), kn_load64(&self.at.readers[index].started)))
        return _of_the_dead(taken)

    def _dead_seats(self) -> list[tuple[int, int, int]]:
        """The same of seats."""
        cdef uint64_t bits = kn_load64(&self.at.seats_taken)
        cdef int index
        taken = []
        for index in range(KN_SEATS):
            if bits >> index & 1:
                taken.append((index, self.at.seats[index].pid, self.at.seats[index].started))
        return _of_the_dead(taken)

    def close(self) -> None:
        self._let_go()

    cdef void _release_slots(self) noexcept:
        cdef uint32_t index
        for index in range(KN_READERS):
            if self.owned[index]:
                release_slot(self.at, index)
                self.owned[index] = 0

    cdef void _let_go(self) noexcept:
        """In the child of a fork, slots and the flock are left to the parent."""
        cdef bint own = <uint32_t>getpid() == self.pid
        if self.at != NULL:
            if own:
                self._release_slots()
            munmap(self.at, sizeof(kn_shared))
            self.at = NULL
        if self.fd >= 0:
            if own:
                flock(self.fd, LOCK_UN)     # closing would not do while a forked child has the file open, too
            close_file(self.fd)
            self.fd = -1
