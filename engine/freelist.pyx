"""The free pages of the index: where they are kept until they are used again, and giving their blocks back.

When a page may be used again is told in reuse.pyx. For checkpoints there are three kinds:

  young    made after the last checkpoint: soon free again and still in the cache. A ring in shared memory.
  ready    the last checkpoint does not hold them; only readers may. Chains of pages.
  waiting  the last checkpoint holds them: until the next one. A ring in shared memory, `old`, and a chain behind it.

A page that turns out to be read still is put back, behind the others; one that the last checkpoint holds, and the pending one
does not, is put to those that wait. Else what could be used would be kept behind them, and the index grow meanwhile. So a
transaction looks at some pages more than it takes, in proportion.

What a ring has no room for goes to the chains. Ring positions and the tops of the chains are part of the published state,
and published pages of a chain are not written to: a writer that dies has taken nothing out.

    ready -> page -> page -> 0        the chain that pages are taken from, `taken` of the first one's
    after -> page -> page -> 0        what comes then: the top page of a chain names the top of the one after it, too
              `-> page -> 0
    waiting -> page -> 0

A checkpoint begins with a state in which all free pages are in the ready chains (`settle`). So recovery has them with the
trees, and needs to walk neither.
"""

from engine.layout cimport (
    KN_CHAIN, KN_CHAINED, KN_FIRST_PAGE, KN_PAGE_SIZE, KN_RING, kn_chain, kn_free_page, kn_load64, kn_meta, kn_page, kn_shared,
    kn_store32,
)
from engine.page cimport page_checksum
from engine.pager cimport (
    PageList, Pager, Txn, free_page, new_page, page_at, pager_map, pager_shorten, read_page, return_spares, txn_begin, txn_end,
)
from engine.posix cimport ENOMEM, EUCLEAN
from engine.reuse cimport checkpoints_allow, is_read, note_readers
from engine.shared cimport lock_writer, oldest_reader, publish, read_published, unlock
from engine.vfs cimport punch
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcpy, memset

cdef enum:
    HOLES = 1024                # at most so many are made under one hold of the writer mutex
    PASSED_OVER = 256           # at most so many pages does a transaction put back
    WORTH = 4                   # and so many more for each page that it takes


# ---- lists in memory ----

cdef int _append(PageList* pages, const kn_free_page* page) noexcept nogil:
    cdef kn_free_page* grown
    cdef int room
    if pages.count == pages.room:
        room = pages.room * 2 + KN_CHAINED
        grown = <kn_free_page*>realloc(pages.at, <size_t>room * sizeof(kn_free_page))
        if grown == NULL:
            return -ENOMEM
        pages.at, pages.room = grown, room
    memcpy(pages.at + pages.count, page, sizeof(kn_free_page))
    pages.count += 1
    return 0


cdef void _keep(Txn* txn, PageList* pages, const kn_free_page* page) noexcept nogil:
    if _append(pages, page) < 0:
        txn.meta.leaked += 1


# ---- putting ----

cdef inline kn_meta* _published(Txn* txn) noexcept nogil:
    return &txn.pager.shared.head.slot[txn.pager.shared.head.generation & 1]


cdef void _wait_for_checkpoint(Txn* txn, const kn_free_page* page) noexcept nogil:
    """Room is counted from the published head of the ring: what this transaction took out may have to be there again."""
    if txn.meta.old_tail - _published(txn).old_head >= KN_RING:
        _keep(txn, &txn.late, page)
        return
    memcpy(&txn.pager.shared.old[txn.meta.old_tail % KN_RING], page, sizeof(kn_free_page))
    txn.meta.old_tail += 1


cdef void put_free(Txn* txn, const kn_free_page* page) noexcept nogil:
    if page.born <= kn_load64(&txn.pager.shared.checkpoint):
        _wait_for_checkpoint(txn, page)
        return
    if txn.meta.young_tail - _published(txn).young_head >= KN_RING:
        _keep(txn, &txn.early, page)
        return
    memcpy(&txn.pager.shared.young[txn.meta.young_tail % KN_RING], page, sizeof(kn_free_page))
    txn.meta.young_tail += 1


