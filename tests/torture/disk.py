"""A model of a disk: what is on it for certain after each call of a record, and what a power cut there could leave.

The rules are harsher than any file system. Of the writes to a file since its last sync, any sectors of 512 bytes may
have arrived, in any order; of a mapped file, each sector is as it was at any moment since it was last synced. A name is
there for certain when its directory was synced after the name was made, and gone for certain likewise; until then any
of the changes may have arrived and others not, except that a rename is never half done.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from interposer import Event

SECTOR = 512


@dataclass(slots=True)
class File:
    content: bytearray  # what is on the disk for certain
    latest: bytearray  # what a reader sees now
    waiting: list[tuple[int, Event]] = field(default_factory=list)  # calls since the last sync, with their numbers
    stored: dict[int, list[bytes]] = field(default_factory=dict)  # sector of a mapping -> its contents since then


@dataclass(slots=True)
class Directory:
    names: dict[str, int]
    latest: dict[str, int]
    waiting: list[tuple[int, Event]] = field(default_factory=list)


Tree = dict[str, tuple[int, bytes] | None]  # path from the root -> (inode, content), None for a directory


class Disk:
    """What happens under one directory."""

    def __init__(self, root: Path) -> None:
        """As it is there now, and durable."""
        self.root = root.stat().st_ino
        self.nodes: dict[int, File | Directory] = {}
        self.calls = 0
        self._add(root)

    def _add(self, path: Path) -> int:
        inode = path.stat().st_ino
        if path.is_dir():
            names = {entry.name: self._add(entry) for entry in path.iterdir() if entry.suffix != ".shm"}
            self.nodes[inode] = Directory(names, dict(names))
        elif inode not in self.nodes:
            content = path.read_bytes()
            self.nodes[inode] = File(bytearray(content), bytearray(content))
        return inode

    def happen(self, event: Event) -> None:
        self.calls += 1
        if event.kind in "CM":
            self.nodes[event.inode] = File(bytearray(), bytearray()) if event.kind == "C" else Directory({}, {})
        if event.kind in "CMLUR":
            parent = self._directory(event.inode if event.kind == "U" else event.offset)
            parent.waiting.append((self.calls, event))
            change_names(parent.latest, event)
        elif event.kind == "S":
            self._sync(event.inode)
        elif event.kind == "Y":
            self._sync_mapping(self._file(event.inode), event.offset, int.from_bytes(event.data, "little"))
        elif event.kind in "WPATV":
            self._change(self._file(event.inode), event)

    def _change(self, file: File, event: Event) -> None:
        change_content(file.latest, event)
        if event.kind == "V":
            for at in range(0, len(event.data), SECTOR):
                file.stored.setdefault(event.offset + at, []).append(event.data[at : at + SECTOR])
            return
        file.waiting.append((self.calls, event))
        if event.kind == "T":
            file.stored = {sector: values for sector, values in file.stored.items() if sector < event.offset}
        elif event.kind == "P":
            end = event.offset + int.from_bytes(event.data, "little")
            for sector in [sector for sector in file.stored if event.offset <= sector < end]:
                file.stored[sector].append(bytes(SECTOR))

    def _sync(self, inode: int) -> None:
        node = self.nodes[inode]
        node.waiting = []
        if isinstance(node, Directory):
            node.names = dict(node.latest)
        else:
            node.content, node.stored = bytearray(node.latest), {}

    def _sync_mapping(self, file: File, offset: int, length: int) -> None:
        """With what it takes to find the range: the size of the file, and which blocks it has there."""
        waiting, file.waiting = file.waiting, []
        for number, event in waiting:
            inside = event.kind == "W" and offset <= event.offset and event.offset + len(event.data) <= offset + length
            if inside or event.kind in "AT":
                change_content(file.content, event)
            elif event.kind == "P":
                file.waiting += [(number, rest) for rest in self._punch(file, event, offset, offset + length)]
            else:
                file.waiting.append((number, event))
        for sector in [sector for sector in file.stored if offset <= sector < offset + length]:
            put(file.content, sector, file.stored.pop(sector)[-1])

    def _punch(self, file: File, event: Event, start: int, end: int) -> Iterator[Event]:
        """Makes the part of the hole that is in a range certain, and gives what is left of it."""
        hole = event.offset, event.offset + int.from_bytes(event.data, "little")
        for low, high in ((hole[0], min(hole[1], start)), (max(hole[0], end), hole[1])):
            if low < high:
                yield Event("P", event.inode, low, (high - low).to_bytes(8, "little"))
        low, high = max(hole[0], start), min(hole[1], end)
        if low < high:
            change_content(file.content, Event("P", event.inode, low, (high - low).to_bytes(8, "little")))

    def _file(self, inode: int) -> File:
        node = self.nodes[inode]
        assert isinstance(node, File)
        return node

    def _directory(self, inode: int) -> Directory:
        node = self.nodes[inode]
        assert isinstance(node, Directory)
        return node

    def undecided(self) -> list[int]:
        """The numbers of the calls of which nobody knows whether they have arrived; stores into mappings aside."""
        return sorted(number for node in self.nodes.values() for number, _ in node.waiting)

    # --- what a power cut could leave

    def image(self, fate: Fate) -> Tree:
        """The tree of files that is left when `fate` decides on each undecided change."""
        tree: Tree = {}
        self._lay(self.root, "", fate, tree)
        return tree

    def _lay(self, inode: int, path: str, fate: Fate, tree: Tree) -> None:
        node = self.nodes[inode]
        if isinstance(node, File):
            tree[path] = (inode, bytes(self._content(node, fate)))
            return
        if path:
            tree[path] = None
        names = dict(node.names)
        for number, event in node.waiting:
            if fate.arrives(number):
                change_names(names, event)
        for name in sorted(names):
            self._lay(names[name], f"{path}/{name}" if path else name, fate, tree)

    def _content(self, file: File, fate: Fate) -> bytearray:
        content = bytearray(file.content)
        for number, event in file.waiting:
            if event.kind == "W":
                for at, piece in fate.pieces(number, event):
                    put(content, at, piece)
            elif fate.arrives(number):
                change_content(content, event)
        for sector, values in file.stored.items() if fate.stored is not first else ():
            value = fate.stored(values)
            if value is not None and sector < len(content):
                content[sector : sector + SECTOR] = value[: len(content) - sector]
        return content


def change_names(names: dict[str, int], event: Event) -> None:
    """What did not arrive before does not matter: a name that is not there is as good as removed."""
    if event.kind == "U":
        names.pop(event.data.decode(), None)
    elif event.kind == "R":
        old, new = event.data.decode().split("\0")
        names.pop(old, None)
        names[new] = event.inode
    else:
        names[event.data.decode()] = event.inode


def change_content(content: bytearray, event: Event) -> None:
    if event.kind == "W":
        put(content, event.offset, event.data)
    elif event.kind == "V":
        content[event.offset : event.offset + len(event.data)] = event.data[: max(0, len(content) - event.offset)]
    elif event.kind == "P":
        end = min(len(content), event.offset + int.from_bytes(event.data, "little"))
        if end > event.offset:
            content[event.offset : end] = bytes(end - event.offset)
    elif event.kind == "T":
        del content[event.offset :]
        content.extend(bytes(event.offset - len(content)))
    elif event.kind == "A" and event.offset > len(content):
        content.extend(bytes(event.offset - len(content)))


def put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset + len(data):
        content.extend(bytes(offset + len(data) - len(content)))
    content[offset : offset + len(data)] = data


# --- fates -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fate:
    """Decides what has arrived: calls by their number, sectors of writes, and which value of a mapped sector."""

    manner: str
    arrives: Callable[[int], bool]
    sector: Callable[[int], bool]
    stored: Callable[[list[bytes]], bytes | None]

    def pieces(self, number: int, event: Event) -> Iterator[tuple[int, bytes]]:
        """The parts of a write that arrive."""
        if not self.arrives(number):
            return
        whole = [] if self.sector is always else [self.sector(number) for _ in range(sectors_of(event))]
        if all(whole):
            yield event.offset, event.data
            return
        at = 0
        for arrived in whole:
            size = min(SECTOR - (event.offset + at) % SECTOR, len(event.data) - at)
            if arrived:
                yield event.offset + at, event.data[at : at + size]
            at += size


def sectors_of(event: Event) -> int:
    return (event.offset + len(event.data) - 1) // SECTOR - event.offset // SECTOR + 1 if event.data else 0


def fates(undecided: list[int], choose: random.Random) -> Iterator[Fate]:
    """One fate of each manner; of few undecided calls every subset."""
    yield Fate("nothing", never, always, first)
    yield Fate("everything", always, always, last)
    yield Fate("half of the sectors", always, lambda _: choose.random() < 0.5, any_of(choose))
    yield Fate("most sectors", always, lambda _: choose.random() < 0.9, any_of(choose))
    for subset in subsets(undecided, choose):
        yield Fate("some calls", subset.__contains__, always, any_of(choose))
    some = {number for number in undecided if choose.random() < 0.5}
    yield Fate("sectors of some calls", some.__contains__, lambda _: choose.random() < 0.5, any_of(choose))
    if undecided:
        yield torn_at(choose.choice(undecided), choose, first)
        yield torn_at(undecided[-1], choose, last)


def subsets(undecided: list[int], choose: random.Random) -> Iterable[set[int]]:
    if len(undecided) > 3:
        return ({number for number in undecided if choose.random() < 0.5} for _ in range(2))
    masks = range(1, 2 ** len(undecided) - 1)
    return ({number for bit, number in enumerate(undecided) if mask >> bit & 1} for mask in masks)


def torn_at(end: int, choose: random.Random, stored: Callable[[list[bytes]], bytes | None]) -> Fate:
    """Everything before this call has arrived, nothing after it, and of a write itself the beginning."""
    left = choose.choice([0, 1, 2, 4, 8, choose.randrange(64)])

    def sector(number: int) -> bool:
        nonlocal left
        if number < end:
            return True
        left -= 1
        return left >= 0

    return Fate("torn", lambda number: number <= end, sector, stored)


def always(_: int) -> bool:
    return True


def never(_: int) -> bool:
    return False


def first(_: list[bytes]) -> bytes | None:
    return None


def last(values: list[bytes]) -> bytes:
    return values[-1]


def any_of(choose: random.Random) -> Callable[[list[bytes]], bytes | None]:
    return lambda values: choose.choice([None, *values])
