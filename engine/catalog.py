"""Which schemas and tables there are.

The catalog is a table of the same engine, of a fixed id, with a row for each schema and each table. Every table lives
in the directory `schema/<id>/` of its own random id; its names stand in the catalog only, so no name can collide with
or climb out of a directory, and a table that is dropped and made again is another table.

Other processes notice a change by the catalog's generation, one load from shared memory.

Changes hold `kennel.lock`. The catalog's row is what counts; the order of the steps makes any crash leave the old or
the new state:
    create  lay the files of the table, then insert its row (and that of a new schema, in one transaction)
    drop    delete the row, then rename the directory to `<id>.dropped`, then remove that
Directories that no row names are leftovers of such a crash, or of files that another process had just opened; each
change ends with removing them. The rename keeps an opener from meeting half a table; who has it open already, reads on
from the files that have lost their names, and finds out at the next look at the catalog.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine import keys
from engine.doorbell import Doorbell
from engine.errors import (
    Busy,
    Closed,
    InvalidName,
    InvalidRequest,
    NoSuchSchema,
    NoSuchTable,
    ReadOnlyTable,
    SchemaExists,
    TableExists,
)
from engine.files import failure, sync_directory
from engine.locks import lock
from engine.names import check_attributes, check_name
from engine.store import Store

CATALOG_ID = uuid.uuid5(uuid.UUID("6f0f0b0e-6c5e-4f0a-9d6b-9a1f2f7a3f10"), "catalog")
LOCK_NAME = "kennel.lock"
LOCK_PATIENCE = 30.0  # seconds
TIMES = ("__createdtime__", "__updatedtime__")

SYSTEM = "system"
SYSTEM_TABLES: Mapping[str, str] = MappingProxyType(  # name -> primary key
    {
        "hdb_user": "username",
        "hdb_role": "id",
        "hdb_job": "id",
        "hdb_nodes": "name",
        "hdb_session": "id",
        "hdb_status": "id",
    }
)
PROTECTED = "The 'system' schema, tables and records are used internally by KennelDB and cannot be updated or removed."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a table: declared with a type in schema-defined tables, or one that appeared in a record."""

    name: str
    type: str | None = None
    indexed: bool = True
    is_primary_key: bool = False
    nullable: bool | None = None


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """What the catalog knows of a table. `attributes` are those declared; a table with any is schema-defined."""

    id: str
    schema: str
    name: str
    primary_key: str
    attributes: tuple[Attribute, ...] = ()
    expiration: float | None = None  # seconds after the last write
    audit: bool | None = None
    created: float = 0.0  # ms
    epoch: int = 0  # of what this node writes to it, random: a table made again counts its transactions from 1 again
    log_from: int = 0  # µs; of transactions before it the log tells nothing any more

    @property
    def has_times(self) -> bool:
        """Whether its records carry the times of their creation and last update; they expire by the latter."""
        if not self.attributes or self.expiration is not None:
            return True
        return any(attribute.name in TIMES for attribute in self.attributes)

    @property
    def indexed(self) -> frozenset[str] | None:
        """The attributes with an index, None for all that there ever are."""
        if not self.attributes:
            return None
        return frozenset(item.name for item in self.attributes if item.indexed or item.is_primary_key)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TableDefinition:
        """From a row of the catalog, passing over what a later version may have added."""
        attributes = tuple(Attribute(**_known_fields(Attribute, attribute)) for attribute in row["attributes"])
        return cls(**_known_fields(cls, row) | {"attributes": attributes})

    def row(self) -> dict[str, Any]:
        return {
            "kind": "table",
            **dataclasses.asdict(self),
            "attributes": list(map(dataclasses.asdict, self.attributes)),
        }


def _known_fields(kind: type[Attribute] | type[TableDefinition], row: Mapping[str, Any]) -> dict[str, Any]:
    return {item.name: row[item.name] for item in dataclasses.fields(kind) if item.name in row}


