"""Commit: how a batch of operations becomes a frame of the log and a change of the trees."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from engine.core cimport Core
from engine.layout cimport kn_meta
from engine.pager cimport Txn


cdef enum Intent:
    INSERT = 1                  # put if absent
    UPDATE                      # merge if present
    UPSERT                      # merge or put
    REMOVE                      # delete if present
    REPLICATE_PUT               # put unless a later version is there
    REPLICATE_REMOVE            # delete unless a later version is there
    INTRODUCE                   # a new attribute
    WITHDRAW                    # a dropped attribute
    ADVANCE                     # the source counts as applied up to `version`; without a source: the epoch that begins


cdef enum Outcome:
    DONE = 0
    SKIPPED
    SUPERSEDED


cdef enum Verdict:              # of a commit, beside negative errnos
    COMMITTED = 0
    NOTHING                     # every operation was skipped
    CONFLICT
    STALE_NAMES
    DUPLICATE
    GAP
    TOO_LARGE
    NO_ROOM                     # the frame does not fit into the segment
    ALONE                       # to be committed by itself


cdef struct Operation:
    Intent intent
    Outcome outcome
    const uint8_t* key
    uint32_t key_length
    const uint8_t* body
    uint32_t body_length
    uint32_t expected_segno, expected_offset    # 0 = whatever is there
    uint64_t version, created                   # REPLICATE_* only


cdef struct Source:             # of a replicated transaction
    uint8_t node[16]
    uint32_t epoch
    const char* name
    int name_length
    uint64_t sequence           # 0 = rows of a snapshot, outside the sequence
    uint64_t version


cdef struct Batch:
    Operation* operations
    int count
    uint8_t operation           # what the user called it, for the logs
    const char* user
    int user_length
    uint64_t names_generation
    Source* source              # NULL = this node
    bint awaited                # somebody waits until it is on disk
    bint unreplicated           # of this node alone: it gets no number among its transactions
    uint64_t version            # out
    uint64_t txn                # out: the state that must be on disk before a reply leaves


cdef int begin_commit(Core* core, kn_meta* start) noexcept nogil
cdef int add_frame(Core* core, Txn* txn, Batch* batch) noexcept nogil
cdef int end_trees(Core* core, Txn* txn) noexcept nogil
cdef void withdraw_frames(Core* core, uint32_t segno, const uint32_t* places, int count) noexcept nogil
cdef void publish_head(Core* core, const kn_meta* meta) noexcept nogil
cdef int roll(Core* core, kn_meta* start, size_t room) noexcept nogil
cdef bint knows_user(Core* core, Txn* txn, const Batch* batch) noexcept nogil
cdef int core_commit(Core* core, Batch* batch, int milliseconds) noexcept nogil
