"""Records of a selection in an order of their own.

What a record is sorted by is written as one run of bytes that compare as the values do: their keys (keybytes.pyx) one after
the other, turned over bit by bit where the order descends, and with nulls at the end that was asked for. A key ends where
something below FE follows, turned over something above 01: so all that may follow is in between, and the last key is
followed by something. Records that compare equal keep the order of the selection. Until the order is known no value becomes a Python
object; then the records are read again, in that order.

With a limit only the best so far are kept, and some more that wait to be compared with them. What only Python can put in
its place (an array, an object, arithmetic on what is no number) ends the sorting: the asker has to do it on rows.
"""

from engine.fields cimport ABSENT, COMPOSITE, HIDDEN, MALFORMED, NOTHING, Stored, make_room, put_whole_key
from engine.filters cimport evaluate
from engine.fragments cimport Writer
from engine.layout cimport kn_op
from engine.program cimport Program
from engine.selection cimport Selection
from engine.snapshot cimport StoreView, _Columns
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

from engine.errors import Corrupt
from engine.predicates import Fixed

cdef extern from "<stdlib.h>" nogil:
    void qsort_r(void* items, size_t count, size_t size, int (*compare)(const void*, const void*, void*) noexcept nogil, void* data)

cdef enum:
    BATCH = 1024            # rows that are read at a time
    WAITING = 4096          # records, at least, that a sort with a limit keeps beyond it before it drops the last
    FIRST_ROOM = 256
    LOW = 0x02              # below the tags of values and above what is inside a text, turned over or not
    HIGH = 0xFD             # and the other way round

cdef enum:
    # why taking records stops
    DONE = 0
    REFUSED = 1
    DAMAGED = -1
    NO_MEMORY = -2


cdef struct Direction:
    uint8_t flip            # for each byte of a value's key
    uint8_t null


cdef struct Item:
    uint64_t prefix         # of its key; bytes in the order that numbers have
    size_t start            # of the key in `bytes`: the earlier record has the smaller one
    size_t length
    const kn_op* op


cdef inline uint64_t prefix_of(const uint8_t* key, size_t length) noexcept nogil:
    cdef uint64_t prefix = 0
    cdef size_t index
    for index in range(8):
        prefix = prefix << 8 | (key[index] if index < length else 0)
    return prefix


cdef int by_key(const void* left, const void* right, void* bytes) noexcept nogil:
    cdef const Item* one = <const Item*>left
    cdef const Item* other = <const Item*>right
    cdef int order
    if one.prefix != other.prefix:
        return -1 if one.prefix < other.prefix else 1
    order = memcmp(<uint8_t*>bytes + one.start, <uint8_t*>bytes + other.start, min(one.length, other.length))
    if order == 0 and one.length != other.length:
        order = -1 if one.length < other.length else 1
    if order == 0:
        order = -1 if one.start < other.start else 1
    return order