cdef int _make_chain_page(Txn* txn, PageList* made) noexcept nogil:
    cdef kn_free_page own
    cdef int error = 0
    cdef kn_page* page = new_page(txn, &error)
    if page == NULL:
        return error
    own.pgno, own.hole, own.born, own.freed = page.pgno, 0, txn.id, 0
    return _append(made, &own)


cdef void _fill_chain_page(Txn* txn, uint32_t pgno, PageList* pages, uint32_t* top) noexcept nogil:
    """Moves the last pages of the list into this page of a chain, which becomes its top."""
    cdef kn_chain* chained = <kn_chain*>page_at(txn.pager, pgno)
    cdef uint32_t count = pages.count if pages.count < KN_CHAINED else KN_CHAINED
    pages.count -= count
    if count > 0:
        memcpy(chained.entry, pages.at + pages.count, count * sizeof(kn_free_page))
    chained.page.level, chained.page.value_size, chained.page.count = KN_CHAIN, 0, 0
    chained.page.lower = chained.page.upper = chained.page.unused = chained.page.after = 0
    chained.count, chained.next, chained.after = count, top[0], 0
    txn.meta.chained += count
    top[0] = pgno


cdef int _write_chain(Txn* txn, PageList* pages, uint32_t* top) noexcept nogil:
    """Moves the whole list onto the chain."""
    cdef kn_page* page
    cdef int error = 0
    while pages.count > 0:
        page = new_page(txn, &error)
        if page == NULL:
            return error
        _fill_chain_page(txn, page.pgno, pages, top)
    return 0


cdef void _go_on_with(Txn* txn, uint32_t top) noexcept nogil:
    """Puts a chain, whose top page this transaction made, before those that come after the one in use."""
    (<kn_chain*>page_at(txn.pager, top)).after = txn.meta.after
    txn.meta.after = top


cdef int keep_overflow(Txn* txn) noexcept nogil:
    """At the end of a transaction: what the rings had no room for goes to the chains. Taking pages for them may free others."""
    cdef uint32_t top
    cdef int error = 0
    while error == 0 and (txn.early.count > 0 or txn.late.count > 0):
        if txn.early.count > 0:
            top = 0
            error = _write_chain(txn, &txn.early, &top)
            if error == 0:
                _go_on_with(txn, top)
        if error == 0:
            error = _write_chain(txn, &txn.late, &txn.meta.waiting)
    return error


# ---- taking ----

cdef inline kn_chain* _chain_page(Pager* pager, const kn_meta* meta, uint32_t pgno) noexcept nogil:
    """A page of a chain, or NULL if it is damaged."""
    if pgno < KN_FIRST_PAGE or pgno >= meta.next_pgno:
        return NULL
    return <kn_chain*>read_page(pager, pgno, KN_CHAIN, meta.txn)


cdef bint _next_chained(Txn* txn, kn_free_page* page) noexcept nogil:
    """Whether there is a page in the ready chains, and which is next. What a damaged page of a chain holds is lost, until the
    next open makes the index anew."""
    cdef kn_chain* top
    cdef uint32_t pgno
    while txn.meta.ready != 0 or txn.meta.after != 0:
        if txn.meta.ready == 0:
            txn.meta.ready, txn.meta.taken, txn.meta.after = txn.meta.after, 0, 0
            top = _chain_page(txn.pager, &txn.meta, txn.meta.ready)
            txn.meta.after = top.after if top != NULL else 0
        top = _chain_page(txn.pager, &txn.meta, txn.meta.ready)
        if top == NULL:
            txn.meta.ready = 0
            continue
        if txn.meta.taken < top.count:
            memcpy(page, &top.entry[txn.meta.taken], sizeof(kn_free_page))
            if top.page.txn <= txn.pager.shared.recovered:      # made holes were not noted in what the checkpoint has
                page.hole = 1
            return True
        pgno = txn.meta.ready
        txn.meta.ready, txn.meta.taken = top.next, 0
        if free_page(txn, pgno) < 0:
            txn.meta.leaked += 1
    return False


cdef bint _pass_over(Txn* txn, const kn_free_page* page) noexcept nogil:
    """Puts a page that was taken out back when it is still read."""
    if not is_read(txn, page):
        return False
    txn.passed_over += 1
    put_free(txn, page)
    return True


