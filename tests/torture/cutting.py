"""A table's life with a record of its file operations, and what a power cut could leave of it.

As a script it is the life: python cutting.py DIRECTORY TABLE_ID SEED DURABILITY, with KENNEL_TRACE naming the record.
One process, one thread. It notes in the record what was acknowledged, and writes down how the records stood after every
transaction. As a module it builds disk images from the record (see engine/vfs.pyx for its form).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import keys, vfs
from engine.compaction import compact, finish
from engine.store import Store

SECTOR = 512
HEAD = struct.Struct("<BQQI")


# --- the life --------------------------------------------------------------------------------------------------------


def digest(store: Store) -> int:
    """Of all records, with their times."""
    view = store.view()
    try:
        return zlib.crc32(json.dumps(list(view.scan("id", keys.EVERYTHING)), sort_keys=True).encode())
    finally:
        view.close()


def live(directory: Path, table_id: bytes, seed: int, durability: str) -> None:
    choose = random.Random(seed)
    table = directory / "table"
    if not table.exists():
        Store.create(str(table), table_id)
    store = Store(str(table), table_id, durability=durability)
    copy_of(table, directory / "start")
    states = {store.generation: digest(store)}
    acknowledge(store)
    for number in range(choose.randrange(10, 60)):
        do_something(store, choose, number)
        states[store.generation] = digest(store)
        if durability == "commit" or choose.random() < 0.2:
            store.sync()
            acknowledge(store)
        if choose.random() < 0.15 and keep(store, table, choose):
            copy_of_index(table, directory / "at-checkpoint")
            acknowledge(store)
    copy_of_index(table, directory / "at-the-end")
    (directory / "states").write_text(json.dumps(states))


def keep(store: Store, table: Path, choose: random.Random) -> bool:
    """One step of upkeep; whether it made a checkpoint."""
    if choose.random() < 0.4:
        return store.checkpoint()
    before = set(table.glob("*.log"))
    if compact(store, keep_from=store.generation + 1, forget_before=time.time_ns() // 1000, largest=64 << 20):
        return False
    if choose.random() < 0.3 or not finish(store):
        return store.checkpoint()
    for gone in before - set(table.glob("*.log")):
        vfs.note(b"gone " + gone.name.encode())
    return True


def acknowledge(store: Store) -> None:
    vfs.note(str(store.generation).encode())


def do_something(store: Store, choose: random.Random, number: int) -> None:
    kind = choose.choice(["insert", "upsert", "upsert", "update", "delete", "drop"])
    some = [choose.randrange(30) for _ in range(choose.randrange(1, 6))]
    if kind == "drop":
        store.drop_attribute(f"a{choose.randrange(4)}")
    elif kind == "delete":
        store.write("delete", some)
    else:
        size = choose.choice([0, 1, 100, 700, 5000, 5000, 60_000, 300_000])
        store.write(
            kind,
            [{"id": key, f"a{choose.randrange(4)}": number, "text": "t" * size} for key in some],
            user=f"u{number % 3}",
        )


def copy_of(table: Path, to: Path) -> None:
    """The log as it is on disk after the opening, and which inode is which."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for path in table.glob("*.log"):
        shutil.copy(path, to / path.name)
    inodes = {path.stat().st_ino: path.name for path in table.glob("*.log")}
    (to / "inodes").write_text(json.dumps(inodes))
    vfs.note(b"start")


def copy_of_index(table: Path, to: Path) -> None:
    shutil.copy(table / "index.kbt", to)


# --- the record ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    kind: str  # W write, S sync, N new name, D directory sync, A note
    inode: int
    offset: int
    data: bytes


def read_events(path: Path) -> list[Event]:
    content, at, events = path.read_bytes(), 0, []
    while at < len(content):
        kind, inode, offset, size = HEAD.unpack_from(content, at)
        at += HEAD.size
        events.append(Event(chr(kind), inode, offset, content[at : at + size]))
        at += size
    return events


