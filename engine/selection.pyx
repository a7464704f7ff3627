"""Which records of an index pass a filter: the loop that everything which reads many records goes through.

A selection walks ranges of one index a step at a time, without the GIL, and keeps what it found: operations of the log, or
index entries alone where these tell all that is wanted. In a secondary index the filter is first put to the entry itself
(which holds the value and the primary key), so that records which cannot pass are never looked up.

What the filter leaves open is judged by its Python test, with the GIL, before a step's records are handed out; the order
stays that of the index. Steps grow, so that who wants few records pays for few, and end often enough for the one who
called to look at the clock.
"""

from engine.btree cimport tree_get
from engine.core cimport PRIMARY_KEY, op_is_sound
from engine.cursor cimport cursor_key, cursor_next, cursor_previous, cursor_rank, cursor_value
from engine.fields cimport make_room
from engine.filters cimport DAMAGED, verdict_of
from engine.keybytes cimport key_length
from engine.keys cimport decode_key
from engine.layout cimport kn_locator, kn_op
from engine.log cimport Log, log_map, op_at
from engine.program cimport YES, Program
from engine.snapshot cimport StoreView, _Columns
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from engine.errors import Corrupt
from engine.keys import COMPOSITE, CUT

cdef enum:
    FIRST_STEP = 32             # entries that the first step looks at; each later one twice as many
    LARGEST_STEP = 2048

cdef enum:
    # what may be wrong with a record
    LOST = -1                   # it is not where the index says
    MALFORMED_BODY = -2
    ENDED = -3                  # the index has fewer entries than it counted
    MALFORMED_ENTRY = -4
    NO_MEMORY = -5