cdef inline bint _must_stop(Txn* txn, const kn_free_page* page) noexcept nogil:
    """Whether what comes next has to stay where it is."""
    return page.freed > txn.visible or (txn.passed_over >= PASSED_OVER and is_read(txn, page))


cdef bint _take_chained(Txn* txn, kn_free_page* page) noexcept nogil:
    """Whether a page of the ready chains may be used already, taken out."""
    cdef kn_shared* shared = txn.pager.shared
    while _next_chained(txn, page) and not _must_stop(txn, page):
        if not checkpoints_allow(shared, page) and page.freed <= kn_load64(&shared.pending_checkpoint):
            if txn.passed_over >= PASSED_OVER:
                return False            # until that is on disk
            txn.passed_over += 1
        txn.meta.taken += 1
        txn.meta.chained -= 1
        if _pass_over(txn, page):
            continue
        if checkpoints_allow(shared, page):
            return True
        _wait_for_checkpoint(txn, page)
    return False


cdef bint _take_young(Txn* txn, kn_free_page* page) noexcept nogil:
    """Whether a page of the young ring may be used already, taken out."""
    while txn.meta.young_head < txn.meta.young_tail:
        memcpy(page, &txn.pager.shared.young[txn.meta.young_head % KN_RING], sizeof(kn_free_page))
        if _must_stop(txn, page):
            return False
        txn.meta.young_head += 1
        if _pass_over(txn, page):
            continue
        if checkpoints_allow(txn.pager.shared, page):
            return True
        _wait_for_checkpoint(txn, page)
    return False


cdef uint32_t take_free(Txn* txn, bint* hole) noexcept nogil:
    """A page that may be used again, and whether blocks have to be allocated for it; 0 when there is none."""
    cdef kn_free_page page
    if txn.meta.young_head == txn.meta.young_tail and txn.meta.ready == 0 and txn.meta.after == 0:
        return 0
    if not txn.readers_known:
        note_readers(txn)
        txn.readers_known = True
    if not _take_young(txn, &page) and not _take_chained(txn, &page):
        return 0
    txn.passed_over -= WORTH
    hole[0] = page.hole
    return page.pgno


# ---- all of them in the chains ----

cdef void _drain_rings(Txn* txn) noexcept nogil:
    """Moves the contents of both rings to the overflow."""
    while txn.meta.young_head < txn.meta.young_tail:
        _keep(txn, &txn.early, &txn.pager.shared.young[txn.meta.young_head % KN_RING])
        txn.meta.young_head += 1
    while txn.meta.old_head < txn.meta.old_tail:
        _keep(txn, &txn.early, &txn.pager.shared.old[txn.meta.old_head % KN_RING])
        txn.meta.old_head += 1


cdef int settle(Txn* txn, bint* changed) noexcept nogil:
    """Brings all free pages into the ready chains, behind those that are there, because they may have to wait. The pages for it
    are made first: taking them may free others."""
    cdef PageList made
    cdef uint64_t total = 0
    cdef uint32_t top = txn.meta.waiting
    cdef int error = 0, index
    memset(&made, 0, sizeof(PageList))
    while error == 0:
        total = (txn.meta.young_tail - txn.meta.young_head + txn.meta.old_tail - txn.meta.old_head
                 + txn.early.count + txn.late.count)
        if total <= <uint64_t>made.count * KN_CHAINED and (made.count > 0 or txn.meta.waiting == 0):
            break
        error = _make_chain_page(txn, &made)
    if error == 0 and made.count > 0:
        changed[0] = True
        _drain_rings(txn)
        for index in range(txn.late.count):
            _keep(txn, &txn.early, &txn.late.at[index])
        txn.late.count = txn.meta.waiting = 0
        for index in range(made.count):
            _fill_chain_page(txn, made.at[index].pgno, &txn.early, &top)
        _go_on_with(txn, top)
    free(made.at)
    return error


