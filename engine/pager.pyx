"""The index file `index.kbt` as pages: mapping, growing, making and freeing them.

The file is mapped in chunks of 64 MiB by every process. A page is written only by the transaction that made it
(`page.txn == txn.id`), while nobody else can reach it; a transaction that changes a page of an earlier one copies it first.

Pages come into memory one by one, never with those around them: what the kernel reads or allocates in one piece it also
writes back in one piece, however little of it has changed. Who is about to read many says so (pager_will_need).

Which freed pages may be used again, and when, is told in freelist.pyx.

Damage. Pages get their checksums when a state is sealed (checkpoint.pyx), not when they are made. A process examines every
page at its first touch: its checksum, that it is where and on the level that it should be and not made later than what
points to it, and that it can be read without leaving it. Pages made after the process has opened the table need no
checksum yet. Recovery begins to number states anew from the time in microseconds, later than any before: so a page that
was made, and sealed, after the checkpoint that it starts from cannot pass for one of that or of a later state. A damaged
page is noted in shared memory; whoever meets it gets -EUCLEAN, and the index is made anew.
"""

from engine.freelist cimport keep_overflow, put_free, take_free
from engine.layout cimport (
    KN_PAGE_SIZE, kn_free_page, kn_load32, kn_load64, kn_load_pointer, kn_meta, kn_or64, kn_page, kn_raise32, kn_shared,
    kn_store32, kn_store64, kn_swap_pointer,
)
from engine.page cimport cell_at, child_of, page_checksum, page_is_sound
from engine.posix cimport EFBIG, ENOMEM, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, errno, mmap, munmap
from engine.vfs cimport AT_GROW, allocate, failpoint, is_in_memory, punch, read_singly, will_need, write_at
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

cdef enum:
    SAMPLES = 4
    FIRST_GROWTH = 64           # pages: 256 KiB, then one part in GROWTH of what is there, up to a chunk
    GROWTH = 8


cdef uint8_t[KN_PAGE_SIZE] nothing


cdef int pager_open(Pager* pager, int fd, kn_shared* shared) noexcept nogil:
    pager.fd = fd
    pager.shared = shared
    pager.mapped = 0
    pager.sealed = kn_load64(&shared.sealed)
    pager.recovered, pager.first = shared.recovered, shared.first
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
        read_singly(address, <size_t>CHUNK_PAGES * KN_PAGE_SIZE)
        if not kn_swap_pointer(<void**>&pager.chunks[chunk], NULL, address):
            munmap(address, <size_t>CHUNK_PAGES * KN_PAGE_SIZE)
        kn_raise32(&pager.mapped, <uint32_t>chunk + 1)
    return 0


cdef void pager_will_need(Pager* pager, uint32_t pgno, uint32_t pages) noexcept nogil:
    """These are read soon."""
    will_need(pager.fd, <uint64_t>pgno * KN_PAGE_SIZE, <uint64_t>pages * KN_PAGE_SIZE)


cdef int ask_for_children(Pager* pager, kn_page* page, int index, int direction, int most) noexcept nogil:
    """At most so many children of a branch page, from `index` on, are read soon. Returns how many there are; one at least."""
    cdef uint32_t start = child_of(cell_at(page, index)), length = 0, pgno
    cdef int asked = 0
    while asked < most and 0 <= index < page.count:
        pgno = child_of(cell_at(page, index))
        if pgno != start + length:
            pager_will_need(pager, start, length)
            start, length = pgno, 0
        length += 1
        asked += 1
        index += direction
    pager_will_need(pager, start, length)
    return asked


