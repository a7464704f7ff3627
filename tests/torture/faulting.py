"""Work during which calls of the system fail: a process of its own, with the interposer loaded.

python faulting.py WORK ROOT CALL ERROR MANNER STEP

Of the work WORK, the 1st, the 2nd, the 3rd … call of the kind CALL fails with errno ERROR, until the work makes fewer
calls than that; with the MANNER "once" this call only, with "on" all from it on. With a STEP above 1 it is not every
call, but every STEP-th. Each time a process that is forked for it works in a new directory; what it left is then opened
undisturbed and checked.

Prints one JSON object:
    {"runs": how many there were, "met": {error: how often the work met it}, "failures": [what was wrong]}
"""

from __future__ import annotations

import errno
import faulthandler
import json
import os
import pickle
import shutil
import signal
import sys
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interposer import Call, Interposer

import engine
from engine import keys
from engine.api import Node
from engine.backup import backup
from engine.compaction import compact, finish
from engine.errors import KennelError
from engine.history import History
from engine.process import die_with
from engine.store import Store
from engine.table import Table
from engine.view import View

TABLE_ID = uuid.UUID(int=7).bytes
DEADLINE = 60  # seconds for one run
ALL_LATER = 1 << 40
MANY = range(100, 130)

Row = dict[str, Any]


@dataclass(slots=True)
class Diary:
    """What the work did to the records of a table: how they are for certain; and if the last operation on one of them
    failed, how it may be instead."""

    rows: dict[int, Row | None] = field(default_factory=dict)
    doubtful: dict[int, list[Row | None]] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)  # operations other than on records

    def does(self, action: Callable[[], Any], changes: dict[int, Row | None] | None = None, name: str = "") -> Any:
        """An operation that makes these changes (None: the record goes), or fails with an error that the API promises
        and has made all of them or none."""
        changes = changes or {}
        for key, value in changes.items():
            self.doubtful[key] = [*self.doubtful.get(key, [self.rows.get(key)]), value]
        try:
            result = action()
        except (KennelError, MemoryError) as error:
            self.met[type(error).__name__] += 1
            return None
        except (RuntimeError, SystemError, TypeError) as error:
            if not out_of_memory(error):
                raise
            self.met[type(error).__name__] += 1
            return None
        for key, value in changes.items():
            self.rows[key] = value
            del self.doubtful[key]
        self.done.add(name)
        return result

    def compare(self, found: dict[int, Row], where: str) -> None:
        for key in self.rows.keys() | self.doubtful.keys() | found.keys():
            allowed = self.doubtful.get(key, [self.rows.get(key)])
            if found.get(key) not in allowed:
                self.wrong.append(f"{where}: record {key} is {short(found.get(key))}, not {[*map(short, allowed)]}")


def short(value: Any) -> str:
    return repr(value)[:60]


def rows_of(view: Any) -> dict[int, Row]:
    return {row["id"]: {name: row[name] for name in ("id", "a", "text")} for row in view.scan("id", keys.EVERYTHING)}


def row(key: int, text: str = "t") -> Row:
    return {"id": key, "a": key % 7, "text": text}


def rows(some: range, text: str = "t") -> dict[int, Row | None]:
    return {key: row(key, text) for key in some}


# --- the work on a table ---------------------------------------------------------------------------------------------


def work_on_table(root: Path, diary: Diary) -> None:
    """Several openings, one of them a recovery; new segments; checkpoints; a compaction."""
    table = root / "table"
    diary.does(lambda: Store.create(str(table), TABLE_ID), name="created")
    for text in ("first", "second"):
        for store in opened(table, diary):
            write_to(store, diary, text)
            read_from(store, diary)
            keep(store, diary)
            store.close()
    for gone in (["shared.shm"], ["shared.shm", "index.kbt"]):
        for name in gone:
            with suppress(OSError):
                (table / name).unlink()
        for store in opened(table, diary):
            read_from(store, diary)
            store.close()


def opened(table: Path, diary: Diary) -> Iterator[Store]:
    """The store; nothing when that fails."""
    store = diary.does(lambda: Store(str(table), TABLE_ID))
    if store is not None:
        yield store


