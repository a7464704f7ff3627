"""Damaged pages of an index: met at their first touch, named, and made good from the log."""

from __future__ import annotations

import os
import signal
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from stores import Place, rows

import engine
from engine.store import Store

PAGE = 4096
LEAF, BRANCH = 0, 1


def fill(store: Store) -> dict[Any, dict[str, Any]]:
    store.write("insert", [{"id": key, "name": f"name {key % 50}", "text": "t" * 60} for key in range(2000)])
    store.write("delete", list(range(0, 2000, 7)))
    return rows(store)


def pages_in_use(index: Path) -> dict[int, int]:
    """Page number -> level, of all pages that have a checksum."""
    content = index.read_bytes()
    found = {}
    for number in range(2, len(content) // PAGE):
        pgno, level, crc = struct.unpack_from("<IB19xI", content, number * PAGE)
        if pgno == number and crc != 0:
            found[number] = level
    return found


def flip(index: Path, page: int, offset: int) -> None:
    with index.open("r+b") as file:
        file.seek(page * PAGE + offset)
        byte = file.read(1)[0]
        file.seek(page * PAGE + offset)
        file.write(bytes([byte ^ 16]))


def outcome(here: Place) -> dict[Any, dict[str, Any]] | engine.Corrupt:
    store = here.open()
    try:
        store.check()
        return rows(store)
    except engine.Corrupt as error:
        return error
    finally:
        store.close()


@pytest.mark.parametrize("level", [LEAF, BRANCH])
@pytest.mark.parametrize("offset", [5, 9, 16, 24, 32, 2000, 4095])
def test_a_flipped_bit_is_named_when_it_is_met_and_the_next_open_makes_the_index_anew(
    here: Place, level: int, offset: int
) -> None:
    store = here.open()
    expected = fill(store)
    store.close()
    index = here.directory / "index.kbt"
    page = next(page for page, of in pages_in_use(index).items() if of == level)
    flip(index, page, offset)
    damage = outcome(here)
    assert isinstance(damage, engine.Corrupt)
    assert damage.message.startswith(str(here.directory))
    assert f"page {page} of index.kbt" in damage.message
    assert outcome(here) == expected
    assert outcome(here) == expected


def test_only_what_meets_the_damage_fails(here: Place) -> None:
    store = here.open()
    expected = fill(store)
    store.close()
    index = here.directory / "index.kbt"
    kept = {path: path.read_bytes() for path in (index, here.directory / "shared.shm")}
    shares = []
    for page in [page for page, level in pages_in_use(index).items() if level == LEAF]:
        flip(index, page, 100)
        store = here.open()
        shares.append(share_of_failures(store, expected))
        store.close()
        for path, content in kept.items():
            path.write_bytes(content)
    assert shares.count(1.0) == 1, "the attributes' names are in one page"
    assert shares.count(0.0) > 50, "the other indexes"
    assert all(0 < share < 0.2 for share in shares if share not in (0.0, 1.0))
    assert 5 < sum(0 < share < 1 for share in shares) < 50
    assert outcome(here) == expected


def share_of_failures(store: Store, expected: dict[Any, dict[str, Any]]) -> float:
    """Of single reads that meet damage; the others must be right."""
    failures = 0
    keys = range(0, 2000, 9)
    for key in keys:
        try:
            view = store.view()
        except engine.Corrupt:
            failures += 1
            continue
        try:
            assert view.get(key) == expected.get(key)
        except engine.Corrupt:
            failures += 1
        finally:
            view.close()
    return failures / len(keys)


def test_a_table_that_nobody_closed_is_recovered_and_its_pages_are_not_trusted(here: Place) -> None:
    """Pages made after the last checkpoint have no checksums; whoever died may have written anywhere."""
    store = here.open()
    fill(store)
    assert store.checkpoint()
    expected = rows(store)
    store.close()
    child = os.fork()
    if child == 0:
        store = here.open()
        store.write("upsert", [{"id": key, "name": "later"} for key in range(500)])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    index = here.directory / "index.kbt"
    content = bytearray(index.read_bytes())
    for page in range(2, len(content) // PAGE):
        pgno, crc = struct.unpack_from("<I20xI", content, page * PAGE)
        if pgno == page and crc == 0:
            content[page * PAGE + 100] ^= 1
    index.write_bytes(content)
    found = outcome(here)
    assert isinstance(found, dict)
    assert found.keys() == expected.keys() | set(range(500))
    assert all(found[key]["name"] == "later" for key in range(500))


def test_no_page_of_an_earlier_life_passes_for_one_of_this(here: Place) -> None:
    """A checkpoint that turns out to be damaged makes recovery start from the one before, whose pages others may have
    been written over; by their numbers they can be told from those that are made now."""
    latest = 0
    for turn in range(4):
        store = here.open()
        for _ in range(3):
            store.write("upsert", [{"id": key, "turn": turn} for key in range(300)])
            if turn == 0:
                store.checkpoint()
        store.close()
        made = numbers_of_pages(here.directory / "index.kbt")
        assert len([number for number in made if number > latest]) > 3
        assert turn == 0 or len({number for number in made if number > latest}) <= 3, "those of this life"
        latest = max(made)
        here.forget_coordination()


def numbers_of_pages(index: Path) -> list[int]:
    content = index.read_bytes()
    found = [struct.unpack_from("<I4xQ", content, page * PAGE) for page in range(2, len(content) // PAGE)]
    return [txn for page, (pgno, txn) in enumerate(found, 2) if pgno == page]


def test_the_log_of_a_table_that_nobody_closed_must_reach_as_far_as_it_did(here: Place) -> None:
    child = os.fork()
    if child == 0:
        store = here.open()
        for key in range(3):
            store.write("insert", [{"id": key}])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    segment = here.segments()[0]
    content = bytearray(segment.read_bytes())
    last = len(bytes(content).rstrip(b"\0")) - 1
    content[last] ^= 1
    segment.write_bytes(content)
    with pytest.raises(engine.Corrupt, match=r"the frame at byte \d+ of segment 000001\.log is damaged"):
        here.open()
    content[last] ^= 1
    segment.write_bytes(content)
    assert outcome(here).keys() == {0, 1, 2}


def test_a_damaged_coordination_file_is_made_anew(here: Place) -> None:
    store = here.open()
    expected = fill(store)
    store.close()
    shared = here.directory / "shared.shm"
    for offset in range(0, shared.stat().st_size, 977):
        with shared.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 32]))
        store = here.open()
        assert store.generation == 2
        if offset % 9770 == 0:
            assert rows(store) == expected
        store.close()


def test_an_index_that_is_gone_or_cut_short_under_a_good_coordination_file_is_made_anew(here: Place) -> None:
    store = here.open()
    expected = fill(store)
    store.close()
    index = here.directory / "index.kbt"
    index.unlink()
    assert outcome(here) == expected
    with index.open("r+b") as file:
        file.truncate(5 * PAGE)
    assert outcome(here) == expected


def test_the_last_of_several_processes_closes_the_table(here: Place) -> None:
    store, other = here.open(), here.open()
    expected = fill(store)
    store.close()
    assert rows(other) == expected
    other.close()
    before = (here.directory / "index.kbt").stat().st_mtime_ns
    time.sleep(0.02)
    store = here.open()
    assert rows(store) == expected
    store.close()
    assert (here.directory / "index.kbt").stat().st_mtime_ns == before, "it was recovered"


# --- while others have the table open --------------------------------------------------------------------------------


def damage_leaves(here: Place) -> None:
    """Half of all leaves, so that whatever is read meets one."""
    index = here.directory / "index.kbt"
    for page in [page for page, level in pages_in_use(index).items() if level == LEAF][::2]:
        flip(index, page, 200)


def test_an_index_is_made_anew_under_those_who_have_the_table_open(here: Place) -> None:
    store = here.open()
    expected = fill(store)
    store.checkpoint()
    store.close()
    damage_leaves(here)
    store, other = here.open(), here.open()
    with pytest.raises(engine.Corrupt, match=r"page \d+ of index\.kbt is damaged; the index will be made anew"):
        store.check()
    assert store.rebuild()
    assert not store.rebuild(), "it is sound now"
    assert rows(store) == rows(other) == expected
    for each in (store, other, here.open()):
        each.check()
        each.write("upsert", [{"id": 1, "name": "new"}, {"id": 5000}])
        each.write("delete", [5000])
    assert rows(store) == rows(other) == expected | {1: rows(other)[1]}
    assert rows(other)[1]["name"] == "new"
    store.close()
    other.close()
    found = outcome(here)
    here.forget_coordination()
    assert outcome(here) == found


def test_pages_of_damaged_trees_are_used_again(here: Place) -> None:
    store = here.open()
    expected = fill(store)
    store.checkpoint()
    sizes = []
    for _ in range(6):
        store.close()
        damage_leaves(here)
        store = here.open()
        with pytest.raises(engine.Corrupt):
            store.check()
        assert store.rebuild()
        store.write("upsert", [{"id": 1}])
        store.checkpoint()
        sizes.append(store.counters()["pages"])
        assert rows(store).keys() == expected.keys() | {1}
        store.check()
    assert sizes[-1] <= 1.1 * sizes[1]
    assert store.counters()["leaked_pages"] == 0
    store.close()


def test_a_view_from_before_stays_as_it_is(here: Place) -> None:
    store = here.open()
    expected = fill(store)
    store.close()
    store = here.open()
    view = store.view()
    name = next(page for page, level in pages_in_use(here.directory / "index.kbt").items() if level == BRANCH)
    flip(here.directory / "index.kbt", name, 100)
    with pytest.raises(engine.Corrupt):
        store.check()
    flip(here.directory / "index.kbt", name, 100)
    assert store.rebuild()
    store.write("delete", list(expected))
    for _ in range(3):
        store.write("insert", [{"id": key} for key in range(9000, 9500)])
        store.write("delete", list(range(9000, 9500)))
        store.checkpoint()
    assert {key: view.get(key) for key in expected} == expected
    view.close()
    assert rows(store) == {}
    store.close()


def test_where_the_log_is_damaged_too_the_index_stays(here: Place) -> None:
    store = here.open()
    expected = fill(store)
    store.close()
    segment = here.segments()[0]
    with segment.open("r+b") as file:
        file.seek(4096 + 60)
        kept = file.read(1)
        file.seek(4096 + 60)
        file.write(bytes([kept[0] ^ 1]))
    damage_leaves(here)
    store = here.open()
    with pytest.raises(engine.Corrupt, match=r"page \d+ of index\.kbt"):
        store.check()
    with pytest.raises(engine.Corrupt, match=r"the frame at byte 4096 of segment 000001\.log is damaged"):
        store.rebuild()
    with segment.open("r+b") as file:
        file.seek(4096 + 60)
        file.write(kept)
    assert store.rebuild()
    assert rows(store) == expected
    store.close()


def test_the_upkeep_of_a_node_mends_tables_and_the_catalog(node: engine.Node) -> None:
    table = node.create_table("dev", "dog")
    table.insert([{"id": key, "name": f"name {key}"} for key in range(1000)])
    node.maintain(0)
    directories = [path for path in (node.root / "schema").iterdir() if path.is_dir()]
    node.close()
    for directory in directories:
        for page in pages_in_use(directory / "index.kbt"):
            flip(directory / "index.kbt", page, 100)
    with engine.open_node(node.root) as again:
        with pytest.raises(engine.Corrupt, match=r"index\.kbt"):
            again.table("dev", "dog")
        again.maintain()
        mended = again.table("dev", "dog")
        with pytest.raises(engine.Corrupt, match=r"^Table 'dev\.dog' .* page \d+ of index\.kbt"):
            mended.get(5)
        again.maintain()
        assert mended.get(5)["name"] == "name 5"
        assert mended.count("name", "starts_with", "name 1") == 111