cdef void ask_for_leaves(Pager* pager, kn_page* page) noexcept nogil:
    """All leaves below this page are read soon, if it is one that has leaves below it. Of leaves that are in memory, nobody
    should ask the kernel one by one: some are looked at."""
    cdef int sample
    if page.level != 1:
        return
    for sample in range(SAMPLES):
        if not is_in_memory(page_at(pager, child_of(cell_at(page, page.count * sample // SAMPLES)))):
            ask_for_children(pager, page, 0, 1, page.count)
            return


cdef inline void _note_examined(Pager* pager, uint32_t pgno) noexcept nogil:
    kn_or64(&pager.examined[pgno >> CHUNK_BITS][(pgno & (CHUNK_PAGES - 1)) >> 6], <uint64_t>1 << (pgno & 63))


cdef kn_page* examine_page(Pager* pager, uint32_t pgno, int level, uint64_t txn) noexcept nogil:
    """What read_page does at the first touch. A checksum that is there must hold, also in a page that needs none yet: so
    a page cannot get out of it by a later transaction number."""
    cdef kn_page* page = page_at(pager, pgno)
    cdef uint32_t crc = kn_load32(&page.crc)
    cdef uint64_t pages = kn_load64(&pager.shared.index_pages)
    cdef uint64_t mapped = <uint64_t>kn_load32(&pager.mapped) * CHUNK_PAGES
    if (page.pgno == pgno and page.level == level and page.txn <= txn and not pager.recovered < page.txn < pager.first
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


cdef int pager_shorten(Pager* pager, uint32_t next_pgno) noexcept nogil:
    """Gives back blocks that were allocated ahead, under the writer mutex."""
    cdef uint64_t allocated = pager.shared.index_pages
    if allocated <= next_pgno + FIRST_GROWTH:
        return 0
    kn_store64(&pager.shared.index_pages, next_pgno)
    return punch(pager.fd, <uint64_t>next_pgno * KN_PAGE_SIZE, (allocated - next_pgno) * KN_PAGE_SIZE)


cdef void txn_begin(Txn* txn, Pager* pager, const kn_meta* meta) noexcept nogil:
    memset(txn, 0, sizeof(Txn))
    txn.pager = pager
    memcpy(&txn.meta, meta, sizeof(kn_meta))
    txn.id = meta.txn + 1
    txn.meta.txn = txn.id


cdef void txn_end(Txn* txn) noexcept nogil:
    free(txn.spare)
    free(txn.early.at)
    free(txn.late.at)
    txn.spare = txn.early.at = txn.late.at = NULL


cdef kn_page* new_page(Txn* txn, int* error) noexcept nogil:
    """A page of this transaction with undefined contents but for pgno and txn; NULL with *error set."""
    cdef bint hole = False
    cdef uint32_t pgno = 0
    error[0] = 0
    if txn.spares > 0:
        txn.spares -= 1
        pgno = txn.spare[txn.spares]
    else:
        pgno = take_free(txn, &hole)
    if pgno == 0:
        pgno = txn.meta.next_pgno
        if pgno >= txn.pager.shared.index_pages:
            error[0] = pager_grow(txn.pager, <uint64_t>pgno + 1)
        if error[0] == 0:
            error[0] = pager_map(txn.pager, pgno + 1)
        if error[0] == 0:
            txn.meta.next_pgno += 1
    elif hole:          # or on the disk, and then a page fault would first read what it was
        error[0] = write_at(txn.pager.fd, nothing, KN_PAGE_SIZE, <uint64_t>pgno * KN_PAGE_SIZE)
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
    put_free(txn, &gone)
    return 0


cdef int return_spares(Txn* txn) noexcept nogil:
    """Before a transaction is published: what it made and did not need goes to the free pages."""
    cdef kn_free_page unused
    while txn.spares > 0:
        txn.spares -= 1
        unused.pgno, unused.hole, unused.born, unused.freed = txn.spare[txn.spares], 0, txn.id, 0
        put_free(txn, &unused)
    return keep_overflow(txn)


cdef inline void _copy_page(kn_page* copy, const kn_page* page) noexcept nogil:
    """Without the free room between the cell offsets and the cells: copying is most of the work of a small transaction."""
    if page.lower > page.upper or page.upper > KN_PAGE_SIZE:        # damaged
        memcpy(copy, page, KN_PAGE_SIZE)
        return
    memcpy(copy, page, page.lower)
    memcpy(<uint8_t*>copy + page.upper, <const uint8_t*>page + page.upper, KN_PAGE_SIZE - page.upper)


cdef kn_page* writable_page(Txn* txn, kn_page* page, int* error) noexcept nogil:
    """This page if this transaction made it, else a copy; the caller puts the copy's number where the old one's was."""
    if page.txn == txn.id:
        return page
    cdef kn_page* copy = new_page(txn, error)
    if copy == NULL:
        return NULL
    cdef uint32_t pgno = copy.pgno
    _copy_page(copy, page)
    copy.pgno, copy.txn, copy.crc = pgno, txn.id, 0
    error[0] = free_page(txn, page.pgno)
    return copy if error[0] == 0 else NULL


