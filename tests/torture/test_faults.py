"""What a process leaves that dies, stops, or meets a full or failing disk at one particular step."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from failpoints import FAIL, KILL, STOP, WAIT
from hands import Hand, wait_until
from workbench import Bench

LARGE = "x" * 300_000  # more than is left in the first segment
FULL = "y" * 200_000  # most of what the first segment holds


def record(key: int, **values: Any) -> dict[str, Any]:
    return {"id": key, **values}


def agree(bench: Bench, hand: Hand, wanted: set[str]) -> None:
    """All sound, and recovery from the log alone gives the same records."""
    found = hand.ask("rows")
    assert found.keys() == wanted
    assert hand.ask("check") is None
    log = hand.ask("log")
    assert log == list(range(1, len(log) + 1)) and hand.ask("generation") == len(log)
    fresh = bench.recovered()
    assert fresh.ask("rows") == found
    assert fresh.ask("log") == log
    assert fresh.ask("check") is None
    fresh.write("insert", record(-1))
    assert fresh.ask("rows").keys() == wanted | {"-1"}
    again = bench.recovered()
    assert again.ask("rows").keys() == wanted | {"-1"}
    assert again.ask("log") == [*log, len(log) + 1]


# --- what a killed writer leaves in the log --------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["composed", "half_written", "written", "slot"])
@pytest.mark.parametrize("size", [10, 3000])
def test_a_frame_that_was_never_published_is_not_found_behind_a_roll(bench: Bench, step: str, size: int) -> None:
    victim, other = bench.hand(), bench.hand()
    victim.write("insert", record(1))
    assert other.ask("log") == [1], "who opens the table later may find what the dead one wrote"
    bench.failpoints.set(step, KILL, 1)
    assert victim.dies_at("write", "insert", [record(2, text="v" * size)])
    assert other.write("insert", record(3, text=LARGE)) == [[3], []]
    other.write("insert", record(4))
    agree(bench, other, {"1", "3", "4"})


@pytest.mark.parametrize("step", ["roll", "prepared", "activated", "composed", "half_written", "written", "slot"])
def test_a_roll_that_was_never_finished_does_not_count(bench: Bench, step: str) -> None:
    """The dead one has brought a segment into use; the others go on in the one before, and roll later."""
    victim, other = bench.hand(), bench.hand()
    victim.write("insert", record(1))
    assert other.ask("log") == [1], "who opens the table later may find what the dead one wrote"
    bench.failpoints.set(step, KILL, 1)
    assert victim.dies_at("write", "insert", [record(2, text=LARGE)])
    other.write("insert", record(3))
    other.write("insert", record(4))
    assert other.ask("log") == [1, 2, 3]
    assert other.write("insert", record(5, text=LARGE)) == [[5], []]
    other.write("insert", record(6))
    agree(bench, other, {"1", "3", "4", "5", "6"})


@pytest.mark.parametrize("step", ["half_written", "written"])
def test_a_roll_that_was_never_finished_does_not_count_after_a_recovery(bench: Bench, step: str) -> None:
    victim, other = bench.hand(), bench.hand()
    victim.write("insert", record(1))
    assert other.ask("log") == [1], "who opens the table later may find what the dead one wrote"
    bench.failpoints.set(step, KILL, 1)
    assert victim.dies_at("write", "insert", [record(2, text=LARGE)])
    other.write("insert", record(3))
    fresh = bench.recovered()
    for key in range(4, 8):
        fresh.write("insert", record(key))
    agree(bench, fresh, {"1", *map(str, range(3, 8))})


def test_several_rolls_that_were_never_finished(bench: Bench) -> None:
    other = bench.hand()
    other.write("insert", record(1))
    for key in (2, 3, 4):
        victim = bench.hand()
        bench.failpoints.set("written", KILL, 1)
        assert victim.dies_at("write", "insert", [record(key, text=LARGE)])
        bench.failpoints.clear("written")
        if key == 3:
            other.write("insert", record(30))
    other.write("insert", record(5, text=LARGE))
    other.write("insert", record(6))
    agree(bench, other, {"1", "30", "5", "6"})


# --- a full disk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["grow", "roll", "prepared", "activated", "composed", "half_written", "written"])
def test_a_full_disk_changes_nothing(bench: Bench, step: str) -> None:
    hand, other = bench.hand(), bench.hand()
    hand.write("insert", record(1, text=FULL))
    before = hand.ask("rows")
    many = [record(key, text="t" * 1000, n=key) for key in range(100, 900)]
    bench.failpoints.set(step, FAIL, errno.ENOSPC)
    for _ in range(3):
        assert hand.write("insert", *many) == "DiskFull"
    assert hand.ask("rows") == before == other.ask("rows")
    assert hand.ask("check") is None
    assert not list(bench.directory.glob("*.new"))
    bench.failpoints.clear(step)
    assert other.write("insert", record(2)) == [[2], []]
    assert hand.write("insert", *many)[1] == []
    agree(bench, hand, {"1", "2", *map(str, range(100, 900))})


def test_a_full_disk_in_the_first_growth_of_a_table(bench: Bench) -> None:
    hand = bench.hand()
    bench.failpoints.set("grow", FAIL, errno.ENOSPC)
    assert hand.write("insert", record(1)) == "DiskFull"
    bench.failpoints.clear("grow")
    assert hand.write("insert", record(1)) == [[1], []]
    agree(bench, hand, {"1"})


@pytest.mark.parametrize("step", ["written", "grow"])
@pytest.mark.parametrize("from_the_log", [False, True])
def test_a_write_that_was_refused_once_its_frame_was_written_is_not_found_later(
    bench: Bench, step: str, from_the_log: bool
) -> None:
    hand = bench.hand()
    if step != "grow":
        hand.write("insert", record(1))
    before = hand.ask("rows")
    bench.failpoints.set(step, FAIL, errno.ENOSPC)
    assert hand.write("insert", record(2)) == "DiskFull"
    bench.failpoints.clear(step)
    fresh = bench.recovered(from_the_log=from_the_log)
    assert fresh.ask("rows") == before
    assert fresh.write("insert", record(3)) == [[3], []]
    agree(bench, fresh, {*before, "3"})


# --- a disk that does not keep what is written -----------------------------------------------------------------------


def test_after_a_failed_sync_the_table_is_read_only_until_it_is_recovered(bench: Bench) -> None:
    hand, other = bench.hand(), bench.hand()
    hand.write("insert", record(1))
    other.ask("rows")
    bench.failpoints.set("sync", FAIL, errno.EIO)
    assert hand.write("insert", record(2)) == "ReadOnlyTable"
    bench.failpoints.clear("sync")
    for writer in (hand, other, bench.hand()):  # also one that opens it now
        assert writer.write("insert", record(3)) == "ReadOnlyTable"
        assert writer.ask("sync") == "ReadOnlyTable"
        assert writer.ask("rows").keys() == {"1"}
    bench.kill_all()
    fresh = bench.hand()
    assert fresh.ask("rows").keys() == {"1"}, "the kernel may show it, but the disk need not have it"
    assert fresh.write("insert", record(4)) == [[4], []]
    agree(bench, fresh, {"1", "4"})


@pytest.mark.parametrize("checkpoint", [False, True])
def test_what_a_failed_sync_left_in_a_new_segment_is_dropped_too(bench: Bench, checkpoint: bool) -> None:
    hand = bench.hand()
    hand.write("insert", record(1))
    if checkpoint:
        assert hand.ask("checkpoint") is True
    bench.failpoints.set("sync", FAIL, errno.ENOSPC)
    assert hand.write("insert", record(2, text=LARGE)) == "ReadOnlyTable"
    bench.failpoints.clear("sync")
    bench.kill_all()
    fresh = bench.hand()
    assert fresh.ask("rows").keys() == {"1"}
    fresh.write("insert", record(3))
    agree(bench, fresh, {"1", "3"})


def test_a_failed_write_to_the_log_is_no_commit(bench: Bench) -> None:
    hand = bench.hand()
    hand.write("insert", record(1))
    bench.failpoints.set("half_written", FAIL, errno.EIO)
    assert hand.write("insert", record(2)) == "Corrupt"
    bench.failpoints.clear("half_written")
    assert hand.write("insert", record(3)) == [[3], []]
    agree(bench, hand, {"1", "3"})


# --- locks and slots -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["locked", "written", "sync_locked", "synced", "visible"])
def test_a_stopped_holder_of_a_lock_holds_the_others_up_until_it_dies(bench: Bench, step: str) -> None:
    holder, other, reader = bench.hand(), bench.hand(), bench.hand()
    holder.write("insert", record(1))
    other.ask("rows")
    reader.ask("rows")
    before = bench.failpoints.hits(step)
    bench.failpoints.set(step, WAIT)
    holder.send("write", "insert", [record(2)])
    wait_until(lambda: bench.failpoints.hits(step) > before)
    holder.stop()
    bench.failpoints.clear(step)
    other.send("write", "insert", [record(3)])
    assert reader.ask("rows").keys() >= {"1"}, "readers wait for nobody"
    assert not other.has_replied()
    holder.kill()
    assert other.reply() == [[3], []]
    agree(bench, other, {"1", "3"} | ({"2"} if step not in ("locked", "written") else set()))


def stop_and_wait(bench: Bench, step: str) -> tuple[Hand, Hand]:
    """One that is stopped over a write at this step, and another that waits for it with its own."""
    holder, other = bench.hand(), bench.hand()
    holder.write("insert", record(1))
    other.ask("rows")
    bench.failpoints.set(step, STOP, 1)
    before = bench.failpoints.hits(step)
    holder.send("write", "insert", [record(2)])
    wait_until(lambda: bench.failpoints.hits(step) > before)
    other.send("write", "insert", [record(3)])
    return holder, other


def test_who_waits_for_a_stopped_holder_is_told_that_it_is_busy(make_bench: Callable[[], Bench]) -> None:
    """Afterwards, whether the holder goes on or dies, both its write and that of the other are there whole or not at
    all: who is told "Busy" by the sync does not know. All cases wait at once: a writer waits long for a lock."""
    cases = [(make_bench(), step, goes_on) for step in ("locked", "sync_locked") for goes_on in (True, False)]
    hands = [stop_and_wait(bench, step) for bench, step, _ in cases]
    for (bench, step, goes_on), (holder, other) in zip(cases, hands, strict=True):
        assert other.reply() == "Busy", (step, goes_on)
        bench.failpoints.clear(step)
        if goes_on:
            holder.go_on()
            assert holder.reply() == [[2], []], step
        else:
            holder.kill()
        assert other.write("insert", record(4)) == [[4], []], (step, goes_on)
        in_doubt = set() if step == "locked" else {"3"}
        agree(bench, other, {"1", "4"} | in_doubt | ({"2"} if goes_on or step == "sync_locked" else set()))


def test_the_snapshots_of_killed_readers_come_back(bench: Bench) -> None:
    reader, other = bench.hand(), bench.hand()
    other.write("insert", record(1))
    assert reader.ask("views", 1000) == 1000
    assert other.ask("views", 1000) == "TooManySnapshots"
    reader.kill()
    assert other.ask("views", 1000) == 1000
    bench.kill_all()
    assert bench.hand().ask("views", 1024) == 1024


def test_what_a_killed_reader_pinned_is_used_again(bench: Bench) -> None:
    reader, writer = bench.hand(), bench.hand()
    many = [record(key, n=key) for key in range(2000)]
    writer.write("insert", *many)
    reader.ask("views", 1)
    for _ in range(5):
        writer.write("upsert", *many)
    grown = writer.ask("counters")["pages"]
    reader.kill()
    assert writer.ask("reclaim_slots") == 1
    for _ in range(10):
        writer.write("upsert", *many)
    assert writer.ask("counters")["pages"] <= grown
    assert writer.ask("check") is None


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["checkpoint", "slot_written"])
def test_whoever_dies_over_a_checkpoint_leaves_one_that_holds(bench: Bench, step: str) -> None:
    writer = bench.hand()
    many = [record(key, n=key) for key in range(2000)]
    writer.write("insert", *many)
    assert writer.ask("checkpoint") is True
    for round_of_kills in range(3):
        victim = bench.hand()
        writer.write("upsert", *[record(key, n=round_of_kills) for key in range(0, 2000, 3)])
        bench.failpoints.set(step, KILL, 1)
        assert victim.dies_at("checkpoint")
        bench.failpoints.clear(step)
        for turn in range(5):
            writer.write("upsert", *[record(key, n=turn) for key in range(0, 2000, 2)])
    found = writer.ask("rows")
    bench.spoil_the_first_frame()
    writer = bench.recovered(from_the_log=False)
    assert writer.ask("rows") == found
    assert writer.ask("check") is None
    assert writer.ask("checkpoint") is True
    assert bench.recovered(from_the_log=False).ask("rows") == found


def test_a_checkpoint_that_failed_once_its_slot_was_written_keeps_its_pages(bench: Bench) -> None:
    """Recovery would start from it, though nobody was told that it is there."""
    writer = bench.hand()
    many = [record(key, n=key) for key in range(2000)]
    writer.write("insert", *many)
    assert writer.ask("checkpoint") is True
    writer.write("upsert", *many)
    bench.failpoints.set("slot_written", FAIL, errno.ENOSPC)
    assert writer.ask("checkpoint") == "DiskFull"
    bench.failpoints.clear("slot_written")
    for turn in range(10):
        writer.write("upsert", *[record(key, n=-turn) for key in range(2000)])
    found = writer.ask("rows")
    bench.spoil_the_first_frame()
    writer = bench.recovered(from_the_log=False)
    assert writer.ask("rows") == found
    assert writer.ask("check") is None


def test_a_checkpoint_after_one_whose_maker_died_protects_what_that_one_wrote(bench: Bench) -> None:
    """The slot of the dead one is what recovery would find while the next is being made: its pages must be there."""
    writer, victim, next_one = bench.hand(), bench.hand(), bench.hand()
    many = [record(key, n=key) for key in range(2000)]
    writer.write("insert", *many)
    assert writer.ask("checkpoint") is True
    writer.write("upsert", *many)
    bench.failpoints.set("slot_written", KILL, 1)
    assert victim.dies_at("checkpoint")
    bench.failpoints.clear("slot_written")
    assert writer.ask("reclaim_slots") == 1
    writer.write("upsert", *many)
    next_one.ask("rows")
    before = bench.failpoints.hits("checkpoint")
    bench.failpoints.set("checkpoint", WAIT)
    next_one.send("checkpoint")
    wait_until(lambda: bench.failpoints.hits("checkpoint") > before)
    for turn in range(10):
        writer.write("upsert", *[record(key, n=-turn) for key in range(2000)])
    found = writer.ask("rows")
    bench.spoil_the_first_frame()
    fresh = bench.recovered(from_the_log=False)
    bench.failpoints.clear("checkpoint")
    assert fresh.ask("rows") == found
    assert fresh.ask("check") is None
