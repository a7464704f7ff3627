"""Opening nodes, sharing them, letting go of them; snapshots over several tables."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import engine


def test_a_root_is_made_on_first_use(root: Path) -> None:
    with engine.open_node(root / "deep" / "er") as node:
        assert node.root == root / "deep" / "er"
        assert stat.S_IMODE(node.root.stat().st_mode) == 0o700
        identity = json.loads((node.root / "node.id").read_text())
        assert identity.keys() == {"id", "epoch", "created"}
        assert identity["id"] == node.id


def test_the_id_of_a_node_stays(root: Path) -> None:
    with engine.open_node(root) as node, engine.open_node(root, create=False) as again:
        assert node.id == again.id
    with engine.open_node(os.fspath(root)) as later:
        assert later.id == node.id


def test_many_make_one_node(root: Path) -> None:
    ids: list[str] = []

    def work() -> None:
        with engine.open_node(root) as node:
            ids.append(node.id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_a_root_that_is_not_there_is_refused_when_asked_to(root: Path) -> None:
    with pytest.raises(engine.RootError, match="is not the root directory of a node"):
        engine.open_node(root, create=False)
    assert not root.exists()
    root.mkdir()
    with pytest.raises(engine.RootError):
        engine.open_node(root, create=False)


def test_a_file_is_no_root(root: Path) -> None:
    root.write_text("")
    with pytest.raises(engine.RootError, match="is not a directory"):
        engine.open_node(root)
    with pytest.raises(engine.RootError):
        engine.open_node(root / "below")


OPEN_AS_NOBODY = """
import os, sys, engine
if os.geteuid() == 0:  # who may write anywhere
    os.setuid(65534)
try:
    engine.open_node(sys.argv[1])
except engine.RootError as error:
    print(error)
"""


def test_a_root_that_cannot_be_written_is_refused(root: Path) -> None:
    root.mkdir(mode=0o500)
    done = subprocess.run([sys.executable, "-c", OPEN_AS_NOBODY, root], capture_output=True, text=True, check=True)
    assert "Permission denied" in done.stdout


def test_a_damaged_id_is_reported(root: Path) -> None:
    engine.open_node(root).close()
    (root / "node.id").write_text("{")
    with pytest.raises(engine.Corrupt, match=r"node\.id is damaged"):
        engine.open_node(root)


def test_a_half_made_root_is_made_whole(root: Path) -> None:
    engine.open_node(root).close()
    (root / "node.id").unlink()
    with engine.open_node(root) as node:
        node.create_table("farm", "goat").insert([{"id": 1}])


def test_a_closed_node_is_closed(root: Path) -> None:
    node = engine.open_node(root)
    table = node.create_table("farm", "goat")
    node.close()
    node.close()
    uses: list[Callable[[], object]] = [
        node.schemas,
        lambda: node.table("farm", "goat"),
        lambda: node.create_schema("x"),
        lambda: node.system("hdb_user"),
        lambda: table.get(1),
        lambda: table.insert([{"id": 1}]),
        table.view,
    ]
    for use in uses:
        with pytest.raises(engine.Closed):
            use()


def test_handles_refuse_to_be_used_in_the_child_of_a_fork(node: engine.Node) -> None:
    table = node.create_table("farm", "goat")
    table.insert([{"id": 1}])
    child = os.fork()
    if child == 0:  # no assertion may leave this block
        verdict = 1
        try:
            table.insert([{"id": 2}])
        except engine.Closed:
            node.close()
            with engine.open_node(node.root) as own:
                own.table("farm", "goat").insert([{"id": 3}])
            verdict = 0
        finally:
            os._exit(verdict)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [record["id"] for record in table.search("id", "ge", 0)] == [1, 3]
    table.insert([{"id": 4}])


def test_a_view_of_a_dropped_table_refuses_to_be_used_in_the_child_of_a_fork(node: engine.Node) -> None:
    table = node.create_table("farm", "goat")
    table.insert([{"id": 1}])
    with table.view() as view:
        node.drop_table("farm", "goat")
        child = os.fork()
        if child == 0:
            try:
                view.get(1)
            except engine.Closed:
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert view.get(1) is not None


def test_a_child_that_lets_go_of_a_view_leaves_its_parents_alone(node: engine.Node) -> None:
    table = node.create_table("farm", "goat")
    table.insert([{"id": number, "n": 0} for number in range(500)])
    views = [table.view()]
    child = os.fork()
    if child == 0:
        views.pop()
        os._exit(0)
    os.waitpid(child, 0)
    for turn in range(1, 20):  # enough to use every page again that no reader protects
        table.update([{"id": number, "n": turn} for number in range(500)])
    with views.pop() as view:
        assert [record["n"] for record in view.scan("n")] == [0] * 500


def test_what_is_written_is_there_after_reopening(root: Path) -> None:
    with engine.open_node(root) as node:
        node.create_table("farm", "goat").insert([{"id": number, "n": number} for number in range(500)])
    with engine.open_node(root) as node:
        table = node.table("farm", "goat")
        assert table.count() == 500
        assert [record["id"] for record in table.search("n", "lt", 3)] == [0, 1, 2]


def test_the_configuration_is_that_of_the_root(node: engine.Node) -> None:
    assert node.configuration.get("storage.durability") == "commit"


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_a_snapshot_keeps_one_view_of_each_table(node: engine.Node) -> None:
    table = node.create_table("farm", "goat")
    with node.snapshot() as at:
        view = at.table("farm", "goat")
        table.insert([{"id": 1}])
        assert at.table("farm", "goat") is view
        assert view.count() == 0
        with pytest.raises(engine.NoSuchTable):
            at.table("farm", "cow")
    with node.snapshot([("farm", "goat")]) as at:
        assert at.table("farm", "goat").count() == 1


def test_a_snapshot_of_what_is_not_there(node: engine.Node) -> None:
    with pytest.raises(engine.NoSuchSchema):
        node.snapshot([("farm", "goat")])


def test_tables_of_a_snapshot_are_of_one_moment(node: engine.Node) -> None:
    """A writer keeps the second table one step behind the first; no snapshot may see it ahead."""
    first, second = node.create_table("farm", "first"), node.create_table("farm", "second")
    for table in (first, second):
        table.insert([{"id": 0, "n": 0}])
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            first.update([{"id": 0, "n": number}])
            second.update([{"id": 0, "n": number}])

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for _ in range(300):
            with node.snapshot([("farm", "second"), ("farm", "first")]) as at:
                ahead = at.table("farm", "first").get(0)["n"] - at.table("farm", "second").get(0)["n"]
                assert ahead in (0, 1)
    finally:
        stop.set()
        writer.join()


def test_the_doorbell_rings_for_every_table(node: engine.Node) -> None:
    table = node.create_table("farm", "goat")
    last = node.wait_for_commit(0, 0)
    assert node.wait_for_commit(last, 0.01) == last
    table.insert([{"id": 1}])
    assert node.wait_for_commit(last, 10) != last
    thread = threading.Timer(0.05, table.insert, [[{"id": 2}]])
    last = node.wait_for_commit(node.wait_for_commit(last, 0), 0)
    thread.start()
    assert node.wait_for_commit(last, 30) != last
    thread.join()
