"""A store against the oracle, with few and large keys so that its trees are high, through lives that end in every way.

What searches and SQL make of it is tested above (test_model_agrees.py); here it is about trees that split and merge,
views held open, checkpoints, and recovery.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule
from stores import MEMORY, Place, rows

from engine import keys
from engine.compaction import compact, finish
from engine.errors import Closed, Conflict, InvalidName, InvalidRecord, RootError, TooManySnapshots
from engine.history import History
from engine.store import Store
from tests import model

WIDE = 580  # six such keys fill a page, also as separators in branches
COLUMNS = ["a", "b", "c", "wide"]
CUT = "x" * 395


def wide_key(number: int) -> str:
    return "k" * WIDE + f"{number:06}"


LIKELY_KEYS = st.integers(0, 150).map(wide_key)
ODD_KEYS = st.sampled_from([1, 1.5, "a", "\0", "\0\0a", "é" * 290, [1, "x"], ["a", None], 2**63, -(2**63)])
KEYS = st.one_of(LIKELY_KEYS, LIKELY_KEYS, ODD_KEYS)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from(["", "a", "\0", CUT, CUT + "a", CUT + "ab", CUT[:-1], CUT[:-2], CUT[:-2] + "\0", 0.5, 2**64 - 1]),
    st.lists(st.sampled_from([1, 1.5, None, "a", CUT, [1], {"x": 1}]), max_size=4),
    st.sampled_from([{}, {"a": [1]}]),
)
RECORDS = st.lists(
    st.tuples(KEYS, st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=4)), min_size=1, max_size=6
)
RUNS = st.tuples(st.integers(0, 150), st.integers(5, 120), st.sampled_from(["up", "down", "shuffled"]))
BOUNDS = st.one_of(
    st.just(keys.EVERYTHING),
    st.integers(0, 150).map(lambda number: keys.at_least(wide_key(number))),
    st.integers(0, 150).map(lambda number: keys.below(wide_key(number))),
    st.tuples(st.integers(0, 150), st.integers(0, 150)).map(
        lambda ends: keys.at_least(wide_key(min(ends))) & keys.below(wide_key(max(ends)))
    ),
    st.sampled_from(["a", CUT, CUT + "a"]).map(keys.equal),
    st.sampled_from([-1, 0, 1]).map(keys.at_most),
)


def run_of(run: tuple[int, int, str]) -> list[str]:
    start, length, order = run
    listed = [wide_key(number) for number in range(start, start + length)]
    if order == "down":
        listed.reverse()
    if order == "shuffled":
        random.Random(start).shuffle(listed)
    return listed


class StoreAndModel(RuleBasedStateMachine):
    views: Bundle[Any] = Bundle("views")

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kennel-store-", dir=MEMORY if MEMORY.is_dir() else None))
        self.place = Place(self.root / "table")
        self.store = self.place.open()
        self.model = model.Table()
        self.open_views: list[Any] = []
        self.transactions = 0

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.store.check()
        self._compare(self.store.view(), self.model.view())
        self._end_life()
        self.place.forget_index()
        self._begin_life()
        self._compare(self.store.view(), self.model.view())
        self.store.check()
        history = History(self.store)
        assert self.store.generation == self.transactions
        told = [each.seq for each in history.read(0, limit=10**6, max_bytes=1 << 30)]
        assert told == sorted(set(told)) and told[-1:] == [self.transactions] * bool(self.transactions)
        self.store.close()
        shutil.rmtree(self.root)

    def _end_life(self) -> None:
        for view in self.open_views:
            view.close()
        self.open_views = []
        self.store.close()

    def _begin_life(self) -> None:
        self.store = self.place.open()

    def _compare(self, view: Any, expected: model.View) -> None:
        assert view.count() == len(expected.rows)
        known = [name for name in expected.attributes if name not in ("id", *model.TIMES)]
        assert view.attributes == known
        listed = list(view.scan("id", keys.EVERYTHING))
        assert model.same(listed, list(expected.scan("id", keys.EVERYTHING)))
        for name in known:
            assert model.same(list(view.entries(name, keys.EVERYTHING)), list(expected.entries(name, keys.EVERYTHING)))

    # --- writes

    @rule(kind=st.sampled_from(["insert", "update", "upsert"]), records=RECORDS)
    def write(self, kind: str, records: list[tuple[Any, dict[str, Any]]]) -> None:
        listed = [{"id": key, **values} for key, values in records]
        written, skipped, version = self.store.write(kind, listed, user="u")
        assert (written, skipped) == getattr(self.model, kind)(listed, version)
        self.transactions += bool(written)

    @rule(run=RUNS, kind=st.sampled_from(["insert", "upsert"]), column=st.sampled_from(COLUMNS), value=VALUES)
    def write_run(self, run: tuple[int, int, str], kind: str, column: str, value: Any) -> None:
        self.write(kind, [(key, {column: value, "wide": key[-6:] * 60}) for key in run_of(run)])

    @rule(run=RUNS)
    def delete_run(self, run: tuple[int, int, str]) -> None:
        self.delete(run_of(run))

    @rule(listed=st.lists(KEYS, min_size=1, max_size=4))
    def delete(self, listed: list[Any]) -> None:
        written, skipped, _ = self.store.write("delete", listed)
        assert (written, skipped) == self.model.delete(listed)
        self.transactions += bool(written)

    @rule()
    def delete_everything(self) -> None:
        self.delete([row["id"] for row in self.model.view().scan("id")])

    @rule(name=st.sampled_from(COLUMNS))
    def create_attribute(self, name: str) -> None:
        if self.store.create_attribute(name):
            self.model.create_attribute(name)
            self.transactions += 1
        else:
            assert name in self.model.attributes

    @rule(name=st.sampled_from(COLUMNS))
    def drop_attribute(self, name: str) -> None:
        assert self.store.drop_attribute(name) == (name in self.model.attributes)
        self.transactions += name in self.model.attributes
        self.model.drop_attribute(name)

    # --- lives

    @rule()
    def checkpoint(self) -> None:
        self.store.checkpoint()

    @rule()
    def trim(self) -> None:
        self.store.trim()

    @rule()
    def compact(self) -> None:
        """What the log then still tells is a part of what it told."""
        finish(self.store)
        compact(self.store, keep_from=self.store.generation + 1, forget_before=0, largest=64 << 20)
        finish(self.store)

    @rule()
    def attach_again(self) -> None:
        self._end_life()
        self._begin_life()

    @rule()
    def recover(self) -> None:
        self._end_life()
        self.place.forget_coordination()
        self._begin_life()

    @rule()
    def recover_from_the_log_alone(self) -> None:
        self._end_life()
        self.place.forget_index()
        self._begin_life()

    @rule()
    def check(self) -> None:
        self.store.check()

    # --- views

    @rule(target=views)
    def open_view(self) -> Any:
        view = self.store.view()
        self.open_views.append(view)
        return view, self.model.view()

    @rule(pair=consumes(views))
    def close_view(self, pair: Any) -> None:
        pair[0].close()

    @rule(pair=views)
    def look_through_view(self, pair: Any) -> None:
        if not pair[0].closed:
            self._compare(*pair)

    @rule(
        pair=views,
        attribute=st.sampled_from(["id", *COLUMNS]),
        bounds=BOUNDS,
        reverse=st.booleans(),
        offset=st.integers(0, 40),
        limit=st.none() | st.integers(0, 40),
    )
    def look_at_range(
        self, pair: Any, attribute: str, bounds: keys.Bounds, reverse: bool, offset: int, limit: int | None
    ) -> None:
        view, expected = pair
        if view.closed or attribute not in ("id", *view.attributes):
            return
        page: dict[str, Any] = {"reverse": reverse, "offset": offset, "limit": limit}
        assert view.count_in(attribute, bounds) == expected.count_in(attribute, bounds)
        assert model.same(list(view.keys(attribute, bounds, **page)), list(expected.keys(attribute, bounds, **page)))
        assert model.same(list(view.distinct(attribute, bounds)), list(expected.distinct(attribute, bounds)))


TestStoreAndModel = StoreAndModel.TestCase
TestStoreAndModel.settings = settings(
    max_examples=1500 if os.environ.get("KENNEL_TORTURE") == "long" else 60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


# --- single properties -----------------------------------------------------------------------------------------------


def test_trees_of_several_levels_grow_and_shrink_in_any_order(store: Store) -> None:
    listed = [wide_key(number) for number in range(1500)]
    random.Random(1).shuffle(listed)
    for start in range(0, len(listed), 50):
        store.write("insert", [{"id": key, "a": key} for key in listed[start : start + 50]])
    assert store.counters()["pages"] > 500
    store.check()
    random.Random(2).shuffle(listed)
    for start in range(0, len(listed), 50):
        store.write("delete", listed[start : start + 50])
        if start % 250 == 0:
            store.check()
    store.check()
    assert rows(store) == {}


def test_pages_are_used_again(store: Store) -> None:
    for number in range(50):
        store.write("upsert", [{"id": wide_key(number), "n": number}])
    grown = store.counters()["pages"]
    for turn in range(40):
        for number in range(50):
            store.write("upsert", [{"id": wide_key(number), "n": number + turn}])
    assert store.counters()["pages"] <= 2 * grown
    store.check()


def test_a_view_keeps_its_pages_and_the_next_ones_get_them(store: Store) -> None:
    store.write("insert", [{"id": wide_key(number), "n": number} for number in range(200)])
    view = store.view()
    for turn in range(30):
        store.write("upsert", [{"id": wide_key(number), "n": -turn} for number in range(200)])
    assert [row["n"] for row in view.scan("id", keys.EVERYTHING)] == list(range(200))
    view.check()
    view.close()
    size = store.counters()["pages"]
    for turn in range(30):
        store.write("upsert", [{"id": wide_key(number), "n": turn} for number in range(200)])
    assert store.counters()["pages"] == size


def test_more_free_pages_than_the_rings_hold_are_not_lost(here: Place) -> None:
    store = here.open()
    many = [{"id": wide_key(number), "n": number} for number in range(2000)]
    store.write("insert", many)
    views = []
    before = store.counters()["pages"]
    while store.counters()["pages"] < before + 40_000:
        views.append(store.view())  # each keeps the pages of a state of its own
        store.write("upsert", many)
    assert store.counters()["leaked_pages"] == 0
    for view in views:
        view.check()
        view.close()
    grown = store.counters()["pages"]
    for _ in range(60):
        store.write("upsert", many)
    assert store.counters()["pages"] == grown
    store.check()
    assert store.trim() > 0
    store.write("upsert", many)
    store.check()
    store.close()
    here.forget_coordination()
    store = here.open()
    store.write("upsert", many)
    store.check()
    store.close()


def test_records_with_more_attributes_than_fit_on_the_stack(here: Place) -> None:
    store = here.open()
    record = {"id": 1} | {f"attribute {number}": number for number in range(700)}
    store.write("insert", [record])
    store.write("update", [{"id": 1} | {f"attribute {number}": -number for number in range(0, 700, 2)}])
    expected = record | {f"attribute {number}": -number for number in range(0, 700, 2)}
    store.check()
    store.close()
    here.forget_index()
    store = here.open()
    store.check()
    assert rows(store)[1].items() >= expected.items()
    store.write("delete", [1])
    store.check()
    store.close()


def test_large_records_get_segments_of_their_own_size(here: Place) -> None:
    store = here.open()
    large = {"id": "large", "text": "x" * 9_000_000}
    store.write("insert", [{"id": 1}])
    store.write("insert", [large])
    store.write("insert", [{"id": 2}, large | {"id": "larger", "text": "y" * 12_000_000}])
    store.check()
    store.close()
    here.forget_index()
    store = here.open()
    assert rows(store).keys() == {1, 2, "large", "larger"}
    assert rows(store)["large"]["text"] == large["text"]
    store.close()


def test_a_record_that_an_update_makes_larger_than_16_mib_is_refused_whole(store: Store) -> None:
    store.write("insert", [{"id": 1, "a": "x" * 9_000_000}])
    with pytest.raises(InvalidRecord):
        store.write("update", [{"id": 1, "b": "y" * 9_000_000}])
    with pytest.raises(InvalidRecord):
        store.write("insert", [{"id": number, "a": "x" * 15_000_000} for number in range(2, 8)])
    store.write("update", [{"id": 1, "b": 1}])
    assert rows(store)[1]["b"] == 1
    store.check()


def test_the_largest_keys_and_values_fit_an_index(store: Store) -> None:
    key = "k" * 598
    store.write("insert", [{"id": key + suffix, "a": ["v" * 500, "w" * 395], "b": "z" * 398} for suffix in ("", "")])
    store.write("update", [{"id": key, "a": ["v" * 500]}])
    store.check()
    store.write("delete", [key])
    store.check()


def test_names_that_do_not_fit_the_names_tree_are_refused(here: Place, store: Store) -> None:
    with pytest.raises(InvalidName):
        store.write("insert", [{"id": 1, "é" * 129: 1}])
    with pytest.raises(InvalidName):
        store.write("insert", [{"id": 1}], user="u" * 4000)
    with pytest.raises(InvalidName):
        store.apply(
            [], origin=bytes(16), origin_name="n" * 4000, epoch=1, origin_seq=1, version=1, user=None, operation=""
        )
    assert store.generation == 0
    store.write("insert", [{"id": 1, "é" * 128: 1}], user="u" * 256)
    store.check()


def test_a_write_judged_on_a_view_conflicts_once_a_record_changed(store: Store) -> None:
    store.write("insert", [{"id": 1, "n": 1}, {"id": 2, "n": 2}])
    view = store.view()
    store.write("update", [{"id": 2, "n": 3}])
    assert store.write("update", [{"id": 1, "n": 5}], at=view)[0] == [1]
    with pytest.raises(Conflict):
        store.write("update", [{"id": 1, "n": 6}, {"id": 2, "n": 6}], at=view)
    with pytest.raises(Conflict):
        store.write("delete", [2], at=view)
    view.close()
    assert [row["n"] for row in rows(store).values()] == [5, 3]


def test_all_snapshots_can_be_taken_and_come_back(store: Store) -> None:
    store.write("insert", [{"id": 1}])
    views = [store.view() for _ in range(1024)]
    with pytest.raises(TooManySnapshots):
        store.view()
    assert views[1000].get(1) is not None
    views.pop().close()
    store.view().close()
    for view in views:
        view.close()


def test_a_store_that_closes_gives_the_slots_of_forgotten_views_back(here: Place) -> None:
    store, other = here.open(), here.open()
    views = [store.view() for _ in range(1024)]
    store.close()
    views += [other.view() for _ in range(1024)]
    other.close()


def test_those_who_leave_together_leave_a_table_that_needs_no_recovery(here: Place) -> None:
    for turn in range(1, 31):
        stores = [here.open() for _ in range(4)]
        stores[0].write("insert", [{"id": turn}])
        threads = [threading.Thread(target=store.close) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store = here.open()
        assert store.counters()["commits"] == turn, "a recovery begins to count anew"
        store.close()


def test_everything_of_a_closed_store_is_closed(here: Place) -> None:
    store = here.open()
    store.write("insert", [{"id": 1}])
    view = store.view()
    scan = view.scan("id", keys.EVERYTHING)
    history = History(store)
    store.close()
    for call in (
        store.view, store.counters, store.sync, store.check, store.checkpoint, store.reclaim_slots, store.applied,
        store.attribute_names, view.count, view.check, lambda: next(scan), lambda: view.get(1),
        lambda: history.read(0), lambda: store.local_seq, lambda: store.epoch, lambda: store.generation,
        lambda: store.write("insert", [{"id": 2}]),
    ):  # fmt: skip
        with pytest.raises(Closed):
            call()


def test_threads_of_one_process_write_and_read_at_once(store: Store) -> None:
    """Each thread counts a record of its own up; whoever reads sees all of a transaction or nothing."""
    turns, errors = 60, []
    store.write("insert", [{"id": (writer, half)[0] * 2 + half, "n": 0} for writer in range(3) for half in range(2)])

    def write(writer: int) -> None:
        for turn in range(1, turns + 1):
            store.write("update", [{"id": writer * 2 + half, "n": turn, f"a{writer}": turn} for half in range(2)])

    def read(stop: threading.Event) -> None:
        while not stop.is_set():
            view = store.view()
            numbers = [row["n"] for row in view.scan("id", keys.EVERYTHING)]
            if numbers[::2] != numbers[1::2]:
                errors.append(numbers)
            view.close()

    stop = threading.Event()
    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    readers = [threading.Thread(target=read, args=(stop,)) for _ in range(2)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert errors == []
    assert {row["n"] for row in rows(store).values()} == {turns}
    store.check()


def test_a_directory_that_is_missing_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(RootError):
        Store(str(tmp_path / "nothing"), bytes(16))


def test_a_spare_segment_that_is_too_small_does_not_end_the_log(here: Place) -> None:
    """As a process leaves it that was killed after it had made the next segment."""
    store = here.open()
    store.write("insert", [{"id": 1}])
    (here.directory / "000002.log").write_bytes(bytes(64 * 1024))
    store.write("insert", [{"id": 2, "text": "x" * 1_000_000}])
    store.write("insert", [{"id": 3}])
    store.close()
    here.forget_index()
    store = here.open()
    assert rows(store).keys() == {1, 2, 3}
    assert [each.seq for each in History(store).read(0)] == [1, 2, 3]
    store.close()
