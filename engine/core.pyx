"""Where the operation at a place of the log is, which tree is whose, and the end of it all."""

from engine.btree cimport tree_get
from engine.pager cimport pager_close
from engine.layout cimport KN_NOT_INDEXED, kn_crc32c, kn_meta, kn_op, kn_tree
from engine.log cimport log_close, log_map, op_at
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset


cdef bint op_is_sound(const kn_op* op, uint64_t room) noexcept nogil:
    """Its lengths fit into `room` bytes and its checksum holds."""
    if room < sizeof(kn_op) or <uint64_t>op.key_length + op.body_length > room - sizeof(kn_op):
        return False
    return kn_crc32c(0, &op.kind, op_length(op) - 4) == op.crc


cdef const kn_op* locate(Core* core, uint32_t segno, uint32_t offset) noexcept nogil:
    """The operation at this place: in the log, or in the frame that is being composed. NULL when its segment is missing, or
    the operation damaged: what is merged with a damaged record would pass for sound."""
    cdef const kn_op* op
    if segno == core.frame_segno and offset >= core.frame_start:
        return <const kn_op*>(core.frame + (offset - core.frame_start))
    if log_map(&core.log, segno) < 0 or offset >= core.log.size[segno]:
        return NULL
    op = op_at(&core.log, segno, offset)
    return op if op_is_sound(op, core.log.size[segno] - offset) else NULL


cdef int attribute_tree(Core* core, const kn_meta* meta, uint32_t attribute, kn_tree* tree) noexcept nogil:
    """1 with the index of this attribute in a published state, 0 when the attribute is not indexed, or a negative errno."""
    cdef uint8_t key[4]
    cdef const uint8_t* found
    big32(key, attribute)
    cdef int result = tree_get(&core.pager, &meta.directory, key, 4, &found)
    if result < 0:
        return result
    if result == 0:
        memset(tree, 0, sizeof(kn_tree))
        return 1
    memcpy(tree, found, sizeof(kn_tree))
    return tree.value_size != KN_NOT_INDEXED


cdef void core_close(Core* core) noexcept nogil:
    pager_close(&core.pager)
    log_close(&core.log)
    free(core.frame)
    free(core.trees)
    free(core.tree_states)
    core.frame, core.trees, core.tree_states = NULL, NULL, NULL
