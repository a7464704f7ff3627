"""The only door of the core to the file system, and the failpoints in it."""

from libc.stdint cimport uint64_t


cdef enum Failpoint:
    AT_LOCKED = 0       # the writer mutex was taken
    AT_COMPOSED         # the frame is complete in memory, nothing is written
    AT_HALF_WRITTEN     # the first half of the frame is in the file
    AT_WRITTEN          # the frame is in the file, not all of it in the trees, nothing is published
    AT_SLOT             # the head slot is written, its generation is not
    AT_PUBLISHED        # the generation is stored, the mutex still held
    AT_UNLOCKED         # the mutex was released, nothing is synced
    AT_SUBMITTED        # a small write waits in a seat
    AT_SYNC_LOCKED      # the sync mutex was taken
    AT_YIELDED          # who gathers others for a sync gave his core away, and has it again
    AT_SYNC             # just before fdatasync of the log
    AT_SYNCED           # after fdatasync, nothing is visible
    AT_TURNED           # visible, and who waits for it cannot tell yet
    AT_VISIBLE          # visible, sync mutex still held
    AT_READ             # a reader registered its snapshot
    AT_ROLL             # a new log segment is about to be used
    AT_GROW             # the index file is about to grow
    AT_CHECKPOINT       # pages are on disk, the checkpoint slot is not
    AT_PREPARED         # a new segment is complete under an unfinished name
    AT_ACTIVATED        # the header of a new segment is written, nothing else in it
    AT_SLOT_WRITTEN     # a checkpoint slot is on disk, nobody knows of it
    AT_GATHERED         # a compacted segment is on disk, nothing points to it
    AT_ADOPTED          # some of the trees point to it, the writer mutex still held
    AT_ANCHORED         # no checkpoint points to the segments it replaces, they are still there
    AT_REMOVED          # one of them was unlinked
    AT_BEGUN            # a checkpoint is announced, none of its pages is synced
    AT_COPIED           # a compacted segment is complete under an unfinished name
    AT_ADOPTING         # some of the trees point to it, unpublished, the writer mutex held
    FAILPOINTS


cdef int failpoint(Failpoint at) noexcept nogil
cdef bint watched() noexcept nogil
cdef int open_file(const char* path, int flags) noexcept nogil
cdef int close_file(int fd) noexcept nogil
cdef int write_at(int fd, const void* data, size_t size, uint64_t offset) noexcept nogil
cdef void start_writing(int fd, uint64_t offset, size_t size) noexcept nogil
cdef int data_sync(int fd) noexcept nogil
cdef int file_sync(int fd) noexcept nogil
cdef int allocate(int fd, uint64_t offset, uint64_t length) noexcept nogil
cdef int punch(int fd, uint64_t offset, uint64_t length) noexcept nogil
cdef void will_need(int fd, uint64_t offset, uint64_t length) noexcept nogil
cdef void read_singly(void* address, size_t length) noexcept nogil
cdef bint is_in_memory(void* page) noexcept nogil
cdef int memory_sync(void* address, size_t length) noexcept nogil
cdef int sync_directory(const char* path) noexcept nogil
cdef int remove_file(const char* path) noexcept nogil
cdef int rename_file(const char* old, const char* new) noexcept nogil
cdef int file_size(int fd, uint64_t* size) noexcept nogil
cdef uint64_t now_microseconds() noexcept nogil
