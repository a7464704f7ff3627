"""Counted copy-on-write B+trees in the pages of `index.kbt`.

The file is mapped in chunks of 64 MiB by every process. A page is written only by the transaction that made it
(`page.txn == txn.id`), while nobody else can reach it; a transaction that changes a page of an earlier one copies it first,
up to the root. So a snapshot is a root page number, and a writer that dies leaves nothing behind that is reachable.

Branch cells carry the number of entries below them: COUNT of a range is two descents, OFFSET one.

Page reuse. A page made by transaction B and freed by F may be used again when no reader can reach it (F <= the oldest
reader and F <= visible) and no checkpoint that recovery may start from holds it (for each: B > C or F <= C). Freed pages
wait in two rings in shared memory, `young` for pages made after the last checkpoint, which are soon free again and still in
the cache, `old` for the others. Ring positions are part of the published state: a writer that dies has taken nothing out.

Removal merges a page that is less than a quarter full with a neighbour when both fit into one. There are no sibling
pointers; a cursor keeps its path.

Functions return 0 (or 1 where stated), or a negative errno; the trees of a transaction that failed are thrown away whole.
"""

from engine.layout cimport (
    KN_FIRST_PAGE, KN_PAGE_SIZE, KN_RING, kn_free_page, kn_load_pointer, kn_load64, kn_meta, kn_page, kn_shared,
    kn_store64, kn_swap_pointer, kn_tree,
)
from engine.posix cimport EIO, ENOMEM, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, errno, mmap, munmap
from engine.shared cimport oldest_reader
from engine.vfs cimport AT_GROW, allocate, failpoint
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

cdef enum:
    HEADER = 32
    ROOM = KN_PAGE_SIZE - HEADER
    BRANCH_HEAD = 14            # child u32 | count u64 | klen u16
    LEAF_HEAD = 2               # klen u16
    UNDERFULL = ROOM // 4
    FIRST_GROWTH = 64           # pages: 256 KiB, doubled up to a chunk


# ---- pager ----

cdef int pager_open(Pager* pager, int fd, kn_shared* shared) noexcept nogil:
    pager.fd = fd
    pager.shared = shared
    pager.chunks = <uint8_t**>calloc(CHUNKS, sizeof(uint8_t*))
    return 0 if pager.chunks != NULL else -ENOMEM


cdef void pager_close(Pager* pager) noexcept nogil:
    cdef int index
    if pager.chunks == NULL:
        return
    for index in range(CHUNKS):
        if pager.chunks[index] == NULL:
            break
        munmap(pager.chunks[index], <size_t>CHUNK_PAGES * KN_PAGE_SIZE)
    free(pager.chunks)
    pager.chunks = NULL


cdef int pager_map(Pager* pager, uint32_t next_pgno) noexcept nogil:
    """Makes every page below next_pgno addressable. A chunk may reach past the end of the file: nobody touches a page that
    no published state names. Two threads may both map a chunk; one mapping is given back."""
    cdef int chunk
    cdef int last = <int>((next_pgno - 1) >> CHUNK_BITS)
    cdef void* address
    for chunk in range(last, -1, -1):
        if kn_load_pointer(<void**>&pager.chunks[chunk]) != NULL:
            return 0
        address = mmap(NULL, <size_t>CHUNK_PAGES * KN_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, pager.fd,
                       <long>chunk * CHUNK_PAGES * KN_PAGE_SIZE)
        if address == MAP_FAILED:
            return -errno
        if not kn_swap_pointer(<void**>&pager.chunks[chunk], NULL, address):
            munmap(address, <size_t>CHUNK_PAGES * KN_PAGE_SIZE)
    return 0


cdef int pager_grow(Pager* pager, uint64_t pages) noexcept nogil:
    """Allocates blocks for at least `pages` pages, under the writer mutex. Ahead of use, because block allocation at
    write-back would make the log's sync wait for index pages."""
    cdef uint64_t have = pager.shared.index_pages
    cdef uint64_t step
    cdef int result
    while have < pages:
        step = have if have < CHUNK_PAGES else CHUNK_PAGES
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


# ---- transaction: pages ----

cdef void txn_begin(Txn* txn, Pager* pager, const kn_meta* meta) noexcept nogil:
    memset(txn, 0, sizeof(Txn))
    txn.pager = pager
    memcpy(&txn.meta, meta, sizeof(kn_meta))
    txn.id = meta.txn + 1
    txn.meta.txn = txn.id


