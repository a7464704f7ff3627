"""What recovery makes of logs that a power cut, or a failing disk, has left in particular states."""

from __future__ import annotations

import random

import pytest
from stores import Place, rows

from engine.compaction import compact, finish
from engine.errors import Corrupt
from engine.history import History
from engine.store import Store

HEADER = 4096
LARGE = "x" * 300_000  # more than fits into the first segment


def log_end(store: Store) -> int:
    return store.counters()["log_end"]


def overwrite(here: Place, name: str, offset: int, data: bytes) -> None:
    with (here.directory / name).open("r+b") as file:
        file.seek(offset)
        file.write(data)


def zero_from(here: Place, name: str, offset: int) -> None:
    size = (here.directory / name).stat().st_size
    overwrite(here, name, offset, bytes(size - offset))


def flip(here: Place, name: str, offset: int) -> None:
    content = (here.directory / name).read_bytes()
    overwrite(here, name, offset, bytes([content[offset] ^ 1]))


def recovered(here: Place) -> Store:
    here.forget_index()
    return here.open()


def test_a_table_without_any_transaction(here: Place) -> None:
    here.open().close()
    store = recovered(here)
    assert rows(store) == {}
    assert History(store).read(0) == []
    store.write("insert", [{"id": 1}])
    store.close()


def test_what_was_replayed_counts_until_there_is_a_checkpoint_of_it(here: Place) -> None:
    store = here.open()
    store.write("insert", [{"id": 1, "a": LARGE}])
    store.checkpoint()
    for key in range(2, 7):
        store.write("insert", [{"id": key, "a": LARGE}])
    to_replay = store.replay_bytes
    assert to_replay > 5 * len(LARGE)
    store.close()
    for _ in range(2):
        here.forget_coordination()
        store = here.open()
        assert abs(store.replay_bytes - to_replay) < 1000
        store.close()
    store = here.open()
    store.checkpoint()
    store.close()
    here.forget_coordination()
    store = here.open()
    assert store.replay_bytes == 0
    store.close()


def test_only_the_last_of_many_changes_of_an_entry_counts(here: Place) -> None:
    """Entries come, go and come again, of one record and of several with one value; arrays have one per element."""
    draw = random.Random(3)
    values = [None, True, 7, 7.5, "dog", "d" * 500, ["dog", 7, 7], [[1], {"a": 1}], {"a": 2}]
    keys = [1, 2, "k" * 300, [1, "k"]]
    store = here.open(durability="interval")
    store.write("insert", [{"id": key, "a": "dog", "b": 7} for key in keys])
    store.checkpoint()
    for turn in range(400):
        if draw.random() < 0.2:
            store.write("delete", draw.sample(keys, 2))
        else:
            store.write(
                "upsert", [{"id": key, "a": draw.choice(values), "b": draw.choice(values)} for key in keys[turn % 4 :]]
            )
        if turn % 150 == 149:
            store.drop_attribute("b")
    expected = rows(store)
    store.close()
    here.forget_coordination()
    for lose in (here.forget_index, lambda: None):
        store = here.open()
        store.check()
        assert rows(store) == expected
        store.close()
        lose()


def test_frames_behind_a_torn_one_are_not_believed_once_its_place_is_filled(here: Place) -> None:
    """The second of three frames of equal size is torn; a new second one ends where the old third one begins."""
    store = here.open(durability="interval")
    ends = []
    for key in (1, 2, 3):
        store.write("insert", [{"id": key, "a": "old"}])
        ends.append(log_end(store))
    store.close()
    flip(here, "000001.log", ends[1] - 3)
    store = recovered(here)
    assert rows(store).keys() == {1}
    store.write("insert", [{"id": 4, "a": "new"}])
    store.close()
    store = recovered(here)
    assert rows(store).keys() == {1, 4}
    assert [each.seq for each in History(store).read(0)] == [1, 2]
    store.close()


