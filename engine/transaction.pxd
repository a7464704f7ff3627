"""Commit, sync and replay: how a batch of operations becomes a frame of the log and a change of the trees."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from engine.btree cimport Pager, Txn
from engine.layout cimport kn_doorbell, kn_meta, kn_op, kn_shared, kn_tree
from engine.log cimport Log


cdef enum:
    PRIMARY_KEY = 0             # attribute numbers with a meaning of their own
    CREATED_TIME = 1
    UPDATED_TIME = 2
    FIRST_ATTRIBUTE = 3


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
    uint64_t version            # out
    uint64_t txn                # out: the state that must be on disk before a reply leaves


cdef struct Core:
    kn_shared* shared
    kn_doorbell* doorbell       # NULL for a table outside a node
    Pager pager
    Log log
    bint timestamps
    uint32_t epoch              # of this node's transactions, until the table has one of its own
    const char* node_name
    int node_name_length
    uint8_t* frame              # guarded by the writer mutex
    size_t frame_room, frame_used
    uint32_t frame_segno, frame_start
    kn_tree* trees              # attribute trees opened by the running transaction
    uint8_t* tree_states
    uint32_t tree_room


cdef int core_commit(Core* core, Batch* batch, int milliseconds) noexcept nogil
cdef int core_sync(Core* core, uint64_t txn, int milliseconds) noexcept nogil
cdef int core_replay(Core* core, kn_meta* meta, uint32_t* bad_segno, uint32_t* bad_offset) noexcept nogil
cdef void core_close(Core* core) noexcept nogil
cdef bint attribute_tree(Core* core, const kn_meta* meta, uint32_t attribute, kn_tree* tree) noexcept nogil
cdef uint32_t op_length(const kn_op* op) noexcept nogil
cdef bint op_is_sound(const kn_op* op, uint64_t room) noexcept nogil
