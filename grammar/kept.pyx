"""Bound statements as they are kept: for the node they were bound on, as long as the tables they name stay as they were.

They are found by their syntax tree, which statements share that differ in their literals only; and by their whole text,
with which a statement that comes again needs no look at its characters. Whether a binding still holds is asked each time:
that is one load from shared memory for the catalog, and one for the names of each table's attributes. What a table
answers is never kept.

Nodes and tables are held weakly, because bindings are kept longer than a node is open.
"""

import weakref
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from cpython.weakref cimport PyWeakref_GetRef
from engine.reader cimport Reader
from libc.stdint cimport int64_t, uint64_t

from engine.errors import NotFound

KEPT_BINDINGS = 1024
KEPT_TEXTS = 512
LONGEST_TEXT = 4_096            # characters; a short shape may have a literal of any length

cdef enum:
    MARKS = 1024                # a power of two

cdef dict _by_tree = {}         # (id of the node, id of the tree) -> Binding
cdef dict _by_text = {}
cdef Py_hash_t[MARKS] _met      # hashes of texts that were bound lately, each at its place


cdef inline object _alive(object reference):
    """What a weak reference leads to, None when that is gone."""
    cdef PyObject* found = NULL
    if not PyWeakref_GetRef(reference, &found):
        return None
    target = <object>found
    Py_DECREF(target)           # PyWeakref_GetRef has taken a reference, and so has `target`
    return target


cdef class TableState:
    """What a bound statement depends on: it stays valid as long as its tables are the same."""

    @staticmethod
    def of(table) -> TableState:
        """To be asked for before the names: if these change in between, the state is found to be old."""
        cdef TableState state = TableState()
        state.table, state.reader_of = weakref.ref(table), weakref.ref(table.reader)
        state.definition = table.definition
        state.names_version = table.names_version
        return state

    cdef Reader reader(self):
        """None when the table is no longer open here."""
        return _alive(self.reader_of)

    cdef bint is_current(self) except -1:
        """Raises Closed."""
        cdef Reader reader = self.reader()
        try:
            return reader is not None and reader.is_as(self.definition, self.names_version)
        except NotFound:        # it was dropped
            return False


cdef class Binding:
    """A bound statement. The syntax tree is held so that its identity, under which this is kept, stays its own.

    `direct` is how a view answers it, None if that takes a plan; `counted` are the keys of a row that has the number of all
    records of a table, None if the statement asks for something else.
    """

    def __cinit__(
        self, node, statement, bound, direct, *, tuple touches, tuple tables, tuple parameters, tuple counted
    ) -> None:
        self.node, self.statement, self.bound, self.direct = weakref.ref(node), statement, bound, direct
        self.touches, self.tables, self.parameters, self.counted = touches, tables, parameters, counted

    cdef bint holds(self, object node) except -1:
        """Whether it is of this node, and its tables are as they were. Raises Closed."""
        cdef TableState state
        if _alive(self.node) is not node:
            return False
        for state in self.tables:
            if not state.is_current():
                return False
        return True

    def table(self) -> object | None:
        """The first one that it names; None when that is no longer open here."""
        return _alive((<TableState>self.tables[0]).table)

    cdef list count(self):
        """The row that `counted` tells of; None when records expire, and so have to be looked at. For a binding that holds."""
        cdef Reader reader = (<TableState>self.tables[0]).reader()
        cdef dict row
        if reader is None or reader.expires:
            return None
        number = reader.records()
        row = {}
        for key in self.counted:
            row[key] = number
        return [row]


cdef class Known:
    """What is kept of a text."""


cpdef Known by_text(object node, object sql):
    """What is kept of this very text, if it holds for the node; else None. Raises Closed."""
    cdef PyObject* found
    if type(sql) is not str:
        return None
    found = PyDict_GetItem(_by_text, sql)
    if found == NULL or not (<Known>found).binding.holds(node):
        return None
    return <Known>found


def by_tree(node, statement) -> Binding | None:
    """What is kept of a syntax tree that `parse` keeps, if it holds for the node. Raises Closed."""
    cdef Binding binding = _by_tree.get((id(node), id(statement)))
    return binding if binding is not None and binding.holds(node) else None


def keep(node, Binding binding) -> None:
    """Keeps the binding of a tree that `parse` keeps, too."""
    if len(_by_tree) >= KEPT_BINDINGS:
        _by_tree.clear()
    _by_tree[id(node), id(binding.statement)] = binding


def meet(str sql, parsed, Binding binding) -> None:
    """Keeps a text; one with literals when it comes again soon, since those that come once would crowd out the others."""
    cdef Py_hash_t text = hash(sql)
    cdef Py_hash_t* met = &_met[text & (MARKS - 1)]
    cdef Known known
    if len(sql) > LONGEST_TEXT:
        return
    if parsed.literals and met[0] != text:
        met[0] = text
        return
    if len(_by_text) >= KEPT_TEXTS:
        _by_text.clear()
    known = Known()
    known.parsed, known.binding = parsed, binding
    _by_text[sql] = known


def sizes() -> tuple[int, int]:
    """How many trees and how many texts are kept."""
    return len(_by_tree), len(_by_text)
