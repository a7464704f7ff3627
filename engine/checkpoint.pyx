"""Checkpoints: index pages that are on disk and belong together, so that recovery replays only what came later.

A checkpoint is a published state whose pages have been synced, written with a checksum into page 0 or 1 of index.kbt, in
turn, so that one is whole while the other is written. Its pages are copy on write like all others, and the page-reuse rule
of reuse.pyx keeps them until the next checkpoint; so it does not matter what the kernel writes back of later transactions.
Whoever makes one holds a reader slot on the state until it is announced as pending, and nobody else makes one at the same
time.

Sealing. A page gets its checksum at the first checkpoint that holds it, before that is synced. Children come before their
parents; so a page with a checksum has only pages with checksums below it, and copy on write keeps it so. Pages that a
reader may be using are only given what they had not, which does not disturb him (pager.pyx).

Whoever dies or fails once he has begun to write its slot may leave one that recovery would start from, and has told nobody:
the checkpoint stays pending. The next one finds out, before he gives up the protection of what recovery might start from.

After a power cut the newest slot whose checksum holds is where replay begins. Which pages are free in it is told by its chains
(freelist.pyx), and damaged pages are met when they are first touched: nothing needs to be walked.
A slot names the file it was written to: in a copy, pages and slot need not belong together, so recovery starts from nothing.
"""

from engine.btree cimport tree_check
from engine.cursor cimport Cursor, cursor_next, cursor_seek, cursor_value
from engine.page cimport cell_at, child_of, page_checksum
from engine.freelist cimport collect_free, free_others, seal_chains, settle
from engine.pager cimport PageList, Pager, Txn, ask_for_leaves, page_at, pager_map, read_page, txn_begin, txn_end
from engine.layout cimport (
    KN_FIRST_PAGE, KN_IDLE, KN_INDEX_FORMAT, KN_NOT_INDEXED, KN_PAGE_SIZE, kn_checkpoint, kn_crc32c, kn_meta, kn_page, kn_store32,
    kn_store64, kn_tree,
)
from engine.posix cimport EIO, ENOMEM, EROFS, EUCLEAN, errno, fstat, pread, stat_result
from engine.core cimport Core
from engine.shared cimport begin_read, lock_writer, publish, read_published, unlock
from engine.sync cimport core_sync
from engine.vfs cimport AT_BEGUN, AT_CHECKPOINT, AT_SLOT_WRITTEN, data_sync, failpoint, memory_sync, write_at
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    CHUNK_PAGES = 16384
    SYNC_MS = 20000

cdef char* MAGIC = b"KNCP"


cdef uint32_t _checksum(const kn_checkpoint* slot) noexcept nogil:
    return kn_crc32c(0, slot, <size_t>(<const char*>&slot.crc - <const char*>slot))


cdef int begin_checkpoint(Core* core, uint32_t slot, kn_meta* meta, int milliseconds) noexcept nogil:
    """Pins the head, in a state that has all free pages in chains, with this reader slot; `meta` is what to write."""
    cdef kn_meta head
    cdef Txn txn
    cdef bint changed = False
    cdef int result = lock_writer(core.shared, milliseconds)
    if result < 0:
        return result
    read_published(&core.shared.head, &head)
    txn_begin(&txn, &core.pager, &head)
    result = -EROFS if core.shared.poisoned else pager_map(&core.pager, head.next_pgno)
    if result == 0:
        result = settle(&txn, &changed)
    if result == 0 and changed:
        publish(&core.shared.head, &txn.meta)
    if result == 0:
        begin_read(core.shared, slot, &core.shared.head, meta)
    txn_end(&txn)
    unlock(&core.shared.writer)
    return result