cdef int free_others(Txn* txn, uint8_t* kept) noexcept nogil:
    """Frees every page that is not marked in `kept`, a byte for each below next_pgno, and is in no ring. When they were made is not
    known: so they pass for the oldest, which wait for the next checkpoint. The chains are among them, with what they hold."""
    cdef kn_shared* shared = txn.pager.shared
    cdef kn_free_page other
    cdef uint64_t at
    cdef uint32_t pgno, end = txn.meta.next_pgno
    txn.meta.ready = txn.meta.taken = txn.meta.after = txn.meta.waiting = 0
    txn.meta.chained = 0
    for at in range(txn.meta.young_head, txn.meta.young_tail):
        kept[shared.young[at % KN_RING].pgno] = 1
    for at in range(txn.meta.old_head, txn.meta.old_tail):
        kept[shared.old[at % KN_RING].pgno] = 1
    for pgno in range(KN_FIRST_PAGE, end):
        if not kept[pgno]:
            other.pgno, other.hole, other.born, other.freed = pgno, 0, 1, txn.id
            put_free(txn, &other)
    txn.meta.leaked = 0
    return keep_overflow(txn)


cdef void _seal_chain(Pager* pager, uint32_t top) noexcept nogil:
    cdef kn_page* page
    while top != 0:
        page = page_at(pager, top)
        if page.crc != 0:
            return
        top = (<kn_chain*>page).next
        kn_store32(&page.crc, page_checksum(page))


cdef void seal_chains(Pager* pager, const kn_meta* meta) noexcept nogil:
    """Gives every page of the state's chains a checksum. Those behind one that has it have it, too."""
    cdef uint32_t after = meta.after, top
    _seal_chain(pager, meta.ready)
    _seal_chain(pager, meta.waiting)
    while after != 0 and page_at(pager, after).crc == 0:
        top, after = after, (<kn_chain*>page_at(pager, after)).after
        _seal_chain(pager, top)


# ---- giving space back ----

cdef int _collect_chain(Pager* pager, const kn_meta* meta, uint32_t top, uint32_t taken, PageList* found, PageList* chains) noexcept nogil:
    """Appends what is in a chain to `found`, and the chain's own pages to `chains`."""
    cdef kn_chain* chained
    cdef kn_free_page own
    cdef uint32_t index
    while top != 0:
        chained = _chain_page(pager, meta, top)
        if chained == NULL:
            return -EUCLEAN
        for index in range(taken, chained.count):
            if _append(found, &chained.entry[index]) < 0:
                return -ENOMEM
        taken = 0
        own.pgno, own.hole, own.born, own.freed = top, 0, chained.page.txn, 0
        if _append(chains, &own) < 0:
            return -ENOMEM
        top = chained.next
    return 0


cdef int _collect_chains(Pager* pager, const kn_meta* meta, PageList* found, PageList* chains) noexcept nogil:
    """Appends the free pages in all chains of a state to `found`, and the pages of the chains to `chains`."""
    cdef uint32_t after = meta.after
    cdef kn_chain* top
    cdef int error = _collect_chain(pager, meta, meta.ready, meta.taken, found, chains)
    while error == 0 and after != 0:
        top = _chain_page(pager, meta, after)
        if top == NULL:
            return -EUCLEAN
        error = _collect_chain(pager, meta, after, 0, found, chains)
        after = top.after
    if error == 0:
        error = _collect_chain(pager, meta, meta.waiting, 0, found, chains)
    return error


cdef int collect_free(Pager* pager, const kn_meta* meta, PageList* found, PageList* chains) noexcept nogil:
    """Appends all free pages of the head to `found`, and those that the chains take up to `chains`; under the writer mutex."""
    cdef uint64_t at
    for at in range(meta.young_head, meta.young_tail):
        if _append(found, &pager.shared.young[at % KN_RING]) < 0:
            return -ENOMEM
    for at in range(meta.old_head, meta.old_tail):
        if _append(found, &pager.shared.old[at % KN_RING]) < 0:
            return -ENOMEM
    return _collect_chains(pager, meta, found, chains)


cdef int _by_pgno(const void* one, const void* other) noexcept nogil:
    cdef uint32_t first = (<kn_free_page*>one).pgno
    cdef uint32_t second = (<kn_free_page*>other).pgno
    return 1 if first > second else -1 if first < second else 0


cdef void _mark_holes(Txn* txn, PageList* found) noexcept nogil:
    """Marks those that nobody needs as they are. A hole that is marked and not there costs nothing."""
    cdef kn_shared* shared = txn.pager.shared
    cdef uint64_t safe = oldest_reader(shared)
    cdef kn_free_page* page
    cdef int index
    for index in range(found.count):
        page = found.at + index
        if page.freed <= safe and checkpoints_allow(shared, page):
            page.hole = 1


