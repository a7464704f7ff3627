"""A backup holds each table as it was at the start, is refused when it is not whole, and comes back equal."""

from __future__ import annotations

import io
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import keys
from engine.archive import verify
from engine.backup import HOLDING, backup
from engine.restore import restore
from tests import model


@pytest.fixture
def bring_back(tmp_path: Path) -> Iterator[Any]:
    """Restores archives into new roots and opens them."""
    nodes: list[engine.Node] = []

    def bring_back(archive: bytes, until: int | None = None) -> engine.Node:
        root = tmp_path / f"restored{len(nodes)}"
        restore(io.BytesIO(archive), root, until)
        nodes.append(engine.open_node(root, create=False))
        return nodes[-1]

    yield bring_back
    for node in nodes:
        node.close()


def rows(table: engine.Table) -> list[dict[str, Any]]:
    with table.view() as view:
        view.snapshot.check()
        return list(view.scan(view.primary_key))


def fill(node: engine.Node) -> engine.Table:
    dogs = node.create_table("dev", "dog")
    dogs.insert([{"id": number, "name": f"n{number % 7}", "tags": [1, "a", None]} for number in range(300)])
    dogs.delete(list(range(0, 300, 3)))
    dogs.update([{"id": 1, "name": None}], user="ann")
    dogs.drop_attribute("tags")
    node.create_table("dev", "empty")
    node.create_table("other", "cat", "name", attributes=[engine.Attribute("name"), engine.Attribute("age", "Int")])
    node.table("other", "cat").insert([{"name": "Tom", "age": 3}])
    return dogs


def test_a_whole_node_comes_back(node: engine.Node, bring_back: Any) -> None:
    dogs = fill(node)
    node.system("hdb_user").insert([{"username": "ann", "password": "a hash"}])
    (node.root / "keys").mkdir()
    (node.root / "keys" / "private.pem").write_text("secret")
    node.configuration.save()
    again = bring_back(b"".join(backup(node)))
    assert again.schemas() == ["dev", "other"]
    assert (again.tables("dev"), again.tables("other")) == (["dog", "empty"], ["cat"])
    assert rows(again.table("dev", "dog")) == rows(dogs)
    assert rows(again.table("other", "cat")) == rows(node.table("other", "cat"))
    assert again.table("dev", "dog").attributes() == dogs.attributes()
    assert again.table("other", "cat").definition == node.table("other", "cat").definition
    assert again.system("hdb_user").get("ann") == node.system("hdb_user").get("ann")
    assert (again.root / "keys" / "private.pem").read_text() == "secret"
    assert (again.root / "kennel-config.yaml").exists()


def test_a_restored_node_is_the_same_node_in_a_new_epoch(node: engine.Node, bring_back: Any) -> None:
    dogs = fill(node)
    again = bring_back(b"".join(backup(node)))
    assert again.id == node.id
    assert again.epoch != node.epoch
    restored = again.table("dev", "dog")
    assert restored.feed.own.epoch != dogs.feed.own.epoch
    restored.insert([{"id": 1000}])
    assert restored.feed.last_own < dogs.feed.last_own


def test_the_transaction_log_comes_back(node: engine.Node, bring_back: Any) -> None:
    dogs = fill(node)
    again = bring_back(b"".join(backup(node)))
    assert again.table("dev", "dog").transactions()[: len(dogs.transactions())] == dogs.transactions()


def test_parts_of_a_node_leave_keys_and_other_tables_out(node: engine.Node, bring_back: Any) -> None:
    dogs = fill(node)
    (node.root / "keys").mkdir()
    (node.root / "keys" / "private.pem").write_text("secret")
    archive = b"".join(backup(node, "dev", ["dog"]))
    again = bring_back(archive)
    assert (again.schemas(), again.tables("dev")) == (["dev"], ["dog"])
    assert rows(again.table("dev", "dog")) == rows(dogs)
    assert again.id != node.id
    assert b"secret" not in archive


def test_what_cannot_be_had_fails_before_the_first_byte(node: engine.Node) -> None:
    fill(node)
    with pytest.raises(engine.NoSuchSchema):
        backup(node, "none")
    with pytest.raises(engine.NoSuchTable):
        backup(node, "dev", ["none"])
    assert not list((node.root / "backup").glob(f"{HOLDING}*"))