cdef void txn_end(Txn* txn) noexcept nogil:
    free(txn.spare)
    txn.spare = NULL


cdef inline bint _checkpoints_allow(kn_shared* shared, const kn_free_page* page) noexcept nogil:
    cdef uint64_t durable = kn_load64(&shared.checkpoint)
    cdef uint64_t pending = kn_load64(&shared.pending_checkpoint)
    return (page.born > durable or page.freed <= durable) and (page.born > pending or page.freed <= pending)


cdef void _push_old(Txn* txn, const kn_free_page* page) noexcept nogil:
    """Room is counted from the published head position: what this transaction took out may have to be there again."""
    cdef kn_meta* published = &txn.pager.shared.head.slot[txn.pager.shared.head.generation & 1]
    if txn.meta.old_tail - published.old_head >= KN_RING:
        txn.meta.leaked += 1
        return
    memcpy(&txn.pager.shared.old[txn.meta.old_tail % KN_RING], page, sizeof(kn_free_page))
    txn.meta.old_tail += 1


cdef void _push(Txn* txn, const kn_free_page* page) noexcept nogil:
    cdef kn_shared* shared = txn.pager.shared
    cdef kn_meta* published = &shared.head.slot[shared.head.generation & 1]
    if page.born <= kn_load64(&shared.checkpoint) or txn.meta.young_tail - published.young_head >= KN_RING:
        _push_old(txn, page)
        return
    memcpy(&shared.young[txn.meta.young_tail % KN_RING], page, sizeof(kn_free_page))
    txn.meta.young_tail += 1


cdef uint32_t _reusable(Txn* txn) noexcept nogil:
    """A page that may be used again, or 0."""
    cdef kn_shared* shared = txn.pager.shared
    cdef kn_free_page* page
    if txn.spares > 0:
        txn.spares -= 1
        return txn.spare[txn.spares]
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
            return page.pgno
        _push_old(txn, page)
    if txn.meta.old_head < txn.meta.old_tail:
        page = &shared.old[txn.meta.old_head % KN_RING]
        if page.freed <= txn.safe and _checkpoints_allow(shared, page):
            txn.meta.old_head += 1
            return page.pgno
    return 0


cdef kn_page* _new_page(Txn* txn, int* error) noexcept nogil:
    """A page of this transaction with undefined contents but for pgno and txn; NULL with *error set."""
    cdef uint32_t pgno = _reusable(txn)
    if pgno == 0:
        pgno = txn.meta.next_pgno
        error[0] = 0
        if pgno >= txn.pager.shared.index_pages:
            error[0] = pager_grow(txn.pager, <uint64_t>pgno + 1)
        if error[0] == 0:
            error[0] = pager_map(txn.pager, pgno + 1)
        if error[0] < 0:
            return NULL
        txn.meta.next_pgno += 1
    cdef kn_page* page = page_at(txn.pager, pgno)
    page.pgno = pgno
    page.txn = txn.id
    page.crc = 0
    return page


cdef int _free_page(Txn* txn, uint32_t pgno) noexcept nogil:
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
    gone.pgno, gone.born, gone.freed = pgno, page.txn, txn.id
    _push(txn, &gone)
    return 0


cdef void return_spares(Txn* txn) noexcept nogil:
    """Before a transaction is published: what it made and did not need goes to the free pages."""
    cdef kn_free_page unused
    while txn.spares > 0:
        txn.spares -= 1
        unused.pgno, unused.born, unused.freed = txn.spare[txn.spares], txn.id, 0
        _push(txn, &unused)


cdef kn_page* _writable(Txn* txn, kn_page* page, int* error) noexcept nogil:
    """This page if this transaction made it, else a copy; the caller puts the copy's number where the old one's was."""
    if page.txn == txn.id:
        return page
    cdef kn_page* copy = _new_page(txn, error)
    if copy == NULL:
        return NULL
    cdef uint32_t pgno = copy.pgno
    memcpy(copy, page, KN_PAGE_SIZE)
    copy.pgno, copy.txn, copy.crc = pgno, txn.id, 0
    error[0] = _free_page(txn, page.pgno)
    return copy if error[0] == 0 else NULL


# ---- cells ----

cdef inline uint16_t* _slots(kn_page* page) noexcept nogil:
    return <uint16_t*>(<uint8_t*>page + HEADER)


cdef inline uint8_t* _cell(kn_page* page, int index) noexcept nogil:
    return <uint8_t*>page + _slots(page)[index]


