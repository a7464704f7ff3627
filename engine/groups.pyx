"""Rows of stored values grouped by some of them, and what the others come to in each group.

Groups are found by the bytes of their keys, as they are stored. Equal bytes are equal values, but not the other way round
(an object may have its members in another order, a value may come from a record or from an index): so bytes that are met
for the first time are decoded, and the caller's `identify` says which group they mean. All else happens without the GIL.

Reductions: "rows" counts records, "count" values that are not null, "sum" adds numbers up (sums.pyx), "min" and "max" give
the first and the last scalar in the order of indexes.
"""

from engine.fields cimport (
    ABSENT, COMPOSITE, COMPUTED, KEY, NOTHING, NUMERIC, Stored, index_key, make_room, numeric, put_whole_key,
)
from engine.fragments cimport Writer, decode_fragment
from engine.keybytes cimport MAX_VALUE_KEY
from engine.keys cimport decode_key
from engine.numbers cimport NOT_A_NUMBER, Number, number_to_object
from engine.rows cimport DAMAGED, NO_MEMORY, ROW, STEP_ENDED, Rows
from engine.sums cimport ExactSum, Sum, sum_add, sum_free
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

import msgspec

from engine.errors import Corrupt

cdef extern from "Python.h" nogil:
    Py_hash_t _Py_HashBytes(const void* data, Py_ssize_t n)     # keyed: nobody can choose keys that collide

cdef enum:
    ROWS, COUNT, SUM, MIN, MAX

cdef enum:
    NEW_KEY = 10            # why folding stops, beside what `next` may come to: the bytes in `key` are met for the first time

cdef dict KINDS = {"rows": ROWS, "count": COUNT, "sum": SUM, "min": MIN, "max": MAX}
cdef tuple UNREADABLE = (UnicodeDecodeError, msgspec.MsgspecError, RecursionError)     # of decode_fragment


cdef struct Reduction:
    int kind
    const Stored* value     # NULL for "rows"


cdef struct State:
    uint64_t count
    Sum sum
    uint8_t* best           # the key of the smallest or largest value so far, in full
    Py_ssize_t length


cdef struct Known:
    uint64_t hash
    size_t start            # of the key's bytes in `bytes`
    Py_ssize_t length
    uint32_t group


