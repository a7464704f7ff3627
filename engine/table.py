"""A table: writes of whole requests, and single reads.

One request is one transaction. It returns when it is as durable as `storage.durability` says, and is visible to every
later read on the node, in whatever process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine import search
from engine.acceptance import accept, accept_keys, attributes_in
from engine.catalog import TIMES, Attribute, Catalog, TableDefinition
from engine.errors import AttributeExists, Corrupt, InvalidName, InvalidRecord, InvalidSearch, KennelError, NoSuchTable
from engine.expiration import remove_expired_of
from engine.feed import Feed
from engine.history import History, Transaction
from engine.maintenance import CHECKPOINT_BYTES
from engine.names import check_attributes
from engine.reader import Reader
from engine.store import Store
from engine.view import View

MAX_ATTRIBUTES = 10_000

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The keys of a write in the order of the request, and the version (µs) that its records now have."""

    written: list[Any]
    skipped: list[Any]
    version: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes on disk."""

    log_bytes: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many transactions of a log are not told of any more, and the times of the first and the last one (µs)."""

    transactions: int
    first: int | None = None
    last: int | None = None


class Table:
    """One table of an open node. Safe for threads. NoSuchTable once it is dropped, Closed once the node is."""

    def __init__(
        self,
        definition: TableDefinition,
        store: Store,
        catalog: Catalog,
        node_id: str,
        node_name: str,
        look_after: Callable[[Store], None],
    ) -> None:
        """`look_after` is called by a write when a checkpoint is due, and returns at once."""
        self.id = definition.id
        self.schema = definition.schema
        self.name = definition.name
        self.primary_key = definition.primary_key
        self._store = store
        self._catalog = catalog
        self._look_after = look_after
        self.reader = Reader(store, catalog.store, partial(_defined, catalog, self.id, self.schema, self.name))
        self._history = History(store)
        self._reading_log = threading.Lock()
        self.feed = Feed(store, node_id, node_name)  # what replication reads and writes

    def __repr__(self) -> str:
        return f"<Table {self.schema}.{self.name}>"

    @property
    def definition(self) -> TableDefinition:
        """What the catalog now says of this table. NoSuchTable, Closed."""
        return self.reader.definition()

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self._catalog.directory_of(self.definition)

    # --- writing

    def insert(self, records: Sequence[Record], *, user: str | None = None) -> WriteResult:
        """Add records; those whose key is there already are skipped. A record without a key gets a random UUID."""
        return self._write("insert", records, user)

    def update(self, records: Sequence[Record], *, user: str | None = None, at: View | None = None) -> WriteResult:
        """Change the given attributes of records; unknown keys are skipped.

        With `at` (a view of this table) the write is refused with Conflict if one of the records changed after it.
        """
        return self._write("update", records, user, at)

    def upsert(self, records: Sequence[Record], *, user: str | None = None) -> WriteResult:
        """Change the given attributes of records that are there, add the others."""
        return self._write("upsert", records, user)

    def delete(
        self, keys: Sequence[Any], *, user: str | None = None, at: View | None = None, replicated: bool = True
    ) -> WriteResult:
        """Remove records; unknown keys are skipped. `at` as in `update`. Unless `replicated`, only on this node."""
        return self._commit(self.definition, "delete", accept_keys(keys), user, at, replicated=replicated)

    def create_attribute(self, name: str, user: str | None = None) -> None:
        """Make an attribute known before a record has it. AttributeExists, InvalidName."""
        definition = self.definition
        check_attributes([name])
        known = self.attribute_names()
        if name in known:
            raise AttributeExists(self.schema, self.name, name)
        _check_number_of_attributes(len(known) + 1)
        if definition.attributes:
            self._redeclare(definition, (*definition.attributes, Attribute(name, indexed=False)))
        elif not self._store.create_attribute(name, user):  # somebody else was first
            raise AttributeExists(self.schema, self.name, name)

    def drop_attribute(self, name: str, user: str | None = None) -> None:
        """Remove an attribute from the table and its values from all records; one that is not there is no error."""
        definition = self.definition
        if name == self.primary_key:
            raise InvalidName("You cannot drop a hash attribute")
        if name in TIMES:
            raise InvalidName(f"cannot drop internal timestamp attribute: {name}")
        self._store.drop_attribute(name, user)
        remaining = tuple(attribute for attribute in definition.attributes if attribute.name != name)
        if remaining != definition.attributes:
            self._redeclare(definition, remaining)

    # --- reading

    def attributes(self) -> list[Attribute]:
        """The primary key, the two times, then the others by first appearance; as declared if schema-defined."""
        definition = self.definition
        if definition.attributes:
            return list(definition.attributes)
        names = (*TIMES, *self._store.attribute_names())
        return [Attribute(self.primary_key, is_primary_key=True), *map(Attribute, names)]

    def attribute_names(self) -> list[str]:
        """The names of `attributes`, at a fraction of its cost."""
        definition = self.definition
        if definition.attributes:
            return [attribute.name for attribute in definition.attributes]
        return [self.primary_key, *TIMES, *self._store.attribute_names()]

    @property
    def names_version(self) -> int:
        """Moves when an attribute appears or goes: `attribute_names` stays as it is while this and `definition` do."""
        return self.reader.names_version

    def view(self) -> View:
        """The table at this point; close it, or use it as a context manager."""
        return self.reader.view()

    def has_moved_on(self, view: View) -> bool:
        """Whether the table was written since the view was opened."""
        return self._store.generation != view.seq

    def transactions(self, after: int = 0, limit: int = 1000) -> list[Transaction]:
        """The log after a sequence number, in the order of commit, each change with the record before it."""
        start = self.definition.log_from
        while True:
            with self._reading_log:
                page = self._history.read(after, limit=limit, previous=True)
            shown = [transaction for transaction in page if transaction.version >= start]
            if shown or not page:
                return shown
            after = page[-1].seq

    def forget_log(self, before: int) -> Forgotten:
        """Have the log tell nothing of what was written before a time (µs); its room is freed by the upkeep."""
        start = self.definition.log_from
        versions: list[int] = []
        count = after = 0
        while page := self._read_log(after):
            found = [transaction.version for transaction in page if start <= transaction.version < before]
            count += len(found)
            versions = [min(versions + found), max(versions + found)] if versions or found else []
            after = page[-1].seq
        if before > start:
            self._catalog.redefine(self.definition, log_from=before)
        return Forgotten(count, *versions)

    def get(self, key: Any) -> Record | None:
        """The record of a primary key. InvalidKey, NoSuchTable, Corrupt."""
        return self.reader.get(key)

    def get_many(self, keys: Sequence[Any]) -> list[Record]:
        """The records of these keys in this order; unknown keys are left out."""
        return self.reader.get_many(keys)

    def search(
        self,
        attribute: str,
        comparator: str,
        value: Any,
        *,
        limit: int | None = None,
        offset: int = 0,
        reverse: bool = False,
        columns: Sequence[str] | None = None,
    ) -> Iterator[Record]:
        """Records in the order of the attribute's index; comparators of search_by_conditions, long or short.

        All of one snapshot, which is held until the iterator ends or is closed. InvalidSearch, UnknownAttribute.
        """
        view = self.view()
        try:
            found = search.search(
                view, attribute, comparator, value, limit=limit, offset=offset, reverse=reverse, columns=columns
            )
        except BaseException:
            view.close()
            raise
        return _closing_after(found, view)

    def count(self, attribute: str | None = None, comparator: str | None = None, value: Any = None) -> int:
        """How many records there are, or how many a search would find."""
        if attribute is None:
            return self.reader.count()
        with self.view() as view:
            if comparator is None:
                raise InvalidSearch(f"Search condition for {attribute} must have a comparator")
            return search.count(view, attribute, comparator, value)

    def last_updated(self) -> float | None:
        """When the table was last written, in milliseconds; None before the first write."""
        with self.view() as view:
            return view.version / 1000 if view.version else None

    def sizes(self) -> Sizes:
        files = [(path.suffix, path.stat().st_size) for path in self.directory.iterdir()]
        return Sizes(
            log_bytes=sum(size for suffix, size in files if suffix == ".log"),
            index_bytes=sum(size for suffix, size in files if suffix == ".kbt"),
        )

    def counters(self) -> dict[str, int]:
        """How its files are used: see Store.counters."""
        return self._store.counters()

    # --- inside

    def _write(self, kind: str, records: Sequence[Record], user: str | None, at: View | None = None) -> WriteResult:
        definition = self.definition
        accepted = accept(definition, kind, records, lambda key: self.get(key) is not None)

        names_checked = False

        def check_name(_: str) -> None:
            """Called for each new attribute; the first call looks at the whole request, to name all that is wrong."""
            nonlocal names_checked
            if not names_checked:
                self._check_new_names(accepted)
                names_checked = True

        return self._commit(definition, kind, accepted, user, at, check_name)

    def _check_new_names(self, records: list[Record]) -> None:
        known = {self.primary_key, *TIMES, *self._store.attribute_names()}
        new = [name for name in attributes_in(records) if name not in known]
        check_attributes(new)
        _check_number_of_attributes(len(known) + len(new))

    def _commit(
        self,
        definition: TableDefinition,
        kind: str,
        what: list[Any],
        user: str | None,
        at: View | None,
        check_name: Callable[[str], None] | None = None,
        replicated: bool = True,
    ) -> WriteResult:
        store, snapshot = self._store, None if at is None else at.snapshot
        try:
            if definition.expiration is not None:
                remove_expired_of(definition, store, self._keys_of(kind, what))
            written, skipped, version = store.write(
                kind, what, user=user, at=snapshot, check_name=check_name, replicated=replicated
            )
        except Corrupt:
            self.get_many(self._keys_of(kind, what))  # names the record that the write met
            raise
        except KennelError as error:
            self._explain(error)
            raise
        if store.replay_bytes >= CHECKPOINT_BYTES:
            self._look_after(store)
        return WriteResult(written, skipped, version)

    def _keys_of(self, kind: str, what: list[Any]) -> list[Any]:
        return what if kind == "delete" else [record[self.primary_key] for record in what]

    def _explain(self, error: KennelError) -> None:
        """An operation that failed because the table was dropped under it says so."""
        if self.id not in self._catalog.listing().by_id:
            raise NoSuchTable(self.schema, self.name) from error

    def _read_log(self, after: int) -> list[Transaction]:
        with self._reading_log:
            return self._history.read(after)

    def _redeclare(self, definition: TableDefinition, attributes: tuple[Attribute, ...]) -> None:
        self._catalog.redefine(definition, attributes=attributes)


def _defined(catalog: Catalog, table_id: str, schema: str, name: str) -> TableDefinition:
    definition = catalog.listing().by_id.get(table_id)
    if definition is None:
        raise NoSuchTable(schema, name)
    return definition


def _check_number_of_attributes(number: int) -> None:
    if number > MAX_ATTRIBUTES:
        raise InvalidRecord(f"a table cannot have more than {MAX_ATTRIBUTES} attributes")


def _closing_after(found: Iterator[Record], view: View) -> Iterator[Record]:
    with view:
        yield from found
