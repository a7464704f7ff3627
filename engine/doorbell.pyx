"""The doorbell of a node, `<root>/node.shm`: one word in shared memory that moves whenever a commit on any table of the
node has become visible. Whoever follows the logs (replication, caches) sleeps on it instead of asking."""

import os

from engine.layout cimport kn_add32, kn_doorbell, kn_futex_wait, kn_load32
from engine.posix cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, errno, mmap, munmap
from libc.stdint cimport uint32_t, uint64_t


cdef class Doorbell:
    """Mapped by every process that has the node open."""

    def __cinit__(self, path: str) -> None:
        self.at = NULL
        self.path = path
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < sizeof(kn_doorbell):
                os.ftruncate(fd, sizeof(kn_doorbell))
            self._map(fd)
        finally:
            os.close(fd)

    def _map(self, fd: int) -> None:
        cdef void* address = mmap(NULL, sizeof(kn_doorbell), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if address == MAP_FAILED:
            raise OSError(errno, os.strerror(errno), self.path)
        self.at = <kn_doorbell*>address

    @property
    def rings(self) -> int:
        """How often it has rung, modulo 2^32."""
        return kn_load32(&self.at.word)

    def wait(self, seen: int, seconds: float) -> int:
        """Returns when `rings` differs from `seen`, at the latest after the time given, with the value that it then has."""
        cdef uint32_t last = seen
        cdef uint64_t microseconds = <uint64_t>(seconds * 1_000_000)
        if kn_load32(&self.at.word) != last:
            return kn_load32(&self.at.word)
        with nogil:
            kn_add32(&self.at.waiters, 1)
            kn_futex_wait(&self.at.word, last, microseconds)
            kn_add32(&self.at.waiters, <uint32_t>-1)
        return kn_load32(&self.at.word)

    def close(self) -> None:
        """Only when no table uses it any more."""
        if self.at != NULL:
            munmap(self.at, sizeof(kn_doorbell))
            self.at = NULL
