"""Records of a table with expiration are gone once their time is over, before and after the upkeep removes them.

The clock is the tests' own: `pass_over(version)` moves it to the moment at which what was written until then expires.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import engine
import grammar
from engine import expiration, keys
from engine.store import Store
from tests import model

SECONDS = 60
ATTRIBUTES = ("id", "kind", "tags", "__updatedtime__")


@pytest.fixture
def pass_over(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def pass_over(version: int) -> None:
        monkeypatch.setattr(expiration, "clock", lambda: version + SECONDS * 1_000_000)

    pass_over(0)
    return pass_over


@pytest.fixture
def table(node: engine.Node, pass_over: Callable[[int], None]) -> engine.Table:
    return node.create_table("dev", "session", expiration=SECONDS)


def long_text(number: int) -> str:
    return "x" * 500 + str(number)


@pytest.fixture
def halves(table: engine.Table) -> tuple[int, model.Table]:
    """A table of which what was written until a version is to expire, and what is left then."""
    oracle = model.Table("session")
    first = [{"id": key, "kind": key % 3, "tags": [key, "a"], "text": long_text(key % 2)} for key in range(20)]
    second = [{"id": key, "kind": True, "tags": None, "text": long_text(key % 5)} for key in range(15, 30)]
    version = table.upsert(first).version
    oracle.upsert(first, version)
    oracle.upsert(second, table.upsert(second).version)
    oracle.expire(version)
    return version, oracle


def assert_agree(table: engine.Table, oracle: model.Table) -> None:
    expected = oracle.view()
    with table.view() as view:
        assert view.count() == expected.count() == table.count()
        assert model.same(view.get_many(range(30)), expected.get_many(range(30)))
        assert [view.get(key) for key in range(30)] == [expected.get(key) for key in range(30)]
        for name in (*ATTRIBUTES, "text"):
            for bounds in (keys.EVERYTHING, keys.at_least(5) & keys.NUMBERS, keys.elements(keys.equal("a"))):
                assert view.count_in(name, bounds) == expected.count_in(name, bounds)
                page = {"offset": 2, "limit": 4, "reverse": True}
                for given, wanted in (
                    (view.scan(name, bounds), expected.scan(name, bounds)),
                    (
                        view.scan(name, bounds, columns=["kind"], **page),
                        expected.scan(name, bounds, columns=["kind"], **page),
                    ),
                    (view.tuples(name, bounds, ATTRIBUTES), expected.tuples(name, bounds, list(ATTRIBUTES))),
                    (view.keys(name, bounds, **page), expected.keys(name, bounds, **page)),
                    (view.entries(name, bounds), expected.entries(name, bounds)),
                    (view.distinct(name, bounds), expected.distinct(name, bounds)),
                ):
                    assert model.same(list(given), list(wanted))


def test_expired_records_are_gone_from_every_read(
    table: engine.Table, halves: tuple[int, model.Table], pass_over: Callable[[int], None]
) -> None:
    version, oracle = halves
    assert table.count() == 30
    pass_over(version)
    assert_agree(table, oracle)
    assert list(table.search("kind", "equals", 1)) == []
    assert table.count("kind", "equals", True) == 15


def test_the_upkeep_removes_them_on_this_node_only(
    node: engine.Node, table: engine.Table, halves: tuple[int, model.Table], pass_over: Callable[[int], None]
) -> None:
    version, oracle = halves
    pass_over(version)
    node.maintain()
    assert_agree(table, oracle)
    with table.view() as view:
        assert view.snapshot.count() == 15
        view.snapshot.check()
    removal = table.transactions()[-1]
    assert (removal.operation, removal.origin_seq, len(removal.changes)) == ("delete", 0, 15)


def test_sql_does_not_see_them(
    node: engine.Node, table: engine.Table, halves: tuple[int, model.Table], pass_over: Callable[[int], None]
) -> None:
    pass_over(halves[0])
    assert grammar.query(node, "SELECT COUNT(*) AS n FROM dev.session") == [{"n": 15}]
    assert grammar.query(node, "SELECT id FROM dev.session WHERE id < 16 ORDER BY id") == [{"id": 15}]
    assert grammar.query(node, "SELECT MIN(id) AS low FROM dev.session") == [{"low": 15}]
    grammar.query(node, "UPDATE dev.session SET seen = true WHERE id < 16")
    assert table.count("seen", "equals", True) == 1
    assert table.get(3) is None


def test_a_key_that_expired_is_free(table: engine.Table, pass_over: Callable[[int], None]) -> None:
    version = table.insert([{"id": 1, "a": 1}, {"id": 2, "a": 1}, {"id": 3, "a": 1}, {"id": 4, "a": 1}]).version
    assert table.insert([{"id": 1}]).skipped == [1]
    pass_over(version)
    assert table.update([{"id": 1, "b": 2}]).skipped == [1]
    assert table.delete([2]).skipped == [2]
    assert table.insert([{"id": 3, "b": 2}]).written == [3]
    assert table.upsert([{"id": 4, "b": 2}]).written == [4]
    for key in (3, 4):
        record = table.get(key)
        assert record is not None
        assert record.keys() == {"id", "b", "__createdtime__", "__updatedtime__"}
        assert record["__createdtime__"] == record["__updatedtime__"]


def test_an_update_prolongs_a_record(table: engine.Table, pass_over: Callable[[int], None]) -> None:
    version = table.insert([{"id": 1}, {"id": 2}]).version
    table.update([{"id": 1, "a": 1}])
    pass_over(version)
    assert [record["id"] for record in table.get_many([1, 2])] == [1]


def test_a_view_has_the_time_at_which_it_was_opened(table: engine.Table, pass_over: Callable[[int], None]) -> None:
    version = table.insert([{"id": 1}]).version
    with table.view() as before:
        pass_over(version)
        assert before.count() == 1
        with table.view() as after:
            assert after.count() == 0


def test_a_record_written_since_is_not_removed(
    node: engine.Node, table: engine.Table, pass_over: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = table.insert([{"id": 1}]).version
    pass_over(version)

    class Late:
        """A store in which somebody else writes just before the upkeep does."""

        def __init__(self, store: Store) -> None:
            self._store = store

        def view(self) -> Any:
            return self._store.view()

        def write(self, *arguments: Any, **options: Any) -> Any:
            self._store.write("upsert", [{"id": 1, "a": 1}])
            return self._store.write(*arguments, **options)

    assert expiration.remove_expired(table.definition, Late(table._store)) == 0  # type: ignore[arg-type]
    record = table.get(1)
    assert record is not None and record["a"] == 1


def test_declared_tables_expire_by_their_last_write(node: engine.Node, pass_over: Callable[[int], None]) -> None:
    declared = [engine.Attribute("id"), engine.Attribute("a", "Int", indexed=False)]
    table = node.create_table("dev", "declared", attributes=declared, expiration=SECONDS)
    version = table.insert([{"id": 1, "a": 1}]).version
    table.insert([{"id": 2, "a": 1}])
    pass_over(version)
    assert table.count() == 1
    assert table.get(1) is None


def test_the_real_clock(node: engine.Node) -> None:
    table = node.create_table("dev", "long", expiration=3600)
    table.insert([{"id": 1}])
    assert table.count() == 1
    short = node.create_table("dev", "short", expiration=1e-6)
    version = short.insert([{"id": 1}]).version
    while expiration.clock() <= version + 1:
        pass
    assert short.count() == 0


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_an_expiration_must_be_positive(node: engine.Node, seconds: float) -> None:
    with pytest.raises(engine.InvalidRequest, match="expiration must be a positive number of seconds"):
        node.create_table("dev", "t", expiration=seconds)
