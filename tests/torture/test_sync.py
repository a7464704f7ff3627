"""Nobody sees a write, or an answer that depends on it, before it is on disk; one sync serves everybody who waits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from failpoints import WAIT
from hands import wait_until
from interposer import environment, read_events
from workbench import Bench


@pytest.mark.parametrize("step", ["unlocked", "sync_locked", "sync", "synced"])
def test_nobody_sees_a_write_before_it_is_on_disk(bench: Bench, step: str) -> None:
    writer, reader = bench.hand(), bench.hand()
    writer.write("insert", {"id": 1, "a": 1})
    assert reader.ask("rows").keys() == {"1"}
    generation, before = reader.ask("generation"), bench.failpoints.hits(step)
    bench.failpoints.set(step, WAIT)
    writer.send("write", "upsert", [{"id": 1, "a": 2}, {"id": 2, "new": 2}])
    wait_until(lambda: bench.failpoints.hits(step) > before)
    for looker in (reader, bench.hand()):  # also one that opens the table now
        assert looker.ask("rows") == {"1": {"id": 1, "a": 1}}
        assert looker.ask("generation") == generation
        assert looker.ask("log") == [1]
        assert looker.ask("attribute_names") == ["a"]
    assert not writer.has_replied()
    bench.failpoints.clear(step)
    assert writer.reply() == [[1, 2], []]
    assert reader.ask("rows") == {"1": {"id": 1, "a": 2}, "2": {"id": 2, "new": 2}}
    assert reader.ask("generation") == generation + 1


@pytest.mark.parametrize(
    ("do", "arguments"),
    [
        ("write", ["insert", [{"id": 2}]]),
        ("write", ["delete", [3]]),
        ("create_attribute", ["new"]),
        ("drop_attribute", ["never there"]),
    ],
)
def test_an_answer_waits_for_the_write_that_it_depends_on(bench: Bench, do: str, arguments: list[object]) -> None:
    """Also a "skipped", an "exists already" or a "not there": a power cut would make it a lie."""
    writer, other = bench.hand(), bench.hand()
    writer.write("insert", {"id": 1})
    other.ask("rows")
    before = bench.failpoints.hits("sync")
    bench.failpoints.set("sync", WAIT)
    writer.send("write", "insert", [{"id": 2, "new": 1}])
    wait_until(lambda: bench.failpoints.hits("sync") > before)
    judged = bench.failpoints.hits("unlocked")
    other.send(do, *arguments)
    if do == "write":
        wait_until(lambda: bench.failpoints.hits("unlocked") > judged)
    assert not other.has_replied()
    bench.failpoints.clear("sync")
    writer.reply()
    other.reply()


def test_one_sync_serves_everybody_who_waits(bench: Bench) -> None:
    writers = [bench.hand() for _ in range(5)]
    writers[0].write("insert", {"id": 0})
    for writer in writers:
        writer.ask("rows")
    before = writers[0].ask("counters")
    syncs, commits = bench.failpoints.hits("sync"), bench.failpoints.hits("unlocked")
    bench.failpoints.set("sync", WAIT)
    for number, writer in enumerate(writers):
        writer.send("write", "insert", [{"id": number + 1}])
        wait_until(lambda: bench.failpoints.hits("sync") > syncs)
    wait_until(lambda: bench.failpoints.hits("unlocked") == commits + len(writers))
    bench.failpoints.clear("sync")
    for writer in writers:
        writer.reply()
    after = writers[0].ask("counters")
    assert after["commits"] - before["commits"] == len(writers)
    assert after["syncs"] - before["syncs"] == 2  # that of the first, and one for all who came while it lasted


def test_who_lost_his_core_while_he_gathered_has_the_next_ones_gather_in_their_sleep(bench: Bench) -> None:
    writers = [bench.hand() for _ in range(3)]
    writers[0].write("insert", {"id": 0})
    for writer in writers:
        writer.ask("rows")
    commits, syncs, yielded = (bench.failpoints.hits(step) for step in ("unlocked", "sync", "yielded"))
    bench.failpoints.set("sync", WAIT)
    for number, writer in enumerate(writers):
        writer.send("write", "insert", [{"id": number + 1}])
        wait_until(lambda: bench.failpoints.hits("sync") > syncs)
    wait_until(lambda: bench.failpoints.hits("unlocked") == commits + len(writers))
    bench.failpoints.set("yielded", WAIT)
    bench.failpoints.clear("sync")
    wait_until(lambda: bench.failpoints.hits("yielded") > yielded)  # for the first, who has had his answer
    time.sleep(0.01)
    bench.failpoints.clear("yielded")
    for writer in writers:
        writer.reply()
    yielded = bench.failpoints.hits("yielded")
    for turn in range(10, 110, 10):
        for number, writer in enumerate(writers):
            writer.send("write", "insert", [{"id": turn + number}])
        for writer in writers:
            writer.reply()
    assert bench.failpoints.hits("yielded") == yielded
    assert len(writers[0].ask("rows")) == 1 + 3 + 10 * len(writers)


def test_with_interval_durability_readers_do_not_wait(bench: Bench) -> None:
    writer, reader, careful = bench.hand(durability="interval"), bench.hand(durability="interval"), bench.hand()
    writer.write("insert", {"id": 1})
    writer.ask("sync")
    bench.failpoints.set("sync", WAIT)
    assert writer.write("insert", {"id": 2}) == [[2], []]
    assert reader.ask("rows").keys() == {"1", "2"}
    assert reader.ask("generation") == 2
    assert careful.ask("rows").keys() == {"1"}
    before = bench.failpoints.hits("sync")
    writer.send("sync")
    wait_until(lambda: bench.failpoints.hits("sync") > before)
    assert not writer.has_replied()
    bench.failpoints.clear("sync")
    writer.reply()
    assert careful.ask("rows").keys() == {"1", "2"}


def test_what_a_kill_left_unsynced_is_synced_before_it_is_seen(bench: Bench, library: Path, tmp_path: Path) -> None:
    writer = bench.hand(durability="interval")
    writer.write("insert", {"id": 1})
    bench.kill_all()
    (bench.directory / "shared.shm").unlink()
    reader = bench.hand(environment(library, bench.directory, tmp_path / "record"))
    assert reader.ask("rows").keys() == {"1"}
    segment = (bench.directory / "000001.log").stat().st_ino
    assert any(event.kind == "S" and event.inode == segment for event in read_events(tmp_path / "record"))


def test_a_checkpoint_of_what_is_not_on_disk_puts_it_there_first(bench: Bench) -> None:
    writer = bench.hand(durability="interval")
    writer.write("insert", {"id": 1})
    syncs = bench.failpoints.hits("synced")
    assert writer.ask("checkpoint") is True
    assert bench.failpoints.hits("synced") == syncs + 1


def test_a_compaction_that_builds_on_what_is_not_on_disk_puts_it_there_first(bench: Bench) -> None:
    """It drops the versions of records that later ones have replaced; these must not be lost after that."""
    writer = bench.hand(durability="interval")
    for turn in range(8):
        writer.write("upsert", {"id": 1, "n": turn, "text": "t" * 100_000})
    syncs = bench.failpoints.hits("synced")
    assert writer.ask("compact") is True
    assert bench.failpoints.hits("synced") == syncs + 1
