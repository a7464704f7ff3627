"""The only door of the core to the file system and to the clock, and the failpoints in it.

All calls return 0 (or a file descriptor) or a negative errno; nothing here raises or needs the GIL.

A failpoint is a named step of the engine. When the environment variable KENNEL_FAILPOINTS names a file, the processes
that load the engine map it; per failpoint it holds {action u32, argument u32, hits u64}. The test that owns the file sets
an action: 1 kill the process at the argument-th hit from now, 2 wait while the action stays, 3 fail with errno argument,
4 stop the process (SIGSTOP) at the argument-th hit from now.
Without the variable a failpoint costs one load of a null pointer.
"""

import os

from engine.posix cimport (
    CLOCK_REALTIME, EINTR, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, MADV_RANDOM, MAP_FAILED, MAP_SHARED,
    MS_SYNC, O_CLOEXEC, O_DIRECTORY, O_RDONLY, O_RDWR, POSIX_FADV_WILLNEED, PROT_READ, PROT_WRITE, SIGKILL, SIGSTOP,
    SYNC_FILE_RANGE_WRITE, clock_gettime, close, errno, fallocate, fdatasync, fstat, fsync, madvise, mincore, mmap, msync, open as open_call,
    posix_fadvise, posix_fallocate, pwrite, raise_signal, stat_result, sync_file_range, timespec, usleep,
)
from engine.layout cimport kn_add32, kn_add64, kn_load32
from libc.stdio cimport remove, rename
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    KILL = 1
    WAIT = 2
    FAIL = 3
    STOP = 4

cdef struct Setting:
    uint32_t action, argument
    uint64_t hits

cdef Setting* settings = NULL

FAILPOINT_NAMES = (
    "locked", "composed", "half_written", "written", "slot", "published", "unlocked", "submitted", "sync_locked",
    "yielded", "sync", "synced", "turned", "visible", "read", "roll", "grow", "checkpoint", "prepared", "activated", "slot_written",
    "gathered", "adopted", "anchored", "removed", "begun", "copied", "adopting",
)


def _map_failpoints(path: str) -> None:
    """Maps the failpoint file, which must hold FAILPOINTS settings of 16 bytes."""
    global settings
    cdef int fd = os.open(path, os.O_RDWR)
    cdef void* address
    try:
        if os.fstat(fd).st_size < FAILPOINTS * sizeof(Setting):
            raise ValueError(f"{path} is too small to be a failpoint file")
        address = mmap(NULL, FAILPOINTS * sizeof(Setting), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if address == MAP_FAILED:
            raise OSError(errno, f"cannot map {path}")
        settings = <Setting*>address
    finally:
        os.close(fd)


if os.environ.get("KENNEL_FAILPOINTS"):
    _map_failpoints(os.environ["KENNEL_FAILPOINTS"])


cdef bint watched() noexcept nogil:
    """Whether a test has mapped the failpoints."""
    return settings != NULL


cdef int failpoint(Failpoint at) noexcept nogil:
    """Counts the hit and does what the test asked for: 0, or a negative errno to fail with."""
    if settings == NULL:
        return 0
    cdef Setting* here = settings + <int>at
    kn_add64(&here.hits, 1)
    cdef uint32_t action = kn_load32(&here.action)
    if action == KILL:
        if kn_add32(&here.argument, <uint32_t>-1) == 0:
            raise_signal(SIGKILL)
    elif action == WAIT:
        while kn_load32(&here.action) == WAIT:
            usleep(200)
    elif action == FAIL:
        return -<int>here.argument
    elif action == STOP:
        if kn_add32(&here.argument, <uint32_t>-1) == 0:
            raise_signal(SIGSTOP)
    return 0


cdef int open_file(const char* path, int flags) noexcept nogil:
    cdef int fd
    while True:
        fd = open_call(path, flags | O_CLOEXEC, 0o600)
        if fd >= 0:
            return fd
        if errno != EINTR:
            return -errno


cdef int close_file(int fd) noexcept nogil:
    return -errno if close(fd) < 0 else 0


cdef int write_at(int fd, const void* data, size_t size, uint64_t offset) noexcept nogil:
    """Writes all of it; a short write is continued."""
    cdef const uint8_t* left = <const uint8_t*>data
    cdef long done
    while size > 0:
        done = pwrite(fd, left, size, offset)
        if done < 0:
            if errno == EINTR:
                continue
            return -errno
        left += done
        size -= done
        offset += done
    return 0


cdef void start_writing(int fd, uint64_t offset, size_t size) noexcept nogil:
    """Has the disk begin with what was written there, so that a data_sync soon after has less to wait for. Promises nothing:
    what goes wrong is for data_sync to tell, this call does not take it away from it."""
    sync_file_range(fd, offset, size, SYNC_FILE_RANGE_WRITE)


cdef int data_sync(int fd) noexcept nogil:
    """fdatasync. A failure is final: what was dirty may be lost, a second call would lie."""
    if fdatasync(fd) < 0:
        return -errno
    return 0


cdef int file_sync(int fd) noexcept nogil:
    if fsync(fd) < 0:
        return -errno
    return 0


cdef int allocate(int fd, uint64_t offset, uint64_t length) noexcept nogil:
    return -posix_fallocate(fd, offset, length)


cdef int punch(int fd, uint64_t offset, uint64_t length) noexcept nogil:
    """Gives the blocks back; the range reads as zeros and the file keeps its size."""
    return -errno if fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) < 0 else 0


cdef void will_need(int fd, uint64_t offset, uint64_t length) noexcept nogil:
    """A hint: the kernel begins to read this part of the file, unless it is in memory."""
    posix_fadvise(fd, offset, length, POSIX_FADV_WILLNEED)


cdef void read_singly(void* address, size_t length) noexcept nogil:
    """A hint: pages of this mapping that are not in memory are read without those around them."""
    madvise(address, length, MADV_RANDOM)


cdef bint is_in_memory(void* page) noexcept nogil:
    """Whether this page of a mapped file can be read without the disk; where the kernel does not tell, it can."""
    cdef uint8_t resident
    return mincore(page, 1, &resident) < 0 or resident & 1


cdef int memory_sync(void* address, size_t length) noexcept nogil:
    return -errno if msync(address, length, MS_SYNC) < 0 else 0


cdef int sync_directory(const char* path) noexcept nogil:
    cdef int fd = open_file(path, O_RDONLY | O_DIRECTORY)
    if fd < 0:
        return fd
    cdef int result = -errno if fsync(fd) < 0 else 0
    close_file(fd)
    return result


cdef int remove_file(const char* path) noexcept nogil:
    return -errno if remove(path) < 0 else 0


cdef int rename_file(const char* old, const char* new) noexcept nogil:
    return -errno if rename(old, new) < 0 else 0


cdef int file_size(int fd, uint64_t* size) noexcept nogil:
    cdef stat_result found
    if fstat(fd, &found) < 0:
        return -errno
    size[0] = found.st_size
    return 0


cdef uint64_t now_microseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <uint64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000