cdef int _sort_free(Txn* txn, PageList* found) noexcept nogil:
    """Writes all free pages into one chain, in ascending order, with those marked as holes whose blocks may be given back; they
    are left in `found` too. What the chain itself takes is made first."""
    cdef PageList made, chains
    cdef int index, error = 0, count
    memset(&made, 0, sizeof(PageList))
    memset(&chains, 0, sizeof(PageList))
    while error == 0 and <uint64_t>made.count * KN_CHAINED < (
            txn.meta.chained + txn.meta.young_tail - txn.meta.young_head + txn.meta.old_tail - txn.meta.old_head
            + txn.early.count + txn.late.count):
        error = _make_chain_page(txn, &made)
    if error == 0:
        error = collect_free(txn.pager, &txn.meta, found, &chains)
    if error == 0:
        _mark_holes(txn, found)
        if found.count > 0:
            qsort(found.at, found.count, sizeof(kn_free_page), _by_pgno)
        txn.meta.young_head, txn.meta.old_head = txn.meta.young_tail, txn.meta.old_tail
        txn.meta.ready = txn.meta.taken = txn.meta.after = txn.meta.waiting = 0
        txn.meta.chained = 0
        count = found.count
        for index in range(made.count):
            _fill_chain_page(txn, made.at[index].pgno, found, &txn.meta.ready)
        found.count = count
    for index in range(chains.count):
        if error == 0:
            error = free_page(txn, chains.at[index].pgno)
    free(made.at)
    free(chains.at)
    return error


cdef int _punch_holes(Pager* pager, PageList* found) noexcept nogil:
    """Gives back the blocks of some runs of adjacent pages at the end of the list, and takes them off it; under the writer mutex,
    in the state that `_sort_free` made. How many runs, or a negative errno."""
    cdef int holes = 0, start, end, error
    while found.count > 0 and holes < HOLES:
        end = found.count
        found.count -= 1
        if not found.at[end - 1].hole:
            continue
        start = end - 1
        while start > 0 and found.at[start - 1].hole and found.at[start - 1].pgno + 1 == found.at[start].pgno:
            start -= 1
        found.count = start
        error = punch(pager.fd, <uint64_t>found.at[start].pgno * KN_PAGE_SIZE, <uint64_t>(end - start) * KN_PAGE_SIZE)
        if error < 0:
            return error
        holes += 1
    return holes


cdef int _begin_trim(Pager* pager, PageList* found, uint64_t* state, int milliseconds) noexcept nogil:
    """Makes the state in which `found` is in order and marked, and gives back what is allocated behind the last page."""
    cdef kn_meta head
    cdef Txn txn
    cdef int result = lock_writer(pager.shared, milliseconds)
    if result < 0:
        return result
    read_published(&pager.shared.head, &head)
    txn_begin(&txn, pager, &head)
    result = pager_map(pager, head.next_pgno)
    if result == 0:
        result = _sort_free(&txn, found)
    if result == 0:
        result = return_spares(&txn)
    if result == 0:
        publish(&pager.shared.head, &txn.meta)
        state[0] = txn.id
        result = pager_shorten(pager, txn.meta.next_pgno)
    txn_end(&txn)
    unlock(&pager.shared.writer)
    return result


cdef int trim(Pager* pager, int milliseconds) noexcept nogil:
    """Gives blocks of free pages, and of those allocated ahead, back to the file system, for as long as nobody writes. How many
    holes it made, or a negative errno."""
    cdef PageList found
    cdef kn_meta head
    cdef uint64_t state = 0
    cdef int holes = 0, result
    memset(&found, 0, sizeof(PageList))
    result = _begin_trim(pager, &found, &state, milliseconds)
    while result >= 0 and found.count > 0:
        result = lock_writer(pager.shared, milliseconds)
        if result < 0:
            break
        read_published(&pager.shared.head, &head)
        if head.txn == state:
            result = _punch_holes(pager, &found)
            holes += result if result > 0 else 0
        else:
            found.count = 0
        unlock(&pager.shared.writer)
    free(found.at)
    return result if result < 0 else holes
