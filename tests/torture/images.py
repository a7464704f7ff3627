"""Images of a disk, laid out as files and checked: everything acknowledged is there, and nothing that never was.

A `Site` is the place of one table or node through several lives. Images are laid into the very files whose numbers the
checkpoints in them name, so it is one image at a time.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import interposer
from disk import Disk, Tree, fates
from lives import TABLE_ID, digest, listing

import engine
from engine.errors import KennelError
from engine.history import History
from engine.store import Store

LIVES = Path(__file__).with_name("lives.py")
BOOT = slice(16, 32)  # of a coordination file: the life of the kernel that it belongs to


class Violation(AssertionError):
    """An image was recovered to something that it must not be."""


def demand(condition: bool, text: str) -> None:
    if not condition:
        raise Violation(text)


@dataclass(slots=True)
class Promises:
    """What was acknowledged, and what may be found."""

    states: dict[str, dict[str, int]] = field(default_factory=dict)  # table -> generation -> digest
    listings: list[int] = field(default_factory=list)
    node: str = ""
    acknowledged: dict[str, int] = field(default_factory=dict)

    def hear(self, note: str) -> None:
        what, number = note.rsplit(" ", 1)
        self.acknowledged[what] = int(number)

    def look_at(self, table: str, generation: int, found: int) -> None:
        demand(generation >= self.acknowledged.get(table, 0), f"{table}: an acknowledged transaction is lost")
        demand(found == self.states[table].get(str(generation)), f"{table}: it was never in the state of {generation}")

    def look_at_listing(self, found: int) -> None:
        possible = self.listings[self.acknowledged.get("listing", 0) :]
        demand(
            found in possible or not self.listings, "the catalog was never like this, or an acknowledged change is lost"
        )


class Site:
    """`kind` is that of lives.py."""

    def __init__(self, root: Path, library: Path, kind: str, seed: int) -> None:
        self.root = root
        self.disk = root / "disk"
        self.disk.mkdir(parents=True)
        self.indexes = root / "indexes"
        self.indexes.mkdir()
        self.library = library
        self.kind = kind
        self.choose = random.Random(seed)
        self.promises = Promises()
        self.images: Counter[str] = Counter()  # by manner
        self.lives = self.points = 0
        self._seen: set[tuple[int, int]] = set()

    # --- a life, and what could be left of it

    def live_and_be_cut(self) -> None:
        """One life, all its images, and then the files as one of them left them."""
        disk, events = self._live()
        self.lives += 1
        chosen: tuple[Tree, dict[str, int]] | None = None
        for number, tree in enumerate(self._cuts(disk, events), 1):
            if chosen is None or self.choose.random() < 1 / number:
                chosen = tree, dict(self.promises.acknowledged)
            self._check(tree, f"life {self.lives}, call {disk.calls} of the record, image {number}")
        assert chosen is not None
        self._lay(chosen[0])
        self.promises.acknowledged = chosen[1]

    def _live(self) -> tuple[Disk, list[interposer.Event]]:
        """Lets a process work there: (the disk before, what happened)."""
        disk, record = Disk(self.disk), self.root / "record"
        record.unlink(missing_ok=True)
        seed, durability = self.choose.getrandbits(30), self.choose.choice(["commit", "interval"])
        done = subprocess.run(
            [sys.executable, str(LIVES), self.kind, str(self.root), str(seed), durability],
            env=interposer.environment(self.library, self.disk, record),
            capture_output=True,
            text=True,
            timeout=300,
        )
        demand(done.returncode == 0, done.stderr)
        self._keep_indexes()
        self._take_promises(json.loads((self.root / "states").read_text()))
        return disk, list(interposer.read_events(record))

    def _keep_indexes(self) -> None:
        for index in self.disk.rglob("index.kbt"):
            kept = self.indexes / str(index.stat().st_ino)
            if not kept.exists():
                kept.hardlink_to(index)

    def _take_promises(self, noted: dict[str, Any]) -> None:
        promises = self.promises
        demand(not promises.acknowledged or promises.node == noted["node"], "the node has become another one")
        for table, states in noted["states"].items():
            begun = min(map(int, states))  # what was later in the life before is not history any more
            before = promises.states.get(table, {}).items()
            promises.states[table] = {seq: found for seq, found in before if int(seq) < begun} | states
        promises.listings, promises.node = noted["listings"], noted["node"]
        promises.acknowledged.pop("listing", None)

    def _cuts(self, disk: Disk, events: list[interposer.Event]) -> Iterator[Tree]:
        """Every image that is checked, of every point of the record, once."""
        for index, event in enumerate(events):
            if event.kind == "N":
                self.promises.hear(event.data.decode())
            disk.happen(event)
            if event.kind == "V" or (index + 1 < len(events) and events[index + 1].kind == "N"):
                continue  # it is one point with what follows
            self.points += 1
            for fate in fates(disk.undecided(), self.choose):
                tree = disk.image(fate)
                key = hash(tuple(tree.items())), hash(tuple(self.promises.acknowledged.items()))
                if key not in self._seen:
                    self._seen.add(key)
                    self.images[fate.manner] += 1
                    yield tree

    # --- laying out

    def _lay(self, tree: Tree) -> None:
        """Makes the files of an image, and of what is in none: coordination files of another life of the kernel."""
        spare = self._clear()
        for path, node in tree.items():
            place = self.disk / path
            if node is None:
                place.mkdir()
                continue
            inode, content = node
            kept = self.indexes / str(inode)
            if path.endswith("index.kbt") and kept.exists():
                place.hardlink_to(kept)
            place.write_bytes(content)
        if spare is not None and self.choose.random() < 0.5 and (self.disk / "table").is_dir():
            (self.disk / "table" / "shared.shm").hardlink_to(spare)

    def _clear(self) -> Path | None:
        spare, shared = self.root / "spare", self.disk / "table" / "shared.shm"
        if shared.exists() and not spare.exists():
            spare.hardlink_to(shared)
        for entry in self.disk.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not spare.exists():
            return None
        with spare.open("r+b") as file:
            file.seek(BOOT.start)
            file.write(self.choose.randbytes(BOOT.stop - BOOT.start))
        return spare

    # --- checking

    def _check(self, tree: Tree, place: str) -> None:
        self._lay(tree)
        try:
            if self.kind == "node":
                check_node(self.disk, self.promises)
            elif self.promises.acknowledged or "table/000001.log" in tree:
                check_table(self.disk / "table", self.promises)
        except (Violation, KennelError, OSError) as error:
            raise Violation(f"{place}: {error!r}") from error


def check_table(directory: Path, promises: Promises) -> None:
    store = Store(str(directory), TABLE_ID)
    try:
        check_store(store, "table", promises)
        store.write("upsert", [{"id": "one more"}])
        store.check()
    finally:
        store.close()


def check_store(store: Store, name: str, promises: Promises) -> None:
    view = store.view()
    try:
        view.check()
        promises.look_at(name, view.seq, digest(view))
    finally:
        view.close()
    log = [each.seq for each in History(store).read(0, limit=10**6, max_bytes=1 << 30)]
    demand(log == sorted(set(log)) and log[-1:] == [store.generation] * bool(log), f"{name}: the log is not in order")


def check_node(root: Path, promises: Promises) -> None:
    with engine.open_node(root) as node:
        demand(not promises.acknowledged or node.id == promises.node, "the node has become another one")
        promises.look_at_listing(listing(node))
        tables = [node.table(definition.schema, definition.name) for definition in node.definitions()]
        for table in tables:
            with table.view() as view:
                view.snapshot.check()
                promises.look_at(table.id, view.seq, digest(view.snapshot))
        node.maintain(checkpoint_bytes=0)
        node.create_table("late", "comer").insert([{"id": 1}])
        for table in tables:
            table.upsert([{"id": 1, "text": "one more"}])
            with table.view() as view:
                view.snapshot.check()
        known = {definition.id for definition in node.definitions()}
        left = {entry.name for entry in (root / "schema").iterdir()} - known
        demand(len(left) == 1, f"only the catalog has no row in itself: {left}")
        demand(not list(root.glob("backup/*")), "a backup that was cut off has left something")