def write_to(store: Store, diary: Diary, text: str) -> None:
    def write(kind: str, changes: dict[int, Row | None]) -> None:
        records = list(changes) if kind == "delete" else list(changes.values())
        diary.does(lambda: store.write(kind, records, user="somebody"), changes)

    write("upsert", {1: row(1, text)})
    write("upsert", rows(MANY, text))
    diary.does(lambda: store.create_attribute("x" + text))
    write("upsert", {3: row(3, text * 20_000)})
    write("delete", dict.fromkeys(MANY[:20]))
    diary.does(lambda: store.drop_attribute("x" + text))
    write("upsert", {4: row(4, text * 20_000)})
    write("upsert", rows(range(10, 14), text))


def read_from(store: Store, diary: Diary) -> None:
    view = diary.does(store.view)
    if view is None:
        return
    found = diary.does(lambda: rows_of(view))
    if found is not None:
        diary.compare(found, "while it works")
    count = diary.does(view.count)
    if found is not None and count is not None and count != len(found):
        diary.wrong.append(f"{len(found)} records, but a count of {count}")
    diary.does(lambda: view.get(1))
    diary.does(view.check)
    diary.does(lambda: History(store).read(0, limit=1000, previous=True))
    view.close()


def keep(store: Store, diary: Diary) -> None:
    diary.does(store.checkpoint)
    diary.does(lambda: compact(store, keep_from=store.generation + 1, forget_before=0, largest=64 << 20))
    diary.does(lambda: finish(store))
    diary.does(store.trim)
    diary.does(store.checkpoint)


def verify_table(root: Path, diary: Diary) -> None:
    """As another process finds it; as it is recovered from a checkpoint, and from the log alone."""
    table = root / "table"
    if "created" not in diary.done and not (table / "000001.log").exists():
        Store.create(str(table), TABLE_ID)
    for gone in ([], ["shared.shm"], ["shared.shm", "index.kbt"]):
        for name in gone:
            (table / name).unlink(missing_ok=True)
        with closing(Store(str(table), TABLE_ID)) as store:
            store.check()
            with closing(store.view()) as view:
                diary.compare(rows_of(view), f"recovered without {gone}")
            log = [each.seq for each in History(store).read(0, limit=10**6, max_bytes=1 << 30)]
            if log != sorted(set(log)):
                diary.wrong.append("the log is out of order")
            change = {-1: row(-1, str(gone))}
            diary.does(lambda store=store, change=change: store.write("upsert", list(change.values())), change)
            store.check()
    finish_verifying(diary)


def finish_verifying(diary: Diary) -> None:
    if diary.doubtful.get(-1) is not None:
        diary.wrong.append("the table cannot be written to any more")


# --- the work on a node ----------------------------------------------------------------------------------------------


def work_on_node(root: Path, diary: Diary) -> None:
    for turn in range(2):
        node = diary.does(lambda: engine.open_node(root / "node"), name="installed")
        if node is None:
            continue
        work_in(node, diary, f"turn {turn}")
        node.close()


def work_in(node: Node, diary: Diary, text: str) -> None:
    if "kept" not in diary.done:
        diary.does(lambda: node.create_table("dev", "kept"), name="kept")
    table = diary.does(lambda: node.table("dev", "kept"))
    if table is not None:
        diary.does(lambda: table.upsert(list(rows(range(8), text).values())), rows(range(8), text))
        diary.does(lambda: table.upsert([row(9, text * 20_000)]), {9: row(9, text * 20_000)})
        diary.does(lambda: table.delete([0, 1]), {0: None, 1: None})
    diary.does(lambda: node.create_table("dev", "declared", attributes=[engine.Attribute("a")]))
    diary.does(lambda: node.table("dev", "declared").insert([{"id": 1, "a": 1}]))
    diary.does(lambda: sum(map(len, backup(node))))
    diary.does(lambda: node.maintain(checkpoint_bytes=0))
    diary.does(lambda: look_at(node))
    diary.does(lambda: node.drop_table("dev", "declared"))


def look_at(node: Node) -> None:
    with node.snapshot([("dev", "kept")]) as at:
        view: View = at.table("dev", "kept")
        list(view.scan("a"))


