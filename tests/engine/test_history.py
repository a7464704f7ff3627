"""The log read as transactions: what they say, in which order, from where on, and with which records before them."""

from __future__ import annotations

import random
from typing import Any

from stores import Place

from engine.compaction import compact, finish
from engine.history import Change, History, Transaction
from engine.store import Store

LARGE = "x" * 300_000  # more than fits into the first segment


def told(transaction: Transaction) -> tuple[Any, ...]:
    return (
        transaction.seq,
        transaction.operation,
        transaction.user,
        [(change.kind, change.key, change.record) for change in transaction.changes],
    )


def numbers(found: list[Transaction]) -> list[int]:
    return [each.seq for each in found]


def test_a_table_without_transactions_has_none(store: Store) -> None:
    history = History(store)
    assert history.read(0) == []
    assert history.read(5) == []
    assert history.images(None) == ([], None)
    store.write("insert", [{"id": 1}])
    assert numbers(history.read(0)) == [1]


def test_each_request_is_one_transaction_with_its_user_and_its_records_whole(store: Store) -> None:
    store.write("insert", [{"id": 1, "a": 5}, {"id": 2}, {"id": 1, "a": 6}], user="ann")
    store.write("update", [{"id": 1, "b": 6}, {"id": 9}], user="bob")
    store.write("insert", [{"id": 1}])  # skipped: no transaction
    store.write("delete", [2, 2])
    store.create_attribute("c", "ann")
    store.drop_attribute("b")
    found = History(store).read(0)
    assert [told(each) for each in found] == [
        (1, "insert", "ann", [("put", 1, {"a": 5}), ("put", 2, {})]),
        (2, "update", "bob", [("put", 1, {"a": 5})]),  # the value of b is gone with the attribute
        (3, "delete", None, [("delete", 2, None)]),
        (4, "create_attribute", "ann", []),
        (5, "drop_attribute", None, []),
    ]
    assert [each.origin_seq for each in found] == [1, 2, 3, 4, 5]
    assert {(each.origin, each.origin_name) for each in found} == {(None, "")}
    versions = [each.version for each in found]
    assert versions == sorted(set(versions))
    assert found[0].changes[0].version == found[0].version == found[0].changes[0].created
    assert found[1].changes[0].created == found[0].version


def test_what_a_change_replaced_is_told_where_it_is_asked_for(store: Store) -> None:
    store.write("insert", [{"id": 1, "a": 1}])
    store.write("upsert", [{"id": 1, "a": 2}, {"id": 1, "b": 3}])
    store.write("delete", [1])
    store.write("insert", [{"id": 1, "a": 4}])
    history = History(store)
    before = [[change.previous for change in each.changes] for each in history.read(0, previous=True)]
    assert before == [[None], [{"a": 1}, {"a": 2}], [{"a": 2, "b": 3}], [None]]
    assert all(change.previous is None for each in history.read(0) for change in each.changes)


def test_reading_goes_on_from_any_place_through_all_segments(here: Place, store: Store) -> None:
    choose = random.Random(1)
    for key in range(60):
        store.write("insert", [{"id": key, "text": "t" * choose.choice([1, 1000, 50_000])}])
    assert len(here.segments()) > 2
    history, whole = History(store), list(range(1, 61))
    for _ in range(200):
        after, limit = choose.randrange(62), choose.randrange(1, 20)
        assert numbers(history.read(after, limit=limit)) == whole[after : after + limit]
        assert numbers(History(store).read(after, limit=limit)) == whole[after : after + limit]
    seen: list[int] = []
    while found := history.read(seen[-1] if seen else 0, max_bytes=100_000):
        seen += numbers(found)
    assert seen == whole


def test_a_reader_at_the_end_follows_over_a_roll_and_a_recovery(here: Place) -> None:
    store = here.open()
    history = History(store)
    store.write("insert", [{"id": 1}])
    assert numbers(history.read(0)) == [1]
    store.write("insert", [{"id": 2, "a": LARGE}])
    assert numbers(history.read(1)) == [2]
    store.close()
    here.forget_index()
    store = here.open()
    store.write("insert", [{"id": 3}])
    assert numbers(History(store).read(1)) == [2, 3]
    store.close()


def test_after_compaction_the_transactions_that_still_matter_are_there(here: Place, store: Store) -> None:
    history = History(store)
    for turn in range(40):
        store.write("upsert", [{"id": turn % 3, "n": turn, "text": "t" * 30_000}])
    everything = numbers(history.read(0))
    assert compact(store, keep_from=store.generation + 1, forget_before=0, largest=64 << 20)
    while finish(store):
        pass
    found = numbers(history.read(0))
    assert found == numbers(History(store).read(0))
    assert found == sorted(set(found)) and set(found) < set(everything) and found[-1] == 40
    assert numbers(history.read(20)) == [number for number in found if number > 20]


def test_images_are_all_records_and_all_tombstones_in_portions_of_any_size(store: Store) -> None:
    store.write("insert", [{"id": key, "n": key} for key in range(50)])
    store.write("delete", list(range(0, 50, 3)))
    for max_bytes in (1, 200, 1 << 20):
        found: list[Change] = []
        history, after = History(store), None
        while True:
            portion, after = history.images(after, max_bytes=max_bytes)
            found += [image.change for image in portion]
            if after is None:
                break
        assert [(change.kind, change.key) for change in found] == [
            *(("put", key) for key in range(50) if key % 3),
            *(("delete", key) for key in range(0, 50, 3)),
        ]
        assert [change.record for change in found if change.kind == "put"] == [
            {"n": key} for key in range(50) if key % 3
        ]
