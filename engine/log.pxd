"""The segments of a table's log."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from engine.layout cimport KN_COMPACTED, kn_op, kn_segment


cdef enum:
    SEGMENTS = 262144           # 16 TiB of log per table
    SMALLEST_SEGMENT = 262144   # bytes
    LARGEST_SEGMENT = 67108864
    MAX_FRAME = 67108864


cdef struct Log:
    char directory[3840]
    uint8_t table_id[16]
    uint8_t** base              # mapped read-only on first use
    uint64_t* size
    uint32_t highest            # segment number ever mapped here
    uint32_t* descriptor        # file descriptor + 1; 0 = not open


cdef int log_open(Log* log, const char* directory, const uint8_t* table_id) noexcept nogil
cdef void log_close(Log* log) noexcept nogil
cdef int log_map(Log* log, uint32_t segno) noexcept nogil
cdef int log_prepare(Log* log, uint32_t segno, uint64_t size) noexcept nogil
cdef int log_install(Log* log, uint32_t segno, kn_segment* header, const void* frames, size_t size) noexcept nogil
cdef void log_forget(Log* log, uint32_t segno) noexcept nogil
cdef int log_activate(Log* log, uint32_t segno, uint64_t first_seq, uint64_t salt) noexcept nogil
cdef int log_write(Log* log, uint32_t segno, uint32_t offset, const void* data, size_t size) noexcept nogil
cdef void log_start_writing(Log* log, uint32_t segno, uint32_t offset, size_t size) noexcept nogil
cdef int log_blot(Log* log, uint32_t segno, uint64_t offset, size_t length) noexcept nogil
cdef bint frame_is_whole(Log* log, uint32_t segno, uint32_t offset) noexcept nogil
cdef void log_will_need(Log* log, uint32_t segno, uint32_t offset, uint32_t length) noexcept nogil
cdef int log_sync(Log* log, uint32_t first, uint32_t last) noexcept nogil
cdef uint64_t segment_size(uint64_t log_bytes) noexcept nogil


cdef inline const kn_segment* segment_header(Log* log, uint32_t segno) noexcept nogil:
    return <const kn_segment*>log.base[segno]


cdef inline const kn_op* op_at(Log* log, uint32_t segno, uint32_t offset) noexcept nogil:
    """The operation at this place of a mapped segment."""
    return <const kn_op*>(log.base[segno] + offset)


cdef inline bint is_compacted(Log* log, uint32_t segno) noexcept nogil:
    return (<const kn_segment*>log.base[segno]).flags & KN_COMPACTED


cdef inline bint has_header(Log* log, uint32_t segno) noexcept nogil:
    return header_is_valid(<const kn_segment*>log.base[segno], log.table_id, segno)


cdef bint header_is_valid(const kn_segment* header, const uint8_t* table_id, uint32_t segno) noexcept nogil