cdef int write_checkpoint(Core* core, uint32_t reader, int index_fd, const kn_meta* meta) noexcept nogil:
    """Makes the state `meta`, which the caller's reader slot is on, the one that recovery starts from. The slot is on nothing
    afterwards: it would keep what was freed meanwhile from being used again, also what is younger than the state."""
    cdef kn_checkpoint slot
    cdef stat_result found
    cdef uint32_t chunk, page = 0
    cdef bint written = False
    cdef int result = 0
    cdef uint64_t appended = core.shared.appended
    if core.shared.index_failed:
        return -EIO
    result = core_sync(core, meta.txn, SYNC_MS)     # durability "interval" lets readers run ahead of the log
    if result < 0:
        return result
    if core.shared.pending_checkpoint:
        result = _find_unfinished(core, index_fd)
        if result < 0:
            return result
    kn_store64(&core.shared.pending_checkpoint, meta.txn)
    kn_store64(&core.shared.readers[reader].txn, KN_IDLE)
    failpoint(AT_BEGUN)
    result = seal(core, meta)
    if result < 0:
        kn_store64(&core.shared.pending_checkpoint, 0)
        return result
    for chunk in range((meta.next_pgno - 1) // CHUNK_PAGES + 1):
        if result == 0:
            result = memory_sync(core.pager.chunks[chunk], _bytes_in(core, chunk))
    if result < 0:
        kn_store32(&core.shared.index_failed, <uint32_t>-result)
    if result == 0:
        result = failpoint(AT_CHECKPOINT)
    if result == 0 and fstat(index_fd, &found) < 0:
        result = -errno
    if result == 0:
        memset(&slot, 0, sizeof(kn_checkpoint))
        memcpy(slot.magic, MAGIC, 4)
        slot.format = KN_INDEX_FORMAT
        memcpy(slot.table_id, core.log.table_id, 16)
        slot.device, slot.inode = found.st_dev, found.st_ino
        memcpy(&slot.meta, meta, sizeof(kn_meta))
        slot.crc = _checksum(&slot)
        page = 1 - core.shared.checkpoint_page
        written = True
        result = write_at(index_fd, &slot, sizeof(kn_checkpoint), <uint64_t>page * KN_PAGE_SIZE)
    if result == 0:
        result = _sync_slot(core, index_fd, page)
        if result < 0:
            kn_store32(&core.shared.index_failed, <uint32_t>-result)
    if result == 0:
        result = failpoint(AT_SLOT_WRITTEN)
    if result == 0:
        core.shared.checkpoint_appended = appended
        core.shared.checkpoint_page = page
        kn_store64(&core.shared.checkpoint, meta.txn)
    if result == 0 or not written:
        kn_store64(&core.shared.pending_checkpoint, 0)
    return result


cdef int _sync_slot(Core* core, int index_fd, uint32_t page) noexcept nogil:
    """Not the whole file, in which transactions have changed many pages meanwhile, unless there is nothing else in it."""
    if core.shared.index_pages < KN_FIRST_PAGE:
        return data_sync(index_fd)
    return memory_sync(page_at(&core.pager, page), KN_PAGE_SIZE)


cdef int seal(Core* core, const kn_meta* meta) noexcept nogil:
    """Gives every page of this state a checksum. The state must be protected from reuse, and none later sealed."""
    cdef Cursor cursor
    cdef kn_tree tree
    cdef int result = _seal_tree(&core.pager, &meta.primary)
    if result == 0:
        result = _seal_tree(&core.pager, &meta.tombstones)
    if result == 0:
        result = _seal_tree(&core.pager, &meta.names)
    if result == 0:
        cursor_seek(&cursor, &core.pager, &meta.directory, b"", 0)
        while cursor.valid and result == 0:
            memcpy(&tree, cursor_value(&cursor), sizeof(kn_tree))
            if tree.value_size != KN_NOT_INDEXED:
                result = _seal_tree(&core.pager, &tree)
            cursor_next(&cursor)
        result = cursor.error if result == 0 else result
    if result == 0:
        result = _seal_tree(&core.pager, &meta.directory)
    if result == 0:
        seal_chains(&core.pager, meta)
        kn_store64(&core.shared.sealed, meta.txn)
    return result


cdef int _seal_tree(Pager* pager, const kn_tree* tree) noexcept nogil:
    if tree.root == 0 or page_at(pager, tree.root).crc != 0:
        return 0
    return _seal_page(pager, read_page(pager, tree.root, tree.height - 1, KN_IDLE))


cdef int _seal_page(Pager* pager, kn_page* page) noexcept nogil:
    """Gives this page, which has no checksum, and all such pages below it one; NULL stands for a damaged page."""
    cdef int index, result
    cdef uint32_t child
    if page == NULL:
        return -EUCLEAN
    ask_for_leaves(pager, page)
    for index in range(page.count if page.level > 0 else 0):
        child = child_of(cell_at(page, index))
        if page_at(pager, child).crc == 0:
            result = _seal_page(pager, read_page(pager, child, page.level - 1, page.txn))
            if result < 0:
                return result
    kn_store32(&page.crc, page_checksum(page))
    return 0


cdef int _find_unfinished(Core* core, int index_fd) noexcept nogil:
    """Makes the newest slot that the file holds the checkpoint that counts: somebody died before he could say so."""
    cdef kn_meta newest
    cdef int result = data_sync(index_fd)
    if result < 0:
        kn_store32(&core.shared.index_failed, <uint32_t>-result)
        return result
    if read_checkpoint(core, index_fd, &newest):
        kn_store64(&core.shared.checkpoint, newest.txn)
    return 0


cdef size_t _bytes_in(Core* core, uint32_t chunk) noexcept nogil:
    """How much of this chunk lies inside the file."""
    cdef uint64_t pages = core.shared.index_pages - <uint64_t>chunk * CHUNK_PAGES
    return (pages if pages < CHUNK_PAGES else CHUNK_PAGES) * KN_PAGE_SIZE


cdef bint read_checkpoint(Core* core, int index_fd, kn_meta* meta) noexcept nogil:
    """The newest sound checkpoint; False when there is none."""
    cdef kn_checkpoint slot
    cdef stat_result found
    cdef uint32_t page
    cdef bint any = False
    if fstat(index_fd, &found) < 0:
        return False
    for page in range(KN_FIRST_PAGE):
        if pread(index_fd, &slot, sizeof(kn_checkpoint), page * KN_PAGE_SIZE) != sizeof(kn_checkpoint):
            continue
        if memcmp(slot.magic, MAGIC, 4) != 0 or slot.format != KN_INDEX_FORMAT or _checksum(&slot) != slot.crc:
            continue
        if memcmp(slot.table_id, core.log.table_id, 16) != 0 or slot.device != found.st_dev or slot.inode != found.st_ino:
            continue
        if not any or slot.meta.txn > meta.txn:
            memcpy(meta, &slot.meta, sizeof(kn_meta))
            core.shared.checkpoint_page = page
            any = True
    return any


cdef int check_trees(Core* core, const kn_meta* meta) noexcept nogil:
    """Walks every tree of the state; -EUCLEAN when one is not sound."""
    cdef uint8_t* seen = <uint8_t*>calloc(meta.next_pgno, 1)
    cdef int result = _mark(core, meta, seen) if seen != NULL else -ENOMEM
    free(seen)
    return result


cdef int free_unreachable(Core* core, kn_meta* meta) noexcept nogil:
    """One more transaction on a state that nobody else has seen: checks its trees and frees every page that neither they nor
    the rings hold. Under the writer mutex."""
    cdef uint8_t* seen = <uint8_t*>calloc(meta.next_pgno, 1)
    cdef Txn txn
    cdef int result
    if seen == NULL:
        return -ENOMEM
    txn_begin(&txn, &core.pager, meta)
    result = _mark(core, meta, seen)
    if result == 0:
        result = free_others(&txn, seen)
    if result == 0:
        memcpy(meta, &txn.meta, sizeof(kn_meta))
    txn_end(&txn)
    free(seen)
    return result


cdef int _mark_free(const PageList* pages, uint32_t next_pgno, uint8_t* seen) noexcept nogil:
    cdef int index
    for index in range(pages.count):
        if pages.at[index].pgno >= next_pgno or seen[pages.at[index].pgno]:
            return -EUCLEAN
        seen[pages.at[index].pgno] = 1
    return 0


cdef int account(Core* core, uint32_t* lost, int milliseconds) noexcept nogil:
    """Counts the pages of the head that are neither in a tree nor free; -EUCLEAN when one is both. Nobody can write meanwhile."""
    cdef kn_meta head
    cdef PageList pages, chains
    cdef uint8_t* seen = NULL
    cdef uint32_t pgno
    cdef int result = lock_writer(core.shared, milliseconds)
    if result < 0:
        return result
    memset(&pages, 0, sizeof(PageList))
    memset(&chains, 0, sizeof(PageList))
    read_published(&core.shared.head, &head)
    result = pager_map(&core.pager, head.next_pgno)
    seen = <uint8_t*>calloc(head.next_pgno, 1)
    if seen == NULL:
        result = -ENOMEM
    if result == 0:
        result = _mark(core, &head, seen)
    if result == 0:
        result = collect_free(&core.pager, &head, &pages, &chains)
    if result == 0:
        result = _mark_free(&pages, head.next_pgno, seen)
    if result == 0:
        result = _mark_free(&chains, head.next_pgno, seen)
    unlock(&core.shared.writer)
    lost[0] = 0
    for pgno in range(KN_FIRST_PAGE, head.next_pgno if result == 0 else 0):
        lost[0] += not seen[pgno]
    free(seen)
    free(pages.at)
    free(chains.at)
    return result


cdef int _mark(Core* core, const kn_meta* meta, uint8_t* seen) noexcept nogil:
    cdef Cursor cursor
    cdef kn_tree tree
    cdef int result = tree_check(&core.pager, &meta.primary, meta.txn, seen, meta.next_pgno)
    if result == 0:
        result = tree_check(&core.pager, &meta.tombstones, meta.txn, seen, meta.next_pgno)
    if result == 0:
        result = tree_check(&core.pager, &meta.names, meta.txn, seen, meta.next_pgno)
    if result == 0:
        result = tree_check(&core.pager, &meta.directory, meta.txn, seen, meta.next_pgno)
    if result == 0:
        cursor_seek(&cursor, &core.pager, &meta.directory, b"", 0)
        while cursor.valid and result == 0:
            memcpy(&tree, cursor_value(&cursor), sizeof(kn_tree))
            if tree.value_size != KN_NOT_INDEXED:
                result = tree_check(&core.pager, &tree, meta.txn, seen, meta.next_pgno)
            cursor_next(&cursor)
        if result == 0 and cursor.error < 0:
            result = cursor.error
    return -EUCLEAN if result < 0 else 0
