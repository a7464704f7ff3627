"""Reading ahead the pages that replaying a log will touch, so that the disk has many requests at a time.

After a power cut nothing of a table is in memory, and its log touches leaves all over the index: replay would wait for one after
the other. So a thread goes through the log before it, a window of frames at a time. It descends the trees of the checkpoint to the
leaves of all entries that will change, without touching these, and asks the kernel for them in the order of the file. While
one window is replayed, the next one is looked at.

The trees of the checkpoint do not change meanwhile: replay copies what it changes, and may use none of their pages again. Leaves that replay
has made are in memory anyway, so it does no harm that the thread does not know them. What it does is a hint: where it meets
damage, or there is no memory, it asks for less, and whoever replays finds out for himself.

A change of a record needs the record before it. So a window is gone through three times: for the leaves of the primary keys,
for the records in the log, and for the leaves of the entries that differ.
"""

from engine.apply cimport tell_changes
from engine.btree cimport tree_get, tree_leaf
from engine.core cimport Core, attribute_tree, locate, op_is_sound, op_key, op_length
from engine.gathering cimport Entry, end_gathering, gather, handle_gathered, prepare_gathering
from engine.layout cimport (
    KN_DELETE, KN_IDLE, KN_PUT, KN_SEGMENT_HEADER, KN_SUPERSEDED, kn_add32, kn_frame, kn_futex_wait, kn_futex_wake,
    kn_load32, kn_load64, kn_locator, kn_meta, kn_op, kn_page, kn_store32, kn_store64, kn_tree,
)
from engine.log cimport frame_is_whole, log_map, log_will_need
from engine.page cimport cell_at, child_of
from engine.pager cimport pager_will_need, read_page
from engine.posix cimport pthread_create, pthread_join
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memcpy, memset

cdef enum:
    FIRST_WINDOW = 2048         # operations; whoever replays waits for it. Each is twice as large as the one before, up to
    WINDOW = 32768
    GAP = 8                     # pages that are read in vain rather than begin another request
    MOST_BRANCHES = 65536
    GATHERED = 1 << 18          # entries that are looked for together
    LONGEST_WAIT = 1000000      # µs
    UNKNOWN = 0                 # states of an attribute's tree
    KNOWN = 1
    ABSENT = 2

ctypedef void (*Look)(Lookahead* ahead, const kn_op* op) noexcept nogil


# ---- asking for pages ----

cdef int _in_order(const void* one, const void* other) noexcept nogil:
    cdef uint32_t left = (<const uint32_t*>one)[0], right = (<const uint32_t*>other)[0]
    return (left > right) - (left < right)


cdef void _ask(Lookahead* ahead, uint32_t pgno) noexcept nogil:
    """Notes that this page is needed, unless it was asked for before."""
    cdef uint32_t* grown
    cdef int room
    if pgno >= ahead.meta.next_pgno or ahead.asked[pgno >> 6] >> (pgno & 63) & 1:
        return
    if ahead.pending == ahead.room:
        room = ahead.room * 2 if ahead.room else 4096
        grown = <uint32_t*>realloc(ahead.pages, room * sizeof(uint32_t))
        if grown == NULL:
            return
        ahead.pages, ahead.room = grown, room
    ahead.asked[pgno >> 6] |= <uint64_t>1 << (pgno & 63)
    ahead.pages[ahead.pending] = pgno
    ahead.pending += 1


cdef void _read_asked(Lookahead* ahead) noexcept nogil:
    """Has the kernel begin to read what was noted; neighbours, or nearly such, by one request."""
    cdef uint32_t first, last
    cdef int index = 0
    qsort(ahead.pages, ahead.pending, sizeof(uint32_t), _in_order)
    while index < ahead.pending and not kn_load32(&ahead.stop):
        first = last = ahead.pages[index]
        while index < ahead.pending and ahead.pages[index] - last <= GAP:
            last = ahead.pages[index]
            index += 1
        pager_will_need(&ahead.core.pager, first, last - first + 1)
    ahead.pending = 0


# ---- trees ----

cdef void _ask_below(Lookahead* ahead, kn_page* page, int level) noexcept nogil:
    """Asks for the pages of `level` below this page."""
    cdef int index
    cdef uint32_t child
    for index in range(page.count if page != NULL else 0):
        child = child_of(cell_at(page, index))
        if page.level - 1 > level:
            _ask_below(ahead, read_page(&ahead.core.pager, child, page.level - 1, page.txn), level)
        elif ahead.branches < MOST_BRANCHES:
            ahead.branches += 1
            _ask(ahead, child)


cdef void _ask_branches(Lookahead* ahead, const kn_tree* tree) noexcept nogil:
    """All branches of a tree, level by level: every descent goes through them."""
    cdef int level
    if tree.root == 0:
        return
    for level in range(tree.height - 2, 0, -1):
        _ask_below(ahead, read_page(&ahead.core.pager, tree.root, tree.height - 1, KN_IDLE), level)
        _read_asked(ahead)


