"""The life of a table, or of a whole node, whose file operations are recorded.

python lives.py KIND DIRECTORY SEED DURABILITY is one process, with the interposer loaded. What happens is done under
DIRECTORY/disk. It notes in the record what was acknowledged, and writes down in DIRECTORY/states how everything stood
after each step:
    {"states": {table: {generation: digest}}, "listings": [digest of the catalog, …], "node": id of the node}
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import uuid
import zlib
from pathlib import Path
from typing import Any

from interposer import Interposer

import engine
from engine import keys
from engine.api import Node
from engine.backup import Backup, backup
from engine.compaction import compact, finish
from engine.files import sync_directory
from engine.store import Store, StoreView
from engine.view import View

TABLE_ID = uuid.UUID(int=7).bytes
SCHEMAS = ["dev", "other"]
TABLES = ["a", "b"]


def digest(view: StoreView) -> int:
    """Of all records, with their times."""
    rows = list(view.scan("id", keys.EVERYTHING))
    return zlib.crc32(json.dumps([rows, list(view.attributes)], sort_keys=True).encode())


def digest_of_store(store: Store) -> int:
    view = store.view()
    try:
        return digest(view)
    finally:
        view.close()


def listing(node: Node) -> int:
    """A digest of what the catalog says."""
    return zlib.crc32(repr([node.schemas(), node.definitions()]).encode())


class Notes:
    """What goes into the record, and what is written down at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.interposer = Interposer()
        self.states: dict[str, dict[int, int]] = {}
        self.listings: list[int] = []
        self.node = ""

    def stands(self, table: str, generation: int, value: int) -> None:
        self.states.setdefault(table, {})[generation] = value

    def acknowledge(self, what: str, number: int) -> None:
        self.interposer.note(f"{what} {number}")

    def write_down(self) -> None:
        noted = {"states": self.states, "listings": self.listings, "node": self.node}
        (self.directory / "states").write_text(json.dumps(noted))


def records_of(choose: random.Random, number: int, sizes: list[int]) -> list[dict[str, Any]]:
    some = [choose.randrange(20) for _ in range(choose.randrange(1, 5))]
    return [{"id": key, f"a{choose.randrange(4)}": number, "text": "t" * choose.choice(sizes)} for key in some]


# --- a table ---------------------------------------------------------------------------------------------------------

SIZES = [0, 1, 100, 700, 700, 3000]
LARGE = [0, 1, 700, 150_000]  # which bring new segments into use


def live_as_table(notes: Notes, choose: random.Random, durability: str) -> None:
    table = notes.directory / "disk" / "table"
    if not list(table.glob("*.log")):
        Store.create(str(table), TABLE_ID)
        sync_directory(table.parent)
    store = Store(str(table), TABLE_ID, durability=durability)
    settle(notes, store)
    for number in range(choose.randrange(15, 45)):
        write_something(store, choose, number)
        notes.stands("table", store.generation, digest_of_store(store))
        if durability == "commit" or choose.random() < 0.25:
            settle(notes, store)
        if choose.random() < 0.25:
            keep(store, choose)
            settle(notes, store)


def settle(notes: Notes, store: Store) -> None:
    store.sync()
    notes.stands("table", store.generation, digest_of_store(store))
    notes.acknowledge("table", store.generation)


def write_something(store: Store, choose: random.Random, number: int) -> None:
    kind = choose.choice(["insert", "upsert", "upsert", "update", "delete", "drop"])
    records = records_of(choose, number, LARGE if choose.random() < 0.2 else SIZES)
    if kind == "drop":
        store.drop_attribute(f"a{choose.randrange(4)}")
    elif kind == "delete":
        store.write("delete", [record["id"] for record in records])
    else:
        store.write(kind, records, user=f"u{number % 3}")


