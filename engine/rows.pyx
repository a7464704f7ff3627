"""Rows of stored values, one after the other: what groups are made of.

A row is one record of a selection, or several side by side (joins.pyx). Its values stand at fixed places, where whoever
wants them looks after each `next`, without a Python object for any. `advance` makes a step ready, with the GIL; `next` goes
through it without, and where it cannot go on, `help` sees to it and it is called again. Around a run of `next` the rows are
entered and left, so that nobody takes their files away meanwhile.

Rows may be kept to be met again (`save`, `restore`): their values point into the log, where they stay as long as their views
are open. The selections have to be made for all attributes then, so that no value is that of an index entry.
"""

from engine.fields cimport HIDDEN, MALFORMED, Columns, Stored
from engine.selection cimport Found, Selection
from engine.snapshot cimport StoreView
from libc.string cimport memcpy

from engine.errors import Corrupt


cdef class Rows:
    """Attributes have (number, name) as keys, where the number tells the tables of a join apart. Without a table there are no
    rows, no attributes, and nothing to keep."""

    cdef bint advance(self) except -1:
        """One more step; False when there is nothing left."""
        return False

    cdef int next(self) noexcept nogil:
        """Stands on the next row of the step, or tells what is in the way."""
        return STEP_ENDED

    cdef int help(self, int outcome) except -1:
        """Sees to what `next` came to, or raises what it means."""
        return 0

    cdef int enter(self) except -1:
        """From now on until `leave` the files stay."""
        return 0

    cdef int leave(self) except -1:
        return 0

    cdef Stored* value(self, tuple key) except? NULL:
        """Where the value of an attribute stands; NULL for one of no table here."""
        return NULL

    cdef void save(self, Stored* out) noexcept nogil:
        """The `width` values of the current row."""

    cdef void restore(self, const Stored* values) noexcept nogil:
        """Stands on a row that was saved."""


cdef class Scanned(Rows):
    """The records of a selection, with the attributes `names` of each."""

    def __cinit__(self, int number, Selection selection, names) -> None:
        self.number, self.selection = number, selection
        self.columns = Columns(names, selection.view._number)
        self.width = self.columns.count

    cdef bint advance(self) except -1:
        self.index = 0
        return self.selection.advance()

    cdef int next(self) noexcept nogil:
        cdef Found* found = &self.selection.found[self.index]
        cdef int column
        if self.index == self.selection.count:
            return STEP_ENDED
        if found.op == NULL:
            self.columns.read_entry(
                self.selection.attribute, self.selection.key_of(found), found.length, found.value_length)
        elif not self.columns.read(found.op):
            return DAMAGED
        for column in range(self.columns.count):
            if self.columns.values[column].kind == HIDDEN:
                return NEED_RECORD
            if self.columns.values[column].kind == MALFORMED:
                return DAMAGED
        self.index += 1
        return ROW

    cdef int help(self, int outcome) except -1:
        if outcome == NEED_RECORD:
            self.selection.op_of(&self.selection.found[self.index])
        elif outcome == NO_MEMORY:
            raise MemoryError
        elif outcome == DAMAGED:
            raise Corrupt(f"{self.selection.view.store.label}: a record's body is malformed")
        return 0

    cdef int enter(self) except -1:
        self.selection.view.need_open()
        self.selection.view.store.calls += 1
        return 0

    cdef int leave(self) except -1:
        self.selection.view.store.calls -= 1
        return 0

    cdef Stored* value(self, tuple key) except? NULL:
        number, name = key
        return &self.columns.values[self.columns.place(name)] if number == self.number else NULL

    cdef void save(self, Stored* out) noexcept nogil:
        memcpy(out, self.columns.values, self.width * sizeof(Stored))

    cdef void restore(self, const Stored* values) noexcept nogil:
        memcpy(self.columns.values, values, self.width * sizeof(Stored))
