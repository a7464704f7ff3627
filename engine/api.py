"""Opening a node: its root directory, its tables, its snapshots.

A root directory belongs to one node, and any number of processes and threads may have it open. What they open they open
for themselves: after a fork the child's handles refuse to be used, and it opens its own.

`node.id` is written last when a root directory is made, so its presence says that the rest is there.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from engine import backup
from engine.catalog import PROTECTED, SYSTEM, SYSTEM_TABLES, Attribute, Catalog, TableDefinition, locked
from engine.configuration import Configuration
from engine.doorbell import Doorbell
from engine.errors import Busy, Corrupt, InvalidName, KennelError, NoSuchTable, RootError, TableExists
from engine.files import failure, replace_file, sync_directory
from engine.maintenance import CHECKPOINT_BYTES, Maintenance
from engine.settings import seconds
from engine.store import Store
from engine.syncer import Syncer
from engine.table import Table
from engine.upkeep import Upkeep
from engine.view import View

ID_FILE = "node.id"
CUT_ATTEMPTS = 1000  # at opening views of several tables that are of one moment

_open_nodes: weakref.WeakSet[Node] = weakref.WeakSet()


def open_node(path: str | os.PathLike[str], create: bool = True) -> Node:
    """The node whose root directory is `path`, made if need be unless `create` is false. RootError, Corrupt, Busy."""
    root = Path(path).expanduser().absolute()
    try:
        if root.exists() and not root.is_dir():
            raise RootError(f"{root} is not a directory")
        if not create and not (root / ID_FILE).exists():
            raise RootError(f"{root} is not the root directory of a node")
        if not (root / ID_FILE).exists():
            _install(root)
        return Node(root)
    except OSError as error:
        raise failure(root, error) from error


class Node:
    """One open node; a context manager. Everything of it is Closed after `close()`, and in the children of a fork."""

    def __init__(self, root: Path) -> None:
        self.root = root
        identity = _read_identity(root / ID_FILE)
        self.id: str = identity["id"]
        self.epoch: int = identity["epoch"]
        self._doorbell = Doorbell(os.fspath(root / "node.shm"))
        self._catalog = Catalog(root, self._doorbell)
        self._tables: dict[str, Table] = {}
        self._stores: dict[str, Store] = {}
        self._dropped: weakref.WeakSet[Store] = weakref.WeakSet()  # those that views are open on, or tables in hand
        self._opening = threading.Lock()
        self._syncer: Syncer | None = None
        self._upkeep = Upkeep(root, self.maintain)
        self._is_open = True
        _open_nodes.add(self)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Node {self.root}>"

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        self._upkeep.close()
        self._catalog.close("the node is closed")
        if self._syncer is not None:
            self._syncer.close()
        with self._opening:
            for store in [*self._stores.values(), *self._dropped]:
                store.close()
        self._doorbell.close()

    def disown(self) -> None:
        """Close the node in the child of a fork, leaving files and memory alone: they are its parent's."""
        self._is_open = False
        self._catalog.disown("the node was opened before a fork; open it again in this process")
        for store in [*self._stores.values(), *self._dropped]:
            store.disown()

    @cached_property
    def configuration(self) -> Configuration:
        """The configuration as it was when it was first asked for."""
        return Configuration.load(self.root)

    # --- schemas and tables

    def schemas(self) -> list[str]:
        """All schemas by name, without "system"."""
        return sorted(name for name in self._catalog.listing().schemas if name != SYSTEM)

    def create_schema(self, name: str) -> None:
        """SchemaExists, InvalidName."""
        self._catalog.create_schema(name)

    def drop_schema(self, name: str) -> None:
        """Drop a schema with all its tables. NoSuchSchema."""
        self._catalog.drop_schema(name)
        self._forget_dropped()

    def tables(self, schema: str) -> list[str]:
        """The tables of a schema by name. NoSuchSchema."""
        return sorted(SYSTEM_TABLES if schema == SYSTEM else self._catalog.listing().tables(schema))

    def definitions(self) -> list[TableDefinition]:
        """All tables that the catalog has, those of "system" that were used among them, by schema and name."""
        return sorted(self._catalog.listing().by_id.values(), key=lambda item: (item.schema, item.name))

    def directory_of(self, definition: TableDefinition) -> Path:
        """Where the files of a table are, whether it can be opened or not."""
        return self._catalog.directory_of(definition)

    def create_table(
        self,
        schema: str,
        table: str,
        primary_key: str = "id",
        *,
        attributes: Iterable[Attribute] = (),
        expiration: float | None = None,
        audit: bool | None = None,
    ) -> Table:
        """Make a table, and its schema if there is none. With `attributes` it is schema-defined.

        `expiration` is in seconds after a record's last write. TableExists, InvalidName.
        """
        if schema == SYSTEM:
            raise InvalidName(PROTECTED)
        definition = TableDefinition("", schema, table, primary_key, tuple(attributes), expiration, audit)
        return self._table_of(self._catalog.create_table(definition))

    def table(self, schema: str, table: str) -> Table:
        """NoSuchSchema, NoSuchTable."""
        if schema == SYSTEM:
            return self.system(table)
        return self._table_of(self._catalog.listing().table(schema, table))

    def drop_table(self, schema: str, table: str) -> None:
        """NoSuchSchema, NoSuchTable."""
        self._catalog.drop_table(schema, table)
        self._forget_dropped()

    def system(self, name: str) -> Table:
        """One of the node's own tables, made on first use: see catalog.SYSTEM_TABLES. NoSuchTable."""
        if name not in SYSTEM_TABLES:
            raise NoSuchTable(SYSTEM, name)
        definition = self._catalog.listing().schemas.get(SYSTEM, {}).get(name)
        if definition is None:
            definition = self._make_system_table(name)
        return self._table_of(definition)

    # --- snapshots

    def snapshot(self, tables: Sequence[tuple[str, str]] = ()) -> Snapshot:
        """Views of several tables, to be closed together. Those of `tables`, (schema, table) each, are of one moment;
        any other is of the moment at which it is first asked for. NoSuchSchema, NoSuchTable, Busy."""
        return Snapshot(self, [self.table(schema, table) for schema, table in tables])

    def wait_for_commit(self, last: int, timeout: float) -> int:
        """Return when a table of the node has a new commit, at the latest after `timeout` seconds.

        `last` is what the former call gave, 0 at first; the result counts commits on the whole node modulo 2^32.
        """
        return self._doorbell.wait(last, timeout)

    @cached_property
    def maintenance(self) -> Maintenance:
        """The upkeep of this node's tables, for the holder of the maintenance lock."""
        retention = seconds(self.configuration.get("logging.auditRetention"))
        return Maintenance(self.configuration.get("logging.auditLog"), retention)

    def maintain(self, checkpoint_bytes: int = CHECKPOINT_BYTES) -> bool:
        """One round of upkeep: what crashes left behind goes, damaged indexes are made anew, tables are checkpointed
        and compacted where it is due. Gives whether tables change so fast that the next round had better come soon."""
        self._catalog.mend()
        with locked(self.root):
            self._catalog.sweep()
            backup.sweep(self.root)
        self._forget_dropped()
        definitions = self._catalog.listing().by_id
        self.maintenance.forget(set(definitions))
        busy = False
        for definition in self.maintenance.due(definitions.values()):
            try:
                self._table_of(definition)
                busy |= self.maintenance.look_after(definition, self._stores[definition.id], checkpoint_bytes)
            except (NoSuchTable, KeyError):  # dropped meanwhile
                continue
            except KennelError as error:
                self.maintenance.give_up(definition, error)
        return busy

    def is_upkeep_due(self) -> bool:
        """Whether so much was written since the last round of upkeep that one had better come now."""
        return self.maintenance.is_due(list(self._stores.items()))

    # --- inside

    def _table_of(self, definition: TableDefinition) -> Table:
        table = self._tables.get(definition.id)
        return self._open_table(definition) if table is None else table

    def _open_table(self, definition: TableDefinition) -> Table:
        self._forget_dropped()
        with self._opening:
            known = self._tables.get(definition.id)
            if known is not None:
                return known
            store = self._open_store(definition)
            name = self.configuration.get("clustering.nodeName") or ""
            table = Table(definition, store, self._catalog, self.id, name, self._look_after)
            self._stores[definition.id], self._tables[definition.id] = store, table
        if store.replay_bytes >= CHECKPOINT_BYTES:  # after a crash that came when a checkpoint was due
            self._look_after(store)
        return table

    def _look_after(self, store: Store) -> None:
        """A checkpoint of this table is due, says somebody who writes to it."""
        self._upkeep.request(lambda: self._is_open and store.replay_bytes >= CHECKPOINT_BYTES)

    def _open_store(self, definition: TableDefinition) -> Store:
        settings = self.configuration
        durability = "interval" if settings.get("storage.writeAsync") else settings.get("storage.durability")
        if durability == "interval" and self._syncer is None:
            self._syncer = Syncer(lambda: list(self._stores.values()), settings.get("storage.syncInterval") / 1000)
        try:
            return Store(
                os.fspath(self.directory_of(definition)),
                uuid.UUID(definition.id).bytes,
                primary_key=definition.primary_key,
                durability=durability,
                node_name=settings.get("clustering.nodeName") or "",
                epoch=definition.epoch,
                timestamps=definition.has_times,
                indexed=definition.indexed,
                doorbell=self._doorbell,
                label=f"Table '{definition.schema}.{definition.name}'",
            )
        except (KennelError, OSError) as error:
            if definition.id not in self._catalog.listing().by_id:
                raise NoSuchTable(definition.schema, definition.name) from error
            if isinstance(error, Corrupt):
                raise Corrupt(f"Table '{definition.schema}.{definition.name}' is damaged: {error}") from error
            raise

    def _make_system_table(self, name: str) -> TableDefinition:
        try:
            return self._catalog.create_table(TableDefinition("", SYSTEM, name, SYSTEM_TABLES[name]))
        except TableExists:  # another process was first
            return self._catalog.listing().table(SYSTEM, name)

    def _forget_dropped(self) -> None:
        """Let go of dropped tables; views that are open keep what they need until the node is closed."""
        known = self._catalog.listing().by_id
        with self._opening:
            for table_id in [table_id for table_id in self._tables if table_id not in known]:
                del self._tables[table_id]
                self._dropped.add(self._stores.pop(table_id))


