"""Counted copy-on-write B+trees in the pages of `index.kbt`.

A transaction copies what it changes, up to the root; so a snapshot is a root page number, and a writer that dies leaves
nothing behind that is reachable. Branch cells carry the number of entries below them: COUNT of a range is two descents,
OFFSET one. Removal merges a page that is less than a quarter full with a neighbour when both fit into one.

Functions return 0 (or 1 where stated), or a negative errno, -EUCLEAN when they meet a damaged page; the trees of a
transaction that failed are thrown away whole.
"""

from engine.layout cimport KN_FIRST_PAGE, KN_IDLE, KN_PAGE_SIZE, kn_page, kn_store32, kn_tree
from engine.page cimport (
    BRANCH_HEAD, LEAF_HEAD, ROOM, branch_index, cell_at, cell_key, cell_key_length, cell_size, child_of, compare,
    count_below, entries_of, fill_branch, fill_leaf, format_page, free_room, lower_bound, open_cell, read16, remove_cell,
    set_below, set_child, used_room,
)
from engine.pager cimport Pager, Txn, ask_for_leaves, examine_page, free_page, new_page, page_at, read_page, writable_page
from engine.posix cimport EIO, EUCLEAN
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    UNDERFULL = ROOM // 4


# ---- descending ----

cdef inline kn_page* root_page(Pager* pager, const kn_tree* tree) noexcept nogil:
    return read_page(pager, tree.root, tree.height - 1, KN_IDLE)


cdef inline kn_page* child_page(Pager* pager, kn_page* parent, int index) noexcept nogil:
    return read_page(pager, child_of(cell_at(parent, index)), parent.level - 1, parent.txn)


cdef int _descend(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length, kn_page** path, int* indexes) noexcept nogil:
    """The way to the leaf where `key` belongs: path[0] is the root, path[height - 1] the leaf; indexes[i] is the cell taken
    in path[i]. The tree is not empty."""
    cdef int depth
    cdef kn_page* page = root_page(pager, tree)
    for depth in range(tree.height - 1):
        if page == NULL:
            return -EUCLEAN
        path[depth] = page
        indexes[depth] = branch_index(page, key, key_length)
        page = child_page(pager, page, indexes[depth])
    path[tree.height - 1] = page
    return 0 if page != NULL else -EUCLEAN


cdef int _own_path(Txn* txn, kn_tree* tree, kn_page** path, int* indexes) noexcept nogil:
    """Makes every page of the path this transaction's own."""
    cdef int depth, error = 0
    cdef kn_page* page
    for depth in range(tree.height):
        page = writable_page(txn, path[depth], &error)
        if page == NULL:
            return error
        path[depth] = page
        if depth == 0:
            tree.root = page.pgno
        else:
            set_child(cell_at(path[depth - 1], indexes[depth - 1]), page.pgno)
    return 0


cdef int tree_get(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length, const uint8_t** value) noexcept nogil:
    """1 with the value of this key, 0 with NULL when it is not there."""
    cdef bint exact
    cdef int index
    cdef kn_page* page
    cdef uint8_t* cell
    value[0] = NULL
    if tree.root == 0:
        return 0
    page = root_page(pager, tree)
    while page != NULL and page.level > 0:
        page = child_page(pager, page, branch_index(page, key, key_length))
    if page == NULL:
        return -EUCLEAN
    index = lower_bound(page, key, key_length, &exact)
    if not exact:
        return 0
    cell = cell_at(page, index)
    value[0] = cell + LEAF_HEAD + read16(cell)
    return 1


