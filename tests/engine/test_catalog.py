"""Schemas and tables: what DDL promises to other threads, to other processes, and after a crash."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.catalog import CATALOG_ID, Catalog, locked

processes = multiprocessing.get_context("spawn")


def in_another_process(function: Callable[..., None], *arguments: Any) -> int:
    """Run a function of this module in a process of its own; gives its exit code."""
    child = processes.Process(target=function, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode is not None, "the child process hangs"
    return child.exitcode


def directories(root: Path) -> set[str]:
    return {path.name for path in (root / "schema").iterdir()} - {str(CATALOG_ID)}


def test_schemas_and_tables_are_listed_by_name(node: engine.Node) -> None:
    assert node.schemas() == []
    node.create_schema("farm")
    assert node.tables("farm") == []
    goat = node.create_table("farm", "goat", primary_key="tag")
    node.create_table("barn", "owl")
    assert node.schemas() == ["barn", "farm"]
    assert node.tables("farm") == ["goat"]
    assert (goat.schema, goat.name, goat.primary_key) == ("farm", "goat", "tag")
    assert node.table("farm", "goat") is goat


def test_what_is_there_already_is_not_made_again(node: engine.Node) -> None:
    node.create_table("farm", "goat")
    with pytest.raises(engine.SchemaExists, match="schema 'farm' already exists"):
        node.create_schema("farm")
    with pytest.raises(engine.TableExists, match="Table 'goat' already exists in 'farm'"):
        node.create_table("farm", "goat", primary_key="other")
    with pytest.raises(engine.SchemaExists):
        node.create_schema("system")


def test_what_is_not_there_is_named(node: engine.Node) -> None:
    node.create_schema("farm")
    for attempt in (node.tables, node.drop_schema):
        with pytest.raises(engine.NoSuchSchema, match="schema 'barn' does not exist"):
            attempt("barn")
    for attempt in (node.table, node.drop_table):
        with pytest.raises(engine.NoSuchTable, match=r"Table 'farm\.goat' does not exist"):
            attempt("farm", "goat")
        with pytest.raises(engine.NoSuchSchema):
            attempt("barn", "goat")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "'schema' is not allowed to be empty"),
        ("x" * 251, "'schema' length must be less than or equal to 250 characters long"),
        ("a/b", "'schema' names cannot include backticks or forward slashes"),
        ("a`b", "'schema' names cannot include backticks or forward slashes"),
        ("ü", "'schema' names cannot include backticks or forward slashes"),
        ("a\nb", "'schema' names cannot include backticks or forward slashes"),
        (5, "'schema' must be a string"),
    ],
)
def test_impossible_names(node: engine.Node, name: Any, text: str) -> None:
    with pytest.raises(engine.InvalidName) as raised:
        node.create_schema(name)
    assert raised.value.message == text
    with pytest.raises(engine.InvalidName):
        node.create_table(name, "goat")
    with pytest.raises(engine.InvalidName, match="'table'"):
        node.create_table("farm", name)
    with pytest.raises(engine.InvalidName, match="'primary_key'"):
        node.create_table("farm", "goat", primary_key=name)
    assert node.schemas() == []


def test_odd_names_that_work(node: engine.Node) -> None:
    for name in ("a-b", "A b", "123", "..", "x" * 250, "a.b", "CON"):
        node.create_table(name, name, primary_key=name).insert([{name: 1}])
    assert all(node.table(name, name).get(1) for name in node.schemas())


def test_a_definition_survives(root: Path) -> None:
    declared = [
        engine.Attribute("n", "Int", indexed=True),
        engine.Attribute("s", "String", indexed=False, nullable=False),
    ]
    with engine.open_node(root) as node:
        definition = node.create_table("farm", "goat", "k", attributes=declared, expiration=2.5, audit=True).definition
    with engine.open_node(root) as node:
        assert node.table("farm", "goat").definition == definition
    assert definition.attributes == (engine.Attribute("k", is_primary_key=True), *declared)
    assert definition.expiration == 2.5
    assert definition.audit is True


def test_a_dropped_table_is_gone_and_another_may_take_its_name(node: engine.Node) -> None:
    old = node.create_table("farm", "goat")
    old.insert([{"id": 1}])
    node.drop_table("farm", "goat")
    assert directories(node.root) == set()
    for use in (
        lambda: old.get(1),
        lambda: old.insert([{"id": 2}]),
        old.count,
        old.attributes,
        lambda: old.delete([1]),
    ):
        with pytest.raises(engine.NoSuchTable):
            use()
    new = node.create_table("farm", "goat")
    assert new.id != old.id
    assert new.definition.epoch != 0
    assert new.count() == 0
    with pytest.raises(engine.NoSuchTable):
        old.get(1)


def test_a_view_reads_on_after_its_table_was_dropped(node: engine.Node) -> None:
    table = node.create_table("farm", "goat")
    table.insert([{"id": number, "n": number % 3} for number in range(1000)])
    with table.view() as view:
        node.drop_table("farm", "goat")
        assert view.count() == 1000
        assert sum(1 for _ in view.scan("n")) == 1000


def test_such_a_view_is_closed_with_its_node(node: engine.Node) -> None:
    table = node.create_table("dev", "dog")
    table.insert([{"id": 1}])
    view = table.view()
    node.drop_table("dev", "dog")
    assert view.get(1) is not None
    node.close()
    with pytest.raises(engine.Closed):
        view.get(1)


def test_dropping_a_schema_drops_its_tables(node: engine.Node) -> None:
    kept = node.create_table("barn", "owl")
    for name in "ab":
        node.create_table("farm", name)
    node.drop_schema("farm")
    assert node.schemas() == ["barn"]
    assert directories(node.root) == {kept.id}
    node.create_schema("farm")
    assert node.tables("farm") == []


def test_every_handle_on_the_root_sees_a_change(node: engine.Node) -> None:
    with engine.open_node(node.root) as other:
        table = other.create_table("farm", "goat")
        table.insert([{"id": 1}])
        mine = node.table("farm", "goat")
        assert mine.get(1)["id"] == 1
        other.drop_schema("farm")
        with pytest.raises(engine.NoSuchSchema):
            node.table("farm", "goat")
        with pytest.raises(engine.NoSuchTable):
            mine.get(1)


def _make(root: Path) -> None:
    with engine.open_node(root) as node:
        node.create_table("farm", "goat").insert([{"id": 1, "name": "Ivy"}])


def _drop(root: Path) -> None:
    with engine.open_node(root) as node:
        node.drop_table("farm", "goat")


def test_every_process_sees_a_change(node: engine.Node) -> None:
    assert in_another_process(_make, node.root) == 0
    table = node.table("farm", "goat")
    assert table.get(1)["name"] == "Ivy"
    assert in_another_process(_drop, node.root) == 0
    with pytest.raises(engine.NoSuchTable):
        table.get(1)
    with pytest.raises(engine.NoSuchTable):
        node.table("farm", "goat")


# --- crashes ---------------------------------------------------------------------------------------------------------


def _die_before_the_row(root: Path) -> None:
    Catalog._insert = lambda *_: os._exit(9)  # type: ignore[method-assign]
    with engine.open_node(root) as node:
        node.create_table("farm", "goat")


def _die_before_the_files_go(root: Path) -> None:
    Catalog.sweep = lambda *_: os._exit(9)  # type: ignore[method-assign]
    with engine.open_node(root) as node:
        node.drop_schema("farm")


def test_a_crash_while_making_a_table_leaves_none(node: engine.Node) -> None:
    assert in_another_process(_die_before_the_row, node.root) == 9
    assert node.schemas() == []
    assert len(directories(node.root)) == 1
    node.maintain()
    assert directories(node.root) == set()
    node.create_table("farm", "goat").insert([{"id": 1}])


def test_a_crash_while_dropping_leaves_files_but_no_table(node: engine.Node) -> None:
    node.create_table("farm", "goat").insert([{"id": 1}])
    assert in_another_process(_die_before_the_files_go, node.root) == 9
    assert node.schemas() == []
    assert len(directories(node.root)) == 1
    table = node.create_table("farm", "goat")
    assert table.count() == 0
    assert directories(node.root) == {table.id}


def test_a_change_that_fails_changes_nothing(node: engine.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "_insert", fail)
        with pytest.raises(engine.DiskFull):
            node.create_table("farm", "goat")
    assert node.schemas() == []
    node.create_table("farm", "goat")


def _churn(root: Path, turns: int | None = None) -> None:
    """Make, fill and drop the same tables over and over; `turns` None: until somebody kills it."""
    with engine.open_node(root) as node:
        for turn in itertools.count() if turns is None else range(turns):
            name = f"t{turn % 3}"
            try:
                node.create_table("farm", name).insert([{"id": 1, "turn": turn}])
            except engine.TableExists:
                node.drop_table("farm", name)
            if turn % 7 == 0:
                node.drop_schema("farm")


def test_killing_whoever_changes_the_catalog_leaves_it_whole(node: engine.Node) -> None:
    for turn in range(6):
        child = processes.Process(target=_churn, args=(node.root,))
        child.start()
        _wait_for_changes(node, 5 + turn)
        child.kill()
        child.join()
        for schema in node.schemas():
            for name in node.tables(schema):
                assert node.table(schema, name).count() in (0, 1)
        node.maintain()
        listed = {node.table(schema, name).id for schema in node.schemas() for name in node.tables(schema)}
        assert directories(node.root) == listed


def _wait_for_changes(node: engine.Node, changes: int) -> None:
    seen: set[str] = set()
    deadline = time.monotonic() + 60
    while len(seen) < changes:
        assert time.monotonic() < deadline, "the other process changes nothing"
        seen |= directories(node.root)


# --- at the same time ------------------------------------------------------------------------------------------------

NAMES = [f"t{number}" for number in range(8)]


def _create_all(root: Path) -> int:
    """How many of the tables this one was the first to make."""
    made = 0
    with engine.open_node(root) as node:
        for name in NAMES:
            try:
                node.create_table("farm", name).insert([{"id": os.getpid()}])
                made += 1
            except engine.TableExists:
                node.table("farm", name)
    return made


def test_of_many_that_make_a_table_one_does(root: Path) -> None:
    engine.open_node(root).close()
    with ThreadPoolExecutor(3) as threads:
        made = list(threads.map(_create_all, [root] * 3))
    assert sum(made) == len(NAMES)
    with engine.open_node(root) as node:
        assert node.tables("farm") == NAMES
        assert [node.table("farm", name).count() for name in NAMES] == [1] * len(NAMES)


def test_of_many_processes_that_make_a_table_one_does(root: Path) -> None:
    with processes.Pool(2) as pool:
        made = pool.map_async(_create_all, [root] * 2).get(timeout=60)
    assert sum(made) == len(NAMES)


def test_readers_and_writers_of_tables_that_come_and_go_meet_no_other_error(node: engine.Node) -> None:
    child = processes.Process(target=_churn, args=(node.root, 150))
    child.start()
    met = 0
    while child.is_alive():
        try:
            table = node.table("farm", "t0")
            table.upsert([{"id": 2, "mine": True}])
            met += table.get(2) is not None
            assert table.count("mine", "equals", True) <= 1
        except (engine.NotFound, engine.UnknownAttribute):
            continue
    assert child.exitcode == 0
    assert met > 0


def test_a_lock_that_is_not_let_go_makes_changes_busy(node: engine.Node) -> None:
    with locked(node.root), pytest.raises(engine.Busy), locked(node.root, patience=0.05):
        pass


# --- the node's own tables -------------------------------------------------------------------------------------------


def test_system_tables_are_there_when_they_are_used(node: engine.Node) -> None:
    users = node.system("hdb_user")
    assert (users.schema, users.primary_key) == ("system", "username")
    users.insert([{"username": "kim"}])
    assert node.table("system", "hdb_user").get("kim")["username"] == "kim"
    assert node.schemas() == []
    assert node.tables("system") == ["hdb_job", "hdb_nodes", "hdb_role", "hdb_session", "hdb_status", "hdb_user"]
    with pytest.raises(engine.NoSuchTable):
        node.system("hdb_nothing")


def test_the_system_schema_is_not_changed_by_hand(node: engine.Node) -> None:
    node.system("hdb_user")
    for attempt in (
        lambda: node.drop_schema("system"),
        lambda: node.drop_table("system", "hdb_user"),
        lambda: node.create_table("system", "mine"),
    ):
        with pytest.raises(engine.InvalidName, match="cannot be updated or removed"):
            attempt()