def test_a_dropped_table_is_in_the_backup_that_was_begun(node: engine.Node, bring_back: Any) -> None:
    expected = rows(fill(node))
    chunks = backup(node, "dev")
    node.drop_schema("dev")
    assert rows(bring_back(b"".join(chunks)).table("dev", "dog")) == expected
    assert not list((node.root / "backup").iterdir())


def test_a_closed_backup_leaves_nothing_behind(node: engine.Node) -> None:
    fill(node)
    with backup(node) as chunks:
        next(chunks)
    assert not list((node.root / "backup").iterdir())


def test_the_upkeep_removes_what_a_killed_process_held(node: engine.Node) -> None:
    fill(node)
    left = node.root / "backup" / f"{HOLDING}0123"
    (left / "table").mkdir(parents=True)
    with backup(node) as running:
        next(running)
        node.maintain()
        assert not left.exists()
        assert len(b"".join(running)) > 0


def test_a_backup_under_load_is_the_table_as_of_its_start(node: engine.Node, bring_back: Any) -> None:
    table = node.create_table("dev", "dog")
    table.insert([{"id": number, "n": 0, "pad": "x" * 200} for number in range(200)])
    stopping = threading.Event()

    def write() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            table.upsert([{"id": number % 250, "n": number, "pad": "y" * (number % 500)}])
            if number % 10 == 0:
                table.delete([number % 250])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            begun = backup(node, "dev")
            archive = b"".join(begun)
            seq = verify(io.BytesIO(archive)).tables[0].seq
            found = {row["id"]: row for row in rows(bring_back(archive).table("dev", "dog"))}
            assert found == replayed(table, seq)
    finally:
        stopping.set()
        writer.join()


def replayed(table: engine.Table, seq: int) -> dict[Any, dict[str, Any]]:
    """The records after a transaction, from the transaction log alone."""
    found: dict[Any, dict[str, Any]] = {}
    after = 0
    while after < seq:
        for transaction in table.transactions(after, 1000):
            after = transaction.seq
            if after > seq:
                break
            for change in transaction.changes:
                if change.kind == "delete":
                    del found[change.key]
                    continue
                times = {"__createdtime__": change.created / 1000, "__updatedtime__": change.version / 1000}
                found[change.key] = {"id": change.key, **times, **(change.record or {})}
    return found


def test_a_backup_of_a_compacted_log(node: engine.Node, bring_back: Any) -> None:
    table = churned(node)
    node.maintain(0)
    while table.sizes().log_bytes > 3 << 20:
        table.update([{"id": 0, "pad": "z"}])
        node.maintain(0)
    expected = rows(table)
    archive = b"".join(backup(node, "dev"))
    assert rows(bring_back(archive).table("dev", "dog")) == expected
    with pytest.raises(engine.InvalidRequest, match="compacted; the earliest point in time is"):
        bring_back(archive, until=table.definition.created * 1000 + 1)


def churned(node: engine.Node) -> engine.Table:
    table = node.create_table("dev", "dog")
    for turn in range(40):
        table.upsert([{"id": number, "turn": turn, "pad": "x" * 1000} for number in range(100)])
    return table


def test_a_backup_during_a_compaction_takes_what_its_view_needs(node: engine.Node, bring_back: Any) -> None:
    table = churned(node)
    with table.view():  # keeps compaction from removing the segments that it has replaced
        node.maintain(0)
        table.upsert([{"id": number, "turn": -1} for number in range(0, 100, 2)])
        node.maintain(0)
        expected = rows(table)
        archive = b"".join(backup(node, "dev"))
    assert rows(bring_back(archive).table("dev", "dog")) == expected