cdef void _ask_leaf(Lookahead* ahead, const kn_tree* tree, const uint8_t* key, int key_length) noexcept nogil:
    _ask(ahead, tree_leaf(&ahead.core.pager, tree, key, key_length))


cdef kn_tree* _tree_of(Lookahead* ahead, uint32_t attribute) noexcept nogil:
    """The checkpoint's index of this attribute, or NULL."""
    if attribute >= ahead.tree_room:
        return NULL
    cdef kn_tree* tree = ahead.trees + attribute
    if ahead.states[attribute] == UNKNOWN:
        if attribute_tree(ahead.core, &ahead.meta, attribute, tree) == 1 and tree.root != 0:
            ahead.states[attribute] = KNOWN
            _ask_branches(ahead, tree)
        else:
            ahead.states[attribute] = ABSENT
    return tree if ahead.states[attribute] == KNOWN else NULL


# ---- looking at one operation ----

cdef const kn_op* _record_before(Lookahead* ahead, const kn_op* op, bint read) noexcept nogil:
    """The operation with the record that the checkpoint has under this key, or NULL. Unless `read`, it is only asked for."""
    cdef kn_locator place
    cdef const uint8_t* found
    if tree_get(&ahead.core.pager, &ahead.meta.primary, op_key(op), op.key_length, &found) != 1:
        return NULL
    memcpy(&place, found, sizeof(kn_locator))
    if read:
        return locate(ahead.core, place.segno, place.offset)
    log_will_need(&ahead.core.log, place.segno, place.offset, place.length)
    return NULL


cdef void _look_for_key(Lookahead* ahead, const kn_op* op) noexcept nogil:
    _ask_leaf(ahead, &ahead.meta.primary, op_key(op), op.key_length)
    if ahead.meta.tombstones.root != 0:
        _ask_leaf(ahead, &ahead.meta.tombstones, op_key(op), op.key_length)


cdef void _look_for_record(Lookahead* ahead, const kn_op* op) noexcept nogil:
    _record_before(ahead, op, False)


cdef void _look_for_entries(Lookahead* ahead, const kn_op* op) noexcept nogil:
    tell_changes(ahead.core, &ahead.told, _record_before(ahead, op, True), op if op.kind == KN_PUT else NULL, op_key(op), op.key_length)


cdef int _hear_of_entry(void* listener, uint32_t attribute, const uint8_t* entry, int length, bint add) noexcept nogil:
    return gather(&(<Lookahead*>listener).entries, attribute, entry, length, add)


cdef int _ask_for_entry(void* handler, const Entry* entry) noexcept nogil:
    cdef Lookahead* ahead = <Lookahead*>handler
    if kn_load32(&ahead.stop):
        return -1
    cdef kn_tree* tree = _tree_of(ahead, entry.attribute)
    if tree != NULL:
        _ask_leaf(ahead, tree, entry.bytes, entry.length)
    return 0


# ---- looking at a window ----

cdef const kn_frame* _frame_at(Lookahead* ahead, Place* place) noexcept nogil:
    """The frame at this place, or the first one of the next segment with any; NULL when there are no more."""
    cdef uint32_t segno
    while place.segment < ahead.count:
        segno = ahead.segnos[place.segment]
        if log_map(&ahead.core.log, segno) == 0 and frame_is_whole(&ahead.core.log, segno, place.offset):
            return <const kn_frame*>(ahead.core.log.base[segno] + place.offset)
        place.segment += 1
        place.offset = KN_SEGMENT_HEADER
    return NULL


cdef void _look_at_frame(Lookahead* ahead, const kn_frame* frame, Look look) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*>frame + sizeof(kn_frame)
    cdef const uint8_t* end = <const uint8_t*>frame + frame.length
    cdef const kn_op* op
    cdef uint32_t index
    for index in range(frame.operations):
        op = <const kn_op*>at
        if not op_is_sound(op, end - at):
            return
        if (op.kind == KN_PUT or op.kind == KN_DELETE) and not op.flags & KN_SUPERSEDED:
            look(ahead, op)
        at += op_length(op)


cdef bint _next_window(Lookahead* ahead) noexcept nogil:
    """Whether there are frames behind the last window; from_ and to are then those of the next one."""
    cdef const kn_frame* frame
    cdef uint64_t operations = 0
    ahead.from_ = ahead.to
    frame = _frame_at(ahead, &ahead.to)
    while frame != NULL and operations < ahead.window:
        operations += frame.operations
        ahead.to.offset += frame.length
        frame = _frame_at(ahead, &ahead.to)
    ahead.window = ahead.window * 2 if ahead.window < WINDOW else WINDOW
    return operations > 0