cdef inline int _u16(const uint8_t* at) noexcept nogil:
    return at[0] | at[1] << 8


cdef inline int _key_length(kn_page* page, const uint8_t* cell) noexcept nogil:
    return _u16(cell) if page.level == 0 else _u16(cell + 12)


cdef inline const uint8_t* _key(kn_page* page, const uint8_t* cell) noexcept nogil:
    return cell + (LEAF_HEAD if page.level == 0 else BRANCH_HEAD)


cdef inline int _cell_size(kn_page* page, const uint8_t* cell) noexcept nogil:
    if page.level == 0:
        return LEAF_HEAD + _u16(cell) + page.value_size
    return BRANCH_HEAD + _u16(cell + 12)


cdef inline uint32_t _child(const uint8_t* cell) noexcept nogil:
    cdef uint32_t pgno
    memcpy(&pgno, cell, 4)
    return pgno


cdef inline uint64_t _below(const uint8_t* cell) noexcept nogil:
    cdef uint64_t count
    memcpy(&count, cell + 4, 8)
    return count


cdef inline void _set_child(uint8_t* cell, uint32_t pgno) noexcept nogil:
    memcpy(cell, &pgno, 4)


cdef inline void _set_below(uint8_t* cell, uint64_t count) noexcept nogil:
    memcpy(cell + 4, &count, 8)


cdef inline int _compare(const uint8_t* one, int one_length, const uint8_t* other, int other_length) noexcept nogil:
    cdef int order = memcmp(one, other, one_length if one_length < other_length else other_length)
    return order if order != 0 else one_length - other_length


cdef uint64_t _entries(kn_page* page) noexcept nogil:
    cdef uint64_t total = 0
    cdef int index
    if page.level == 0:
        return page.count
    for index in range(page.count):
        total += _below(_cell(page, index))
    return total


cdef int _lower_bound(kn_page* page, const uint8_t* key, int key_length, bint* exact) noexcept nogil:
    """Index of the first cell of a leaf whose key is not below `key`."""
    cdef int low = 0, high = page.count, middle, order
    cdef uint8_t* cell
    exact[0] = False
    while low < high:
        middle = (low + high) >> 1
        cell = _cell(page, middle)
        order = _compare(cell + LEAF_HEAD, _u16(cell), key, key_length)
        if order < 0:
            low = middle + 1
        else:
            high = middle
            if order == 0:
                exact[0] = True
    return low


cdef int _branch_index(kn_page* page, const uint8_t* key, int key_length) noexcept nogil:
    """Index of the branch cell under which `key` belongs: the last whose key is not above it."""
    cdef int low = 1, high = page.count, middle
    cdef uint8_t* cell
    while low < high:
        middle = (low + high) >> 1
        cell = _cell(page, middle)
        if _compare(cell + BRANCH_HEAD, _u16(cell + 12), key, key_length) <= 0:
            low = middle + 1
        else:
            high = middle
    return low - 1


cdef void _format_page(kn_page* page, int level, int value_size) noexcept nogil:
    page.level = level
    page.value_size = value_size
    page.count = 0
    page.lower = HEADER
    page.upper = KN_PAGE_SIZE
    page.unused = 0
    page.reserved = 0


cdef inline int _free_room(kn_page* page) noexcept nogil:
    return page.upper - page.lower + page.unused


cdef inline int _used(kn_page* page) noexcept nogil:
    return ROOM - _free_room(page)


cdef void _compact(kn_page* page) noexcept nogil:
    """Moves the cells together so that all free room lies between lower and upper."""
    cdef uint8_t copy[KN_PAGE_SIZE]
    cdef int index, size, upper = KN_PAGE_SIZE
    cdef uint16_t* slots = _slots(page)
    memcpy(copy, page, KN_PAGE_SIZE)
    for index in range(page.count):
        size = _cell_size(page, copy + slots[index])
        upper -= size
        memcpy(<uint8_t*>page + upper, copy + slots[index], size)
        slots[index] = upper
    page.upper = upper
    page.unused = 0


cdef uint8_t* _open_cell(kn_page* page, int index, int size) noexcept nogil:
    """Makes room for a cell of `size` bytes at `index`; the caller has checked that it fits, and fills it in."""
    cdef uint16_t* slots
    if page.upper - page.lower < size + 2:
        _compact(page)
    slots = _slots(page)
    memmove(slots + index + 1, slots + index, (page.count - index) * 2)
    page.upper -= size
    slots[index] = page.upper
    page.count += 1
    page.lower += 2
    return <uint8_t*>page + page.upper