cdef uint32_t tree_leaf(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil:
    """The number of the leaf where this key belongs, which is not touched; 0 when the tree is empty, or damaged on the way."""
    cdef kn_page* page
    if tree.root == 0 or tree.height == 1:
        return tree.root
    page = root_page(pager, tree)
    while page != NULL and page.level > 1:
        page = child_page(pager, page, branch_index(page, key, key_length))
    return child_of(cell_at(page, branch_index(page, key, key_length))) if page != NULL else 0


cdef int tree_rank(Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length, uint64_t* rank) noexcept nogil:
    """How many entries lie below `key`. In each branch the shorter side of the path is added up."""
    cdef uint64_t below = tree.entries
    cdef int index, other
    cdef bint exact
    cdef kn_page* page
    rank[0] = 0
    if tree.root == 0:
        return 0
    page = root_page(pager, tree)
    while page != NULL and page.level > 0:
        index = branch_index(page, key, key_length)
        if index * 2 < page.count:
            for other in range(index):
                rank[0] += count_below(cell_at(page, other))
        else:
            rank[0] += below
            for other in range(index, page.count):
                rank[0] -= count_below(cell_at(page, other))
        below = count_below(cell_at(page, index))
        page = child_page(pager, page, index)
    if page == NULL:
        return -EUCLEAN
    rank[0] += lower_bound(page, key, key_length, &exact)
    return 0


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
        leaf = new_page(txn, &error)
        if leaf == NULL:
            return error
        format_page(leaf, 0, tree.value_size)
        tree.root, tree.height = leaf.pgno, 1
    error = _descend(txn.pager, tree, key, key_length, path, indexes)
    if error == 0:
        error = _own_path(txn, tree, path, indexes)
    if error < 0:
        return error
    leaf = path[tree.height - 1]
    index = lower_bound(leaf, key, key_length, &exact)
    if exact:
        memcpy(cell_at(leaf, index) + LEAF_HEAD + key_length, value, tree.value_size)
        return 0
    for depth in range(tree.height - 1):
        cell = cell_at(path[depth], indexes[depth])
        set_below(cell, count_below(cell) + 1)
    tree.entries += 1
    size = LEAF_HEAD + key_length + tree.value_size
    if free_room(leaf) >= size + 2:
        fill_leaf(open_cell(leaf, index, size), key, key_length, value, tree.value_size)
        leaf.after = index + 1
        return 1
    error = _split_insert(txn, tree, path, indexes, index, key, key_length, value)
    return error if error < 0 else 1


cdef int _split_point(kn_page* page, int index, int size, bint ascending) noexcept nogil:
    """How many of the page's cells stay on the left. `index` and `size` are of the cell that is to come.
    Input in ascending order leaves full pages behind instead of half-full ones."""
    cdef int total = used_room(page) + size + 2
    cdef int left = 0, cell
    if ascending and index > 0:
        return index
    for cell in range(page.count):
        if cell == index:
            left += size + 2
        left += cell_size(page, cell_at(page, cell)) + 2
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
        cell = cell_at(source, index)
        size = cell_size(source, cell)
        memcpy(open_cell(target, target.count, size), cell, size)
        source.unused += size
    source.lower -= 2 * (source.count - first)
    source.count = first
    if first == 0:
        source.upper, source.unused = KN_PAGE_SIZE, 0


cdef int _separator(kn_page* left, kn_page* right, uint8_t* out) noexcept nogil:
    """The shortest key that is above all of `left` and not above `right`'s first; for leaves."""
    cdef uint8_t* last = cell_at(left, left.count - 1)
    cdef uint8_t* first = cell_at(right, 0)
    cdef int last_length = read16(last), first_length = read16(first), same = 0
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
    cdef bint ascending = index == left.count
    cdef int above
    for above in range(depth):
        if indexes[above] != path[above].count - 1:
            ascending = False
    if index == left.after:         # in the midst of a tree, too: the entries of one value come in the order of keys
        ascending = True
    size = LEAF_HEAD + key_length + tree.value_size
    right = new_page(txn, &error)
    if right == NULL:
        return error
    format_page(right, 0, tree.value_size)
    keep = _split_point(left, index, size, ascending)
    _move_tail(left, keep, right)
    if index <= keep and right.count > 0 and free_room(left) >= size + 2:
        fill_leaf(open_cell(left, index, size), key, key_length, value, tree.value_size)
        left.after, right.after = index + 1, 0
    else:
        fill_leaf(open_cell(right, index - keep, size), key, key_length, value, tree.value_size)
        left.after, right.after = 0, index - keep + 1
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
        set_below(cell_at(branch, index), entries_of(left))
        index += 1
        size = BRANCH_HEAD + separator_length
        if free_room(branch) >= size + 2:
            fill_branch(open_cell(branch, index, size), right.pgno, entries_of(right), separator, separator_length)
            return 0
        sibling = new_page(txn, &error)
        if sibling == NULL:
            return error
        format_page(sibling, branch.level, branch.value_size)
        keep = _split_point(branch, index, size, index == branch.count)
        if keep == branch.count:
            keep -= 1
        _move_tail(branch, keep, sibling)
        if index <= keep:
            fill_branch(open_cell(branch, index, size), right.pgno, entries_of(right), separator, separator_length)
        else:
            fill_branch(open_cell(sibling, index - keep, size), right.pgno, entries_of(right), separator, separator_length)
        separator_length = _take_first_key(sibling, separator)
        left, right = branch, sibling
        depth -= 1
    return _new_root(txn, tree, left, right, separator, separator_length)


cdef int _take_first_key(kn_page* branch, uint8_t* out) noexcept nogil:
    """Moves the first key of a branch page to `out`: it becomes the separator above; a first key is empty."""
    cdef uint8_t* cell = cell_at(branch, 0)
    cdef int length = read16(cell + 12)
    memcpy(out, cell + BRANCH_HEAD, length)
    branch.unused += length
    cell[12] = cell[13] = 0
    return length


cdef int _new_root(Txn* txn, kn_tree* tree, kn_page* left, kn_page* right, const uint8_t* separator, int length) noexcept nogil:
    cdef int error = 0
    cdef kn_page* root
    if tree.height == MAX_HEIGHT:
        return -EIO
    root = new_page(txn, &error)
    if root == NULL:
        return error
    format_page(root, left.level + 1, left.value_size)
    fill_branch(open_cell(root, 0, BRANCH_HEAD), left.pgno, entries_of(left), separator, 0)
    fill_branch(open_cell(root, 1, BRANCH_HEAD + length), right.pgno, entries_of(right), separator, length)
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
    if tree.root == 0:
        return 0
    error = _descend(txn.pager, tree, key, key_length, path, indexes)
    if error < 0:
        return error
    depth = tree.height - 1
    index = lower_bound(path[depth], key, key_length, &exact)
    if not exact:
        return 0
    error = _own_path(txn, tree, path, indexes)
    if error < 0:
        return error
    remove_cell(path[depth], index)
    tree.entries -= 1
    for index in range(depth):
        cell = cell_at(path[index], indexes[index])
        set_below(cell, count_below(cell) - 1)
    error = _rebalance(txn, tree, path, indexes)
    return error if error < 0 else 1


cdef int _rebalance(Txn* txn, kn_tree* tree, kn_page** path, int* indexes) noexcept nogil:
    """Merges underfull pages from the leaf of the path upward, and lowers the root where it has one child left."""
    cdef int depth = tree.height - 1, error
    cdef kn_page* root
    while depth > 0 and used_room(path[depth]) < UNDERFULL:
        if path[depth].count == 0:
            error = free_page(txn, path[depth].pgno)
            _drop_branch_cell(path[depth - 1], indexes[depth - 1])
        else:
            error = _merge(txn, path[depth - 1], indexes[depth - 1], path[depth])
        if error < 0:
            return error
        depth -= 1
    root = path[0]
    while root.level > 0 and root.count == 1:
        tree.root = child_of(cell_at(root, 0))
        tree.height -= 1
        error = free_page(txn, root.pgno)
        if error < 0:
            return error
        root = root_page(txn.pager, tree)
        if root == NULL:
            return -EUCLEAN
    if root.count == 0:
        tree.root, tree.height = 0, 0
        return free_page(txn, root.pgno)
    return 0


cdef void _drop_branch_cell(kn_page* branch, int index) noexcept nogil:
    cdef uint8_t ignored[KN_PAGE_SIZE]
    remove_cell(branch, index)
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
    left = child_page(txn.pager, parent, left_index)
    right = child_page(txn.pager, parent, left_index + 1)
    if left == NULL or right == NULL:
        return -EUCLEAN
    separator = cell_at(parent, left_index + 1) + BRANCH_HEAD
    separator_length = read16(separator - 2)
    size = used_room(left) + used_room(right) + (separator_length if left.level > 0 else 0)
    if size > ROOM:
        return 0
    left = writable_page(txn, left, &error)
    if left == NULL:
        return error
    set_child(cell_at(parent, left_index), left.pgno)
    for first in range(right.count):
        cell = cell_at(right, first)
        if left.level > 0 and first == 0:
            fill_branch(open_cell(left, left.count, BRANCH_HEAD + separator_length), child_of(cell), count_below(cell), separator,
                         separator_length)
            continue
        moved = cell_size(right, cell)
        memcpy(open_cell(left, left.count, moved), cell, moved)
    error = free_page(txn, right.pgno)
    if error < 0:
        return error
    set_below(cell_at(parent, left_index), entries_of(left))
    remove_cell(parent, left_index + 1)
    return 0


cdef int tree_discard(Txn* txn, kn_tree* tree) noexcept nogil:
    """Frees every page of the tree."""
    cdef kn_page* path[MAX_HEIGHT]
    cdef int position[MAX_HEIGHT]
    cdef int depth = 0, error = 0
    if tree.root == 0:
        return 0
    path[0], position[0] = root_page(txn.pager, tree), 0
    while depth >= 0:
        if path[depth] == NULL:
            return -EUCLEAN
        if path[depth].level > 0 and position[depth] < path[depth].count:
            path[depth + 1] = child_page(txn.pager, path[depth], position[depth])
            position[depth] += 1
            depth += 1
            position[depth] = 0
            continue
        error = free_page(txn, path[depth].pgno)
        if error < 0:
            return error
        depth -= 1
    tree.root, tree.height, tree.entries = 0, 0, 0
    return 0


# ---- check ----

cdef int tree_check(Pager* pager, const kn_tree* tree, uint64_t txn, uint8_t* seen, uint32_t next_pgno) noexcept nogil:
    """Walks the whole tree: examines each page (pager.pyx), order within and between pages, separators, counts; marks the
    pages in `seen` (a byte each). 0, or a negative Violation, with the page noted as damaged."""
    cdef uint64_t total = 0
    cdef uint32_t violating = tree.root
    cdef int result
    if tree.root == 0:
        return 0 if tree.entries == 0 else -WRONG_TOTAL
    result = _check_page(pager, tree.root, tree.height - 1, txn, seen, next_pgno, NULL, 0, NULL, 0, &total, &violating)
    if result == 0 and total != tree.entries:
        result = -WRONG_TOTAL
    if result < 0:
        kn_store32(&pager.shared.damaged, violating)
    return result


cdef int _check_page(Pager* pager, uint32_t pgno, int level, uint64_t txn, uint8_t* seen, uint32_t next_pgno,
                     const uint8_t* low, int low_length, const uint8_t* high, int high_length, uint64_t* total,
                     uint32_t* violating) noexcept nogil:
    cdef kn_page* page
    cdef uint8_t* cell
    cdef const uint8_t* key
    cdef const uint8_t* previous = NULL
    cdef const uint8_t* child_high
    cdef int index, length, previous_length = 0, result, child_high_length
    cdef uint64_t below
    violating[0] = pgno
    if pgno < KN_FIRST_PAGE or pgno >= next_pgno:
        return -OUTSIDE
    if seen[pgno]:
        return -REACHED_TWICE
    seen[pgno] = 1
    page = examine_page(pager, pgno, level, txn)
    if page == NULL:
        return -DAMAGED
    ask_for_leaves(pager, page)
    for index in range(page.count):
        cell = cell_at(page, index)
        key, length = cell_key(page, cell), cell_key_length(page, cell)
        if level > 0 and index == 0:
            if length != 0:
                return -OUT_OF_ORDER
            if low != NULL:
                key, length = low, low_length
        if previous != NULL and compare(previous, previous_length, key, length) >= 0:
            return -OUT_OF_ORDER
        if low != NULL and compare(low, low_length, key, length) > 0:
            return -OUT_OF_ORDER
        if high != NULL and compare(key, length, high, high_length) >= 0:
            return -OUT_OF_ORDER
        previous, previous_length = key, length
        if level == 0:
            continue
        child_high, child_high_length = high, high_length
        if index + 1 < page.count:
            child_high = cell_key(page, cell_at(page, index + 1))
            child_high_length = cell_key_length(page, cell_at(page, index + 1))
        below = 0
        result = _check_page(pager, child_of(cell), level - 1, page.txn, seen, next_pgno, key, length, child_high,
                             child_high_length, &below, violating)
        if result < 0:
            return result
        violating[0] = pgno
        if below != count_below(cell):
            return -WRONG_COUNT
        total[0] += below
    if level == 0:
        total[0] += page.count
    return 0