cdef class Groups:
    """`keys` are attributes of the rows, `reductions` (kind, attribute or None). `identify` makes something hashable of a
    tuple of key values: the same for the same group, and for no other."""

    cdef Rows rows
    cdef object identify
    cdef Stored** keys
    cdef int key_count
    cdef bint held              # the current row is not folded yet
    cdef Reduction* reductions
    cdef int reduction_count
    cdef dict numbers           # what identify made of it -> number of the group
    cdef list names             # the key values of each group
    cdef State* states
    cdef size_t state_room, group_count
    cdef uint32_t* slots        # 1 + index in `known`, by hash
    cdef uint64_t slot_mask
    cdef Known* known
    cdef size_t known_count, known_room
    cdef Writer bytes
    cdef Writer key, scratch, candidate
    cdef uint64_t hash

    def __cinit__(self, Rows rows, keys, reductions, identify) -> None:
        self.rows, self.identify = rows, identify
        self.key_count, self.reduction_count = <int>len(keys), <int>len(reductions)
        self.keys = <Stored**>calloc(self.key_count + 1, sizeof(Stored*))
        self.reductions = <Reduction*>calloc(self.reduction_count + 1, sizeof(Reduction))
        self.slot_mask = 63
        self.slots = <uint32_t*>calloc(self.slot_mask + 1, sizeof(uint32_t))
        if self.keys == NULL or self.reductions == NULL or self.slots == NULL:
            raise MemoryError
        for index, key in enumerate(keys):
            self.keys[index] = self.place(key)
        for index, (kind, key) in enumerate(reductions):
            self.reductions[index].kind = KINDS[kind]
            self.reductions[index].value = NULL if key is None else self.place(key)
        self.numbers, self.names = {}, []

    cdef Stored* place(self, key) except NULL:
        cdef Stored* found = self.rows.value(key)
        if found == NULL:
            raise KeyError(key)
        return found

    def __dealloc__(self) -> None:
        cdef size_t index
        if self.states != NULL:
            for index in range(self.group_count * self.reduction_count):
                sum_free(&self.states[index].sum)
                free(self.states[index].best)
        free(self.states)
        free(self.keys)
        free(self.reductions)
        free(self.slots)
        free(self.known)
        free(self.bytes.data)
        free(self.key.data)
        free(self.scratch.data)
        free(self.candidate.data)

    # ---- folding ----

    def fold(self):
        """Folds all rows, a step at a time; gives how many groups each step found. Long steps are told in parts."""
        cdef int result
        while self.rows.advance():
            result = ROW
            while result != STEP_ENDED:
                before = len(self.names)
                result = NEW_KEY
                while result == NEW_KEY:
                    self.rows.enter()
                    with nogil:
                        result = self.fold_rows()
                    self.rows.leave()
                    if result == NEW_KEY:
                        self.meet()
                if result != STEP_ENDED:
                    self.rows.help(result)
                yield len(self.names) - before

    cdef int fold_rows(self) noexcept nogil:
        """Folds rows until there is something else to do."""
        cdef Known* known
        cdef int result
        while True:
            if not self.held:
                result = self.rows.next()
                if result != ROW:
                    return result
            self.held = True
            result = self.make_key()
            if result < 0:
                return result
            known = self.find_known()
            if known == NULL:
                return NEW_KEY
            result = self.fold_row(self.states + <size_t>known.group * self.reduction_count)
            if result < 0:
                return result
            self.held = False

    cdef int make_key(self) noexcept nogil:
        """The bytes of the current row's key: each value behind its form and length."""
        cdef const Stored* value
        cdef const uint8_t* at
        cdef uint8_t[MAX_VALUE_KEY + 1] room
        cdef Py_ssize_t length
        cdef int index
        self.key.used = 0
        for index in range(self.key_count):
            value = self.keys[index]
            at, length = value.at, value.length
            if value.kind == ABSENT or value.kind == NOTHING:
                length = 0
            elif value.form == COMPUTED:
                at = index_key(value, room, &length)
            if not make_room(&self.key, length + 1 + <Py_ssize_t>sizeof(Py_ssize_t)):
                return NO_MEMORY
            self.key.data[self.key.used] = <uint8_t>value.form if length > 0 else <uint8_t>255
            memcpy(self.key.data + self.key.used + 1, &length, sizeof(Py_ssize_t))
            self.key.used += 1 + sizeof(Py_ssize_t)
            if length > 0:
                memcpy(self.key.data + self.key.used, at, length)
                self.key.used += length
        self.hash = <uint64_t>_Py_HashBytes(self.key.data, self.key.used) if self.key.used > 0 else 0
        return 0

    cdef Known* find_known(self) noexcept nogil:
        cdef uint64_t slot = self.hash & self.slot_mask
        cdef Known* known
        while self.slots[slot] != 0:
            known = &self.known[self.slots[slot] - 1]
            if known.hash == self.hash and known.length == self.key.used:
                if known.length == 0 or memcmp(self.bytes.data + known.start, self.key.data, known.length) == 0:
                    return known
            slot = (slot + 1) & self.slot_mask
        return NULL

    cdef int fold_row(self, State* state) noexcept nogil:
        cdef const Reduction* reduction
        cdef const Stored* value
        cdef Number number
        cdef int index, result
        for index in range(self.reduction_count):
            reduction = &self.reductions[index]
            if reduction.kind == ROWS:
                state[index].count += 1
                continue
            value = reduction.value
            if reduction.kind == SUM:
                state[index].sum.seen += 1
                if value.kind == NUMERIC:
                    number = numeric(value)
                    if number.kind == NOT_A_NUMBER:
                        return DAMAGED
                    if not sum_add(&state[index].sum, number):
                        return NO_MEMORY
            elif value.kind != NOTHING and value.kind != ABSENT:
                state[index].count += 1
                if reduction.kind != COUNT and value.kind != COMPOSITE:
                    result = self.fold_extreme(&state[index], value, reduction.kind)
                    if result < 0:
                        return result
        return 0

    cdef int fold_extreme(self, State* state, const Stored* value, int kind) noexcept nogil:
        cdef int order, result
        cdef Py_ssize_t n
        cdef uint8_t* best
        self.candidate.used = 0
        result = put_whole_key(&self.candidate, value, &self.scratch)
        if result <= 0:
            return DAMAGED if result < 0 else NO_MEMORY
        n = self.candidate.used
        if state.best != NULL:
            order = memcmp(self.candidate.data, state.best, min(n, state.length))
            if order == 0:
                order = (n > state.length) - (n < state.length)
            if order == 0 or (order < 0) == (kind == MAX):
                return 0
        best = <uint8_t*>realloc(state.best, n)
        if best == NULL:
            return NO_MEMORY
        memcpy(best, self.candidate.data, n)
        state.best, state.length = best, n
        return 0

    # ---- new keys ----

    cdef int meet(self) except -1:
        """Takes the bytes in `key` into the table, for their group or a new one."""
        cdef tuple values = self.key_values()
        cdef Known* known
        cdef uint64_t slot
        name = self.identify(values)
        group = self.numbers.get(name)
        if group is None:
            group = len(self.names)
            self.make_states(group)
            self.numbers[name] = group
            self.names.append(values)
        if 2 * (self.known_count + 1) > self.slot_mask:
            self.widen()
        if self.known_count == self.known_room:
            self.grow_known()
        if not make_room(&self.bytes, self.key.used):
            raise MemoryError
        if self.key.used > 0:
            memcpy(self.bytes.data + self.bytes.used, self.key.data, self.key.used)
        known = &self.known[self.known_count]
        known.hash, known.start, known.length, known.group = self.hash, self.bytes.used, self.key.used, group
        self.bytes.used += self.key.used
        self.known_count += 1
        slot = self.hash & self.slot_mask
        while self.slots[slot] != 0:
            slot = (slot + 1) & self.slot_mask
        self.slots[slot] = <uint32_t>self.known_count
        return 0

    cdef int make_states(self, size_t group) except -1:
        cdef size_t needed = (group + 1) * self.reduction_count
        cdef size_t room = self.state_room
        cdef State* states
        if needed > room:
            room = max(2 * room, needed, 64)
            states = <State*>realloc(self.states, room * sizeof(State))
            if states == NULL:
                raise MemoryError
            self.states, self.state_room = states, room
        if self.reduction_count > 0:
            memset(self.states + group * self.reduction_count, 0, self.reduction_count * sizeof(State))
        self.group_count = group + 1
        return 0

    cdef int grow_known(self) except -1:
        cdef size_t room = max(2 * self.known_room, 64)
        cdef Known* known = <Known*>realloc(self.known, room * sizeof(Known))
        if known == NULL:
            raise MemoryError
        self.known, self.known_room = known, room
        return 0

    cdef int widen(self) except -1:
        """Twice as many slots."""
        cdef uint64_t mask = 2 * self.slot_mask + 1
        cdef uint32_t* slots = <uint32_t*>calloc(mask + 1, sizeof(uint32_t))
        cdef uint64_t slot
        cdef size_t index
        if slots == NULL:
            raise MemoryError
        for index in range(self.known_count):
            slot = self.known[index].hash & mask
            while slots[slot] != 0:
                slot = (slot + 1) & mask
            slots[slot] = <uint32_t>(index + 1)
        free(self.slots)
        self.slots, self.slot_mask = slots, mask
        return 0

    cdef tuple key_values(self):
        try:
            return tuple([value_of(self.keys[index]) for index in range(self.key_count)])
        except UNREADABLE as error:
            raise Corrupt(f"A record's value is malformed: {error}") from error

    # ---- results ----

    def results(self) -> list:
        """(key values, [what each reduction came to]) of each group, in the order in which they were met: ints, an ExactSum,
        or the smallest or largest value, None without any."""
        cdef size_t group
        cdef int index
        cdef list found = []
        for group in range(len(self.names)):
            found.append((
                self.names[group],
                [self.result(&self.states[group * self.reduction_count + index], self.reductions[index].kind)
                 for index in range(self.reduction_count)],
            ))
        return found

    cdef object result(self, State* state, int kind):
        cdef ExactSum total
        if kind == ROWS or kind == COUNT:
            return state.count
        if kind != SUM:
            return None if state.best == NULL else decode_key(state.best, state.length)
        total = ExactSum()
        total.sum = state.sum
        memset(&state.sum, 0, sizeof(Sum))      # what it has on the heap belongs to the result now
        return total


cdef object value_of(const Stored* value):
    if value.kind == ABSENT or value.kind == NOTHING:
        return None
    if value.form == COMPUTED:
        return number_to_object(value.number)
    if value.form == KEY:
        return decode_key(value.at, value.length)
    return decode_fragment(value.at, value.length)
