"""Log segments: `000001.log`, `000002.log`, … in the table's directory, the system of record.

Segments are made whole before they are used: written full of zeros under another name, synced, renamed. So an append
changes no metadata of the file, and its fdatasync has only the data to wait for. The zeros are written in small pieces,
because what was written at once the kernel keeps in one folio, and to write back a block of a large one that is mapped it
looks at all its pages: 15 µs of each sync. A segment comes into use when its header is written (with a fresh salt, so that
no bytes of an earlier life pass a checksum); one without a valid header is a spare.

The formats of segment header, frame and operation stand in c/layout.h; what frames mean, in transaction.pyx.
"""

from engine.layout cimport (
    KN_FORMAT, KN_SEGMENT_HEADER, kn_crc32c, kn_frame, kn_load32, kn_load_pointer, kn_segment, kn_swap32, kn_swap_pointer,
)
from engine.posix cimport EIO, ENOENT, ENOMEM, MAP_FAILED, MAP_SHARED, O_CREAT, O_RDWR, O_TRUNC, PROT_READ, errno, mmap, munmap
from engine.vfs cimport (
    AT_ACTIVATED, AT_COPIED, AT_PREPARED, close_file, data_sync, failpoint, file_size, file_sync, now_microseconds, open_file,
    remove_file, rename_file, start_writing, sync_directory, will_need, write_at,
)
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strlen

cdef enum:
    PATH_ROOM = 4096
    ZEROS = 16384
    BLOT = 128

cdef char* MAGIC = b"KNLG"


cdef int log_open(Log* log, const char* directory, const uint8_t* table_id) noexcept nogil:
    if strlen(directory) >= sizeof(log.directory):
        return -EIO
    memset(log, 0, sizeof(Log))
    memcpy(log.directory, directory, strlen(directory) + 1)
    memcpy(log.table_id, table_id, 16)
    log.base = <uint8_t**>calloc(SEGMENTS, sizeof(uint8_t*))
    log.size = <uint64_t*>calloc(SEGMENTS, sizeof(uint64_t))
    log.descriptor = <uint32_t*>calloc(SEGMENTS, sizeof(uint32_t))
    return 0 if log.base != NULL and log.size != NULL and log.descriptor != NULL else -ENOMEM


cdef void log_close(Log* log) noexcept nogil:
    cdef uint32_t segno
    if log.descriptor != NULL and log.base != NULL:
        for segno in range(1, log.highest + 1):
            if log.descriptor[segno] == 0:
                continue
            if log.base[segno] != NULL:
                munmap(log.base[segno], log.size[segno])
            close_file(<int>log.descriptor[segno] - 1)
    free(log.base)
    free(log.size)
    free(log.descriptor)
    log.base, log.size, log.descriptor = NULL, NULL, NULL


cdef uint64_t segment_size(uint64_t log_bytes) noexcept nogil:
    """The size of the next segment of a log of this size, about a quarter of it: small tables stay small, large ones roll
    rarely."""
    cdef uint64_t size = SMALLEST_SEGMENT
    while size < LARGEST_SEGMENT and size * 8 <= log_bytes:
        size *= 2
    return size


cdef void _path(Log* log, uint32_t segno, const char* suffix, char* out) noexcept nogil:
    snprintf(out, PATH_ROOM, b"%s/%06u.log%s", log.directory, segno, suffix)


