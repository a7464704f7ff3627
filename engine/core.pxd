"""One table's files as the nogil parts of the engine know them, and what operations of the log look like."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from engine.pager cimport Pager
from engine.layout cimport kn_doorbell, kn_meta, kn_op, kn_shared, kn_tree
from engine.log cimport Log


cdef enum:
    PRIMARY_KEY = 0             # attribute numbers with a meaning of their own
    CREATED_TIME = 1
    UPDATED_TIME = 2
    FIRST_ATTRIBUTE = 3


cdef struct Core:
    kn_shared* shared
    kn_doorbell* doorbell       # NULL for a table outside a node
    uint32_t pid                # of this process, and when it was started
    uint64_t started
    Pager pager
    Log log
    bint timestamps
    uint32_t epoch              # of this node's transactions, until the table has one of its own
    const char* node_name
    int node_name_length
    uint8_t* frame              # guarded by the writer mutex
    size_t frame_room, frame_used
    uint32_t frame_segno, frame_start
    size_t frame_pending        # where in the frame the operation is that has not changed the trees yet; 0 = none
    kn_tree* trees              # attribute trees opened by the running transaction
    uint8_t* tree_states
    uint32_t tree_room


cdef inline void big32(uint8_t* out, uint32_t value) noexcept nogil:
    out[0], out[1], out[2], out[3] = value >> 24, value >> 16 & 255, value >> 8 & 255, value & 255


cdef inline void big16(uint8_t* out, uint32_t value) noexcept nogil:
    out[0], out[1] = value >> 8 & 255, value & 255


cdef inline uint32_t op_length(const kn_op* op) noexcept nogil:
    return sizeof(kn_op) + op.key_length + op.body_length


cdef inline const uint8_t* op_key(const kn_op* op) noexcept nogil:
    return <const uint8_t*>op + sizeof(kn_op)


cdef inline const uint8_t* op_body(const kn_op* op) noexcept nogil:
    return <const uint8_t*>op + sizeof(kn_op) + op.key_length


cdef bint op_is_sound(const kn_op* op, uint64_t room) noexcept nogil
cdef const kn_op* locate(Core* core, uint32_t segno, uint32_t offset) noexcept nogil
cdef int attribute_tree(Core* core, const kn_meta* meta, uint32_t attribute, kn_tree* tree) noexcept nogil
cdef void core_close(Core* core) noexcept nogil