cdef void _remove_cell(kn_page* page, int index) noexcept nogil:
    cdef uint16_t* slots = _slots(page)
    page.unused += _cell_size(page, _cell(page, index))
    memmove(slots + index, slots + index + 1, (page.count - index - 1) * 2)
    page.count -= 1
    page.lower -= 2
    if page.count == 0:
        page.upper, page.unused = KN_PAGE_SIZE, 0


cdef inline void _fill_leaf(uint8_t* cell, const uint8_t* key, int key_length, const void* value, int value_size) noexcept nogil:
    cell[0] = key_length & 255
    cell[1] = key_length >> 8
    memcpy(cell + LEAF_HEAD, key, key_length)
    memcpy(cell + LEAF_HEAD + key_length, value, value_size)


cdef inline void _fill_branch(uint8_t* cell, uint32_t child, uint64_t below, const uint8_t* key, int key_length) noexcept nogil:
    _set_child(cell, child)
    _set_below(cell, below)
    cell[12] = key_length & 255
    cell[13] = key_length >> 8
    memcpy(cell + BRANCH_HEAD, key, key_length)


# ---- descending ----

cdef int _writable_path(Txn* txn, kn_tree* tree, const uint8_t* key, int key_length, kn_page** path, int* indexes) noexcept nogil:
    """Descends to the leaf where `key` belongs and makes every page on the way this transaction's own.
    path[0] is the root, path[height - 1] the leaf; indexes[i] is the cell taken in path[i]."""
    cdef int depth, error = 0
    cdef kn_page* page = page_at(txn.pager, tree.root)
    page = _writable(txn, page, &error)
    if page == NULL:
        return error
    tree.root = page.pgno
    for depth in range(tree.height - 1):
        path[depth] = page
        indexes[depth] = _branch_index(page, key, key_length)
        page = _writable(txn, page_at(txn.pager, _child(_cell(page, indexes[depth]))), &error)
        if page == NULL:
            return error
        _set_child(_cell(path[depth], indexes[depth]), page.pgno)
    path[tree.height - 1] = page
    return 0


