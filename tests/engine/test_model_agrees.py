"""The engine against the oracle: any history of writes, snapshots and reads gives the same in both.

Of several tables, by two handles in this process and a second process; views stay open over writes, checkpoints,
compactions and dropped tables; the node is closed and opened again, also without what does not outlive the kernel, and
without its indexes; records expire on a clock that stands still until a rule moves it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from neighbour import Neighbour

import engine
from engine import expiration, keys, search
from engine.keys import Bounds
from tests import model

MEMORY = Path("/dev/shm")  # where syncing costs nothing: a history has many writes, and is replayed often to shrink it
CLOCK = expiration.clock
LONG = "x" * 393 + "\0"
TEXTS = st.one_of(
    st.sampled_from(["", "a", "ab", "b", "a\0", "a\0b", "é", "😀", LONG, LONG + "a", LONG + "ab", LONG + "\0"]),
    st.text(alphabet="ab\0é", max_size=4),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.5, 2.0, 1e300, 2**53, 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63), 5e-324]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.one_of(
    SCALARS,
    st.lists(st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), max_size=4),
    st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2),
)
KEYS = st.one_of(
    st.integers(0, 6),
    st.sampled_from(["0", "a", "a\0", LONG, LONG + "a", 0.5]),
    st.lists(st.sampled_from([1, "a"]), min_size=1),
)
ATTRIBUTES = ["a", "b", "c", "dé"]
TABLES = {"plain": "id", "other": "the key", "declared": "id", "fleeting": "id"}
EXPIRATION = 60  # seconds, of the fleeting table: on a clock that stands still until a rule moves it
DECLARED = {"a": True, "b": False, "c": True, "dé": True}
RECORDS = st.lists(
    st.tuples(KEYS, st.dictionaries(st.sampled_from(ATTRIBUTES), VALUES, max_size=4)), min_size=1, max_size=5
)
RANGES = st.one_of(
    st.sampled_from([keys.EVERYTHING, keys.NULL, keys.BOOLEANS, keys.NUMBERS, keys.STRINGS, keys.COMPOSITES]),
    SCALARS.map(keys.equal),
    SCALARS.map(keys.at_least),
    SCALARS.map(keys.above),
    SCALARS.map(keys.at_most),
    SCALARS.map(keys.below),
    TEXTS.map(keys.starts_with),
)
BOUNDS = st.one_of(RANGES, st.tuples(RANGES, RANGES).map(lambda pair: pair[0] & pair[1]), RANGES.map(keys.elements))
CONDITIONS = st.fixed_dictionaries(
    {
        "attribute": st.sampled_from(ATTRIBUTES),
        "comparator": st.sampled_from(["eq", "ne", "ct", "sw", "ew", "gt", "ge", "lt", "le"]),
        "value": SCALARS,
    }
)


LARGE = "l" * 140_000  # two of them bring a new segment of the log into use


class EngineAndModel(RuleBasedStateMachine):
    neighbour: Neighbour  # one for all histories
    tables = st.sampled_from(sorted(TABLES))
    snapshots: Bundle[Any] = Bundle("snapshots")

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kennel-model-", dir=MEMORY if MEMORY.is_dir() else None))
        self.node = engine.open_node(self.root)
        self.neighbour.open(self.root)
        self.life = 0
        self.versions = [0]
        self.expired = 0
        expiration.clock = lambda: self.expired + EXPIRATION * 1_000_000
        self.model: dict[str, model.Table] = {}
        for name in TABLES:
            self._create(name)

    def teardown(self) -> None:
        for name in TABLES:
            with self.node.table("dev", name).view() as view:
                view.snapshot.check()
        self.node.close()
        self.neighbour.close()
        expiration.clock = CLOCK
        shutil.rmtree(self.root)

    def _create(self, name: str) -> None:
        declared = None
        if name == "declared":
            declared = [engine.Attribute(attribute, indexed=indexed) for attribute, indexed in DECLARED.items()]
        seconds = EXPIRATION if name == "fleeting" else None
        self.node.create_table("dev", name, TABLES[name], attributes=declared or (), expiration=seconds)
        self.model[name] = model.Table(name, TABLES[name], DECLARED if declared else None)

    # --- writes

    @rule(table=tables, kind=st.sampled_from(["insert", "update", "upsert"]), records=RECORDS)
    def write(self, table: str, kind: str, records: list[tuple[Any, dict[str, Any]]]) -> None:
        rows = [{TABLES[table]: key, **values} for key, values in records]
        result = getattr(self.node.table("dev", table), kind)(rows)
        assert (result.written, result.skipped) == getattr(self.model[table], kind)(rows, result.version)
        self.versions.append(result.version)
        if result.written:
            assert self.node.table("dev", table).last_updated() == result.version / 1000

    @rule(table=tables, kind=st.sampled_from(["insert", "update", "upsert"]), records=RECORDS)
    def write_from_the_second_process(self, table: str, kind: str, records: list[tuple[Any, dict[str, Any]]]) -> None:
        rows = [{TABLES[table]: key, **values} for key, values in records]
        written, skipped, version = self.neighbour.write(table, kind, rows)
        assert (written, skipped) == getattr(self.model[table], kind)(rows, version)
        self.versions.append(version)

    @rule(table=tables, key=KEYS)
    def write_much(self, table: str, key: Any) -> None:
        """So that the log has segments, and the upkeep something to compact."""
        rows = [{TABLES[table]: key, "c": LARGE}]
        result = self.node.table("dev", table).upsert(rows)
        self.model[table].upsert(rows, result.version)
        self.versions.append(result.version)

    @rule(table=tables, listed=st.lists(KEYS, max_size=4))
    def delete(self, table: str, listed: list[Any]) -> None:
        result = self.node.table("dev", table).delete(listed)
        assert (result.written, result.skipped) == self.model[table].delete(listed)

    @rule(share=st.floats(0, 1))
    def let_expire(self, share: float) -> None:
        self.expired = max(self.expired, self.versions[int(share * (len(self.versions) - 1))])
        self.model["fleeting"].expire(self.expired)

    @rule()
    def look_after(self) -> None:
        self.node.maintain(checkpoint_bytes=0)

    @rule(table=st.sampled_from(["plain", "other"]), name=st.sampled_from(ATTRIBUTES))
    def create_attribute(self, table: str, name: str) -> None:
        try:
            self.node.table("dev", table).create_attribute(name)
        except engine.AttributeExists:
            assert name in self.model[table].attributes
        else:
            self.model[table].create_attribute(name)

    @rule(table=st.sampled_from(["plain", "other"]), name=st.sampled_from(ATTRIBUTES))
    def drop_attribute(self, table: str, name: str) -> None:
        self.node.table("dev", table).drop_attribute(name)
        self.model[table].drop_attribute(name)

    @rule(table=tables)
    def drop_and_create(self, table: str) -> None:
        self.node.drop_table("dev", table)
        self._create(table)

    @rule()
    def look_from_a_second_handle(self) -> None:
        with engine.open_node(self.root) as other:
            for name, expected in self.model.items():
                assert other.table("dev", name).count() == len(expected.rows)

    @rule(table=tables)
    def look_from_the_second_process(self, table: str) -> None:
        view = self.model[table].view()
        assert model.same(self.neighbour.rows(table), list(view.scan(TABLES[table], keys.EVERYTHING)))

    @rule(lost=st.sampled_from([[], ["shared.shm"], ["shared.shm", "index.kbt"]]))
    def open_again(self, lost: list[str]) -> None:
        """As after a restart, a reboot, or the loss of all indexes. Views of before are closed."""
        self.neighbour.close()
        self.node.close()
        for name in lost:
            for path in self.root.glob(f"schema/*/{name}"):
                path.unlink()
        self.node = engine.open_node(self.root)
        self.neighbour.open(self.root)
        self.life += 1

    # --- snapshots

    @rule(target=snapshots, table=tables)
    def open_view(self, table: str) -> Any:
        return self.node.table("dev", table).view(), self.model[table].view(), self.life

    @rule(target=snapshots)
    def open_snapshot(self) -> Any:
        with self.node.snapshot([("dev", name) for name in TABLES]) as at:
            for name, expected in self.model.items():
                assert at.table("dev", name).count() == len(expected.rows)
        return multiple()

    @rule(pair=consumes(snapshots))
    def close_view(self, pair: Any) -> None:
        pair[0].close()

    def _is_closed(self, pair: Any) -> bool:
        """Whether the node was closed since the view was opened; then the view says so, of a dropped table, too."""
        view, _, life = pair
        if life == self.life:
            return False
        with pytest.raises(engine.Closed):
            view.get(1)
        return True

    # --- reads

    @rule(pair=snapshots, wanted=st.lists(KEYS, max_size=4))
    def read_records(self, pair: Any, wanted: list[Any]) -> None:
        if self._is_closed(pair):
            return
        view, expected, _ = pair
        assert model.same(view.get_many(wanted), expected.get_many(wanted))
        columns = ["c", view.primary_key, "a", "__updatedtime__"]
        for key in wanted:
            assert model.same(view.get(key), expected.get(key))
            assert model.same(view.get(key, columns), expected.get(key, columns))

    @rule(
        pair=snapshots,
        attribute=st.sampled_from([*ATTRIBUTES, "", "__createdtime__"]),
        bounds=BOUNDS,
        reverse=st.booleans(),
        offset=st.integers(0, 3),
        limit=st.one_of(st.none(), st.integers(0, 4)),
    )
    def read_ranges(
        self, pair: Any, attribute: str, bounds: Bounds, reverse: bool, offset: int, limit: int | None
    ) -> None:
        if self._is_closed(pair):
            return
        view, expected, _ = pair
        attribute = attribute or view.primary_key
        assert view.is_indexed(attribute) == expected.is_indexed(attribute)
        if attribute not in view.attributes or not view.is_indexed(attribute):
            return
        columns = [attribute, "b", view.primary_key]
        page: dict[str, Any] = {"reverse": reverse, "offset": offset, "limit": limit}
        assert view.count_in(attribute, bounds) == expected.count_in(attribute, bounds)
        for given, wanted in (
            (view.keys(attribute, bounds, **page), expected.keys(attribute, bounds, **page)),
            (view.scan(attribute, bounds, **page), expected.scan(attribute, bounds, **page)),
            (
                view.scan(attribute, bounds, **page, columns=columns),
                expected.scan(attribute, bounds, **page, columns=columns),
            ),
            (view.tuples(attribute, bounds, columns, **page), expected.tuples(attribute, bounds, columns, **page)),
            (view.entries(attribute, bounds, reverse=reverse), expected.entries(attribute, bounds, reverse=reverse)),
            (view.distinct(attribute, bounds), expected.distinct(attribute, bounds)),
        ):
            assert model.same(list(given), list(wanted))

    @rule(
        pair=snapshots,
        conditions=st.lists(CONDITIONS, min_size=1, max_size=3),
        operator=st.sampled_from(["and", "or"]),
        sort=st.one_of(st.none(), st.sampled_from(ATTRIBUTES)),
        descending=st.booleans(),
        offset=st.integers(0, 2),
    )
    def search_by_conditions(
        self, pair: Any, conditions: list[Any], operator: str, sort: str | None, descending: bool, offset: int
    ) -> None:
        if self._is_closed(pair):
            return
        view, expected, _ = pair
        if not {*(condition["attribute"] for condition in conditions), sort or "a"} <= {*view.attributes}:
            return
        request: dict[str, Any] = {
            "sort": sort and {"attribute": sort, "descending": descending, "next": {"attribute": view.primary_key}},
            "offset": offset,
        }
        found = list(search.search_conditions(view, conditions, operator, **request))
        assert model.same(found, list(search.search_conditions(expected, conditions, operator, **request)))

    @rule(pair=snapshots, condition=CONDITIONS)
    def search_by_one_attribute(self, pair: Any, condition: dict[str, Any]) -> None:
        """What is found is what meets the condition, by its definition; and as many are counted."""
        if self._is_closed(pair) or condition["attribute"] not in pair[0].attributes:
            return
        view, expected, _ = pair
        asked = condition["attribute"], condition["comparator"], condition["value"]
        found = sorted(search.search(view, *asked), key=lambda row: keys.encode(row[view.primary_key]))
        wanted = [row for _, row in sorted(expected.rows.items()) if model.meets(row, condition)]
        assert model.same(found, wanted)
        assert search.count(view, *asked) == len(wanted)

    @invariant()
    def tables_agree(self) -> None:
        for name, expected in getattr(self, "model", {}).items():
            with self.node.table("dev", name).view() as view:
                assert view.count() == len(expected.rows)
                assert view.attributes == expected.attributes


@pytest.fixture(scope="class", autouse=True)
def neighbour() -> Iterator[None]:
    EngineAndModel.neighbour = Neighbour()
    yield
    EngineAndModel.neighbour.end()


TestEngineAndModel = EngineAndModel.TestCase
TestEngineAndModel.settings = settings(
    max_examples=1000 if os.environ.get("KENNEL_TORTURE") == "long" else 40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