def read_record(path: Path) -> list[Event]:
    """From the note "start" on: what is before it is in the copy."""
    events = read_events(path)
    start = next(index for index, event in enumerate(events) if event.kind == "A" and event.data == b"start")
    return events[start + 1 :]


class Disk:
    """What is certainly on the disk, and what may be."""

    def __init__(self, start: Path) -> None:
        inodes = json.loads((start / "inodes").read_text())
        self.names: dict[int, str] = {int(inode): name for inode, name in inodes.items()}
        self.files: dict[int, bytearray] = {
            inode: bytearray((start / name).read_bytes()) for inode, name in self.names.items()
        }
        self.unsynced: dict[int, list[tuple[int, bytes]]] = {}
        self.new_names: dict[int, str] = {}
        self.gone: set[str] = set()
        self.acknowledged = 0

    def happen(self, event: Event) -> None:
        if event.kind == "W":
            self.unsynced.setdefault(event.inode, []).append((event.offset, event.data))
        elif event.kind == "S":
            for offset, data in self.unsynced.pop(event.inode, []):
                put(self.files.setdefault(event.inode, bytearray()), offset, data)
        elif event.kind == "N":
            self.new_names[event.inode] = Path(event.data.decode()).name
        elif event.kind == "D":
            self.names |= self.new_names
            self.names = {inode: name for inode, name in self.names.items() if name not in self.gone}
            self.new_names = {}
        elif event.data.startswith(b"gone "):
            self.gone.add(event.data[5:].decode())
        else:
            self.acknowledged = max(self.acknowledged, int(event.data))

    def image(self, choose: random.Random) -> dict[str, bytes]:
        """One of the states that a power cut at this moment could leave: name -> content."""
        manner = choose.choice(["nothing", "everything", "writes", "sectors", "sectors", "most", "last torn"])
        names = dict(self.names)
        names |= {inode: name for inode, name in self.new_names.items() if choose.random() < 0.5}
        names = {inode: name for inode, name in names.items() if name not in self.gone or choose.random() < 0.5}
        found = {}
        for inode, name in names.items():
            content = bytearray(self.files.get(inode, b""))
            waiting = self.unsynced.get(inode, [])
            for index, (offset, data) in enumerate(waiting):
                for piece_at, piece in pieces(offset, data, manner, index == len(waiting) - 1, choose):
                    put(content, piece_at, piece)
            found[name] = bytes(content)
        return found


def pieces(offset: int, data: bytes, manner: str, is_last: bool, choose: random.Random) -> Iterator[tuple[int, bytes]]:
    """The parts of a write that arrive, by sectors of the disk."""
    if manner == "nothing" or (manner == "writes" and choose.random() < 0.5):
        return
    chance = {"sectors": 0.5, "most": 0.9, "last torn": 0.7 if is_last else 1.0}.get(manner, 1.0)
    if chance == 1.0:
        yield offset, data
        return
    at = 0
    while at < len(data):
        size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
        if choose.random() < chance:
            yield offset + at, data[at : at + size]
        at += size


def put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset + len(data):
        content.extend(bytes(offset + len(data) - len(content)))
    content[offset : offset + len(data)] = data


def index_image(directory: Path, choose: random.Random) -> bytes | None:
    """What a power cut after the last checkpoint could leave of the index: of every sector any of its later contents.
    None when there was no checkpoint."""
    if not (directory / "at-checkpoint").exists():
        return None
    content = bytearray((directory / "at-checkpoint").read_bytes())
    later = (directory / "at-the-end").read_bytes()
    content.extend(bytes(max(0, len(later) - len(content))))
    chance = choose.choice([0.0, 0.5, 1.0])
    for at in range(2 * 4096, len(later), SECTOR):
        if choose.random() < chance:
            content[at : at + SECTOR] = later[at : at + SECTOR]
    return bytes(content)


def main() -> None:
    directory, table_id, seed, durability = sys.argv[1:]
    live(Path(directory), bytes.fromhex(table_id), int(seed), durability)
    os._exit(0)  # like a power cut: nothing is closed


if __name__ == "__main__":
    main()
