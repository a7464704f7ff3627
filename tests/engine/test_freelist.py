"""Pages of the index that are not in use are known to be free, whatever happens, and are used again."""

from __future__ import annotations

import random

import pytest
from stores import Place, rows

from engine.keys import EVERYTHING
from engine.store import Store


def churn(store: Store, choose: random.Random, turns: int, records: int = 20) -> None:
    for turn in range(turns):
        batch = [{"id": choose.randrange(2000), "n": choose.random(), "t": f"{turn}"} for _ in range(records)]
        store.write("upsert", batch)
        store.write("delete", [choose.randrange(2000) for _ in range(records // 4)])


def test_every_page_is_in_a_tree_or_free(here: Place) -> None:
    """Through checkpoints, views that keep pages, trims, lives, and cuts after which only a checkpoint is left."""
    choose = random.Random(1)
    store = here.open()
    views = []
    for _ in range(60):
        churn(store, choose, choose.randrange(6), choose.choice([5, 20, 400]))
        step = choose.choice(["nothing", "checkpoint", "view", "close views", "trim", "reopen", "cut"])
        if step == "checkpoint":
            store.checkpoint()
        elif step == "view":
            views.append(store.view())
        elif step == "trim":
            store.trim()
        elif step in ("close views", "reopen", "cut"):
            for view in views:
                view.close()
            views = []
        if step in ("reopen", "cut"):
            found = rows(store)
            store.close()
            if step == "cut":
                here.forget_coordination()
            store = here.open()
            assert rows(store) == found
        assert store.lost_pages() == 0
    store.check()
    for view in views:
        view.close()
    store.close()


def test_a_checkpoint_knows_its_free_pages(here: Place) -> None:
    """Else they would be lost with the coordination file, or all trees would have to be walked to find them."""
    choose = random.Random(2)
    store = here.open()
    churn(store, choose, 30, 400)
    store.write("delete", list(range(2000)))
    store.checkpoint()
    free = store.counters()["free_pages"]
    assert free > 100
    store.close()
    here.forget_coordination()
    store = here.open()
    assert store.counters()["free_pages"] >= free
    grown = store.counters()["pages"]
    churn(store, choose, 3, 100)
    assert store.counters()["pages"] == grown, "they are used again"
    assert store.lost_pages() == 0
    store.check()
    store.close()


def test_checkpoints_under_load_do_not_make_the_index_grow_for_ever(here: Place) -> None:
    choose = random.Random(3)
    store = here.open()
    churn(store, choose, 20, 400)
    sizes = []
    for _ in range(12):
        churn(store, choose, 20, 400)
        store.checkpoint()
        sizes.append(store.counters()["pages"])
    assert sizes[-1] <= 1.1 * sizes[3]
    store.close()


@pytest.mark.parametrize("views", [1, 3, 50])
def test_views_keep_their_own_states_and_no_more(here: Place, views: int) -> None:
    """What comes and goes while they are open is used again, with checkpoints and without."""
    choose = random.Random(6)
    store = here.open()
    churn(store, choose, 10, 400)
    store.checkpoint()
    image = store.counters()["pages"] - store.counters()["free_pages"]
    opened, expected = [], []
    for _ in range(views):
        opened.append(store.view())
        expected.append(rows(store))
        churn(store, choose, 1, 100)
    kept = store.counters()["pages"]
    for turn in range(300):
        churn(store, choose, 1, 100)
        if turn % 30 == 29:
            store.checkpoint()
    if views <= 32:
        assert store.counters()["pages"] <= kept + 3 * image
    assert store.counters()["leaked_pages"] == store.lost_pages() == 0
    for view, found in zip(opened, expected, strict=True):
        view.check()
        assert {row["id"]: row for row in view.scan("id", EVERYTHING)} == found
        view.close()
    churn(store, choose, 5)
    store.check()
    store.close()


def test_a_trim_gives_the_blocks_of_free_pages_back(here: Place) -> None:
    index = here.directory / "index.kbt"
    store = here.open()
    churn(store, random.Random(4), 30, 400)
    store.write("delete", list(range(2000)))
    store.checkpoint()
    before = index.stat().st_blocks
    assert store.trim() > 0
    assert index.stat().st_blocks < before / 2
    assert store.lost_pages() == 0
    churn(store, random.Random(5), 10, 400)
    store.check()
    store.close()