cdef int log_map(Log* log, uint32_t segno) noexcept nogil:
    """Opens and maps the segment unless it is. Two threads may both do it; one gives its mapping back."""
    cdef char path[PATH_ROOM]
    cdef uint64_t size
    cdef void* address
    cdef int fd, error
    cdef uint32_t highest
    if segno == 0 or segno >= SEGMENTS:
        return -EIO
    if kn_load_pointer(<void**>&log.base[segno]) != NULL:
        return 0
    _path(log, segno, b"", path)
    fd = open_file(path, O_RDWR)
    if fd < 0:
        return fd
    error = file_size(fd, &size)
    if error == 0 and size < KN_SEGMENT_HEADER:
        error = -EIO
    if error < 0:
        close_file(fd)
        return error
    will_need(fd, 0, KN_SEGMENT_HEADER)     # else the first look at it reads megabytes around it
    address = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0)
    if address == MAP_FAILED:
        error = -errno
        close_file(fd)
        return error
    if not kn_swap32(&log.descriptor[segno], 0, <uint32_t>fd + 1):
        munmap(address, size)
        close_file(fd)
        while kn_load_pointer(<void**>&log.base[segno]) == NULL:
            pass
        return 0
    log.size[segno] = size
    highest = kn_load32(&log.highest)
    while highest < segno and not kn_swap32(&log.highest, highest, segno):
        highest = kn_load32(&log.highest)
    kn_swap_pointer(<void**>&log.base[segno], NULL, address)
    return 0


cdef int log_prepare(Log* log, uint32_t segno, uint64_t size) noexcept nogil:
    """Makes the spare segment, complete and on disk, unless its file is there. Under the writer mutex. What a process left
    that was killed in here is written over; what cannot be finished is removed, it may be the room that others lack."""
    cdef char path[PATH_ROOM]
    cdef char unfinished[PATH_ROOM]
    cdef int fd, error = 0
    cdef uint64_t at = 0
    cdef void* zeros
    _path(log, segno, b"", path)
    fd = open_file(path, O_RDWR)
    if fd >= 0:
        close_file(fd)
        return 0
    if fd != -ENOENT:               # it may be there: putting another in its place would take it from the log
        return fd
    _path(log, segno, b".new", unfinished)
    zeros = calloc(1, ZEROS)
    if zeros == NULL:
        return -ENOMEM
    fd = open_file(unfinished, O_RDWR | O_CREAT)
    if fd < 0:
        free(zeros)
        return fd
    while at < size and error == 0:
        error = write_at(fd, zeros, ZEROS if size - at > ZEROS else size - at, at)
        at += ZEROS
    free(zeros)
    if error == 0:
        error = file_sync(fd)
    close_file(fd)
    if error == 0:
        error = failpoint(AT_PREPARED)
    if error == 0:
        error = rename_file(unfinished, path)
    if error < 0:
        remove_file(unfinished)
    if error == 0:
        error = sync_directory(log.directory)
    return error


cdef int log_install(Log* log, uint32_t segno, kn_segment* header, const void* frames, size_t size) noexcept nogil:
    """Makes a compacted segment of a header (whose identity and checksum are filled in here) and `size` bytes of frames,
    on disk when it appears under its name."""
    cdef char path[PATH_ROOM]
    cdef char unfinished[PATH_ROOM]
    cdef uint8_t first[KN_SEGMENT_HEADER]
    cdef int fd, error
    memcpy(header.magic, MAGIC, 4)
    memcpy(header.table_id, log.table_id, 16)
    header.format, header.segno = KN_FORMAT, segno
    header.crc = kn_crc32c(0, header, <size_t>(<char*>&header.crc - <char*>header))
    memset(first, 0, KN_SEGMENT_HEADER)
    memcpy(first, header, sizeof(kn_segment))
    _path(log, segno, b".new", unfinished)
    _path(log, segno, b"", path)
    fd = open_file(unfinished, O_RDWR | O_CREAT | O_TRUNC)
    if fd < 0:
        return fd
    error = write_at(fd, first, KN_SEGMENT_HEADER, 0)
    if error == 0:
        error = write_at(fd, frames, size, KN_SEGMENT_HEADER)
    if error == 0:
        error = file_sync(fd)
    close_file(fd)
    if error == 0:
        error = failpoint(AT_COPIED)
    if error == 0:
        error = rename_file(unfinished, path)
    if error == 0:
        error = sync_directory(log.directory)
    return error


cdef void log_forget(Log* log, uint32_t segno) noexcept nogil:
    """Gives the mapping of a segment back that nobody here reads any more."""
    if log.base[segno] != NULL:
        munmap(log.base[segno], log.size[segno])
        close_file(<int>log.descriptor[segno] - 1)
        log.base[segno], log.descriptor[segno], log.size[segno] = NULL, 0, 0


