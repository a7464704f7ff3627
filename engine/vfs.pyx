"""The only door of the core to the file system and to the clock, and the failpoints in it.

All calls return 0 (or a file descriptor) or a negative errno; nothing here raises or needs the GIL.

A failpoint is a named step of the engine. When the environment variable KENNEL_FAILPOINTS names a file, the processes
that load the engine map it; per failpoint it holds {action u32, argument u32, hits u64}. The test that owns the file sets
an action: 1 kill the process at the argument-th hit from now, 2 wait while the action stays, 3 fail with errno argument,
4 stop the process (SIGSTOP) at the argument-th hit from now.
Without the variable a failpoint costs one load of a null pointer.

A trace is the history of a table's files for tests that cut the power: with KENNEL_TRACE naming a file, every operation
that changes a file is appended to it as
    kind u8 | inode u64 | offset u64 | size u32 | data      kinds: W write, S sync, N new name, D directory sync, A note
(N: data is the path that the inode has from now on; A: whatever the test puts in between with `note`.) Stores into mapped
files are not in it; what has to survive them is on the log.
"""

import os

from engine.posix cimport (
    CLOCK_REALTIME, EINTR, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, MAP_FAILED, MAP_SHARED, MS_SYNC, O_CLOEXEC, O_DIRECTORY, O_RDONLY, O_RDWR, PROT_READ, PROT_WRITE,
    SIGKILL, SIGSTOP, clock_gettime, close, errno, fallocate, fdatasync, fstat, fsync, iovec, mmap, msync, open as open_call, posix_fallocate, pwrite,
    raise_signal, stat_result, timespec, usleep, writev,
)
from engine.layout cimport kn_add32, kn_add64, kn_load32
from libc.stdio cimport remove, rename
from libc.string cimport memcpy, strlen
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
    "locked", "composed", "half_written", "written", "slot", "published", "unlocked", "sync_locked", "sync", "synced",
    "visible", "read", "roll", "grow", "checkpoint", "prepared", "activated", "slot_written",
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


cdef int trace_fd = -1

if os.environ.get("KENNEL_TRACE"):
    trace_fd = os.open(os.environ["KENNEL_TRACE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

cdef struct TraceHead:
    uint8_t kind
    uint8_t inode[8]
    uint8_t offset[8]
    uint8_t size[4]


cdef void _trace(uint8_t kind, int fd, uint64_t offset, const void* data, size_t size) noexcept nogil:
    """One record, in one append, so that records of several threads and processes do not mix."""
    cdef TraceHead head
    cdef stat_result found
    cdef uint64_t inode
    cdef uint32_t length = <uint32_t>size
    cdef iovec parts[2]
    fstat(fd, &found)
    inode = found.st_ino
    head.kind = kind
    memcpy(head.inode, &inode, 8)
    memcpy(head.offset, &offset, 8)
    memcpy(head.size, &length, 4)
    parts[0].iov_base, parts[0].iov_len = &head, sizeof(TraceHead)
    parts[1].iov_base, parts[1].iov_len = <void*>data, size
    writev(trace_fd, parts, 2)


def note(text: bytes) -> None:
    """Puts a record of the test's own into the trace."""
    if trace_fd >= 0:
        _trace(c"A", trace_fd, 0, <char*>text, len(text))


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
    if trace_fd >= 0:
        _trace(c"W", fd, offset, data, size)
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


cdef int data_sync(int fd) noexcept nogil:
    """fdatasync. A failure is final: what was dirty may be lost, a second call would lie."""
    if fdatasync(fd) < 0:
        return -errno
    if trace_fd >= 0:
        _trace(c"S", fd, 0, NULL, 0)
    return 0


cdef int file_sync(int fd) noexcept nogil:
    if fsync(fd) < 0:
        return -errno
    if trace_fd >= 0:
        _trace(c"S", fd, 0, NULL, 0)
    return 0


cdef int allocate(int fd, uint64_t offset, uint64_t length) noexcept nogil:
    return -posix_fallocate(fd, offset, length)


cdef int punch(int fd, uint64_t offset, uint64_t length) noexcept nogil:
    """Gives the blocks back; the range reads as zeros and the file keeps its size."""
    return -errno if fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) < 0 else 0


cdef int memory_sync(void* address, size_t length) noexcept nogil:
    return -errno if msync(address, length, MS_SYNC) < 0 else 0


cdef int sync_directory(const char* path) noexcept nogil:
    cdef int fd = open_file(path, O_RDONLY | O_DIRECTORY)
    if fd < 0:
        return fd
    cdef int result = -errno if fsync(fd) < 0 else 0
    if result == 0 and trace_fd >= 0:
        _trace(c"D", fd, 0, path, strlen(path))
    close_file(fd)
    return result


cdef int remove_file(const char* path) noexcept nogil:
    return -errno if remove(path) < 0 else 0


cdef int rename_file(const char* old, const char* new) noexcept nogil:
    cdef int fd
    if rename(old, new) < 0:
        return -errno
    if trace_fd >= 0:
        fd = open_file(new, O_RDONLY)
        _trace(c"N", fd, 0, new, strlen(new))
        close_file(fd)
    return 0


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
