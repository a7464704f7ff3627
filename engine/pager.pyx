"""The index file `index.kbt` as pages: mapping, growing, making and freeing them.

The file is mapped in chunks of 64 MiB by every process. A page is written only by the transaction that made it
(`page.txn == txn.id`), while nobody else can reach it; a transaction that changes a page of an earlier one copies it first.

Page reuse. A page made by transaction B and freed by F may be used again when no reader can reach it (F <= the oldest
reader and F <= visible) and no checkpoint that recovery may start from holds it (for each: B > C or F <= C). Freed pages
wait in two rings in shared memory, `young` for pages made after the last checkpoint, which are soon free again and still in
the cache, `old` for the others. Ring positions are part of the published state: a writer that dies has taken nothing out.
What the rings have no room for, after a large transaction or while a reader is slow, is kept in a chain of pages.

Damage. Pages get their checksums when a state is sealed (checkpoint.pyx), not when they are made. A process examines every
page at its first touch: its checksum, that it is where and on the level that it should be and not made later than what
points to it, and that it can be read without leaving it. Pages made after the process has opened the table need no
checksum yet. A damaged page is noted in shared memory; whoever meets it gets -EUCLEAN, and the index is made anew.
"""

from engine.layout cimport (
    KN_FIRST_PAGE, KN_PAGE_SIZE, KN_RING, KN_SPILL, kn_free_page, kn_load32, kn_load64, kn_load_pointer, kn_meta, kn_or64, kn_page, kn_raise32,
    kn_shared, kn_spill, kn_store32, kn_store64, kn_swap_pointer,
)
from engine.page cimport page_checksum, page_is_sound
from engine.posix cimport EFBIG, ENOMEM, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, errno, mmap, munmap
from engine.shared cimport oldest_reader
from engine.vfs cimport AT_GROW, allocate, failpoint, punch
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memcpy, memset

cdef enum:
    FIRST_GROWTH = 64           # pages: 256 KiB, then one part in GROWTH of what is there, up to a chunk
    GROWTH = 8
    HOLES = 1024                # at most so many are made under one hold of the writer mutex


cdef int pager_open(Pager* pager, int fd, kn_shared* shared) noexcept nogil:
    pager.fd = fd
    pager.shared = shared
    pager.mapped = 0
    pager.sealed = kn_load64(&shared.sealed)
    pager.chunks = <uint8_t**>calloc(CHUNKS, sizeof(uint8_t*))
    pager.examined = <uint64_t**>calloc(CHUNKS, sizeof(uint64_t*))
    return 0 if pager.chunks != NULL and pager.examined != NULL else -ENOMEM


cdef void pager_close(Pager* pager) noexcept nogil:
    cdef int index
    if pager.chunks != NULL and pager.examined != NULL:
        for index in range(pager.mapped):
            munmap(pager.chunks[index], <size_t>CHUNK_PAGES * KN_PAGE_SIZE)
            free(pager.examined[index])
    free(pager.chunks)
    free(pager.examined)
    pager.chunks, pager.examined, pager.mapped = NULL, NULL, 0