def keep(store: Store, choose: random.Random) -> None:
    """A step of the upkeep."""
    if choose.random() < 0.3:
        store.checkpoint()
    elif choose.random() < 0.2:
        store.trim()
    elif not compact(store, keep_from=store.generation + 1, forget_before=time.time_ns() // 1000, largest=64 << 20):
        finish(store)


# --- a node ----------------------------------------------------------------------------------------------------------


def live_as_node(notes: Notes, choose: random.Random, _: str) -> None:
    node = engine.open_node(notes.directory / "disk")
    notes.node = node.id
    life = NodeLife(notes, choose, node)
    life.look()
    for number in range(choose.randrange(15, 35)):
        life.do_something(number)
        life.look()


class NodeLife:
    def __init__(self, notes: Notes, choose: random.Random, node: Node) -> None:
        self.notes = notes
        self.choose = choose
        self.node = node
        self.backups: list[Backup] = []
        self.views: list[View] = []

    def look(self) -> None:
        """All that was done is acknowledged."""
        now = listing(self.node)
        if self.notes.listings[-1:] != [now]:
            self.notes.listings.append(now)
        self.notes.acknowledge("listing", len(self.notes.listings) - 1)
        for definition in self.node.definitions():
            with self.node.table(definition.schema, definition.name).view() as view:
                self.notes.stands(definition.id, view.seq, digest(view.snapshot))
                self.notes.acknowledge(definition.id, view.seq)

    def do_something(self, number: int) -> None:
        steps = [self.create, self.drop, self.write, self.attribute, self.upkeep, self.back_up, self.hold]
        (step,) = self.choose.choices(steps, [2, 1, 8, 2, 3, 2, 1])
        step(number)

    def create(self, _: int) -> None:
        schema, name = self.choose.choice(SCHEMAS), self.choose.choice(TABLES)
        declared = [engine.Attribute("a1"), engine.Attribute("text", indexed=False)] if name == "b" else []
        try:
            if self.choose.random() < 0.2:
                self.node.create_schema(schema)
            else:
                self.node.create_table(schema, name, attributes=declared)
        except (engine.TableExists, engine.SchemaExists):
            self.write(0)

    def drop(self, _: int) -> None:
        """The index files of what is dropped are held on to, so that earlier disks can be laid with them."""
        for index in (self.notes.directory / "disk").glob("schema/*/index.kbt"):
            kept = self.notes.directory / "indexes" / str(index.stat().st_ino)
            if not kept.exists():
                kept.hardlink_to(index)
        schema, name = self.choose.choice(SCHEMAS), self.choose.choice(TABLES)
        try:
            if self.choose.random() < 0.2:
                self.node.drop_schema(schema)
            else:
                self.node.drop_table(schema, name)
        except (engine.NoSuchTable, engine.NoSuchSchema):
            self.create(0)

    def write(self, number: int) -> None:
        table = self._table()
        if table is None:
            return
        kind = self.choose.choice(["insert", "upsert", "upsert", "update", "delete"])
        records = records_of(self.choose, number, LARGE if self.choose.random() < 0.3 else SIZES)
        if kind == "delete":
            table.delete([record["id"] for record in records])
        elif table.name == "b":
            getattr(table, kind)([{"id": record["id"], "a1": number, "text": record["text"]} for record in records])
        else:
            getattr(table, kind)(records, user=f"u{number % 3}")

    def attribute(self, number: int) -> None:
        table = self._table()
        if table is None:
            return
        try:
            if self.choose.random() < 0.5:
                table.create_attribute(f"a{self.choose.randrange(4)}")
            else:
                table.drop_attribute(f"a{self.choose.randrange(4)}")
        except engine.AttributeExists:
            self.write(number)

    def upkeep(self, _: int) -> None:
        self.node.maintain(checkpoint_bytes=self.choose.choice([0, 1 << 20]))

    def back_up(self, _: int) -> None:
        """Begins one, or goes on with one that has begun, perhaps to its end."""
        if not self.backups:
            self.backups.append(backup(self.node))
            return
        for _chunk, _stop in zip(self.backups[-1], range(self.choose.choice([1, 3, 1000])), strict=False):
            pass
        if self.choose.random() < 0.5:
            self.backups.pop().close()

    def hold(self, _: int) -> None:
        """Keeps compactions from removing what a view may need."""
        table = self._table()
        if self.views:
            self.views.pop().close()
        elif table is not None:
            self.views.append(table.view())

    def _table(self) -> engine.Table | None:
        definitions = self.node.definitions()
        if not definitions:
            return None
        chosen = self.choose.choice(definitions)
        return self.node.table(chosen.schema, chosen.name)


LIVES = {"table": live_as_table, "node": live_as_node}


def main() -> None:
    kind, directory, seed, durability = sys.argv[1:]
    notes = Notes(Path(directory))
    LIVES[kind](notes, random.Random(int(seed)), durability)
    notes.write_down()
    os._exit(0)  # like a power cut: nothing is closed


if __name__ == "__main__":
    main()