cdef kn_page* _leaf_of(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil:
    cdef kn_page* page = page_at(pager, tree.root)
    while page.level > 0:
        page = page_at(pager, _child(_cell(page, _branch_index(page, key, key_length))))
    return page


cdef const uint8_t* tree_get(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil:
    """The value of this key, or NULL."""
    cdef bint exact
    cdef int index
    cdef kn_page* leaf
    cdef uint8_t* cell
    if tree.root == 0:
        return NULL
    leaf = _leaf_of(pager, tree, key, key_length)
    index = _lower_bound(leaf, key, key_length, &exact)
    if not exact:
        return NULL
    cell = _cell(leaf, index)
    return cell + LEAF_HEAD + _u16(cell)


cdef uint64_t tree_rank(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil:
    """How many entries lie below `key`."""
    cdef uint64_t rank = 0
    cdef int index, before
    cdef bint exact
    cdef kn_page* page
    if tree.root == 0:
        return 0
    page = page_at(pager, tree.root)
    while page.level > 0:
        index = _branch_index(page, key, key_length)
        for before in range(index):
            rank += _below(_cell(page, before))
        page = page_at(pager, _child(_cell(page, index)))
    return rank + _lower_bound(page, key, key_length, &exact)


# ---- insert ----

cdef int tree_insert(Txn* txn, kn_tree* tree, const uint8_t* key, int key_length, const void* value) noexcept nogil:
    """1 when the key is new, 0 when its value was replaced."""
    cdef kn_page* path[MAX_HEIGHT]
    cdef int indexes[MAX_HEIGHT]
    cdef kn_page* leaf
    cdef uint8_t* cell
    cdef bint exact
    cdef int error = 0, index, depth, size
    if tree.root == 0:
        leaf = _new_page(txn, &error)
        if leaf == NULL:
            return error
        _format_page(leaf, 0, tree.value_size)
        tree.root, tree.height = leaf.pgno, 1
    elif tree.value_size == 0:
        leaf = _leaf_of(txn.pager, tree, key, key_length)
        _lower_bound(leaf, key, key_length, &exact)
        if exact:
            return 0
    error = _writable_path(txn, tree, key, key_length, path, indexes)
    if error < 0:
        return error
    leaf = path[tree.height - 1]
    index = _lower_bound(leaf, key, key_length, &exact)
    if exact:
        memcpy(_cell(leaf, index) + LEAF_HEAD + key_length, value, tree.value_size)
        return 0
    for depth in range(tree.height - 1):
        cell = _cell(path[depth], indexes[depth])
        _set_below(cell, _below(cell) + 1)
    tree.entries += 1
    size = LEAF_HEAD + key_length + tree.value_size
    if _free_room(leaf) >= size + 2:
        _fill_leaf(_open_cell(leaf, index, size), key, key_length, value, tree.value_size)
        return 1
    error = _split_insert(txn, tree, path, indexes, index, key, key_length, value)
    return error if error < 0 else 1


cdef int _split_point(kn_page* page, int index, int size, bint at_the_end) noexcept nogil:
    """How many of the page's cells stay on the left. `index` and `size` are of the cell that is to come.
    Input in ascending order leaves full pages behind instead of half-full ones."""
    cdef int total = _used(page) + size + 2
    cdef int left = 0, cell
    if at_the_end and index == page.count:
        return page.count
    for cell in range(page.count):
        if cell == index:
            left += size + 2
        left += _cell_size(page, _cell(page, cell)) + 2
        if left * 2 >= total:
            break
    if cell == 0:
        return 1
    return cell if cell < page.count else page.count - 1


cdef void _move_tail(kn_page* source, int first, kn_page* target) noexcept nogil:
    """Appends the cells of `source` from `first` on to `target`, and removes them from `source`."""
    cdef int index, size
    cdef uint8_t* cell
    for index in range(first, source.count):
        cell = _cell(source, index)
        size = _cell_size(source, cell)
        memcpy(_open_cell(target, target.count, size), cell, size)
        source.unused += size
    source.lower -= 2 * (source.count - first)
    source.count = first
    if first == 0:
        source.upper, source.unused = KN_PAGE_SIZE, 0


cdef int _separator(kn_page* left, kn_page* right, uint8_t* out) noexcept nogil:
    """The shortest key that is above all of `left` and not above `right`'s first; for leaves."""
    cdef uint8_t* last = _cell(left, left.count - 1)
    cdef uint8_t* first = _cell(right, 0)
    cdef int last_length = _u16(last), first_length = _u16(first), same = 0
    while same < last_length and same < first_length and last[LEAF_HEAD + same] == first[LEAF_HEAD + same]:
        same += 1
    memcpy(out, first + LEAF_HEAD, same + 1)
    return same + 1


cdef int _split_insert(Txn* txn, kn_tree* tree, kn_page** path, int* indexes, int index, const uint8_t* key, int key_length,
                       const void* value) noexcept nogil:
    """Splits the leaf at the end of the path to make room, and the branches above it as far as needed."""
    cdef uint8_t separator[KN_PAGE_SIZE]
    cdef int separator_length, depth = tree.height - 1, error = 0, keep, size
    cdef kn_page* left = path[depth]
    cdef kn_page* right
    cdef bint at_the_end = True
    cdef int above
    for above in range(depth):
        if indexes[above] != path[above].count - 1:
            at_the_end = False
    size = LEAF_HEAD + key_length + tree.value_size
    right = _new_page(txn, &error)
    if right == NULL:
        return error
    _format_page(right, 0, tree.value_size)
    keep = _split_point(left, index, size, at_the_end)
    _move_tail(left, keep, right)
    if index <= keep and right.count > 0:
        _fill_leaf(_open_cell(left, index, size), key, key_length, value, tree.value_size)
    else:
        _fill_leaf(_open_cell(right, index - keep, size), key, key_length, value, tree.value_size)
    separator_length = _separator(left, right, separator)
    return _insert_branch(txn, tree, path, indexes, depth - 1, left, right, separator, separator_length)


cdef int _insert_branch(Txn* txn, kn_tree* tree, kn_page** path, int* indexes, int depth, kn_page* left, kn_page* right,
                        uint8_t* separator, int separator_length) noexcept nogil:
    """Puts `right` beside `left` into the branch page path[depth], which may have to be split in turn."""
    cdef kn_page* branch
    cdef kn_page* sibling
    cdef int error = 0, size, index, keep
    while depth >= 0:
        branch = path[depth]
        index = indexes[depth]
        _set_below(_cell(branch, index), _entries(left))
        index += 1
        size = BRANCH_HEAD + separator_length
        if _free_room(branch) >= size + 2:
            _fill_branch(_open_cell(branch, index, size), right.pgno, _entries(right), separator, separator_length)
            return 0
        sibling = _new_page(txn, &error)
        if sibling == NULL:
            return error
        _format_page(sibling, branch.level, branch.value_size)
        keep = _split_point(branch, index, size, index == branch.count)
        if keep == branch.count:
            keep -= 1
        _move_tail(branch, keep, sibling)
        if index <= keep:
            _fill_branch(_open_cell(branch, index, size), right.pgno, _entries(right), separator, separator_length)
        else:
            _fill_branch(_open_cell(sibling, index - keep, size), right.pgno, _entries(right), separator, separator_length)
        separator_length = _take_first_key(sibling, separator)
        left, right = branch, sibling
        depth -= 1
    return _new_root(txn, tree, left, right, separator, separator_length)


cdef int _take_first_key(kn_page* branch, uint8_t* out) noexcept nogil:
    """Moves the first key of a branch page to `out`: it becomes the separator above; a first key is empty."""
    cdef uint8_t* cell = _cell(branch, 0)
    cdef int length = _u16(cell + 12)
    memcpy(out, cell + BRANCH_HEAD, length)
    branch.unused += length
    cell[12] = cell[13] = 0
    return length


cdef int _new_root(Txn* txn, kn_tree* tree, kn_page* left, kn_page* right, const uint8_t* separator, int length) noexcept nogil:
    cdef int error = 0
    cdef kn_page* root
    if tree.height == MAX_HEIGHT:
        return -EIO
    root = _new_page(txn, &error)
    if root == NULL:
        return error
    _format_page(root, left.level + 1, left.value_size)
    _fill_branch(_open_cell(root, 0, BRANCH_HEAD), left.pgno, _entries(left), separator, 0)
    _fill_branch(_open_cell(root, 1, BRANCH_HEAD + length), right.pgno, _entries(right), separator, length)
    tree.root = root.pgno
    tree.height += 1
    return 0


# ---- delete ----

cdef int tree_delete(Txn* txn, kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil:
    """1 when the key was there, 0 when not."""
    cdef kn_page* path[MAX_HEIGHT]
    cdef int indexes[MAX_HEIGHT]
    cdef uint8_t* cell
    cdef bint exact
    cdef int error, index, depth
    if tree_get(txn.pager, tree, key, key_length) == NULL:
        return 0
    error = _writable_path(txn, tree, key, key_length, path, indexes)
    if error < 0:
        return error
    depth = tree.height - 1
    index = _lower_bound(path[depth], key, key_length, &exact)
    _remove_cell(path[depth], index)
    tree.entries -= 1
    for index in range(depth):
        cell = _cell(path[index], indexes[index])
        _set_below(cell, _below(cell) - 1)
    error = _rebalance(txn, tree, path, indexes)
    return error if error < 0 else 1


cdef int _rebalance(Txn* txn, kn_tree* tree, kn_page** path, int* indexes) noexcept nogil:
    """Merges underfull pages from the leaf of the path upward, and lowers the root where it has one child left."""
    cdef int depth = tree.height - 1, error
    cdef kn_page* root
    while depth > 0 and _used(path[depth]) < UNDERFULL:
        if path[depth].count == 0:
            error = _free_page(txn, path[depth].pgno)
            _drop_branch_cell(path[depth - 1], indexes[depth - 1])
        else:
            error = _merge(txn, path[depth - 1], indexes[depth - 1], path[depth])
        if error < 0:
            return error
        depth -= 1
    root = path[0]
    while root.level > 0 and root.count == 1:
        tree.root = _child(_cell(root, 0))
        tree.height -= 1
        error = _free_page(txn, root.pgno)
        if error < 0:
            return error
        root = page_at(txn.pager, tree.root)
    if root.count == 0:
        tree.root, tree.height = 0, 0
        return _free_page(txn, root.pgno)
    return 0


cdef void _drop_branch_cell(kn_page* branch, int index) noexcept nogil:
    cdef uint8_t ignored[KN_PAGE_SIZE]
    _remove_cell(branch, index)
    if index == 0 and branch.count > 0:
        _take_first_key(branch, ignored)


cdef int _merge(Txn* txn, kn_page* parent, int index, kn_page* page) noexcept nogil:
    """Merges the child at `index` (this transaction's own) with a neighbour if both fit into one page."""
    cdef int left_index = index - 1 if index > 0 else index
    cdef kn_page* left
    cdef kn_page* right
    cdef uint8_t* separator
    cdef uint8_t* cell
    cdef int separator_length, size, first, moved, error = 0
    if parent.count < 2:
        return 0
    left = page_at(txn.pager, _child(_cell(parent, left_index)))
    right = page_at(txn.pager, _child(_cell(parent, left_index + 1)))
    separator = _cell(parent, left_index + 1) + BRANCH_HEAD
    separator_length = _u16(separator - 2)
    size = _used(left) + _used(right) + (separator_length if left.level > 0 else 0)
    if size > ROOM:
        return 0
    left = _writable(txn, left, &error)
    if left == NULL:
        return error
    _set_child(_cell(parent, left_index), left.pgno)
    for first in range(right.count):
        cell = _cell(right, first)
        if left.level > 0 and first == 0:
            _fill_branch(_open_cell(left, left.count, BRANCH_HEAD + separator_length), _child(cell), _below(cell), separator,
                         separator_length)
            continue
        moved = _cell_size(right, cell)
        memcpy(_open_cell(left, left.count, moved), cell, moved)
    error = _free_page(txn, right.pgno)
    if error < 0:
        return error
    _set_below(_cell(parent, left_index), _entries(left))
    _remove_cell(parent, left_index + 1)
    return 0


cdef int tree_discard(Txn* txn, kn_tree* tree) noexcept nogil:
    """Frees every page of the tree."""
    cdef uint32_t stack[MAX_HEIGHT]
    cdef int position[MAX_HEIGHT]
    cdef int depth = 0, error = 0
    cdef kn_page* page
    if tree.root == 0:
        return 0
    stack[0], position[0] = tree.root, 0
    while depth >= 0:
        page = page_at(txn.pager, stack[depth])
        if page.level > 0 and position[depth] < page.count:
            stack[depth + 1] = _child(_cell(page, position[depth]))
            position[depth] += 1
            depth += 1
            position[depth] = 0
            continue
        error = _free_page(txn, stack[depth])
        if error < 0:
            return error
        depth -= 1
    tree.root, tree.height, tree.entries = 0, 0, 0
    return 0


# ---- cursors ----

cdef void _descend(Cursor* cursor, int depth, bint to_the_end) noexcept nogil:
    """Fills the path below `depth` with first (or last) children."""
    cdef kn_page* page = page_at(cursor.pager, cursor.pgno[depth])
    while page.level > 0:
        depth += 1
        cursor.pgno[depth] = _child(_cell(page, cursor.index[depth - 1]))
        page = page_at(cursor.pager, cursor.pgno[depth])
        cursor.index[depth] = page.count - 1 if to_the_end else 0


cdef void _step(Cursor* cursor, int direction) noexcept nogil:
    """Moves to the neighbouring leaf cell, climbing as far as needed; past the ends the cursor becomes invalid."""
    cdef int depth = cursor.height - 1
    cdef int index
    while depth >= 0:
        index = cursor.index[depth] + direction
        if 0 <= index < page_at(cursor.pager, cursor.pgno[depth]).count:
            cursor.index[depth] = index
            _descend(cursor, depth, direction < 0)
            return
        depth -= 1
    cursor.valid = False


cdef void cursor_seek(Cursor* cursor, Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil:
    """Stands on the first entry whose key is not below `key`, or becomes invalid."""
    cdef kn_page* page
    cdef bint exact
    cdef int depth = 0
    cursor.pager = pager
    cursor.height = tree.height
    cursor.valid = tree.root != 0
    if not cursor.valid:
        return
    cursor.pgno[0] = tree.root
    page = page_at(pager, tree.root)
    while page.level > 0:
        cursor.index[depth] = _branch_index(page, key, key_length)
        cursor.pgno[depth + 1] = _child(_cell(page, cursor.index[depth]))
        depth += 1
        page = page_at(pager, cursor.pgno[depth])
    cursor.index[depth] = _lower_bound(page, key, key_length, &exact)
    if cursor.index[depth] == page.count:
        cursor.index[depth] = page.count - 1
        _step(cursor, 1)


cdef void cursor_rank(Cursor* cursor, Pager* pager, const kn_tree* tree, uint64_t rank) noexcept nogil:
    """Stands on the entry that has `rank` entries before it, or becomes invalid."""
    cdef kn_page* page
    cdef int depth = 0, index
    cursor.pager = pager
    cursor.height = tree.height
    cursor.valid = rank < tree.entries
    if not cursor.valid:
        return
    cursor.pgno[0] = tree.root
    page = page_at(pager, tree.root)
    while page.level > 0:
        index = 0
        while rank >= _below(_cell(page, index)):
            rank -= _below(_cell(page, index))
            index += 1
        cursor.index[depth] = index
        cursor.pgno[depth + 1] = _child(_cell(page, index))
        depth += 1
        page = page_at(pager, cursor.pgno[depth])
    cursor.index[depth] = <int>rank


cdef void cursor_next(Cursor* cursor) noexcept nogil:
    _step(cursor, 1)


cdef void cursor_previous(Cursor* cursor) noexcept nogil:
    _step(cursor, -1)


cdef const uint8_t* cursor_key(Cursor* cursor, int* key_length) noexcept nogil:
    cdef kn_page* page = page_at(cursor.pager, cursor.pgno[cursor.height - 1])
    cdef uint8_t* cell = _cell(page, cursor.index[cursor.height - 1])
    key_length[0] = _u16(cell)
    return cell + LEAF_HEAD


cdef const uint8_t* cursor_value(Cursor* cursor) noexcept nogil:
    cdef kn_page* page = page_at(cursor.pager, cursor.pgno[cursor.height - 1])
    cdef uint8_t* cell = _cell(page, cursor.index[cursor.height - 1])
    return cell + LEAF_HEAD + _u16(cell)


# ---- check ----

cdef int tree_check(Pager* pager, const kn_tree* tree, uint64_t txn, uint8_t* seen, uint32_t next_pgno) noexcept nogil:
    """Walks the whole tree: levels, page numbers, order within and between pages, separators, counts; marks the pages in
    `seen` (a byte each). 0, or a negative number that names the first violation:
    -1 page number out of range, -2 page reached twice, -3 wrong page number inside, -4 page of a later transaction,
    -5 wrong level, -6 empty page, -7 cell outside the page, -8 keys out of order, -9 wrong count below, -10 wrong total."""
    cdef uint64_t total = 0
    cdef int result
    if tree.root == 0:
        return 0 if tree.entries == 0 else -10
    result = _check_page(pager, tree.root, tree.height - 1, txn, seen, next_pgno, NULL, 0, NULL, 0, &total)
    if result < 0:
        return result
    return 0 if total == tree.entries else -10


cdef int _check_page(Pager* pager, uint32_t pgno, int level, uint64_t txn, uint8_t* seen, uint32_t next_pgno,
                     const uint8_t* low, int low_length, const uint8_t* high, int high_length, uint64_t* total) noexcept nogil:
    cdef kn_page* page
    cdef uint8_t* cell
    cdef const uint8_t* key
    cdef const uint8_t* previous = NULL
    cdef const uint8_t* child_high
    cdef int index, length, previous_length = 0, result, child_high_length
    cdef uint64_t below
    if pgno < KN_FIRST_PAGE or pgno >= next_pgno:
        return -1
    if seen[pgno]:
        return -2
    seen[pgno] = 1
    page = page_at(pager, pgno)
    if page.pgno != pgno:
        return -3
    if page.txn > txn:
        return -4
    if page.level != level:
        return -5
    if page.count == 0:
        return -6
    if page.lower != HEADER + 2 * page.count or page.lower > page.upper or page.upper > KN_PAGE_SIZE:
        return -7
    for index in range(page.count):
        if _slots(page)[index] < page.upper or _slots(page)[index] + _cell_size(page, _cell(page, index)) > KN_PAGE_SIZE:
            return -7
    for index in range(page.count):
        cell = _cell(page, index)
        key, length = _key(page, cell), _key_length(page, cell)
        if level > 0 and index == 0:
            if length != 0:
                return -8
            key, length = low, low_length
        if previous != NULL and _compare(previous, previous_length, key, length) >= 0:
            return -8
        if low != NULL and _compare(low, low_length, key, length) > 0:
            return -8
        if high != NULL and _compare(key, length, high, high_length) >= 0:
            return -8
        previous, previous_length = key, length
        if level == 0:
            continue
        child_high, child_high_length = high, high_length
        if index + 1 < page.count:
            child_high = _key(page, _cell(page, index + 1))
            child_high_length = _key_length(page, _cell(page, index + 1))
        below = 0
        result = _check_page(pager, _child(cell), level - 1, txn, seen, next_pgno, key, length, child_high, child_high_length,
                             &below)
        if result < 0:
            return result
        if below != _below(cell):
            return -9
        total[0] += below
    if level == 0:
        total[0] += page.count
    return 0