cdef int pager_map(Pager* pager, uint32_t next_pgno) noexcept nogil:
    """Makes every page below next_pgno addressable. A chunk may reach past the end of the file: nobody touches a page that
    no published state names. Two threads may both map a chunk; one mapping is given back. In ascending order, so that
    whoever finds a chunk mapped can rely on those below."""
    cdef int last = <int>((next_pgno - 1) >> CHUNK_BITS)
    cdef int chunk = last
    cdef void* address
    cdef void* bits
    if last >= CHUNKS:
        return -EFBIG
    while chunk >= 0 and kn_load_pointer(<void**>&pager.chunks[chunk]) == NULL:
        chunk -= 1
    for chunk in range(chunk + 1, last + 1):
        bits = calloc(CHUNK_PAGES // 64, sizeof(uint64_t))
        if bits == NULL:
            return -ENOMEM
        if not kn_swap_pointer(<void**>&pager.examined[chunk], NULL, bits):
            free(bits)
        address = mmap(NULL, <size_t>CHUNK_PAGES * KN_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, pager.fd,
                       <long>chunk * CHUNK_PAGES * KN_PAGE_SIZE)
        if address == MAP_FAILED:
            return -errno
        if not kn_swap_pointer(<void**>&pager.chunks[chunk], NULL, address):
            munmap(address, <size_t>CHUNK_PAGES * KN_PAGE_SIZE)
        kn_raise32(&pager.mapped, <uint32_t>chunk + 1)
    return 0


cdef inline void _note_examined(Pager* pager, uint32_t pgno) noexcept nogil:
    kn_or64(&pager.examined[pgno >> CHUNK_BITS][(pgno & (CHUNK_PAGES - 1)) >> 6], <uint64_t>1 << (pgno & 63))


cdef kn_page* examine_page(Pager* pager, uint32_t pgno, int level, uint64_t txn) noexcept nogil:
    """What read_page does at the first touch. A checksum that is there must hold, also in a page that needs none yet: so
    a page cannot get out of it by a later transaction number."""
    cdef kn_page* page = page_at(pager, pgno)
    cdef uint32_t crc = kn_load32(&page.crc)
    cdef uint64_t pages = kn_load64(&pager.shared.index_pages)
    cdef uint64_t mapped = <uint64_t>kn_load32(&pager.mapped) * CHUNK_PAGES
    if (page.pgno == pgno and page.level == level and page.txn <= txn
            and (crc == page_checksum(page) if crc != 0 else page.txn > pager.sealed)
            and page_is_sound(page, pages if pages < mapped else mapped)):
        _note_examined(pager, pgno)
        return page
    kn_store32(&pager.shared.damaged, pgno)
    return NULL


cdef int pager_grow(Pager* pager, uint64_t pages) noexcept nogil:
    """Allocates blocks for at least `pages` pages, under the writer mutex. Ahead of use, because block allocation at
    write-back would make the log's sync wait for index pages."""
    cdef uint64_t have = pager.shared.index_pages
    cdef uint64_t step
    cdef int result
    while have < pages:
        step = have // GROWTH if have // GROWTH < CHUNK_PAGES else CHUNK_PAGES
        if step < FIRST_GROWTH:
            step = FIRST_GROWTH
        result = failpoint(AT_GROW)
        if result == 0:
            result = allocate(pager.fd, have * KN_PAGE_SIZE, step * KN_PAGE_SIZE)
        if result < 0:
            return result
        have += step
        kn_store64(&pager.shared.index_pages, have)
    return 0


cdef void txn_begin(Txn* txn, Pager* pager, const kn_meta* meta) noexcept nogil:
    memset(txn, 0, sizeof(Txn))
    txn.pager = pager
    memcpy(&txn.meta, meta, sizeof(kn_meta))
    txn.id = meta.txn + 1
    txn.meta.txn = txn.id


cdef void txn_end(Txn* txn) noexcept nogil:
    free(txn.spare)
    free(txn.spilled)
    txn.spare, txn.spilled = NULL, NULL


cdef inline bint _checkpoints_allow(kn_shared* shared, const kn_free_page* page) noexcept nogil:
    cdef uint64_t durable = kn_load64(&shared.checkpoint)
    cdef uint64_t pending = kn_load64(&shared.pending_checkpoint)
    return (page.born > durable or page.freed <= durable) and (page.born > pending or page.freed <= pending)


cdef void _push_old(Txn* txn, const kn_free_page* page) noexcept nogil:
    """Room is counted from the published head position: what this transaction took out may have to be there again."""
    cdef kn_meta* published = &txn.pager.shared.head.slot[txn.pager.shared.head.generation & 1]
    if txn.meta.old_tail - published.old_head >= KN_RING:
        _spill(txn, page)
        return
    memcpy(&txn.pager.shared.old[txn.meta.old_tail % KN_RING], page, sizeof(kn_free_page))
    txn.meta.old_tail += 1


cdef void _spill(Txn* txn, const kn_free_page* page) noexcept nogil:
    cdef kn_free_page* grown
    if txn.spills == txn.spill_room:
        grown = <kn_free_page*>realloc(txn.spilled, (txn.spill_room * 2 + KN_SPILL) * sizeof(kn_free_page))
        if grown == NULL:
            txn.meta.leaked += 1
            return
        txn.spilled, txn.spill_room = grown, txn.spill_room * 2 + KN_SPILL
    memcpy(txn.spilled + txn.spills, page, sizeof(kn_free_page))
    txn.spills += 1


cdef void _write_spill(Txn* txn) noexcept nogil:
    """Puts what no ring had room for into pages of its own, on top of the chain."""
    cdef kn_spill* chained
    cdef int error = 0, count
    while txn.spills > 0:
        chained = <kn_spill*>new_page(txn, &error)
        if chained == NULL:
            txn.meta.leaked += txn.spills
            return
        count = txn.spills if txn.spills < KN_SPILL else KN_SPILL
        txn.spills -= count
        memcpy(chained.entry, txn.spilled + txn.spills, count * sizeof(kn_free_page))
        chained.count, chained.next = count, txn.meta.spill
        txn.meta.spill = chained.page.pgno


cdef bint _spill_is_sound(Pager* pager, const kn_spill* chained) noexcept nogil:
    """Else what it holds is lost, until the index is made anew."""
    if chained.page.crc == 0:
        return chained.page.txn > pager.sealed and chained.count <= KN_SPILL
    return chained.page.crc == page_checksum(&chained.page)


cdef void _refill(Txn* txn) noexcept nogil:
    """Takes the top page of the chain back into the ring for old pages, when there is room."""
    cdef kn_meta* published = &txn.pager.shared.head.slot[txn.pager.shared.head.generation & 1]
    cdef kn_spill* chained
    cdef uint32_t index
    if txn.meta.spill == 0 or txn.meta.old_tail - published.old_head > KN_RING - KN_SPILL - 1:
        return
    chained = <kn_spill*>page_at(txn.pager, txn.meta.spill)
    if chained.page.txn == txn.id:
        return
    if not _spill_is_sound(txn.pager, chained):
        kn_store32(&txn.pager.shared.damaged, txn.meta.spill)
        txn.meta.spill = 0
        return
    for index in range(chained.count):
        _push_old(txn, &chained.entry[index])
    txn.meta.spill = chained.next
    free_page(txn, chained.page.pgno)


cdef void _push(Txn* txn, const kn_free_page* page) noexcept nogil:
    cdef kn_shared* shared = txn.pager.shared
    cdef kn_meta* published = &shared.head.slot[shared.head.generation & 1]
    if page.born <= kn_load64(&shared.checkpoint) or txn.meta.young_tail - published.young_head >= KN_RING:
        _push_old(txn, page)
        return
    memcpy(&shared.young[txn.meta.young_tail % KN_RING], page, sizeof(kn_free_page))
    txn.meta.young_tail += 1


cdef uint32_t _reusable(Txn* txn, bint* hole) noexcept nogil:
    """A page that may be used again, or 0; and whether blocks have to be allocated for it."""
    cdef kn_shared* shared = txn.pager.shared
    cdef kn_free_page* page
    hole[0] = False
    if txn.spares > 0:
        txn.spares -= 1
        return txn.spare[txn.spares]
    _refill(txn)
    if txn.meta.young_head == txn.meta.young_tail and txn.meta.old_head == txn.meta.old_tail:
        return 0
    if not txn.safe_known:
        txn.safe = oldest_reader(shared)
        txn.safe_known = True
    while txn.meta.young_head < txn.meta.young_tail:
        page = &shared.young[txn.meta.young_head % KN_RING]
        if page.freed > txn.safe:
            break
        txn.meta.young_head += 1
        if _checkpoints_allow(shared, page):
            hole[0] = page.hole
            return page.pgno
        _push_old(txn, page)
    if txn.meta.old_head < txn.meta.old_tail:
        page = &shared.old[txn.meta.old_head % KN_RING]
        if page.freed <= txn.safe and _checkpoints_allow(shared, page):
            txn.meta.old_head += 1
            hole[0] = page.hole
            return page.pgno
    return 0


cdef kn_page* new_page(Txn* txn, int* error) noexcept nogil:
    """A page of this transaction with undefined contents but for pgno and txn; NULL with *error set."""
    cdef bint hole
    cdef uint32_t pgno = _reusable(txn, &hole)
    error[0] = 0
    if pgno == 0:
        pgno = txn.meta.next_pgno
        if pgno >= txn.pager.shared.index_pages:
            error[0] = pager_grow(txn.pager, <uint64_t>pgno + 1)
        if error[0] == 0:
            error[0] = pager_map(txn.pager, pgno + 1)
        if error[0] == 0:
            txn.meta.next_pgno += 1
    elif hole:
        error[0] = allocate(txn.pager.fd, <uint64_t>pgno * KN_PAGE_SIZE, KN_PAGE_SIZE)
    if error[0] < 0:
        return NULL
    cdef kn_page* page = page_at(txn.pager, pgno)
    page.pgno = pgno
    page.txn = txn.id
    page.crc = 0
    _note_examined(txn.pager, pgno)
    return page


cdef int free_page(Txn* txn, uint32_t pgno) noexcept nogil:
    cdef kn_page* page = page_at(txn.pager, pgno)
    cdef kn_free_page gone
    cdef uint32_t* grown
    if page.txn == txn.id:
        if txn.spares == txn.spare_room:
            txn.spare_room = txn.spare_room * 2 if txn.spare_room else 64
            grown = <uint32_t*>realloc(txn.spare, txn.spare_room * sizeof(uint32_t))
            if grown == NULL:
                return -ENOMEM
            txn.spare = grown
        txn.spare[txn.spares] = pgno
        txn.spares += 1
        return 0
    gone.pgno, gone.hole, gone.born, gone.freed = pgno, 0, page.txn, txn.id
    _push(txn, &gone)
    return 0


cdef void return_spares(Txn* txn) noexcept nogil:
    """Before a transaction is published: what it made and did not need goes to the free pages."""
    cdef kn_free_page unused
    while txn.spares > 0:
        txn.spares -= 1
        unused.pgno, unused.hole, unused.born, unused.freed = txn.spare[txn.spares], 0, txn.id, 0
        _push(txn, &unused)
    _write_spill(txn)


cdef void free_others(Txn* txn, uint8_t* kept) noexcept nogil:
    """Frees every page that is not marked in `kept`, a byte for each below next_pgno, and is in no ring. When they were made is
    not known: so they pass for the oldest, which wait for the next checkpoint. The chain is among them, with what it holds."""
    cdef kn_shared* shared = txn.pager.shared
    cdef kn_free_page other
    cdef uint64_t at
    cdef uint32_t pgno, end = txn.meta.next_pgno
    for at in range(txn.meta.young_head, txn.meta.young_tail):
        kept[shared.young[at % KN_RING].pgno] = 1
    for at in range(txn.meta.old_head, txn.meta.old_tail):
        kept[shared.old[at % KN_RING].pgno] = 1
    for pgno in range(KN_FIRST_PAGE, end):
        if not kept[pgno]:
            other.pgno, other.hole, other.born, other.freed = pgno, 0, 1, txn.id
            _push(txn, &other)
    txn.meta.leaked = txn.meta.spill = 0
    _write_spill(txn)


cdef kn_page* writable_page(Txn* txn, kn_page* page, int* error) noexcept nogil:
    """This page if this transaction made it, else a copy; the caller puts the copy's number where the old one's was."""
    if page.txn == txn.id:
        return page
    cdef kn_page* copy = new_page(txn, error)
    if copy == NULL:
        return NULL
    cdef uint32_t pgno = copy.pgno
    memcpy(copy, page, KN_PAGE_SIZE)
    copy.pgno, copy.txn, copy.crc = pgno, txn.id, 0
    error[0] = free_page(txn, page.pgno)
    return copy if error[0] == 0 else NULL


# ---- giving space back ----

cdef int _collect(Pager* pager, const kn_meta* meta, uint64_t safe, kn_free_page** found) noexcept nogil:
    """Pointers to the ring entries of pages that nobody needs as they are and that still have blocks; how many."""
    cdef kn_shared* shared = pager.shared
    cdef kn_free_page* page
    cdef uint64_t at
    cdef int count = 0
    for at in range(meta.young_head, meta.young_tail):
        page = &shared.young[at % KN_RING]
        if not page.hole and page.freed <= safe and _checkpoints_allow(shared, page):
            found[count] = page
            count += 1
    for at in range(meta.old_head, meta.old_tail):
        page = &shared.old[at % KN_RING]
        if not page.hole and page.freed <= safe and _checkpoints_allow(shared, page):
            found[count] = page
            count += 1
    return count


cdef int _by_pgno(const void* one, const void* other) noexcept nogil:
    cdef uint32_t first = (<kn_free_page**>one)[0].pgno
    cdef uint32_t second = (<kn_free_page**>other)[0].pgno
    return 1 if first > second else -1 if first < second else 0


cdef int _punch_runs(Pager* pager, kn_free_page** found, int count) noexcept nogil:
    """Makes holes of runs of adjacent free pages. They are marked first: a hole that is marked and not there costs nothing."""
    cdef int start = 0, end, index, result, holes = 0
    while start < count and holes < HOLES:
        end = start + 1
        while end < count and found[end].pgno == found[end - 1].pgno + 1:
            end += 1
        for index in range(start, end):
            found[index].hole = 1
        result = punch(pager.fd, <uint64_t>found[start].pgno * KN_PAGE_SIZE, <uint64_t>(end - start) * KN_PAGE_SIZE)
        if result < 0:
            return result
        holes += 1
        start = end
    return holes


cdef int pager_trim(Pager* pager) noexcept nogil:
    """Gives blocks of free pages, and of those allocated ahead, back to the file system; under the writer mutex. How many
    holes it made, or a negative errno."""
    cdef kn_shared* shared = pager.shared
    cdef kn_meta* meta = &shared.head.slot[shared.head.generation & 1]
    cdef kn_free_page** found = <kn_free_page**>calloc(2 * KN_RING, sizeof(kn_free_page*))
    cdef uint64_t allocated = shared.index_pages
    cdef int count, result
    if found == NULL:
        return -ENOMEM
    count = _collect(pager, meta, oldest_reader(shared), found)
    qsort(found, count, sizeof(kn_free_page*), _by_pgno)
    result = _punch_runs(pager, found, count)
    free(found)
    if result >= 0 and allocated > meta.next_pgno + FIRST_GROWTH:
        kn_store64(&shared.index_pages, meta.next_pgno)
        count = punch(pager.fd, <uint64_t>meta.next_pgno * KN_PAGE_SIZE, (allocated - meta.next_pgno) * KN_PAGE_SIZE)
        result = count if count < 0 else result
    return result