class Snapshot:
    """Views of several tables, one per table; a context manager."""

    def __init__(self, node: Node, tables: Sequence[Table]) -> None:
        self._node = node
        self._views: dict[str, View] = _views_of_one_moment(tables)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        views, self._views = self._views, {}
        for view in views.values():
            view.close()

    def table(self, schema: str, table: str) -> View:
        """The view of a table, which belongs to the snapshot. NoSuchSchema, NoSuchTable."""
        found = self._node.table(schema, table)
        if found.id not in self._views:
            self._views[found.id] = found.view()
        return self._views[found.id]


def _views_of_one_moment(tables: Sequence[Table]) -> dict[str, View]:
    """If no table has moved on since its view was opened when all are open, there was a moment at which all were
    current. Opening takes microseconds, so that a few attempts suffice even while others write."""
    for _ in range(CUT_ATTEMPTS):
        views = {table.id: table.view() for table in tables}
        if len(views) < 2 or not any(table.has_moved_on(views[table.id]) for table in tables):
            return views
        for view in views.values():
            view.close()
    raise Busy("the tables change too fast for a snapshot of all of them")


# --- the root directory ----------------------------------------------------------------------------------------------


def _install(root: Path) -> None:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync_directory(root.parent)
    with locked(root):
        if not (root / ID_FILE).exists():
            Catalog.lay(root)
            identity = {"id": str(uuid.uuid4()), "epoch": secrets.randbits(48), "created": time.time_ns() // 1_000_000}
            replace_file(root / ID_FILE, json.dumps(identity).encode())


def _read_identity(path: Path) -> dict[str, Any]:
    try:
        identity = json.loads(path.read_bytes())
        return {"id": str(uuid.UUID(identity["id"])), "epoch": int(identity["epoch"])}
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{path} is damaged: {error}") from error


def _disown() -> None:
    for node in list(_open_nodes):
        node.disown()


os.register_at_fork(after_in_child=_disown)
