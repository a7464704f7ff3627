"""Rows beside those of another table that have the same keys: a join by hash, without a Python object for any row.

One side is taken whole into a table from keys to its rows; then each row of the other meets its partners
there, in the order in which they were taken. Keys are compared as whole keys of indexes (keybytes.pyx), one after the
other: 1 is 1.0, true is neither, and null joins nothing. Arrays and objects are equal by their content, which only Python can
tell: when the side that is taken has one for a key, the join is given up; on the other side it meets nothing.
"""

from engine.fields cimport ABSENT, COMPOSITE, NOTHING, Stored, make_room, put_whole_key, set_absent
from engine.fragments cimport Writer
from engine.rows cimport DAMAGED, NO_MEMORY, PAUSED, ROW, STEP_ENDED, Rows
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

cdef extern from "Python.h" nogil:
    Py_hash_t _Py_HashBytes(const void* data, Py_ssize_t n)     # keyed: nobody can choose keys that collide

cdef enum:
    PATIENCE = 65536        # rows and partners between two looks at the clock
    MOST_ROWS = 0x7FFFFFFF
    FIRST_SLOTS = 1024
    FIRST_ROOM = 256

cdef enum:
    # what a row's key may be, beside what `next` may come to
    KEY = 10
    NULL_KEY = 11
    COMPOSITE_KEY = 12


cdef struct Partner:
    uint64_t hash
    size_t start            # of the key in `bytes`
    size_t length
    uint32_t next           # 1 + the next one with this key
    uint32_t last           # 1 + the last of those with this key, as the first one has it


