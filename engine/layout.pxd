"""The declarations of c/layout.h, c/atomics.h and c/crc32c.h for Cython: one place for every shared structure."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass


cdef extern from "layout.h" nogil:
    enum:
        KN_FORMAT
        KN_INDEX_FORMAT
        KN_PAGE_SIZE
        KN_FIRST_PAGE
        KN_SEGMENT_HEADER
        KN_READERS
        KN_RING
        KN_CHAIN
        KN_CHAINED
        KN_PUT, KN_DELETE, KN_ATTRIBUTE, KN_DROP_ATTRIBUTE, KN_USER, KN_ORIGIN, KN_MARK
        KN_SUPERSEDED
        KN_COMPACTED
        KN_NOT_INDEXED
    uint64_t KN_IDLE

    ctypedef struct kn_page:
        uint32_t pgno
        uint8_t level, value_size
        uint16_t count
        uint64_t txn
        uint16_t lower, upper, unused, after
        uint32_t crc

    ctypedef struct kn_tree:
        uint32_t root
        uint16_t height, value_size
        uint64_t entries

    ctypedef struct kn_meta:
        uint64_t txn, seq, version, local_seq, names_generation
        uint32_t local_epoch, segno, log_end, next_pgno, next_attribute, next_user, next_origin, ready
        kn_tree primary, tombstones, names, directory
        uint64_t young_head, young_tail, old_head, old_tail
        uint64_t chained, leaked
        uint32_t taken, after, waiting, crc

    ctypedef struct kn_locator:
        uint32_t segno, offset, length

    ctypedef struct kn_tombstone:
        uint64_t version
        uint32_t segno, offset

    ctypedef struct kn_checkpoint:
        char magic[4]
        uint32_t format
        uint8_t table_id[16]
        uint64_t device, inode
        kn_meta meta
        uint32_t crc

    ctypedef struct kn_segment:
        char magic[4]
        uint16_t format, flags
        uint8_t table_id[16]
        uint64_t segno, first_seq, salt, created, last_seq
        uint32_t crc

    ctypedef struct kn_frame:
        uint32_t length, crc
        uint64_t seq, version, origin_seq, synced
        uint16_t origin, user
        uint8_t operation, flags
        uint32_t operations, epoch

    ctypedef struct kn_op:
        uint32_t crc
        uint8_t kind, flags
        uint16_t key_length
        uint32_t body_length, previous_segno, previous_offset
        uint16_t origin
        uint64_t version, created

    ctypedef struct kn_free_page:
        uint32_t pgno, hole
        uint64_t born, freed

    ctypedef struct kn_chain:
        kn_page page
        uint32_t next, after, count
        kn_free_page entry[168]

    ctypedef struct kn_reader:
        uint64_t txn
        uint32_t pid
        uint64_t started

    enum:
        KN_SEATS, KN_SEAT_ROOM, KN_EMPTY, KN_SUBMITTED, KN_JUDGED, KN_SERVED

    ctypedef struct kn_seat:
        uint32_t state, pid
        uint64_t started, names_generation
        uint32_t expected_segno, expected_offset
        uint16_t key_length, body_length, user_length
        uint8_t intent, operation, unreplicated
        uint64_t txn, version
        int verdict, outcome
        uint8_t bytes[1976]

    ctypedef struct kn_published:
        uint64_t generation
        kn_meta slot[2]

    ctypedef struct kn_shared:
        char magic[8]
        uint32_t format, ready
        uint64_t boot[2]
        uint64_t device, inode, pid_namespace
        pthread_mutex_t writer, syncer
        kn_published head, visible
        uint64_t synced_txn
        uint64_t checkpoint, pending_checkpoint, recovered, first
        uint32_t poisoned, reader_limit
        uint64_t index_pages, commits, syncs, skips, synced_arrivals
        uint32_t sync_word, checkpoint_page, index_failed
        uint64_t appended, checkpoint_appended, log_bytes
        uint32_t next_segno, removals
        uint64_t syncing_txn
        uint32_t queue_word, company, sync_took, crowded
        uint64_t sealed
        uint32_t damaged, sleepers
        uint64_t index_inode
        uint32_t crc
        uint64_t seats_taken, submitted, serving
        uint32_t litter
        kn_seat seats[32]
        kn_reader readers[1024]
        kn_free_page young[16384]
        kn_free_page old[16384]

    ctypedef struct kn_doorbell:
        char magic[8]
        uint32_t word, waiters


cdef extern from "atomics.h" nogil:
    uint64_t kn_load64(const uint64_t* at)
    uint32_t kn_load32(const uint32_t* at)
    void kn_store64(uint64_t* at, uint64_t value)
    void kn_store32(uint32_t* at, uint32_t value)
    void* kn_load_pointer(void** at)
    void kn_store_pointer(void** at, void* value)
    uint64_t kn_add64(uint64_t* at, uint64_t value)
    void kn_or64(uint64_t* at, uint64_t bits)
    uint64_t kn_set64(uint64_t* at, uint64_t bits)
    uint64_t kn_clear64(uint64_t* at, uint64_t bits)
    int kn_lowest64(uint64_t bits)
    int kn_count64(uint64_t bits)
    uint32_t kn_add32(uint32_t* at, uint32_t value)
    void kn_fence()
    void kn_fence_loads()
    int kn_swap_pointer(void** at, void* expected, void* value)
    void kn_raise32(uint32_t* at, uint32_t value)
    int kn_swap32(uint32_t* at, uint32_t expected, uint32_t value)
    int kn_futex_wait(uint32_t* word, uint32_t seen, uint64_t microseconds)
    void kn_futex_wake(uint32_t* word)
    void kn_futex_wake_one(uint32_t* word)
    void kn_futex_requeue(uint32_t* source, uint32_t* target)
    void kn_pause()


cdef extern from "crc32c.h" nogil:
    uint32_t kn_crc32c(uint32_t seed, const void* data, size_t size)