def verify_node(root: Path, diary: Diary) -> None:
    for gone in ([], ["shared.shm"], ["shared.shm", "index.kbt"]):
        for name in gone:
            for path in (root / "node").glob(f"schema/*/{name}"):
                path.unlink()
        with engine.open_node(root / "node") as node:
            table = kept_in(node, diary)
            if table is None:
                continue
            with table.view() as view:
                view.snapshot.check()
                diary.compare(rows_of(view), f"recovered without {gone}")
            node.maintain(checkpoint_bytes=0)
            sum(map(len, backup(node)))
            change = {-1: row(-1, str(gone))}
            diary.does(lambda table=table, change=change: table.upsert(list(change.values())), change)
            left = {path.name for path in (root / "node" / "schema").iterdir()} - {
                each.id for each in node.definitions()
            }
            if len(left) > 1:
                diary.wrong.append(f"directories of no table: {left}")
    finish_verifying(diary)


def kept_in(node: Node, diary: Diary) -> Table | None:
    """The table that must be there if its creation succeeded, and may be if not."""
    try:
        return node.table("dev", "kept")
    except engine.NotFound:
        if "kept" in diary.done or diary.rows:
            diary.wrong.append("a table is lost")
        return None


# --- failing calls ---------------------------------------------------------------------------------------------------

WORKS = {"table": (work_on_table, verify_table), "node": (work_on_node, verify_node)}


@dataclass(frozen=True, slots=True)
class Fault:
    call: Call
    error: int
    manner: str
    interposer: Interposer

    def arm(self, number: int) -> None:
        self.interposer.arm(self.call, number, number if self.manner == "once" else ALL_LATER, self.error)

    def was_met(self, number: int) -> bool:
        """Ends the fault, which may still be to come: then it hits these lines."""
        try:
            self.interposer.disarm()
        except MemoryError:
            self.interposer.disarm()
        return self.interposer.seen(self.call) >= number


def speak_into(file: Path) -> None:
    """What this process says from now on, and where it is when it dies of itself."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable(2)


def run(work: str, root: Path, fault: Fault, number: int) -> tuple[bool, Diary]:
    """One run: (whether the call was made at all, what was done and found wrong)."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    told, said, parent = root.with_suffix(".told"), root.with_suffix(".said"), os.getpid()
    child = os.fork()
    if child == 0:
        die_with(parent)
        signal.alarm(DEADLINE)
        speak_into(said)
        told.write_bytes(pickle.dumps(labour(work, root, fault, number)))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status != 0:
        return True, Diary(wrong=[f"the process ended with {status}: {said.read_text(errors='replace')}"])
    met, diary = pickle.loads(told.read_bytes())
    try:
        WORKS[work][1](root, diary)
    except (KennelError, MemoryError, OSError) as error:
        diary.wrong.append(f"afterwards: {error!r}: {traceback.format_exc()}")
    return met, diary


def out_of_memory(error: Exception) -> bool:
    """Whether the interpreter had no memory. It has other words for it where it makes a lock, takes a path for none, or
    forgets to say anything."""
    disguises = ("can't allocate", "not PosixPath", "error return without exception set")
    return isinstance(error, MemoryError) or any(words in str(error) for words in disguises)


def labour(work: str, root: Path, fault: Fault, number: int) -> tuple[bool, Diary]:
    diary = Diary()
    fault.interposer.watch(root)
    fault.arm(number)
    try:
        WORKS[work][0](root, diary)
    except Exception as error:
        if out_of_memory(error):  # in the test's own lines
            diary.met[type(error).__name__] += 1
        else:
            diary.wrong.append(traceback.format_exc())
    return fault.was_met(number), diary


def main() -> None:
    work, root, call, error, manner, step = sys.argv[1:]
    fault = Fault(Call[call], getattr(errno, error, 0), manner, Interposer())
    met: Counter[str] = Counter()
    failures: list[str] = []
    number, runs = 1, 0
    while len(failures) < 10:
        happened, diary = run(work, Path(root), fault, number)
        failures += [f"{call} {number} ({error}, {manner}): {text}" for text in diary.wrong]
        if not happened:
            break
        met += diary.met
        runs += 1
        number += int(step)
    print(json.dumps({"runs": runs, "met": met, "failures": failures}))


if __name__ == "__main__":
    main()
