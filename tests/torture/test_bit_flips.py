"""Every bit of a small table's files flipped in turn: detected or harmless, never a silently wrong row.

Two ways in which the files may have been left: the last process has closed the table, or it was killed. Whatever is
flipped in the index or in the coordination file costs at most one failing operation that names the page; the next open
has everything. What is flipped in the log is named with its segment, or does not matter.

KENNEL_TORTURE=long flips every bit of what is in use and a sample of the rest; otherwise both are sampled.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import keys, logfile
from engine.compaction import compact, finish
from engine.history import History
from engine.store import Store

LONG = os.environ.get("KENNEL_TORTURE") == "long"
FLIPS = 500  # of each kind, otherwise
ELSEWHERE = 20_000 if LONG else 50  # of bytes that are in no use
DEADLINE = 60.0  # seconds after which an open or a read hangs
PAGE = 4096
MEMORY = Path("/dev/shm")

Flip = tuple[int, int]  # byte, mask


class Files:
    """The files of one table, as they are to be found by whoever opens it next."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.table_id = uuid.uuid4().bytes
        self._kept: dict[str, bytes] = {}
        Store.create(str(directory), self.table_id)

    def open(self) -> Store:
        return Store(str(self.directory), self.table_id)

    def keep(self) -> None:
        self._kept = {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def __getitem__(self, name: str) -> bytes:
        return self._kept[name]

    def names(self, pattern: str) -> list[str]:
        return sorted(name for name in self._kept if Path(name).match(pattern))

    def flip(self, name: str, flip: Flip) -> None:
        offset, mask = flip
        with (self.directory / name).open("r+b") as file:
            file.seek(offset)
            file.write(bytes([self._kept[name][offset] ^ mask]))

    def put_back(self) -> None:
        """In the same files: index and coordination file name their inodes."""
        for path in self.directory.iterdir():
            if path.name not in self._kept:
                path.unlink()
        for name, content in self._kept.items():
            with (self.directory / name).open("r+b" if (self.directory / name).exists() else "wb") as file:
                file.truncate(len(content))
                file.write(content)


@pytest.fixture
def files() -> Iterator[Files]:
    directory = Path(tempfile.mkdtemp(prefix="kennel-flips-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield Files(directory / "table")
    finally:
        shutil.rmtree(directory)


def fill(store: Store) -> None:
    """A compacted segment and one in use, a checkpoint, and transactions after it."""
    for _ in range(4):
        store.write("upsert", [{"id": "pad", "pad": "x" * 100_000}])
    store.write("delete", ["pad"])
    store.write("insert", [{"id": key, "n": key, "tags": ["a", key]} for key in range(5)], user="ann")
    compact(store, keep_from=store.generation, forget_before=0, largest=1 << 20)
    finish(store)
    store.write("update", [{"id": 1, "n": None}], user="bob")
    store.checkpoint()
    store.write("delete", [2])
    store.write("upsert", [{"id": 3, "n": "three"}, {"id": "new"}])


def state(store: Store) -> Any:
    """All that reads can tell: rows, counts, indexes, the log. Raises if an index is not what the records make it."""
    with closing(store.view()) as view:
        rows = list(view.scan("id", keys.EVERYTHING))
        found = [list(view.entries(name, keys.EVERYTHING)) for name in ("n", "tags", "__updatedtime__")]
        equal = [view.get(row["id"]) for row in rows]
        counts = [view.count(), view.count_in("n", keys.EVERYTHING), view.count_in("n", keys.equal(4))]
        view.check()
    return rows, found, equal, counts, History(store).read(0, previous=True)


def attempt(files: Files) -> Any:
    try:
        with closing(files.open()) as store:
            return state(store)
    except engine.KennelError as error:
        return error


# --- what is in use --------------------------------------------------------------------------------------------------


def in_use_of_segment(data: bytes) -> set[int]:
    """Header, frames, and a little of what follows; of long frames only the ends."""
    header = logfile.read_header(data, "")
    assert header is not None
    found, end = set(range(80)), logfile.HEADER_SIZE
    for frame in logfile.frames(data, header):
        end = frame.offset + frame.length
        found |= {*range(frame.offset, min(end, frame.offset + 300)), *range(max(frame.offset, end - 300), end)}
    return found | set(range(end, min(end + 64, len(data))))


def in_use(data: bytes) -> set[int]:
    """Lines of 64 bytes that are not empty."""
    return {
        offset
        for start in range(0, len(data), 64)
        if data[start : start + 64].strip(b"\0")
        for offset in range(start, min(start + 64, len(data)))
    }


def flips_of(data: bytes, used: set[int], seed: int) -> list[Flip]:
    choose = random.Random(seed)
    unused = sorted(set(range(len(data))) - used)
    flips = [(offset, 1 << bit) for offset in sorted(used) for bit in range(8)]
    if not LONG:
        flips = choose.sample(flips, min(FLIPS, len(flips)))
    return flips + [(offset, 1 << choose.randrange(8)) for offset in choose.sample(unused, min(ELSEWHERE, len(unused)))]


# --- in a process of its own -----------------------------------------------------------------------------------------


def in_a_child(work: Callable[[Callable[[str], None]], None]) -> list[str]:
    """Runs `work` in a fork and gives the lines that it tells. AssertionError when it crashes or hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(lambda line: os.write(writing, (line.replace("\n", " ") + "\n").encode()) and None)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    told = b""
    while True:
        if not select.select([reading], [], [], DEADLINE)[0]:
            os.kill(child, signal.SIGKILL)
            told += b"hangs\n"
        more = os.read(reading, 1 << 16)
        if not more:
            break
        told += more
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    lines = told.decode().splitlines()
    assert status == 0, f"the child ended with {status} after: {lines[-1:]}"
    return lines


def leave_closed(files: Files) -> None:
    def work(_: Callable[[str], None]) -> None:
        with closing(files.open()) as store:
            fill(store)

    in_a_child(work)


def leave_dead(files: Files) -> None:
    child = os.fork()
    if child == 0:
        store = files.open()
        fill(store)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def flip_all(files: Files, name: str, flips: list[Flip], judge: Callable[[Files, str, Any], str]) -> dict[str, int]:
    """How often each verdict was given; one that begins with "wrong" fails."""

    def work(tell: Callable[[str], None]) -> None:
        expected = attempt(files)
        assert not isinstance(expected, Exception), expected
        files.put_back()
        for flip in flips:
            files.flip(name, flip)
            tell(f"{judge(files, name, expected)} {name} {flip}")
            files.put_back()

    verdicts: dict[str, int] = {}
    for line in in_a_child(work):
        verdict = line.split()[0]
        assert verdict != "wrong", line
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
    assert sum(verdicts.values()) == len(flips)
    return verdicts


# --- the tests -------------------------------------------------------------------------------------------------------


def judge_disposable(files: Files, name: str, expected: Any) -> str:
    """Index and coordination file: at most one open fails, and everything is there afterwards."""
    first = attempt(files)
    if isinstance(first, Exception):
        if "index.kbt" not in str(first):
            return f"wrong {first}"
        return "named" if attempt(files) == expected else "wrong after its repair"
    return "harmless" if first == expected else "wrong"


def judge_log(files: Files, name: str, expected: Any) -> str:
    first = attempt(files)
    if isinstance(first, Exception):
        return "named" if name in str(first) else f"wrong {first}"
    return "harmless" if first == expected else "wrong"


@pytest.mark.torture
@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("leave", [leave_closed, leave_dead])
def test_every_bit_of_the_index(files: Files, leave: Callable[[Files], None]) -> None:
    leave(files)
    files.keep()
    data = files["index.kbt"]
    verdicts = flip_all(files, "index.kbt", flips_of(data, in_use(data), 1), judge_disposable)
    assert verdicts["harmless"] > 0
    assert (verdicts.get("named", 0) > 0) == (leave is leave_closed), "a recovery makes a damaged index anew by itself"


@pytest.mark.torture
@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("leave", [leave_closed, leave_dead])
def test_every_bit_of_the_coordination_file(files: Files, leave: Callable[[Files], None]) -> None:
    leave(files)
    files.keep()
    data = files["shared.shm"]
    verdicts = flip_all(files, "shared.shm", flips_of(data, in_use(data), 2), judge_disposable)
    assert set(verdicts) == {"harmless"}


@pytest.mark.torture
@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("leave", [leave_closed, leave_dead])
def test_every_bit_of_the_log(files: Files, leave: Callable[[Files], None]) -> None:
    leave(files)
    files.keep()
    for seed, name in enumerate(files.names("*.log")):
        data = files[name]
        verdicts = flip_all(files, name, flips_of(data, in_use_of_segment(data), seed), judge_log)
        assert verdicts["named"] > len(data) // 10**6
