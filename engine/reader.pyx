"""Opening views of one table, and reads of one record or one number, for which a view would cost more than the read.

Every read first makes sure that the table is still there, and asks the catalog what it is only when the catalog has
published another state since: otherwise that is one load from shared memory. A read of a record then takes a reader
slot, reads, and gives the slot back, as a view does, in a StoreView that is kept for the next one. Under the
interpreter's lock reads follow each other; one that comes in the midst of another all the same makes a view of its own.
A number that the published state itself holds takes no slot, because it needs no pages.

Tables whose records expire are read through a View.
"""

from collections.abc import Callable, Iterable

from engine.layout cimport kn_load64, kn_published
from engine.shared cimport published_names, published_records
from engine.snapshot cimport StoreView
from engine.store cimport Store
from libc.stdint cimport int64_t, uint64_t

from engine.errors import KennelError
from engine.view import View


cdef class Reader:
    """`describe` gives the definition of the table as the catalog has it now, or raises NoSuchTable or Closed; `catalog` is
    the store of the catalog. Safe for threads."""

    def __cinit__(self, Store store, Store catalog, describe: Callable) -> None:
        self.store, self.catalog, self.describe = store, catalog, describe

    cdef int look(self) except -1:
        """Makes `known` and `expires` current. The state of the catalog is noted before it is read: one that comes in between
        is looked at again."""
        cdef uint64_t publication = 0
        if not self.catalog.closed:
            publication = kn_load64(&self.catalog.core.shared.visible.generation)
            if publication == self.publication and self.known is not None:
                return 0
        definition = self.describe()
        self.known, self.publication = definition, publication
        self.expires = definition.expiration is not None
        return 0

    cdef kn_published* state(self) except NULL:
        """Where the state stands that readers see."""
        if self.store.closed:
            self.describe()     # a table that was dropped meanwhile says so
            self.store.need_open()
        return &self.store.core.shared.visible if self.store.durable_first else &self.store.core.shared.head

    cdef bint is_as(self, object definition, uint64_t names) except -1:
        """Whether the table still is what its definition and the version of its names said at some time. NoSuchTable, Closed."""
        self.look()
        return self.known is definition and published_names(self.state()) == names

    cdef int64_t records(self) except -1:
        """How many there are, after a look, if they do not expire."""
        return <int64_t>published_records(self.state())

    cdef StoreView begin(self):
        cdef StoreView view = self.idle
        self.idle = None
        try:
            if view is None:
                view = StoreView(self.store)
            else:
                view.open()
        except KennelError:
            self.describe()     # a table that was dropped meanwhile says so
            raise
        return view

    cdef void end(self, StoreView view) noexcept:
        view.let_go()
        self.idle = view

    def definition(self) -> object:
        """What the catalog now says of the table. NoSuchTable, Closed."""
        self.look()
        return self.known

    def view(self) -> View:
        """The table at this point, until the view is closed. NoSuchTable, Closed."""
        self.look()
        definition = self.known
        try:
            return View(definition, StoreView(self.store))
        except KennelError:
            self.describe()
            raise

    def get(self, key: object) -> dict | None:
        """The record of a primary key."""
        cdef StoreView view
        self.look()
        if self.expires:
            with self.view() as lasting:
                return lasting.get(key)
        view = self.begin()
        try:
            return view.find(key, None)
        finally:
            self.end(view)

    def get_many(self, keys: Iterable) -> list[dict]:
        """The records of these keys in this order; unknown keys are left out."""
        cdef StoreView view
        self.look()
        if self.expires:
            with self.view() as lasting:
                return lasting.get_many(keys)
        view = self.begin()
        try:
            return view.get_many(keys)
        finally:
            self.end(view)

    def count(self) -> int:
        """How many records there are."""
        self.look()
        if self.expires:
            with self.view() as lasting:
                return lasting.count()
        return self.records()

    @property
    def names_version(self) -> int:
        """Moves when an attribute appears or goes. Closed."""
        return published_names(self.state())