cdef class Sorter:
    """`keys` are (operand, whether it descends, whether nulls come first). The selection has to have been made for all
    attributes. `limit` None for all records."""

    cdef Selection selection
    cdef Program program
    cdef Direction* directions
    cdef Item* items
    cdef size_t count, room, limit
    cdef bint limited
    cdef bint full              # the first `limit` items are in order, and nothing after the last of them is wanted
    cdef Writer bytes, scratch

    def __cinit__(self, Selection selection, keys, limit) -> None:
        self.selection = selection
        self.program = Program(Fixed(True), selection.view._number, [operand for operand, _, _ in keys])
        self.limited, self.limit = limit is not None, limit or 0
        self.directions = <Direction*>calloc(len(keys) + 1, sizeof(Direction))
        if self.directions == NULL:
            raise MemoryError
        for index, (_, descending, nulls_first) in enumerate(keys):
            self.directions[index].flip = 0xFF if descending else 0
            self.directions[index].null = LOW if nulls_first else HIGH

    def __dealloc__(self) -> None:
        free(self.directions)
        free(self.items)
        free(self.bytes.data)
        free(self.scratch.data)

    @property
    def size(self) -> int:
        """Bytes of memory that are held."""
        return self.room * sizeof(Item) + self.bytes.room

    @property
    def wanted(self) -> int:
        """Records that are held, but for those that wait to be dropped."""
        return min(self.count, self.limit) if self.limited else self.count

    # ---- taking ----

    def take(self):
        """Takes all records, a step of the selection at a time; for each step, whether their places could be told."""
        cdef Selection selection = self.selection
        cdef int result
        while selection.advance():
            self.widen()
            selection.view.store.calls += 1
            with nogil:
                result = self.take_found()
            selection.view.store.calls -= 1
            if result == NO_MEMORY:
                raise MemoryError
            if result == DAMAGED:
                raise Corrupt(f"{selection.view.store.label}: a record's body is malformed")
            yield result == DONE

    cdef int take_found(self) noexcept nogil:
        cdef int index, result
        for index in range(self.selection.count):
            result = self.add(self.selection.found[index].op)
            if result != DONE:
                return result
        if self.limited and self.count > self.limit and self.count - self.limit > max(self.limit, <size_t>WAITING):
            return self.cut()
        return DONE

    cdef int add(self, const kn_op* op) noexcept nogil:
        cdef Item* item = &self.items[self.count]
        cdef int result
        item.start, item.op = self.bytes.used, op
        if not self.program.columns.read(op):
            return DAMAGED
        result = self.put_key()
        if result != DONE:
            return result
        item.length = self.bytes.used - item.start
        item.prefix = prefix_of(self.bytes.data + item.start, item.length)
        if self.full and by_key(&self.items[self.limit - 1], item, self.bytes.data) < 0:
            self.bytes.used = item.start
        else:
            self.count += 1
        return DONE

    cdef int put_key(self) noexcept nogil:
        cdef Stored value
        cdef Py_ssize_t start, at
        cdef int index, result
        for index in range(self.program.operand_count):
            evaluate(self.program, self.program.operands[index], &value)
            if value.kind == MALFORMED:
                return DAMAGED
            if value.kind == HIDDEN or value.kind == COMPOSITE:
                return REFUSED
            start = self.bytes.used
            if value.kind == NOTHING or value.kind == ABSENT:
                if not self.put_byte(self.directions[index].null):
                    return NO_MEMORY
                continue
            result = put_whole_key(&self.bytes, &value, &self.scratch)
            if result <= 0:
                return DAMAGED if result < 0 else NO_MEMORY
            if self.directions[index].flip:
                for at in range(start, self.bytes.used):
                    self.bytes.data[at] ^= 0xFF
        return DONE if self.put_byte(LOW) else NO_MEMORY

    cdef bint put_byte(self, uint8_t byte) noexcept nogil:
        if not make_room(&self.bytes, 1):
            return False
        self.bytes.data[self.bytes.used] = byte
        self.bytes.used += 1
        return True

    cdef int widen(self) except -1:
        """Makes room for what the step found."""
        cdef size_t needed = self.count + self.selection.count
        cdef size_t room
        cdef Item* items
        if needed > self.room:
            room = max(needed, 2 * self.room, <size_t>FIRST_ROOM)
            items = <Item*>realloc(self.items, room * sizeof(Item))
            if items == NULL:
                raise MemoryError
            self.items, self.room = items, room
        return 0

    # ---- order ----

    cdef void sort(self) noexcept nogil:
        if self.count > 1:
            qsort_r(self.items, self.count, sizeof(Item), by_key, self.bytes.data)

    cdef int cut(self) noexcept nogil:
        """Keeps the best only."""
        cdef Writer kept
        cdef size_t index
        cdef Item* item
        self.sort()
        self.count, self.full = self.limit, self.limit > 0
        kept.data = kept.first = NULL
        kept.used = kept.room = 0
        for index in range(self.count):
            if not make_room(&kept, self.items[index].length):
                free(kept.data)
                return NO_MEMORY
            item = &self.items[index]
            memcpy(kept.data + kept.used, self.bytes.data + item.start, item.length)
            item.start = kept.used
            kept.used += item.length
        free(self.bytes.data)
        self.bytes = kept
        return DONE

    def rows(self, columns):
        """The values of `columns` of the records in order, None where absent: a list for each batch."""
        cdef _Columns projection = self.selection.view._project(columns)
        cdef size_t start = 0, index, end
        self.selection.view.store.calls += 1
        with nogil:
            self.sort()
        self.selection.view.store.calls -= 1
        end = self.wanted
        while start < end:
            self.selection.view.need_open()
            yield [
                self.selection.view._tuple(self.items[index].op, projection) for index in range(start, min(start + BATCH, end))
            ]
            start += BATCH