def test_backups_while_the_log_is_written_and_compacted(node: engine.Node, bring_back: Any) -> None:
    table = node.create_table("dev", "dog")
    stopping, pausing = threading.Event(), threading.Lock()

    def write() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            with pausing:
                table.upsert([{"id": number % 20, "n": number, "pad": "x" * 20_000}])

    def look_after() -> None:
        while not stopping.is_set():
            node.maintain(0)

    threads = [threading.Thread(target=write), threading.Thread(target=look_after)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            with pausing:
                begun = backup(node, "dev")
                view = table.view()
            with view:
                expected = list(view.scan("id"))
            assert rows(bring_back(b"".join(begun)).table("dev", "dog")) == expected
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("seed", range(5))
def test_any_point_in_time(node: engine.Node, bring_back: Any, seed: int) -> None:
    chance = random.Random(seed)
    table, oracle = node.create_table("dev", "t"), model.Table()
    version = table.insert([{"id": 99}]).version
    oracle.insert([{"id": 99}], version)
    history = []
    for _ in range(30):
        kind = chance.choice(["insert", "update", "upsert", "delete"])
        chosen = chance.sample(range(12), chance.randint(1, 5))
        if kind == "delete":
            result = table.delete(chosen)
            oracle.delete(chosen)
        else:
            records = [{"id": key, chance.choice("ab"): chance.choice([1, None, "x", [2]])} for key in chosen]
            result = getattr(table, kind)(records)
            getattr(oracle, kind)(records, result.version)
        version = result.version if result.written else version  # one that wrote nothing is of no moment
        history.append((version, oracle.view()))
    archive = b"".join(backup(node, "dev"))
    for version, expected in chance.sample([*dict(history).items()], 3):
        restored = bring_back(archive, until=version).table("dev", "t")
        assert model.same(rows(restored), list(expected.scan("id", keys.EVERYTHING)))


def test_tables_made_later_are_not_there_at_an_earlier_point(node: engine.Node, bring_back: Any) -> None:
    first = node.create_table("dev", "first")
    version = first.insert([{"id": 1}]).version
    while time.time_ns() // 1_000_000 * 1000 <= version:
        pass
    node.create_table("dev", "later")
    first.insert([{"id": 2}])
    again = bring_back(b"".join(backup(node, "dev")), until=version)
    assert again.tables("dev") == ["first"]
    assert again.table("dev", "first").count() == 1


def test_a_damaged_or_cut_archive_is_refused(node: engine.Node, tmp_path: Path) -> None:
    table = node.create_table("dev", "dog")
    table.insert([{"id": 1, "name": "Penny"}])
    archive = b"".join(backup(node, "dev"))
    verify(io.BytesIO(archive))
    chance = random.Random(1)
    for length in [0, 1, 511, 512, *chance.sample(range(len(archive) - 1536), 20)]:
        with pytest.raises(engine.KennelError):
            verify(io.BytesIO(archive[:length]))
    for bit in chance.sample(range(len(archive) * 8), 300):
        flipped = bytearray(archive)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            contents = verify(io.BytesIO(flipped))
        except engine.KennelError:
            continue
        assert contents == verify(io.BytesIO(archive))  # in a place that means nothing
    target = tmp_path / "target"
    with pytest.raises(engine.Corrupt):
        restore(io.BytesIO(archive[:-2000]), target)
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_an_archive_cannot_write_outside_of_the_new_root(node: engine.Node, tmp_path: Path) -> None:
    node.create_table("dev", "dog").insert([{"id": 1}])
    archive = b"".join(backup(node, "dev"))
    name = next(line for line in archive.split(b"\0") if line.startswith(b"tables/"))
    evil = archive.replace(name, (b"tables/../../../../" + b"e" * 80)[: len(name)], 1)
    with pytest.raises(engine.Corrupt):
        restore(io.BytesIO(evil), tmp_path / "target")


def test_a_root_that_is_there_is_not_touched(node: engine.Node) -> None:
    archive = b"".join(backup(node))
    with pytest.raises(engine.RootError, match="is there already"):
        restore(io.BytesIO(archive), node.root)


def test_an_unknown_format_is_refused(node: engine.Node) -> None:
    archive = b"".join(backup(node)).replace(b'"format": 1', b'"format": 2', 1)
    with pytest.raises(engine.InvalidRequest, match="has format 2; this version reads format 1"):
        verify(io.BytesIO(archive))


def test_the_head_of_an_archive_is_json(node: engine.Node) -> None:
    fill(node)
    archive = b"".join(backup(node, "dev"))
    size = int(archive[124:135], 8)
    head = json.loads(archive[512 : 512 + size])
    assert [table["definition"]["name"] for table in head["tables"]] == ["dog", "empty"]
    assert head["node"] is None