cdef class Joined(Rows):
    """The rows of `left`, each beside its partners from `right`, which `take` takes first. `ties` are pairs of keys that have
    to be equal; with `outer` a row without partner stands beside nothing."""

    cdef Rows left, right
    cdef bint outer
    cdef int key_count
    cdef Stored** left_keys
    cdef Stored** right_keys
    cdef Partner* partners
    cdef Stored* values             # of the partners, `right.width` each
    cdef Stored* nothing            # as many
    cdef readonly size_t count      # partners
    cdef size_t room
    cdef uint32_t* slots            # 1 + the first partner with a key, by hash
    cdef uint64_t slot_mask
    cdef uint64_t keys              # different ones
    cdef Writer bytes, key, scratch
    cdef uint64_t hash
    cdef uint32_t partner           # 1 + the next one of the current row
    cdef int work

    def __cinit__(self, Rows left, Rows right, ties, bint outer) -> None:
        self.left, self.right, self.outer = left, right, outer
        self.width = left.width + right.width
        self.key_count = <int>len(ties)
        self.left_keys = <Stored**>calloc(self.key_count + 1, sizeof(Stored*))
        self.right_keys = <Stored**>calloc(self.key_count + 1, sizeof(Stored*))
        self.nothing = <Stored*>calloc(right.width + 1, sizeof(Stored))
        self.slot_mask = FIRST_SLOTS - 1
        self.slots = <uint32_t*>calloc(self.slot_mask + 1, sizeof(uint32_t))
        if self.left_keys == NULL or self.right_keys == NULL or self.nothing == NULL or self.slots == NULL:
            raise MemoryError
        for index in range(right.width):
            set_absent(&self.nothing[index])
        for index, (one, other) in enumerate(ties):
            self.left_keys[index], self.right_keys[index] = left.value(one), right.value(other)
            if self.left_keys[index] == NULL or self.right_keys[index] == NULL:
                raise KeyError((one, other))

    def __dealloc__(self) -> None:
        free(self.left_keys)
        free(self.right_keys)
        free(self.nothing)
        free(self.slots)
        free(self.partners)
        free(self.values)
        free(self.bytes.data)
        free(self.key.data)
        free(self.scratch.data)

    @property
    def size(self) -> int:
        """Bytes of memory that are held."""
        return self.room * (sizeof(Partner) + self.right.width * sizeof(Stored)) + 4 * self.slot_mask + self.bytes.room

    # ---- the side that is taken ----

    def take(self):
        """Takes the rows of `right`; now and then, and at last, whether all their keys could be told so far."""
        cdef int result
        while self.right.advance():
            result = PAUSED
            while result != STEP_ENDED:
                self.right.enter()
                with nogil:
                    result = self.take_rows()
                self.right.leave()
                if result == COMPOSITE_KEY:
                    yield False
                    return
                if result != STEP_ENDED:
                    self.right.help(result)
                yield True

    cdef int take_rows(self) noexcept nogil:
        cdef int result
        while True:
            result = self.right.next()
            if result != ROW:
                return result
            result = self.make_key(self.right_keys)
            if result == KEY:
                result = self.add()
            if result < 0 or result == COMPOSITE_KEY:
                return result

    cdef int add(self) noexcept nogil:
        """Takes the current row of `right` as the last partner with its key."""
        cdef uint32_t first = self.find(), number = <uint32_t>self.count + 1
        cdef Partner* partner
        if self.count == self.room and not self.make_partners():
            return NO_MEMORY
        partner = &self.partners[self.count]
        partner.hash, partner.next, partner.last = self.hash, 0, number
        partner.start, partner.length = self.bytes.used, self.key.used
        self.right.save(self.values + self.count * self.right.width)
        self.count += 1
        if first != 0:
            partner = &self.partners[first - 1]
            self.partners[partner.last - 1].next = number
            partner.last = number
            return KEY
        if not make_room(&self.bytes, self.key.used) or (2 * (self.keys + 1) > self.slot_mask and not self.widen()):
            return NO_MEMORY
        memcpy(self.bytes.data + self.bytes.used, self.key.data, self.key.used)
        self.bytes.used += self.key.used
        self.slots[self.slot_of_hash(self.hash)] = number
        self.keys += 1
        return KEY

    cdef bint make_partners(self) noexcept nogil:
        """Room for twice as many."""
        cdef size_t room = max(2 * self.room, <size_t>FIRST_ROOM)
        cdef Partner* partners
        cdef Stored* values
        if room > MOST_ROWS:
            return False
        partners = <Partner*>realloc(self.partners, room * sizeof(Partner))
        if partners == NULL:
            return False
        self.partners = partners
        values = <Stored*>realloc(self.values, (room * self.right.width + 1) * sizeof(Stored))
        if values == NULL:
            return False
        self.values, self.room = values, room
        return True

    cdef bint widen(self) noexcept nogil:
        """Twice as many slots."""
        cdef uint32_t* old = self.slots
        cdef uint64_t old_mask = self.slot_mask, index
        cdef uint32_t* slots = <uint32_t*>calloc(2 * old_mask + 2, sizeof(uint32_t))
        if slots == NULL:
            return False
        self.slots, self.slot_mask = slots, 2 * old_mask + 1
        for index in range(old_mask + 1):
            if old[index] != 0:
                self.slots[self.slot_of_hash(self.partners[old[index] - 1].hash)] = old[index]
        free(old)
        return True

    # ---- keys ----

    cdef int make_key(self, Stored** values) noexcept nogil:
        """The bytes of the current row's key."""
        cdef int index, result
        self.key.used = 0
        for index in range(self.key_count):
            if values[index].kind == ABSENT or values[index].kind == NOTHING:
                return NULL_KEY
        for index in range(self.key_count):
            if values[index].kind == COMPOSITE:
                return COMPOSITE_KEY
            result = put_whole_key(&self.key, values[index], &self.scratch)
            if result <= 0:
                return DAMAGED if result < 0 else NO_MEMORY
        self.hash = <uint64_t>_Py_HashBytes(self.key.data, self.key.used)
        return KEY

    cdef uint32_t find(self) noexcept nogil:
        """1 + the first partner with the key that was made; 0 when there is none."""
        cdef uint64_t slot = self.hash & self.slot_mask
        cdef const Partner* partner
        while self.slots[slot] != 0:
            partner = &self.partners[self.slots[slot] - 1]
            if partner.hash == self.hash and partner.length == <size_t>self.key.used:
                if memcmp(self.bytes.data + partner.start, self.key.data, partner.length) == 0:
                    return self.slots[slot]
            slot = (slot + 1) & self.slot_mask
        return 0

    cdef uint64_t slot_of_hash(self, uint64_t hash) noexcept nogil:
        """The first free slot for it."""
        cdef uint64_t slot = hash & self.slot_mask
        while self.slots[slot] != 0:
            slot = (slot + 1) & self.slot_mask
        return slot

    # ---- rows ----

    cdef bint advance(self) except -1:
        return self.left.advance()

    cdef int next(self) noexcept nogil:
        cdef size_t index
        cdef int result
        while True:
            self.work += 1
            if self.work > PATIENCE:
                self.work = 0
                return PAUSED
            if self.partner != 0:
                index = self.partner - 1
                self.partner = self.partners[index].next
                self.right.restore(self.values + index * self.right.width)
                return ROW
            result = self.left.next()
            if result != ROW:
                return result
            result = self.make_key(self.left_keys)
            if result < 0:
                return result
            self.partner = self.find() if result == KEY else 0
            if self.partner == 0 and self.outer:
                self.right.restore(self.nothing)
                return ROW

    cdef int help(self, int outcome) except -1:
        return self.left.help(outcome)

    cdef int enter(self) except -1:
        self.left.enter()
        try:
            self.right.enter()
        except BaseException:
            self.left.leave()
            raise
        return 0

    cdef int leave(self) except -1:
        self.left.leave()
        self.right.leave()
        return 0

    cdef Stored* value(self, tuple key) except? NULL:
        cdef Stored* found = self.left.value(key)
        return found if found != NULL else self.right.value(key)

    cdef void save(self, Stored* out) noexcept nogil:
        self.left.save(out)
        self.right.save(out + self.left.width)

    cdef void restore(self, const Stored* values) noexcept nogil:
        self.left.restore(values)
        self.right.restore(values + self.left.width)
