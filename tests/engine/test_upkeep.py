"""What a recovery has to replay stays bounded, whether a node process looks after the tables or only the writer."""

from __future__ import annotations

import fcntl
import random
import threading
import time
from collections.abc import Callable

import pytest

import engine
from engine.backup import HOLDING
from engine.maintenance import CHECKPOINT_BYTES
from engine.upkeep import LOCK_NAME

MIB = 1 << 20
PATIENCE = 60.0  # seconds


def becomes(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def write(table: engine.Table, mebibytes: int) -> None:
    for _ in range(mebibytes):
        table.upsert([{"id": number, "text": "x" * (MIB // 8)} for number in range(8)])


@pytest.fixture
def table(node: engine.Node) -> engine.Table:
    return node.create_table("dev", "dog")


def test_a_process_that_writes_a_lot_makes_checkpoints_where_no_node_runs(table: engine.Table) -> None:
    write(table, CHECKPOINT_BYTES // MIB)
    assert becomes(lambda: table._store.replay_bytes < CHECKPOINT_BYTES)


def test_a_process_that_only_reads_makes_the_one_that_was_due_before_a_crash(
    node: engine.Node, table: engine.Table
) -> None:
    directory = node.directory_of(node.definitions()[0])
    with (node.root / LOCK_NAME).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write(table, CHECKPOINT_BYTES // MIB + 1)
        node.close()
        (directory / "shared.shm").unlink()
    with engine.open_node(node.root) as again:
        read = again.table("dev", "dog")
        assert becomes(lambda: read._store.replay_bytes < CHECKPOINT_BYTES)


def test_it_leaves_them_to_the_node_process_that_runs(node: engine.Node, table: engine.Table) -> None:
    with (node.root / LOCK_NAME).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write(table, CHECKPOINT_BYTES // MIB + 1)
        node._upkeep.close()
        assert table._store.replay_bytes > CHECKPOINT_BYTES
    write(table, 1)
    assert becomes(lambda: bool(table.upsert([{"id": 1}]).written) and table._store.replay_bytes < CHECKPOINT_BYTES)


def test_a_write_succeeds_where_no_thread_can_be_had_for_them(
    node: engine.Node, table: engine.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        write(table, CHECKPOINT_BYTES // MIB + 1)
    assert table.count() == 8
    node._upkeep.close()
    assert becomes(lambda: bool(table.upsert([{"id": 1}]).written) and table._store.replay_bytes < CHECKPOINT_BYTES)


def test_what_the_system_refuses_to_a_round_is_an_error_of_the_engine(node: engine.Node) -> None:
    (node.root / "backup").mkdir()
    (node.root / "backup" / f"{HOLDING}1").touch()  # can be opened as no directory
    with pytest.raises(engine.RootError):
        node.maintain()


def test_a_node_can_be_closed_while_it_makes_a_checkpoint(node: engine.Node, table: engine.Table) -> None:
    write(table, CHECKPOINT_BYTES // MIB + 1)
    node.close()
    with engine.open_node(node.root) as again:
        assert again.table("dev", "dog").count() == 8


def size(table: engine.Table) -> int:
    return sum(path.stat().st_blocks * 512 for path in table.directory.iterdir())


def test_endless_updates_do_not_make_the_files_grow(node: engine.Node, table: engine.Table) -> None:
    draw = random.Random(1)
    table.insert([{"id": key, "n": key, "text": f"{key}" * 20} for key in range(10_000)])
    for _ in range(10):
        node.maintain()  # until it rests
    live = size(table)
    for _ in range(15):
        for _ in range(100):
            table.update([{"id": draw.randrange(10_000), "n": draw.random()} for _ in range(20)])
        node.maintain()
        assert size(table) <= 2.5 * live


def test_a_round_that_failed_is_not_due_again_at_once(
    node: engine.Node, table: engine.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a full disk would fill the log of the node, ten rounds a second."""

    def fail(*_: object, **__: object) -> bool:
        raise engine.DiskFull("There is no space left on the device")

    node.maintain()
    assert not node.is_upkeep_due()
    table.insert([{"id": key, "text": "x" * 1000} for key in range(2000)])
    assert node.is_upkeep_due()
    monkeypatch.setattr("engine.maintenance.compact", fail)
    node.maintain()
    assert not node.is_upkeep_due()
