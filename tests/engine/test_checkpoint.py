"""Recovery starts from the last checkpoint that holds, whatever was written after it."""

from __future__ import annotations

import random

import pytest
from stores import Place, rows

from engine.errors import Corrupt
from engine.store import Store

PAGE = 4096
FIRST_FRAME = 4096
VERSION = 16  # place of the version in the head of a frame


def spoil_the_first_frame(here: Place) -> None:
    """From now on there is no recovery from the log alone."""
    content = bytearray((here.directory / "000001.log").read_bytes())
    content[FIRST_FRAME + VERSION] ^= 1
    (here.directory / "000001.log").write_bytes(content)


def churn(store: Store, choose: random.Random, turns: int) -> None:
    for turn in range(turns):
        store.write("upsert", [{"id": choose.randrange(500), "n": turn, "text": "t" * 50} for _ in range(20)])
        store.write("delete", [choose.randrange(500) for _ in range(5)])


def test_recovery_replays_what_came_after_the_checkpoint(here: Place) -> None:
    choose = random.Random(5)
    store = here.open()
    churn(store, choose, 20)
    assert store.checkpoint()
    assert not store.checkpoint(), "nothing has happened since"
    spoil_the_first_frame(here)
    for turns in (0, 1, 30, 60):
        churn(store, choose, turns)
        found = rows(store)
        store.close()
        here.forget_coordination()
        store = here.open()
        assert rows(store) == found
        store.check()
    store.close()


def test_checkpoints_one_after_the_other_through_many_lives(here: Place) -> None:
    choose = random.Random(6)
    store = here.open()
    churn(store, choose, 3)
    assert store.checkpoint()
    spoil_the_first_frame(here)
    for _ in range(25):
        churn(store, choose, choose.randrange(6))
        if choose.random() < 0.6:
            store.checkpoint()
            churn(store, choose, choose.randrange(6))
        found = rows(store)
        store.close()
        if choose.random() < 0.7:
            here.forget_coordination()
        store = here.open()
        assert rows(store) == found
        store.check()
    store.close()


def test_a_checkpoint_is_due_once_so_much_log_has_come(here: Place) -> None:
    store = here.open()
    store.write("insert", [{"id": 1, "text": "t" * 1000}])
    assert not store.checkpoint(1 << 20)
    assert store.checkpoint(1000)
    assert not store.checkpoint(1000)
    store.write("insert", [{"id": 2, "text": "t" * 2000}])
    assert store.checkpoint(1000)
    store.close()


@pytest.mark.parametrize("slots", [(0,), (1,), (0, 1)])
def test_a_damaged_slot_is_passed_over(here: Place, slots: tuple[int, ...]) -> None:
    choose = random.Random(7)
    store = here.open()
    for _ in range(2):
        churn(store, choose, 5)
        assert store.checkpoint()
    churn(store, choose, 1)
    found = rows(store)
    store.close()
    with (here.directory / "index.kbt").open("r+b") as file:
        for slot in slots:
            file.seek(slot * PAGE + 50)
            file.write(b"\xff\xff")
    here.forget_coordination()
    store = here.open()
    assert rows(store) == found
    store.check()
    store.close()


def test_without_a_checkpoint_and_without_the_log_there_is_nothing_to_recover_from(here: Place) -> None:
    store = here.open()
    churn(store, random.Random(8), 3)
    store.close()
    spoil_the_first_frame(here)
    here.forget_index()
    with pytest.raises(Corrupt):
        here.open()


def test_pages_that_no_checkpoint_needs_are_used_again(here: Place) -> None:
    """The index of a table that only changes does not grow for ever, with checkpoints or without."""
    choose = random.Random(9)
    store = here.open()
    churn(store, choose, 60)
    store.checkpoint()
    churn(store, choose, 60)
    store.checkpoint()
    grown = store.counters()["pages"]
    for _ in range(6):
        churn(store, choose, 60)
        store.checkpoint()
    assert store.counters()["pages"] <= 1.5 * grown
    assert store.counters()["leaked_pages"] == 0
    store.check()
    store.close()
