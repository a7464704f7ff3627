"""Small writes of several processes are committed together by one of them; also when he, or another, dies or fails."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from failpoints import FAIL, KILL, WAIT
from hands import Dead, Hand, wait_until
from workbench import Bench

WRITERS = 3


def in_company(bench: Bench) -> list[Hand]:
    """Processes that have shared a sync, and so expect each other."""
    writers = [bench.hand() for _ in range(WRITERS)]
    writers[0].write("insert", {"id": 0, "n": 0})
    for writer in writers:
        writer.ask("rows")
    syncs, commits = bench.failpoints.hits("sync"), bench.failpoints.hits("unlocked")
    bench.failpoints.set("sync", WAIT)
    for number, writer in enumerate(writers):
        writer.send("write", "insert", [{"id": number + 1, "n": 0}])
        wait_until(lambda: bench.failpoints.hits("sync") > syncs)
    wait_until(lambda: bench.failpoints.hits("unlocked") == commits + WRITERS)
    bench.failpoints.clear("sync")
    for writer in writers:
        assert isinstance(writer.reply(), list)
    return writers


def send_together(bench: Bench, writers: list[Hand], writes: list[tuple[str, Any]]) -> None:
    """All of them wait in seats when the first one begins to serve."""
    submitted = bench.failpoints.hits("submitted")
    bench.failpoints.set("sync_locked", WAIT)
    for writer, (kind, record) in zip(writers, writes, strict=True):
        writer.send("write", kind, [record])
    wait_until(lambda: bench.failpoints.hits("submitted") == submitted + len(writers))


def answers(writers: list[Hand]) -> list[Any]:
    """None of those who died."""
    found: list[Any] = []
    for writer in writers:
        try:
            found.append(writer.reply())
        except Dead:
            found.append(None)
    return found


def agree(bench: Bench) -> dict[str, Any]:
    """The rows, of which the indexes and the log tell the same."""
    hand = bench.hand()
    rows, log = hand.ask("rows"), hand.ask("log")
    assert hand.ask("check") is None
    recovered = bench.recovered()
    assert (recovered.ask("rows"), recovered.ask("log")) == (rows, log)
    assert isinstance(rows, dict)
    return rows


def new(number: int, n: int = 1) -> tuple[str, Any]:
    return "insert", {"id": 10 * n + number, "n": n}


def test_small_writes_become_one_state_and_a_transaction_each(bench: Bench) -> None:
    writers = in_company(bench)
    log, counters, published = writers[0].ask("log"), writers[0].ask("counters"), bench.failpoints.hits("published")
    send_together(bench, writers, [("insert", {"id": 1, "n": 9}), ("update", {"id": 2, "n": 1}), ("delete", 3)])
    bench.failpoints.clear("sync_locked")
    assert answers(writers) == [[[], [1]], [[2], []], [[3], []]]
    assert bench.failpoints.hits("published") == published + 1
    assert writers[0].ask("log") == [*log, log[-1] + 1, log[-1] + 2]
    later = writers[0].ask("counters")
    assert (later["commits"], later["syncs"]) == (counters["commits"] + 2, counters["syncs"] + 1)
    assert agree(bench) == {"0": {"id": 0, "n": 0}, "1": {"id": 1, "n": 0}, "2": {"id": 2, "n": 1}}


def test_writes_of_one_record_follow_on_each_other(bench: Bench) -> None:
    writers = in_company(bench)
    log = writers[0].ask("log")
    send_together(bench, writers, [("update", {"id": 0, "n": number}) for number in range(1, 1 + WRITERS)])
    bench.failpoints.clear("sync_locked")
    assert answers(writers) == [[[0], []]] * WRITERS
    assert len(writers[0].ask("log")) == len(log) + WRITERS
    assert agree(bench)["0"]["n"] in range(1, 1 + WRITERS)


def test_writes_that_change_nothing_are_answered_soon(bench: Bench) -> None:
    writers = in_company(bench)
    commits = writers[0].ask("counters")["commits"]
    for _ in range(50):
        assert writers[0].write("insert", {"id": 1, "n": 5}) == [[], [1]]
        assert writers[1].write("delete", 99) == [[], [99]]
    assert writers[0].ask("counters")["commits"] == commits
    assert agree(bench)["1"] == {"id": 1, "n": 0}


def test_large_writes_and_new_attributes_go_by_themselves(bench: Bench) -> None:
    writers = in_company(bench)
    submitted = bench.failpoints.hits("submitted")
    assert writers[0].write("insert", {"id": 10, "n": "n" * 3000}) == [[10], []]
    assert writers[1].write("insert", {"id": 11}, {"id": 12}) == [[11, 12], []]
    assert bench.failpoints.hits("submitted") == submitted


def test_a_write_that_knows_old_names_is_made_anew(bench: Bench) -> None:
    """Its names have changed between its encoding and its turn."""
    writers = in_company(bench)
    other, commits = bench.hand(), bench.failpoints.hits("unlocked")
    send_together(bench, writers, [new(number) for number in range(WRITERS)])
    other.send("create_attribute", "fresh")
    wait_until(lambda: bench.failpoints.hits("unlocked") == commits + 1)
    bench.failpoints.clear("sync_locked")
    assert answers(writers) == [[[10], []], [[11], []], [[12], []]]
    assert other.reply() is True
    assert agree(bench).keys() == {"0", "1", "2", "3", "10", "11", "12"}


@pytest.mark.parametrize(
    ("step", "nth"),
    [
        *[(step, 1) for step in ("locked", "written", "slot", "published", "unlocked")],
        *[(step, 1) for step in ("sync", "synced", "turned", "visible")],
        *[(step, nth) for step in ("composed", "half_written") for nth in range(1, WRITERS + 1)],
    ],
)
def test_whoever_serves_may_die(bench: Bench, step: str, nth: int) -> None:
    writers = in_company(bench)
    send_together(bench, writers, [new(number) for number in range(WRITERS)])
    bench.failpoints.set(step, KILL, nth)
    bench.failpoints.clear("sync_locked")
    found = answers(writers)
    assert found.count(None) == 1
    written = {str(10 + number) for number in range(WRITERS) if found[number] == [[10 + number], []]}
    assert len(written) == WRITERS - 1
    dead = str(10 + found.index(None))
    assert agree(bench).keys() - {dead} == {"0", "1", "2", "3"} | written


@pytest.mark.parametrize("closed", [False, True])
def test_frames_that_a_dead_one_has_left_do_not_follow_on_later_ones(bench: Bench, closed: bool) -> None:
    """It wrote three, none published; then another, as long as the first of them, takes its place."""
    writers, other = in_company(bench), bench.hand()
    log = other.ask("log")
    send_together(bench, writers, [new(number) for number in range(WRITERS)])
    slots = bench.failpoints.hits("slot")
    bench.failpoints.set("slot", WAIT)
    bench.failpoints.clear("sync_locked")
    wait_until(lambda: bench.failpoints.hits("slot") > slots)
    for writer in writers:
        writer.kill()
    bench.failpoints.clear("slot")
    if closed:
        other.ask("close")
        other = bench.hand()
    assert other.ask("reclaim_slots") >= 0  # which gives up what they have left in their seats
    assert other.write("insert", {"id": 50, "n": 5}) == [[50], []]
    assert other.ask("log") == [*log, log[-1] + 1]
    assert agree(bench).keys() == {"0", "1", "2", "3", "50"}


def test_who_waits_in_a_seat_may_die(bench: Bench) -> None:
    writers = in_company(bench)
    bench.failpoints.set("submitted", KILL, 2)
    send_together(bench, writers, [new(number) for number in range(WRITERS)])
    bench.failpoints.clear("sync_locked")
    found = answers(writers)
    assert found.count(None) == 1
    written = {str(10 + number) for number in range(WRITERS) if found[number] == [[10 + number], []]}
    assert agree(bench).keys() - {str(10 + found.index(None))} == {"0", "1", "2", "3"} | written


def test_what_a_dead_one_has_left_in_a_seat_does_not_happen_after_somebody_has_looked(bench: Bench) -> None:
    writers = in_company(bench)
    bench.failpoints.set("submitted", KILL, 1)
    assert writers[0].dies_at("write", "insert", [{"id": 10, "n": 1}])
    looker = bench.hand()
    assert looker.ask("rows").keys() == {"0", "1", "2", "3"}
    assert writers[1].write(*new(1)) == [[11], []]
    assert agree(bench).keys() == {"0", "1", "2", "3", "11"}


@pytest.mark.parametrize("step", ["composed", "half_written", "written"])
@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, "DiskFull"), (errno.EIO, "Corrupt")])
def test_what_fails_fails_for_each_by_itself(bench: Bench, step: str, code: int, error: str) -> None:
    writers = in_company(bench)
    before = writers[0].ask("log")
    send_together(bench, writers, [new(number) for number in range(WRITERS)])
    bench.failpoints.set(step, FAIL, code)
    bench.failpoints.clear("sync_locked")
    assert answers(writers) == [error] * WRITERS
    bench.failpoints.clear(step)
    assert writers[0].ask("log") == before
    send_together(bench, writers, [new(number, 2) for number in range(WRITERS)])
    bench.failpoints.clear("sync_locked")
    assert answers(writers) == [[[20], []], [[21], []], [[22], []]]
    assert agree(bench).keys() == {"0", "1", "2", "3", "20", "21", "22"}
