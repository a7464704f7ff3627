"""Flipped bits in segments: detected and named, or harmless; never a row that is silently wrong or missing.

A recovery cannot tell a damaged last frame from one that a power cut tore, unless something says that it was on disk.
So one outcome more is allowed there, and only there: that the last transaction is not in the table.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stores import Place, place, rows

import engine
from engine import logfile
from engine.compaction import compact, finish
from engine.history import History
from engine.store import Store

LONG = os.environ.get("KENNEL_TORTURE") == "long"
FLIPS = 300  # of each kind, otherwise

State = tuple[dict[Any, dict[str, Any]], list[Any]]  # rows and transactions


def fill(store: Store) -> State:
    """Writes a compacted segment and one in use; gives the state before the last transaction."""
    for _ in range(4):
        store.write("upsert", [{"id": "pad", "pad": "x" * 100_000}])
    store.write("delete", ["pad"])
    store.write("insert", [{"id": key, "n": key, "tags": ["a", key]} for key in range(5)], user="ann")
    store.write("update", [{"id": 1, "n": None}], user="bob")
    compact(store, keep_from=store.generation, forget_before=0, largest=1 << 20)
    finish(store)
    store.write("delete", [2])
    before = state(store)
    store.write("upsert", [{"id": 3, "n": "three"}, {"id": "new"}])
    return before


def state(store: Store) -> State:
    return rows(store), History(store).read(0, previous=True)


def meaningful_bytes(path: Path) -> list[int]:
    """Offsets in the header and the frames, of long frames only the ends; and some of what lies behind."""
    data = path.read_bytes()
    header = logfile.read_header(data, str(path))
    assert header is not None
    found = list(range(80))
    end = logfile.HEADER_SIZE
    for frame in logfile.frames(data, header):
        end = frame.offset + frame.length
        found += sorted({*range(frame.offset, min(end, frame.offset + 200)), *range(max(frame.offset, end - 200), end)})
    return [*found, *range(end, min(end + 100, len(data)))]


def chosen_flips(table: Place, seed: int) -> Iterator[tuple[Path, int, int]]:
    """(segment, byte, mask)."""
    flips = [
        (path, offset, 1 << bit) for path in table.segments() for offset in meaningful_bytes(path) for bit in range(8)
    ]
    yield from flips if LONG else random.Random(seed).sample(flips, FLIPS)


@contextmanager
def flipped(path: Path, offset: int, mask: int) -> Iterator[None]:
    def flip() -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ mask]))

    flip()
    try:
        yield
    finally:
        flip()


def last_frame(table: Place) -> tuple[Path, int, int]:
    """(segment, its beginning, its end)."""
    frames = []
    for path in table.segments():
        data = path.read_bytes()
        header = logfile.read_header(data, str(path))
        if header is not None:
            frames += [
                (frame.seq, path, frame.offset, frame.offset + frame.length) for frame in logfile.frames(data, header)
            ]
    return max(frames)[1:]


@pytest.mark.torture
def test_every_bit_under_an_open_table() -> None:
    with place() as table:
        store = table.open()
        fill(store)
        expected = state(store)
        detected = 0
        for path, offset, mask in chosen_flips(table, 1):
            with flipped(path, offset, mask):
                try:
                    assert state(store) == expected
                except engine.Corrupt as error:
                    detected += 1
                    assert path.name in error.message
        assert detected > FLIPS // 2
        assert state(store) == expected
        store.close()


@pytest.mark.torture
def test_every_bit_before_a_recovery_from_nothing() -> None:
    with place() as table:
        recoveries(table, Place.forget_index, 2)


@pytest.mark.torture
def test_every_bit_before_a_recovery_from_a_checkpoint() -> None:
    with place() as table:
        recoveries(table, Place.forget_coordination, 3)


def recoveries(table: Place, forget: Callable[[Place], None], seed: int) -> None:
    store = table.open()
    before = fill(store)
    expected = state(store)
    store.close()
    last, start, end = last_frame(table)
    kept = {path: path.read_bytes() for path in [*table.segments(), table.directory / "index.kbt"]}
    detected = 0
    for path, offset, mask in chosen_flips(table, seed):
        with flipped(path, offset, mask):
            forget(table)
            outcome = recovered(table)
        if isinstance(outcome, engine.KennelError):
            detected += 1
            assert path.name in outcome.message
        elif outcome != expected:
            assert (path == last and start <= offset < end, outcome == before) == (True, True), (
                path.name,
                offset,
                mask,
            )
        put_back(table, kept)
    assert detected > FLIPS // 4


def recovered(table: Place) -> State | engine.KennelError:
    try:
        store = table.open()
    except engine.KennelError as error:
        return error
    try:
        found = state(store)
        store.check()
        return found
    except engine.Corrupt as error:
        return error
    finally:
        store.close()


def put_back(table: Place, kept: dict[Path, bytes]) -> None:
    """Undoes what a recovery may have changed, in the same files: a checkpoint names the inode of its index."""
    for stray in table.directory.iterdir():
        if stray.suffix == ".stale":
            stray.rename(stray.with_suffix(".log"))
    for path in table.directory.iterdir():
        if path not in kept:
            path.unlink()
    for path, content in kept.items():
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate(len(content))
            file.write(content)


def test_damage_before_a_checkpoint_is_named_by_the_replay_that_it_stops() -> None:
    with place() as table:
        store = table.open()
        store.write("insert", [{"id": 1, "n": "old"}])
        store.write("insert", [{"id": 2}])
        store.checkpoint()
        store.write("upsert", [{"id": 1, "n": "new"}])
        store.close()
        with flipped(table.segments()[0], logfile.HEADER_SIZE + 150, 1):
            table.forget_coordination()
            with pytest.raises(engine.Corrupt, match=r"byte 4096 of segment 000001\.log"):
                table.open()
        store = table.open()
        assert rows(store)[1]["n"] == "new"
        store.check()
        store.close()


def test_an_index_that_makes_no_sense_is_made_anew() -> None:
    with place() as table:
        store = table.open()
        store.write("insert", [{"id": key, "n": key} for key in range(1000)])
        store.checkpoint()
        expected = rows(store)
        store.close()
        index = table.directory / "index.kbt"
        pages = bytearray(index.read_bytes())
        for page in range(2, len(pages) // 4096):
            pages[page * 4096 + 12] ^= 0xFF
        index.write_bytes(pages)
        table.forget_coordination()
        store = table.open()
        assert rows(store) == expected
        store.check()
        store.close()


# --- of a node -------------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(node: engine.Node, tmp_path: Path) -> Callable[[Callable[[list[logfile.Frame]], int]], Path]:
    """Copies a root with two tables and flips a bit of one, at the offset that is chosen from its frames."""
    dogs = node.create_table("dev", "dog")
    for key in range(5):
        dogs.insert([{"id": key, "n": key}])
    node.create_table("dev", "cat").insert([{"id": 1}])

    def damaged(choose: Callable[[list[logfile.Frame]], int]) -> Path:
        copy = Path(shutil.copytree(node.root, tmp_path / "copy"))
        path = copy / "schema" / dogs.id / "000001.log"
        data = path.read_bytes()
        header = logfile.read_header(data, str(path))
        assert header is not None
        offset = choose(list(logfile.frames(data, header)))
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes([data[offset] ^ 4]))
        return copy

    return damaged


def test_a_damaged_frame_is_named_at_open_and_other_tables_go_on(damaged: Any) -> None:
    root = damaged(lambda frames: frames[1].offset + 70)
    with engine.open_node(root) as node:
        with pytest.raises(engine.Corrupt, match=r"Table 'dev\.dog' is damaged: .*byte 4248 of segment 000001\.log"):
            node.table("dev", "dog")
        assert node.table("dev", "cat").count() == 1
        node.table("dev", "cat").insert([{"id": 2}])
        node.maintain(0)
        node.drop_table("dev", "dog")
        node.create_table("dev", "dog").insert([{"id": 1}])


def test_a_damaged_header_is_named_and_not_taken_for_a_spare(damaged: Any) -> None:
    root = damaged(lambda frames: 30)
    with engine.open_node(root) as node:
        with pytest.raises(engine.Corrupt, match=r"Table 'dev\.dog' is damaged: .*000001\.log: .*header at byte 0"):
            node.table("dev", "dog")
        assert node.table("dev", "cat").count() == 1


def test_a_record_damaged_under_a_running_node_is_named_and_others_are_read(node: engine.Node) -> None:
    table = node.create_table("dev", "dog")
    for key in range(5):
        table.insert([{"id": key, "n": key}])
    path = table.directory / "000001.log"
    header = logfile.read_header(path.read_bytes(), "")
    assert header is not None
    frame = list(logfile.frames(path.read_bytes(), header))[2]
    with flipped(path, frame.offset + 100, 1):
        with pytest.raises(engine.Corrupt, match=r"^Table 'dev\.dog' .* byte 4\d+ of segment 000001\.log is damaged"):
            table.get(2)
        assert [record["n"] for record in table.get_many([0, 1, 3, 4])] == [0, 1, 3, 4]
        with pytest.raises(engine.Corrupt, match=rf"byte {frame.offset} of segment 000001\.log"):
            table.transactions()
        assert table.insert([{"id": 5}]).written == [5]


def test_a_damaged_record_is_not_merged_into_a_sound_one(node: engine.Node) -> None:
    table = node.create_table("dev", "dog")
    table.insert([{"id": 1, "text": "x" * 1000}, {"id": 2}])
    with flipped(table.directory / "000001.log", logfile.HEADER_SIZE + 600, 1):
        for attempt in (lambda: table.update([{"id": 1, "n": 1}]), lambda: table.delete([1])):
            with pytest.raises(
                engine.Corrupt, match=r"^Table 'dev\.dog' .* byte 4\d+ of segment 000001\.log is damaged"
            ):
                attempt()
        assert table.update([{"id": 2, "n": 1}]).written == [2]
    assert table.get_many([1])[0]["text"] == "x" * 1000
    assert table.update([{"id": 1, "n": 1}]).written == [1]


def test_the_log_is_not_read_past_a_damaged_frame_of_a_sealed_segment(node: engine.Node) -> None:
    table = node.create_table("dev", "dog")
    for key in range(6):
        table.insert([{"id": key, "pad": "x" * 100_000}])
    path = table.directory / "000001.log"
    data = path.read_bytes()
    header = logfile.read_header(data, "")
    assert header is not None
    frame = next(logfile.frames(data, header))
    with flipped(path, frame.offset + 1000, 1), pytest.raises(engine.Corrupt, match=rf"byte {frame.offset} of segment"):
        table.feed.read(0, 1 << 30)
    assert len(table.feed.read(0, 1 << 30)) == 6


def test_a_damaged_node_id_is_named(node: engine.Node) -> None:
    (node.root / "node.id").write_text("{")
    with pytest.raises(engine.Corrupt, match=r"node\.id is damaged"):
        engine.open_node(node.root)