cdef bint header_is_valid(const kn_segment* header, const uint8_t* table_id, uint32_t segno) noexcept nogil:
    return (memcmp(header.magic, MAGIC, 4) == 0 and header.format == KN_FORMAT and header.segno == segno
            and memcmp(header.table_id, table_id, 16) == 0
            and kn_crc32c(0, header, <size_t>(<char*>&header.crc - <char*>header)) == header.crc)


cdef int log_activate(Log* log, uint32_t segno, uint64_t first_seq, uint64_t salt) noexcept nogil:
    """Writes the header that brings a spare into use; the caller's next sync of the segment makes it durable."""
    cdef kn_segment header
    memset(&header, 0, sizeof(kn_segment))
    memcpy(header.magic, MAGIC, 4)
    header.format = KN_FORMAT
    memcpy(header.table_id, log.table_id, 16)
    header.segno, header.first_seq, header.salt, header.created = segno, first_seq, salt, now_microseconds()
    header.crc = kn_crc32c(0, &header, <size_t>(<char*>&header.crc - <char*>&header))
    cdef int result = log_write(log, segno, 0, &header, sizeof(kn_segment))
    return result if result < 0 else failpoint(AT_ACTIVATED)


cdef int log_blot(Log* log, uint32_t segno, uint64_t offset, size_t length) noexcept nogil:
    """Zeros where a header is, or could be taken for one. Up to BLOT bytes; nothing is written if they are zero already. The
    caller's next sync makes it durable."""
    cdef uint8_t zeros[BLOT]
    memset(zeros, 0, BLOT)
    if offset >= log.size[segno]:
        return 0
    if length > log.size[segno] - offset:
        length = log.size[segno] - offset
    if memcmp(log.base[segno] + offset, zeros, length) == 0:
        return 0
    return log_write(log, segno, <uint32_t>offset, zeros, length)


cdef int log_write(Log* log, uint32_t segno, uint32_t offset, const void* data, size_t size) noexcept nogil:
    """The segment must be mapped."""
    return write_at(<int>kn_load32(&log.descriptor[segno]) - 1, data, size, offset)


cdef void log_start_writing(Log* log, uint32_t segno, uint32_t offset, size_t size) noexcept nogil:
    """The disk may begin with this part of a mapped segment; a sync is still to come."""
    start_writing(<int>kn_load32(&log.descriptor[segno]) - 1, offset, size)


cdef bint frame_is_whole(Log* log, uint32_t segno, uint32_t offset) noexcept nogil:
    """Whether a frame with a checksum that holds begins here, in a mapped segment."""
    cdef const kn_frame* frame = <const kn_frame*>(log.base[segno] + offset)
    cdef uint64_t room
    if offset + sizeof(kn_frame) > log.size[segno]:
        return False
    room = log.size[segno] - offset
    return (sizeof(kn_frame) <= frame.length <= room and frame.length % 8 == 0
            and kn_crc32c(<uint32_t>segment_header(log, segno).salt, &frame.seq, frame.length - 8) == frame.crc)


cdef void log_will_need(Log* log, uint32_t segno, uint32_t offset, uint32_t length) noexcept nogil:
    """A hint: this part of a segment is read soon."""
    if log_map(log, segno) == 0:
        will_need(<int>kn_load32(&log.descriptor[segno]) - 1, offset, length)


cdef int log_sync(Log* log, uint32_t first, uint32_t last) noexcept nogil:
    """fdatasync of the segments first … last."""
    cdef uint32_t segno
    cdef int error
    for segno in range(first, last + 1):
        error = log_map(log, segno)
        if error == -ENOENT:        # compacted away, or a number that was never used
            continue
        if error == 0:
            error = data_sync(<int>kn_load32(&log.descriptor[segno]) - 1)
        if error < 0:
            return error
    return 0
