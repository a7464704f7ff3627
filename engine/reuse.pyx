"""Which free pages of the index may be used again.

A page made by transaction B and freed by F belongs to the states from B on to before F. It may be used again when none of
these can be needed any more, which is to say:

  F <= visible                              for readers to come, who will begin with that state or a later one
  not B <= R < F                            for each reader, of state R
  not B <= C < F                            for each checkpoint C that recovery may start from

So a reader keeps the pages of its state, and no more of those that come and go while it reads.
"""

from engine.layout cimport KN_IDLE, kn_fence, kn_free_page, kn_load32, kn_load64, kn_meta, kn_shared
from engine.pager cimport READING, Txn
from engine.shared cimport read_published
from libc.stdint cimport uint32_t, uint64_t


cdef bint checkpoints_allow(kn_shared* shared, const kn_free_page* page) noexcept nogil:
    """The pending one is asked for first: it becomes the durable one before it is no longer pending."""
    cdef uint64_t pending = kn_load64(&shared.pending_checkpoint)
    cdef uint64_t durable = kn_load64(&shared.checkpoint)
    return (page.born > durable or page.freed <= durable) and (page.born > pending or page.freed <= pending)


cdef void note_readers(Txn* txn) noexcept nogil:
    """Which states are read, once per transaction. Whoever begins to read later, or moves on, has a state no older than what is
    visible now (shared.pyx)."""
    cdef kn_shared* shared = txn.pager.shared
    cdef kn_meta visible
    cdef uint32_t index
    cdef uint64_t state
    read_published(&shared.visible, &visible)
    kn_fence()
    txn.visible = txn.oldest = visible.txn
    txn.readers = 0
    for index in range(kn_load32(&shared.reader_limit)):
        state = kn_load64(&shared.readers[index].txn)
        if state == KN_IDLE or state >= txn.visible:
            continue
        if state < txn.oldest:
            txn.oldest = state
        if txn.readers < READING:
            txn.reading[txn.readers] = state
        txn.readers += 1


cdef bint is_read(const Txn* txn, const kn_free_page* page) noexcept nogil:
    """Whether a reader needs this page, which was freed before the visible state."""
    cdef int index
    if page.freed <= txn.oldest:
        return False
    if txn.readers > READING:               # too many to tell
        return True
    for index in range(txn.readers):
        if page.born <= txn.reading[index] < page.freed:
            return True
    return False