cdef class Selection:
    """`ranges` are Bounds, disjoint and in order. `wanted` are the attributes that will be asked of the records; None: all.

    Raises InvalidSearch when the attribute has no index.
    """

    def __cinit__(self, StoreView view, str attribute, ranges, wanted, where, bint reverse) -> None:
        cdef int index
        view.need_open()
        self.view, self.reverse = view, reverse
        self.primary = view.find_tree(attribute, &self.tree)
        self.attribute = view._number(attribute)
        self.size = FIRST_STEP
        self.found = <Found*>calloc(LARGEST_STEP, sizeof(Found))
        self.firsts = <uint64_t*>calloc(len(ranges) + 1, sizeof(uint64_t))
        self.sizes = <uint64_t*>calloc(len(ranges) + 1, sizeof(uint64_t))
        if self.found == NULL or self.firsts == NULL or self.sizes == NULL:
            raise MemoryError
        for bounds in reversed(ranges) if reverse else ranges:
            self._add_range(bounds.low, bounds.high)
        covered = {attribute, view.store.primary_key}
        self.entries_suffice = wanted is not None and covered.issuperset(wanted)
        if where is not None:
            self.program = Program(where.predicate, view._number)
            self.test, self.tested, self.by_name = where.test, view._project(where.columns), where.by_name
            self.entries_tell = not self.primary and not covered.isdisjoint(self.program.columns.names)

    def _add_range(self, bytes low, bytes high) -> None:
        cdef uint64_t first = self.view._rank(&self.tree, low)
        cdef uint64_t end = self.view._rank(&self.tree, high)
        if end > first:
            self.firsts[self.ranges], self.sizes[self.ranges] = first, end - first
            self.ranges += 1

    def __dealloc__(self) -> None:
        free(self.entries.data)
        free(self.found)
        free(self.firsts)
        free(self.sizes)

    # ---- walking ----

    cdef bint advance(self) except -1:
        """One more step; False when there was nothing left. Afterwards `found` are the records that pass."""
        cdef int problem
        self.view.need_open()
        self.count = 0
        if self.left == 0 and self.range == self.ranges:
            return False
        self.view.store.calls += 1
        with nogil:
            problem = self.walk()
        self.view.store.calls -= 1
        self.view.need_open()
        if problem < 0:
            self.explain(problem)
        self.size = min(2 * self.size, <int>LARGEST_STEP)
        self.judge_open()
        return True

    cdef int walk(self) noexcept nogil:
        """Fills `found` from the next `size` entries. On a problem, found[count] is where it is."""
        cdef int seen, result
        cdef Found* found
        cdef const uint8_t* entry
        self.entries.used = 0
        for seen in range(self.size):
            if self.left == 0 and self.range == self.ranges:
                return 0
            found = &self.found[self.count]
            if not self.step():
                return ENDED
            entry = cursor_key(&self.cursor, &found.length)
            found.op, found.open, found.entry = NULL, False, self.entries.used
            found.value_length = 0 if self.primary else <int>key_length(entry, found.length)
            if found.value_length < 0:
                return MALFORMED_ENTRY
            result = self.look_at(found, entry)
            if result != 0 and found.op == NULL:
                if not make_room(&self.entries, found.length):
                    return NO_MEMORY
                memcpy(self.entries.data + self.entries.used, entry, found.length)
                self.entries.used += found.length
            if result < 0:
                return result
            self.count += result
        return 0

    cdef bint step(self) noexcept nogil:
        """Stands on the next entry."""
        if self.left == 0:
            self.left = self.sizes[self.range]
            cursor_rank(&self.cursor, &self.view.store.core.pager, &self.tree,
                        self.firsts[self.range] + (self.left - 1 if self.reverse else 0))
            self.range += 1
        elif self.reverse:
            cursor_previous(&self.cursor)
        else:
            cursor_next(&self.cursor)
        self.left -= 1
        return self.cursor.valid

    cdef int look_at(self, Found* found, const uint8_t* entry) noexcept nogil:
        """1 for a record that passes or may pass, 0 for one that does not."""
        cdef unsigned char verdict = YES
        cdef int result
        if self.program is None:
            return 1 if self.entries_suffice else self.fetch(found, entry)
        if self.entries_tell:
            self.program.columns.read_entry(self.attribute, entry, found.length, found.value_length)
            verdict = verdict_of(self.program)
            if verdict == DAMAGED:
                return MALFORMED_ENTRY
            if not verdict & YES:
                return 0
            if verdict == YES:
                return 1 if self.entries_suffice else self.fetch(found, entry)
        result = self.fetch(found, entry)
        if result < 0:
            return result
        if not self.program.columns.read(found.op):
            return MALFORMED_BODY
        verdict = verdict_of(self.program)
        if verdict == DAMAGED:
            return MALFORMED_BODY
        found.open = verdict != YES
        return 1 if verdict & YES else 0

    cdef int fetch(self, Found* found, const uint8_t* entry) noexcept nogil:
        """Finds the record of an entry; 1, or LOST."""
        cdef const uint8_t* place = NULL
        cdef int result = 0
        if self.primary:
            place = cursor_value(&self.cursor)
        else:
            result = tree_get(&self.view.store.core.pager, &self.view.meta.primary, entry + found.value_length,
                              found.length - found.value_length, &place)
        if result < 0 or place == NULL:
            return LOST
        found.op = self.op_at_place(place)
        return 1 if found.op != NULL else <int>LOST

    cdef const kn_op* op_at_place(self, const uint8_t* place) noexcept nogil:
        """The operation that a locator points to, NULL when it is not there or damaged."""
        cdef Log* log = &self.view.store.core.log
        cdef const kn_op* op
        cdef kn_locator locator
        memcpy(&locator, place, sizeof(kn_locator))
        if log_map(log, locator.segno) < 0 or locator.offset >= log.size[locator.segno]:
            return NULL
        op = op_at(log, locator.segno, locator.offset)
        return op if op_is_sound(op, log.size[locator.segno] - locator.offset) else NULL

    cdef int explain(self, int problem) except -1:
        cdef Found* found = &self.found[self.count]
        cdef str label = self.view.store.label
        if problem == NO_MEMORY:
            raise MemoryError
        if problem == ENDED and self.cursor.error < 0:
            self.view.store.fail(self.cursor.error)
        if problem == ENDED:
            raise Corrupt(f"{label}: an index ends before its count")
        if problem == MALFORMED_ENTRY:
            raise Corrupt(f"{label}: an index holds a malformed key")
        self.op_of(found)       # says what is wrong with its place
        raise Corrupt(f"{label}: a record's body is malformed")

    cdef const kn_op* op_of(self, Found* found) except NULL:
        """The record of an entry, with the GIL. Corrupt."""
        if found.op == NULL:
            found.op = self.view.store.record_of_entry(
                &self.view.meta, self.key_of(found) + found.value_length, found.length - found.value_length)
        return found.op

    def share(self, int samples) -> float:
        """About which part of the entries the filter may let pass, from some that lie evenly among them."""
        cdef uint64_t total = 0, at
        cdef int index, length, value_length, some = 0, passing = 0
        cdef const uint8_t* entry
        self.view.need_open()
        for index in range(self.ranges):
            total += self.sizes[index]
        if self.program is None or total == 0:
            return 1.0
        for some in range(samples):
            at = <uint64_t>((2.0 * some + 1.0) * total / (2.0 * samples))
            index = 0
            while at >= self.sizes[index]:
                at -= self.sizes[index]
                index += 1
            cursor_rank(&self.cursor, &self.view.store.core.pager, &self.tree, self.firsts[index] + at)
            if not self.cursor.valid:
                self.explain(ENDED)
            entry = cursor_key(&self.cursor, &length)
            value_length = 0 if self.primary else <int>key_length(entry, length)
            if value_length < 0:
                self.explain(MALFORMED_ENTRY)
            self.program.columns.read_entry(self.attribute, entry, length, value_length)
            passing += verdict_of(self.program) & YES != 0
        return <double>passing / samples

    # ---- what only Python can tell ----

    cdef int judge_open(self) except -1:
        """Asks the filter's test about the records that are open, and drops those that do not pass."""
        cdef const kn_op* op
        cdef int index, kept = 0
        for index in range(self.count):
            if self.found[index].open:
                op = self.found[index].op
                passes = self.test(self.view.row(op, self.tested) if self.by_name else self.view._tuple(op, self.tested))
                self.view.need_open()
                if not passes:
                    continue
            self.found[kept] = self.found[index]
            kept += 1
        self.count = kept
        return 0

    # ---- rows ----

    cdef tuple row_of(self, Found* found, _Columns columns):
        cdef int index
        cdef list values
        if found.op != NULL or not self.entries_suffice:
            return self.view._tuple(self.op_of(found), columns)
        values = []
        for index in range(columns.count):
            value = self.entry_value(found, columns.numbers[index])
            if value is CUT or value is COMPOSITE:
                return self.view._tuple(self.op_of(found), columns)
            values.append(value)
        return tuple(values)

    cdef object entry_value(self, Found* found, int number):
        if number == PRIMARY_KEY:
            return decode_key(self.key_of(found) + found.value_length, found.length - found.value_length)
        return decode_key(self.key_of(found), found.value_length)

    cdef const uint8_t* key_of(self, const Found* found) noexcept nogil:
        """The index entry of a record that was found by its entry alone."""
        return self.entries.data + found.entry

    def tuples(self, columns):
        """The values of `columns` of the records that pass, None where absent: a list for each step."""
        cdef _Columns projection = self.view._project(columns)
        cdef int index
        while self.advance():
            if projection.count == 0:
                yield [()] * self.count
            else:
                yield [self.row_of(&self.found[index], projection) for index in range(self.count)]

    def records(self, columns):
        """The records that pass, whole or cut to `columns`: a list for each step."""
        cdef _Columns projection = self.view._project(columns)
        cdef int index
        while self.advance():
            yield [self.view.row(self.op_of(&self.found[index]), projection) for index in range(self.count)]

    def keys(self):
        """The primary keys of the records that pass: a list for each step."""
        cdef int index
        while self.advance():
            yield [self.key_value(&self.found[index]) for index in range(self.count)]

    cdef object key_value(self, Found* found):
        """The primary key of a record that was found."""
        return self.entry_value(found, PRIMARY_KEY) if found.op == NULL else self.view._key_value(found.op)
