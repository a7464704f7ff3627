"""Cursors over the entries of a tree: by key, by rank, forward and backward.

There are no sibling pointers; a cursor keeps its path. It is valid as long as its reader slot holds the tree's state.
Whoever finds it invalid asks for `error`: the entries may have come to their end, or to a damaged page.
"""

from engine.layout cimport KN_IDLE, kn_page, kn_tree
from engine.page cimport LEAF_HEAD, branch_index, cell_at, child_of, count_below, lower_bound, read16
from engine.pager cimport Pager, ask_for_children, is_examined, page_at, read_page
from engine.posix cimport EUCLEAN
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    FIRST_WINDOW = 2            # leaves
    LARGEST_WINDOW = 64


cdef kn_page* _root(Cursor* cursor, Pager* pager, const kn_tree* tree) noexcept nogil:
    """Begins the path; NULL with the cursor invalid when there is none."""
    cdef kn_page* page
    cursor.pager, cursor.height, cursor.error, cursor.valid = pager, tree.height, 0, False
    cursor.window, cursor.asked = FIRST_WINDOW, 0
    if tree.root == 0:
        return NULL
    page = read_page(pager, tree.root, tree.height - 1, KN_IDLE)
    cursor.pgno[0] = tree.root
    cursor.valid = page != NULL
    cursor.error = 0 if cursor.valid else -EUCLEAN
    return page


cdef kn_page* _child(Cursor* cursor, int depth, kn_page* page, int index) noexcept nogil:
    """Takes the cell `index` of `page`, which is at `depth` of the path; NULL with the cursor invalid when what it points to
    is damaged."""
    cdef kn_page* child = read_page(cursor.pager, child_of(cell_at(page, index)), page.level - 1, page.txn)
    cursor.index[depth] = index
    if child == NULL:
        cursor.valid, cursor.error = False, -EUCLEAN
    else:
        cursor.pgno[depth + 1] = child.pgno
    return child


cdef void _descend(Cursor* cursor, int depth, bint to_the_end) noexcept nogil:
    """Fills the path below `depth` with first (or last) children."""
    cdef kn_page* page = page_at(cursor.pager, cursor.pgno[depth])
    while page.level > 0:
        page = _child(cursor, depth, page, cursor.index[depth])
        if page == NULL:
            return
        depth += 1
        cursor.index[depth] = page.count - 1 if to_the_end else 0


cdef void _read_ahead(Cursor* cursor, int depth, int direction) noexcept nogil:
    """Whoever comes to a leaf that was never read here is about to come to those after it."""
    cdef kn_page* page = page_at(cursor.pager, cursor.pgno[depth])
    cdef int index = cursor.index[depth]
    if cursor.asked > 0:
        cursor.asked -= 1
    elif not is_examined(cursor.pager, child_of(cell_at(page, index))):
        cursor.window = min(2 * cursor.window, <int>LARGEST_WINDOW)
        cursor.asked = ask_for_children(cursor.pager, page, index, direction, cursor.window) - 1


cdef void _step(Cursor* cursor, int direction) noexcept nogil:
    """Moves to the neighbouring leaf cell, climbing as far as needed; past the ends the cursor becomes invalid."""
    cdef int depth = cursor.height - 1
    cdef int index
    while depth >= 0:
        index = cursor.index[depth] + direction
        if 0 <= index < page_at(cursor.pager, cursor.pgno[depth]).count:
            cursor.index[depth] = index
            if depth == cursor.height - 2:
                _read_ahead(cursor, depth, direction)
            _descend(cursor, depth, direction < 0)
            return
        depth -= 1
    cursor.valid = False


cdef void cursor_seek(Cursor* cursor, Pager* pager, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil:
    """Stands on the first entry whose key is not below `key`, or becomes invalid."""
    cdef kn_page* page = _root(cursor, pager, tree)
    cdef bint exact
    cdef int depth = 0
    while page != NULL and page.level > 0:
        page = _child(cursor, depth, page, branch_index(page, key, key_length))
        depth += 1
    if page == NULL:
        return
    cursor.index[depth] = lower_bound(page, key, key_length, &exact)
    if cursor.index[depth] == page.count:
        cursor.index[depth] = page.count - 1
        _step(cursor, 1)


cdef void cursor_rank(Cursor* cursor, Pager* pager, const kn_tree* tree, uint64_t rank) noexcept nogil:
    """Stands on the entry that has `rank` entries before it, or becomes invalid."""
    cdef kn_page* page = _root(cursor, pager, tree)
    cdef int depth = 0, index
    if rank >= tree.entries:
        cursor.valid = False
        return
    while page != NULL and page.level > 0:
        index = 0
        while rank >= count_below(cell_at(page, index)):
            rank -= count_below(cell_at(page, index))
            index += 1
        page = _child(cursor, depth, page, index)
        depth += 1
    if page != NULL:
        cursor.index[depth] = <int>rank


cdef void cursor_next(Cursor* cursor) noexcept nogil:
    _step(cursor, 1)


cdef void cursor_previous(Cursor* cursor) noexcept nogil:
    _step(cursor, -1)


cdef const uint8_t* cursor_key(Cursor* cursor, int* key_length) noexcept nogil:
    cdef kn_page* page = page_at(cursor.pager, cursor.pgno[cursor.height - 1])
    cdef uint8_t* cell = cell_at(page, cursor.index[cursor.height - 1])
    key_length[0] = read16(cell)
    return cell + LEAF_HEAD


cdef const uint8_t* cursor_value(Cursor* cursor) noexcept nogil:
    cdef kn_page* page = page_at(cursor.pager, cursor.pgno[cursor.height - 1])
    cdef uint8_t* cell = cell_at(page, cursor.index[cursor.height - 1])
    return cell + LEAF_HEAD + read16(cell)