def test_a_later_segment_is_not_believed_once_the_numbers_match(here: Place) -> None:
    """The power cut kept a later segment and lost the frames before it; new ones take their numbers."""
    store = here.open(durability="interval")
    store.write("insert", [{"id": 1}])
    kept = log_end(store)
    store.write("insert", [{"id": 2}])
    store.write("insert", [{"id": 3}])
    store.write("insert", [{"id": 4, "a": LARGE}])
    store.close()
    zero_from(here, "000001.log", kept)
    store = recovered(here)
    assert rows(store).keys() == {1}
    store.write("insert", [{"id": 5}])
    store.write("insert", [{"id": 6}])
    store.close()
    store = recovered(here)
    assert rows(store).keys() == {1, 5, 6}
    assert [each.seq for each in History(store).read(0)] == [1, 2, 3]
    store.close()


def test_a_frame_that_was_promised_to_be_on_disk_is_missed(here: Place) -> None:
    store = here.open()
    ends = []
    for key in (1, 2, 3):
        store.write("insert", [{"id": key}])
        ends.append(log_end(store))
    store.close()
    flip(here, "000001.log", ends[0] - 3)
    with pytest.raises(Corrupt, match=f"byte {HEADER} of segment 000001.log"):
        recovered(here)
    flip(here, "000001.log", ends[0] - 3)
    store = recovered(here)
    assert rows(store).keys() == {1, 2, 3}
    store.close()


def test_a_segment_that_others_follow_is_missed(here: Place) -> None:
    store = here.open()
    for key in range(4):
        store.write("insert", [{"id": key, "a": LARGE}])
        store.write("insert", [{"id": key + 10}])
        store.write("insert", [{"id": key + 20}])
    store.close()
    hidden = here.directory / "hidden"
    here.segments()[1].rename(hidden)
    with pytest.raises(Corrupt):
        recovered(here)


@pytest.mark.parametrize("damage", [0, 8, 40])
def test_a_segment_whose_header_is_damaged_is_not_taken_for_the_end(here: Place, damage: int) -> None:
    store = here.open()
    for key in range(4):
        store.write("insert", [{"id": key, "a": LARGE}])
        store.write("insert", [{"id": key + 10}])
        store.write("insert", [{"id": key + 20}])
    store.close()
    flip(here, here.segments()[1].name, damage)
    with pytest.raises(Corrupt):
        recovered(here)


def test_the_last_segment_with_a_damaged_header_is_refused(here: Place) -> None:
    store = here.open()
    store.write("insert", [{"id": 1}])
    store.write("insert", [{"id": 2, "a": LARGE}])
    store.write("insert", [{"id": 3}])
    store.close()
    flip(here, here.segments()[-1].name, 8)
    with pytest.raises(Corrupt):
        recovered(here)


def test_a_first_transaction_that_is_large_leaves_no_segment_behind_it(here: Place) -> None:
    """The first segment came into use and was too small; compaction must not mistake it for a part of the log."""
    store = here.open()
    store.write("insert", [{"id": 1, "a": LARGE}], user="ann")
    for turn in range(30):
        store.write("upsert", [{"id": 1, "a": turn, "b": "x" * 50_000}, {"id": 2}], user="bob")
    while compact(store, keep_from=store.generation + 1, forget_before=0, largest=64 << 20):
        finish(store)
    found = rows(store)
    store.close()
    store = recovered(here)
    assert rows(store) == found
    assert {each.user for each in History(store).read(0)} <= {"ann", "bob"}
    store.check()
    store.close()


def test_a_copy_of_the_directory_is_recovered_from_its_log(here: Place) -> None:
    store = here.open()
    for key in range(300):
        store.write("insert", [{"id": key}])
    store.checkpoint()
    store.close()
    kept = {path.name: path.read_bytes() for path in here.directory.iterdir()}
    for path in here.directory.iterdir():
        path.unlink()
    for name, content in kept.items():
        (here.directory / name).write_bytes(content)
    store = here.open()
    assert len(rows(store)) == 300
    store.check()
    store.close()


def test_an_index_cut_short_is_made_anew(here: Place) -> None:
    store = here.open()
    store.write("insert", [{"id": key, "a": "x" * 300} for key in range(300)])
    store.checkpoint()
    store.close()
    with (here.directory / "index.kbt").open("r+b") as file:
        file.truncate(4096 * 5)
    here.forget_coordination()
    store = here.open()
    assert len(rows(store)) == 300
    store.check()
    store.close()