@dataclass(frozen=True, slots=True)
class Listing:
    """The catalog as of one generation."""

    generation: int
    schemas: Mapping[str, Mapping[str, TableDefinition]] = field(default_factory=dict)
    by_id: Mapping[str, TableDefinition] = field(default_factory=dict)

    def tables(self, schema: str) -> Mapping[str, TableDefinition]:
        tables = self.schemas.get(schema)
        if tables is None:
            raise NoSuchSchema(schema)
        return tables

    def table(self, schema: str, name: str) -> TableDefinition:
        definition = self.tables(schema).get(name)
        if definition is None:
            raise NoSuchTable(schema, name)
        return definition


class Catalog:
    """The catalog of one root directory, as one process sees it. Safe for threads."""

    def __init__(self, root: Path, doorbell: Doorbell) -> None:
        self._root = root
        self._directory = root / "schema"
        self.store = Store(os.fspath(self._directory / str(CATALOG_ID)), CATALOG_ID.bytes, doorbell=doorbell)
        self._loading = threading.Lock()
        self._listing = Listing(-1)
        self._closed: str | None = None

    @staticmethod
    def lay(root: Path) -> None:
        """Make the files of an empty catalog, durably, unless they are there. Needs the lock."""
        directory = root / "schema"
        directory.mkdir(mode=0o700, exist_ok=True)
        if not (directory / str(CATALOG_ID)).exists():
            _lay_table(directory, CATALOG_ID)
        sync_directory(root)

    def close(self, reason: str) -> None:
        """From now on everything is Closed, for this reason."""
        if self._closed is None:
            self._closed = reason
            self.store.close()

    def disown(self, reason: str) -> None:
        """The same in the child of a fork, where files and memory are the parent's."""
        self._closed = reason
        self.store.disown()

    def listing(self) -> Listing:
        """The current listing, loaded anew only if the catalog has changed. Closed."""
        if self._closed is not None:
            raise Closed(self._closed)
        if self.store.generation == self._listing.generation:
            return self._listing
        with self._loading:
            if self.store.generation != self._listing.generation:
                self._listing = self._load()
            return self._listing

    def directory_of(self, definition: TableDefinition) -> Path:
        return self._directory / definition.id

    def create_schema(self, name: str) -> None:
        """SchemaExists, InvalidName."""
        check_name(name, "schema")
        with self._changing() as listing:
            if name in listing.schemas or name == SYSTEM:
                raise SchemaExists(name)
            self._insert([_schema_row(name)])

    def drop_schema(self, name: str) -> None:
        """Drops its tables, too. NoSuchSchema."""
        if name == SYSTEM:
            raise InvalidName(PROTECTED)
        with self._changing() as listing:
            listing.tables(name)
            self._delete_rows(name, None)

    def create_table(self, definition: TableDefinition) -> TableDefinition:
        """Add a table, and its schema if that is new; gives the definition with id and time. TableExists, InvalidName.

        Declared attributes always name the primary key, at their head if the caller did not.
        """
        check_name(definition.schema, "schema")
        check_name(definition.name, "table")
        check_name(definition.primary_key, "primary_key")
        check_attributes(attribute.name for attribute in definition.attributes)
        if definition.expiration is not None and not definition.expiration > 0:
            raise InvalidRequest("expiration must be a positive number of seconds")
        with self._changing() as listing:
            schema = listing.schemas.get(definition.schema)
            if definition.name in (schema or ()):
                raise TableExists(definition.schema, definition.name)
            table_id = uuid.uuid4()
            definition = dataclasses.replace(
                definition,
                id=str(table_id),
                attributes=_with_key(definition.attributes, definition.primary_key),
                created=float(time.time_ns() // 1_000_000),
                epoch=1 + secrets.randbelow(2**32 - 1),
            )
            _lay_table(self._directory, table_id)
            self._insert(
                [definition.row()] if schema is not None else [_schema_row(definition.schema), definition.row()]
            )
            return definition

    def drop_table(self, schema: str, name: str) -> None:
        """NoSuchSchema, NoSuchTable."""
        if schema == SYSTEM:
            raise InvalidName(PROTECTED)
        with self._changing() as listing:
            listing.table(schema, name)
            self._delete_rows(schema, name)

    def adopt(self, schemas: Iterable[str], definitions: Iterable[TableDefinition]) -> None:
        """Add schemas, and tables whose files are there, as they are given. Needs the lock, and an empty catalog."""
        self._insert([*map(_schema_row, schemas), *(definition.row() for definition in definitions)])

    def redefine(self, definition: TableDefinition, **changes: Any) -> None:
        """Change fields of the definition of a table that there is; NoSuchTable."""
        with self._changing() as listing:
            current = listing.by_id.get(definition.id)
            if current is None:
                raise NoSuchTable(definition.schema, definition.name)
            self.store.write("update", [dataclasses.replace(current, **changes).row()])

    def mend(self) -> None:
        """Make its index anew if that is damaged. Needs the maintenance lock."""
        if self.store.rebuild():
            log.warning("the index of the catalog was damaged and is made anew")

    def sweep(self) -> None:
        """Remove directories that belong to no table. Needs the lock, which every change of the catalog has."""
        try:
            self.store.sync()  # rows that somebody has left behind
        except ReadOnlyTable:
            return  # one that could not be made durable may be found after all, by the next life
        known = self.listing().by_id
        for directory in self._directory.iterdir():
            if directory.name in known or directory.name == str(CATALOG_ID):
                continue
            dropped = directory if directory.suffix else directory.rename(directory.with_suffix(".dropped"))
            shutil.rmtree(dropped, ignore_errors=True)  # what another process just opens here goes with the next sweep

    @contextmanager
    def _changing(self) -> Iterator[Listing]:
        with locked(self._root):
            yield self.listing()
            self.sweep()

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        self.store.write("insert", rows)

    def _delete_rows(self, schema: str, name: str | None) -> None:
        """The row of a table, or all rows of a schema (`name` None), in one transaction."""
        with closing(self.store.view()) as view:
            rows = list(view.scan("schema", keys.equal(schema)))
        ids = [row["id"] for row in rows if name is None or row.get("name") == name]
        self.store.write("delete", ids)

    def _load(self) -> Listing:
        with closing(self.store.view()) as view:
            generation, rows = view.seq, list(view.scan("id", keys.EVERYTHING))
        schemas: dict[str, dict[str, TableDefinition]] = {row["schema"]: {} for row in rows if row["kind"] == "schema"}
        by_id: dict[str, TableDefinition] = {}
        for row in rows:
            if row["kind"] == "table":
                definition = TableDefinition.from_row(row)
                former = self._listing.by_id.get(definition.id)
                definition = former if former == definition else definition  # so that "is" tells an unchanged table
                by_id[definition.id] = schemas[definition.schema][definition.name] = definition
        return Listing(generation, schemas, by_id)


@contextmanager
def locked(root: Path, patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """Hold `kennel.lock`, against other processes and other threads; Busy if someone does not let go of it. Errors of
    the operating system meanwhile become those of the engine."""
    try:
        with lock(root / LOCK_NAME, patience) as held:
            if not held:
                raise Busy(f"another process is changing schemas and tables in {root}")
            yield
    except OSError as error:
        raise failure(root, error) from error


def _lay_table(parent: Path, table_id: uuid.UUID) -> None:
    """The files of an empty table, under their final name only when they are complete."""
    draft = parent / f"{table_id}.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    Store.create(os.fspath(draft), table_id.bytes)
    draft.rename(parent / str(table_id))
    sync_directory(parent)


def _with_key(declared: tuple[Attribute, ...], primary_key: str) -> tuple[Attribute, ...]:
    if not declared:
        return ()
    marked = tuple(dataclasses.replace(item, is_primary_key=item.name == primary_key) for item in declared)
    if any(item.is_primary_key for item in marked):
        return marked
    return (Attribute(primary_key, is_primary_key=True), *marked)


def _schema_row(name: str) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "kind": "schema", "schema": name}
