"""Single operations of the engine beside SQLite and LMDB: one process, one thread, everything durable."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench import records
from bench.compare import Contender
from bench.compare.kennel import Kennel
from bench.compare.lmdb_store import Lmdb
from bench.compare.sqlite import Sqlite
from bench.conftest import Measure

TITLE = "The engine beside SQLite and LMDB"

BATCH = 1000
BATCH_ROUNDS = 10
CHANGED = 1000  # records of an update or a delete
WRITE_ROUNDS = 500
SCAN_ROUNDS = 9
RANGE = 20
HALF = records.HIGHEST_SCORE // 2

pytestmark = [
    pytest.mark.timeout(0),  # a large table takes its time to load
    pytest.mark.benchmark(max_time=0.5),
]


@pytest.fixture(scope="module")
def next_key() -> dict[str, Iterator[int]]:
    """For each contender, the keys that are not in its table yet."""
    return {kind.name: itertools.count(records.COUNT) for kind in (Kennel, Sqlite, Lmdb)}


def _keys() -> Iterator[int]:
    """Keys of the table in a random order, without end."""
    return itertools.cycle(records.shuffled_keys(records.COUNT))


# --- reading, on the table as it was loaded


def test_get(measure: Measure, contender: Contender) -> None:
    assert records.without_times(contender.get(7)) == records.record(7)
    get, following = contender.get, _keys().__next__
    measure("get by key", contender.name, lambda: get(following()))


def _get_in_view(contenders: dict[str, Contender]) -> Iterator[Callable[[int], Any]]:
    kennel = contenders[Kennel.name]
    assert isinstance(kennel, Kennel)
    with kennel.table.view() as view:
        yield view.get


def _get_in_transaction(contenders: dict[str, Contender]) -> Iterator[Callable[[int], Any]]:
    store = contenders[Lmdb.name]
    assert isinstance(store, Lmdb)
    with store.environment.begin(db=store.records) as transaction:
        yield lambda key: store.get_within(transaction, key)


def _get_row(contenders: dict[str, Contender]) -> Iterator[Callable[[int], Any]]:
    store = contenders[Sqlite.name]
    assert isinstance(store, Sqlite)
    yield store.get_row


@pytest.mark.parametrize(
    ("who", "opened"),
    [(Kennel.name, _get_in_view), (Sqlite.name, _get_row), (Lmdb.name, _get_in_transaction)],
    ids=["view", "row", "transaction"],
)
def test_get_at_its_cheapest(
    measure: Measure,
    loaded: dict[str, Contender],
    who: str,
    opened: Callable[[dict[str, Contender]], Iterator[Callable[[int], Any]]],
) -> None:
    """KennelDB within one view, SQLite as a bare tuple, LMDB within one transaction."""
    following = _keys().__next__
    for get in opened(loaded):
        measure("get by key, view kept open (SQLite: tuple, object as text)", who, lambda get=get: get(following()))


def test_range(measure: Measure, contender: Contender) -> None:
    scores = sorted(record["score"] for record in records.batch(0, records.COUNT) if record["score"] >= HALF)
    assert [record["score"] for record in contender.range("score", HALF, RANGE)] == scores[:RANGE]
    lows = itertools.cycle(random.Random(1).sample(range(records.HIGHEST_SCORE * 9 // 10), 1000))
    work = f"{RANGE} records in the order of an indexed attribute"
    measure(work, contender.name, lambda: contender.range("score", next(lows), RANGE))


def test_scan_with_a_filter(measure: Measure, contender: Contender) -> None:
    def scan() -> list[records.Record]:
        return contender.containing("name", records.SYLLABLE)

    expected = [record for record in records.batch(0, records.COUNT) if records.SYLLABLE in record["name"].lower()]
    assert len(scan()) == len(expected)
    measure("records filtered by a part of a text", contender.name, scan, each=records.COUNT, rounds=SCAN_ROUNDS)


def test_count(measure: Measure, contender: Contender) -> None:
    assert contender.count() == records.COUNT
    measure("count of the table", contender.name, contender.count)


def test_count_of_half(measure: Measure, contender: Contender) -> None:
    expected = sum(record["score"] >= HALF for record in records.batch(0, records.COUNT))
    assert contender.count_from("score", HALF) == expected
    measure("count over a range of half the table", contender.name, lambda: contender.count_from("score", HALF))


# --- writing


def test_insert_a_batch(measure: Measure, contender: Contender, next_key: dict[str, Iterator[int]]) -> None:
    def batch() -> tuple[Any, ...]:
        return ([records.record(key) for key in itertools.islice(next_key[contender.name], BATCH)],)

    before = contender.count()
    work = f"records inserted, {BATCH:,} a transaction"
    measure(work, contender.name, contender.insert, each=BATCH, rounds=BATCH_ROUNDS, arguments=batch)
    assert contender.count() == before + BATCH * BATCH_ROUNDS


def test_insert_one(measure: Measure, contender: Contender, next_key: dict[str, Iterator[int]]) -> None:
    def one() -> tuple[Any, ...]:
        return ([records.record(next(next_key[contender.name]))],)

    measure("single insert", contender.name, contender.insert, rounds=WRITE_ROUNDS, arguments=one)


@pytest.fixture(scope="module")
def present() -> dict[str, Iterator[int]]:
    """For each contender, the keys of the table as it was loaded, in a random order; each may be deleted once."""
    return {kind.name: iter(records.shuffled_keys(records.COUNT)) for kind in (Kennel, Sqlite, Lmdb)}


@pytest.mark.parametrize(("size", "rounds"), [(1, WRITE_ROUNDS), (CHANGED, BATCH_ROUNDS)], ids=["one", "many"])
def test_update_one_attribute(measure: Measure, contender: Contender, size: int, rounds: int) -> None:
    keys, draw = _keys(), random.Random(2)

    def changes() -> tuple[Any, ...]:
        return "score", {next(keys): draw.randrange(records.HIGHEST_SCORE) for _ in range(size)}

    work = "update of one attribute" if size == 1 else f"updates of one attribute, {size:,} a transaction"
    measure(work, contender.name, contender.update, each=size, rounds=rounds, arguments=changes)


@pytest.mark.parametrize(("size", "rounds"), [(1, WRITE_ROUNDS), (CHANGED, BATCH_ROUNDS)], ids=["one", "many"])
def test_delete(
    measure: Measure, contender: Contender, present: dict[str, Iterator[int]], size: int, rounds: int
) -> None:
    keys, before = present[contender.name], contender.count()
    work = "delete" if size == 1 else f"deletes, {size:,} a transaction"

    def some() -> tuple[Any, ...]:
        return (list(itertools.islice(keys, size)),)

    measure(work, contender.name, contender.delete, each=size, rounds=rounds, arguments=some)
    assert contender.count() == before - size * rounds
