"""Recovery of an index that is too large to be examined first: the log is looked ahead in while it is replayed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from stores import Place, rows
from test_index_damage import BRANCH, LEAF, PAGE, flip, pages_in_use

from engine.store import Store

EXAMINED = 64 << 20
COUNT = 36_000
TEXTS = "abcd"


def record(key: int, turn: int = 0) -> dict[str, Any]:
    """Its texts are far apart in their indexes from those of the next key."""
    draw = random.Random(key * 100 + turn)
    texts: dict[str, Any] = {name: f"{draw.random():.16f}".ljust(390, name) for name in TEXTS}
    return {"id": key, "tags": [key % 7, key % 11], **texts}


def fill(here: Place) -> Store:
    """A table with a checkpoint, and an index that is larger than what is examined."""
    store = here.open(durability="interval")
    for first in range(0, COUNT, 4000):
        store.write("insert", [record(key) for key in range(first, first + 4000)])
    store.checkpoint()
    assert store.counters()["pages"] * PAGE > EXAMINED
    return store


def change(store: Store) -> None:
    """What has to be replayed: every kind of operation, also on records that are not older than it."""
    draw = random.Random(1)
    store.write("update", [record(key, 1) for key in draw.sample(range(COUNT), 500)])
    store.write("delete", draw.sample(range(COUNT), 500))
    store.write("insert", [record(key) for key in range(COUNT, COUNT + 500)])
    store.write("update", [record(key, 2) for key in range(COUNT, COUNT + 100)], user="ann")
    store.drop_attribute("b")
    store.write("upsert", [{"id": key, "e": key, "tags": None} for key in range(COUNT - 200, COUNT + 200)])
    store.write("delete", list(range(COUNT - 50, COUNT + 50)))
    store.sync()


def recovered(here: Place) -> dict[Any, dict[str, Any]]:
    """The records after recovery; index and log agree."""
    here.forget_coordination()
    store = here.open()
    try:
        store.check()
        return rows(store)
    finally:
        store.close()


def test_all_that_came_after_the_checkpoint_is_replayed(here: Place) -> None:
    store = fill(here)
    change(store)
    expected = rows(store)
    store.close()
    assert recovered(here) == expected
    here.forget_index()
    assert recovered(here) == expected


@pytest.mark.parametrize("level", [LEAF, BRANCH])
def test_damaged_pages_on_the_way_are_no_more_than_damage(here: Place, level: int) -> None:
    store = fill(here)
    pages = [page for page, of in pages_in_use(here.directory / "index.kbt").items() if of == level]
    change(store)
    expected = rows(store)
    store.close()
    for page in random.Random(2).sample(pages, min(len(pages), 200)):
        flip(here.directory / "index.kbt", page, 16)
        flip(here.directory / "index.kbt", page, 34)
    assert recovered(here) == expected


def test_a_torn_frame_ends_it(here: Place) -> None:
    store = fill(here)
    change(store)
    expected = rows(store)
    number, end = store.counters()["log_segment"], store.counters()["log_end"]
    store.write("update", [record(key, 3) for key in range(100)])
    store.close()
    with (here.directory / f"{number:06}.log").open("r+b") as file:
        file.seek(end + 2000)
        file.write(bytes(100))
    assert recovered(here) == expected