cdef void _look(Lookahead* ahead, Look look) noexcept nogil:
    """Shows all operations of the window to `look`, and asks for what it has found."""
    cdef Place place = ahead.from_
    cdef const kn_frame* frame = _frame_at(ahead, &place)
    while frame != NULL and place_of(place.segment, place.offset) < place_of(ahead.to.segment, ahead.to.offset):
        if kn_load32(&ahead.stop):
            return
        _look_at_frame(ahead, frame, look)
        place.offset += frame.length
        frame = _frame_at(ahead, &place)
    _read_asked(ahead)


# ---- the thread ----

cdef void _move(Lookahead* ahead, uint64_t* word, uint64_t place) noexcept nogil:
    kn_store64(word, place)
    kn_add32(&ahead.moved, 1)
    kn_futex_wake(&ahead.moved)


cdef void _wait_until(Lookahead* ahead, const uint64_t* word, uint64_t place) noexcept nogil:
    """Until the word is at least `place`, or whoever replays wants no more."""
    cdef uint32_t seen = kn_load32(&ahead.moved)
    while kn_load64(word) < place and not kn_load32(&ahead.stop):
        kn_futex_wait(&ahead.moved, seen, LONGEST_WAIT)
        seen = kn_load32(&ahead.moved)


cdef void* _run(void* argument) noexcept nogil:
    cdef Lookahead* ahead = <Lookahead*>argument
    cdef uint64_t start
    _ask_branches(ahead, &ahead.meta.primary)
    _ask_branches(ahead, &ahead.meta.tombstones)
    while not kn_load32(&ahead.stop) and _next_window(ahead):
        start = place_of(ahead.from_.segment, ahead.from_.offset)
        _look(ahead, _look_for_key)
        _look(ahead, _look_for_record)
        _look(ahead, _look_for_entries)
        handle_gathered(&ahead.entries)
        _read_asked(ahead)
        _move(ahead, &ahead.reached, place_of(ahead.to.segment, ahead.to.offset))
        _wait_until(ahead, &ahead.replaying, start)
    _move(ahead, &ahead.reached, <uint64_t>-1)
    return NULL


cdef bint has_looked(Lookahead* ahead, uint64_t place) noexcept nogil:
    """Whether the window with this place has been looked at; in any case, the next one will be."""
    _move(ahead, &ahead.replaying, place)
    return kn_load64(&ahead.reached) > place


cdef void wait_for_look(Lookahead* ahead, uint64_t place) noexcept nogil:
    """Before whoever replays goes on from here."""
    _wait_until(ahead, &ahead.reached, place + 1)
    ahead.granted = kn_load64(&ahead.reached)


cdef bint prepare_look(Lookahead* ahead, Core* core, const kn_meta* meta, int count) noexcept nogil:
    """Whether there is memory to look ahead in `count` segments from the state `meta` on, which is a checkpoint's. In any case,
    end_look must follow."""
    memset(ahead, 0, sizeof(Lookahead))
    ahead.core, ahead.count, ahead.tree_room, ahead.window = core, count, meta.next_attribute, FIRST_WINDOW
    memcpy(&ahead.meta, meta, sizeof(kn_meta))
    ahead.told.tell, ahead.told.listener = _hear_of_entry, ahead
    ahead.segnos = <uint32_t*>calloc(count + 1, sizeof(uint32_t))
    ahead.asked = <uint64_t*>calloc(meta.next_pgno // 64 + 1, sizeof(uint64_t))
    ahead.trees = <kn_tree*>calloc(ahead.tree_room + 1, sizeof(kn_tree))
    ahead.states = <uint8_t*>calloc(ahead.tree_room + 1, 1)
    cdef bint gathering = prepare_gathering(&ahead.entries, GATHERED, _ask_for_entry, ahead)
    return gathering and ahead.segnos != NULL and ahead.asked != NULL and ahead.trees != NULL and ahead.states != NULL


cdef void begin_look(Lookahead* ahead) noexcept nogil:
    """Without a thread for it, nobody looks ahead."""
    ahead.to.offset = ahead.meta.log_end if ahead.segnos[0] == ahead.meta.segno else KN_SEGMENT_HEADER
    ahead.running = pthread_create(&ahead.thread, NULL, _run, ahead) == 0


cdef void end_look(Lookahead* ahead) noexcept nogil:
    kn_store32(&ahead.stop, 1)
    kn_add32(&ahead.moved, 1)
    kn_futex_wake(&ahead.moved)
    if ahead.running:
        pthread_join(ahead.thread, NULL)
    end_gathering(&ahead.entries)
    free(ahead.segnos)
    free(ahead.asked)
    free(ahead.pages)
    free(ahead.trees)
    free(ahead.states)
