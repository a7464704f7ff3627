"""Works on real tables: what leaves one table enters another whole, once, and nothing that is wrong stops the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import engine
from engine.replication.apply import Storage
from engine.replication.aside import Aside
from engine.replication.messages import Entry, Origin, Stream
from engine.replication.terms import Neighbour, Subscription
from engine.replication.works import (
    Apply,
    Chunk,
    CreateTable,
    Describe,
    ForgetNeighbour,
    Locate,
    Look,
    MergeRows,
    RaiseVector,
    ReadLog,
    ReadPast,
    ReadRows,
    RenewEpoch,
    SaveNeighbour,
)

DOG = Stream("dev", "dog")


class Place:
    """One node with the table dev.dog."""

    def __init__(self, root: Path) -> None:
        self.node = engine.open_node(root)
        self.table = self.node.create_table("dev", "dog")
        self.aside = Aside(root)
        self.storage = Storage(self.node, self.aside)

    @property
    def origin(self) -> Origin:
        own = self.table.feed.own
        return Origin(own.node, own.epoch)

    def entries(self) -> list[Entry]:
        """Everything that this node wrote itself."""
        position, found = 0, []
        while True:
            chunk: Chunk = self.storage.perform(ReadLog(DOG, position, frozenset([self.origin]), 1000))
            found += chunk.entries
            position = chunk.position
            if position >= chunk.head:
                return found

    def apply(self, entries: list[Entry]) -> list[str]:
        return self.storage.perform(Apply(DOG, self.table.id, entries))

    def rows(self) -> list[dict[str, object]]:
        with self.table.view() as view:
            return list(view.scan("id"))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    places = Place(tmp_path / "north"), Place(tmp_path / "south")
    yield places
    for place in places:
        place.node.close()


def test_transactions_are_applied_whole_once_and_in_order(two: tuple[Place, Place]) -> None:
    north, south = two
    north.table.insert([{"id": key, "name": "x" * key} for key in range(100)], user="alice")
    north.table.update([{"id": 5, "more": {"a": [1, None, 2.5]}}])
    north.table.delete([7, 8])
    entries = north.entries()
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert south.apply([entries[1]]) == ["gap"]
    assert south.apply(entries) == ["applied"] * 3
    assert south.apply(entries) == ["duplicate"] * 3
    assert south.rows() == north.rows()
    assert [t.user for t in south.table.transactions()] == ["alice", None, None]


def test_the_later_write_wins_wherever_it_arrives_last(two: tuple[Place, Place]) -> None:
    north, south = two
    north.table.insert([{"id": 1, "from": "north"}])
    south.table.insert([{"id": 1, "from": "south"}])
    from_north, from_south = north.entries(), south.entries()
    north.apply(from_south)
    south.apply(from_north)
    assert north.rows() == south.rows()
    assert north.rows()[0]["from"] == "south"


@pytest.mark.parametrize(
    "payload",
    [
        b"garbage",
        b"",
        b'["u","insert",[["a"]],[["put",{"an":"object"},5,5,0,[1]]]]',
        b'["u","insert",[["id"]],[["put",1,5,5,0,[2]]]]',
        b'["u","insert",[["id"]],[["put",1,99999999999999999,5,0,[1]]]]',
    ],
)
def test_what_cannot_be_applied_is_set_aside_and_the_rest_goes_on(two: tuple[Place, Place], payload: bytes) -> None:
    north, south = two
    for key in range(3):
        north.table.insert([{"id": key}])
    entries = north.entries()
    entries[1] = msgspec.structs.replace(entries[1], payload=payload)
    assert south.apply(entries) == ["applied", "aside", "applied"]
    assert [row["id"] for row in south.rows()] == [0, 2]
    assert south.apply(entries) == ["duplicate"] * 3
    again = Aside(south.node.root)
    assert again.counts[DOG] == south.aside.counts[DOG] == 1
    (line,) = (south.node.root / "replication" / "aside.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert (kept["table"], kept["number"], kept["content"]) == ("dog", 2, payload.decode())
    assert south.storage.perform(Look(DOG)).set_aside == 1


def test_where_to_begin_is_found_from_the_end_of_the_log(two: tuple[Place, Place]) -> None:
    north, south = two
    for key in range(300):
        north.table.upsert([{"id": key % 7}])
        if key % 3 == 0:
            south.table.upsert([{"id": key % 5}])
    north.apply(south.entries())
    last = {north.origin: 300, south.origin: 100}
    for have in (0, 1, 150, 299, 300):
        for other in (0, 50, 99, 100):
            wants = {north.origin: have, south.origin: other}
            located = north.storage.perform(Locate(DOG, wants))
            assert located.short == frozenset()
            chunk_after, seen = located.position, dict(wants)
            while chunk_after < located.head:
                chunk = north.storage.perform(ReadLog(DOG, chunk_after, frozenset(wants), 5000))
                for entry in chunk.entries:
                    if entry.number > seen[entry.origin]:
                        assert entry.number == seen[entry.origin] + 1
                        seen[entry.origin] += 1
                chunk_after = chunk.position
            assert seen == last


def test_a_log_that_does_not_reach_back_says_so(two: tuple[Place, Place]) -> None:
    north, south = two
    for key in range(10):
        south.table.insert([{"id": key}])
    names = {south.origin.node: "south"}
    north.storage.perform(RaiseVector(DOG, north.table.id, {south.origin: 6}, names))
    assert north.apply(south.entries()[6:]) == ["applied"] * 4
    assert north.storage.perform(Locate(DOG, {south.origin: 0})).short == {south.origin}
    assert north.storage.perform(Locate(DOG, {south.origin: 5})).short == {south.origin}
    assert north.storage.perform(Locate(DOG, {south.origin: 6})).short == frozenset()


def test_the_vector_of_a_former_time(two: tuple[Place, Place]) -> None:
    north, south = two
    versions = [north.table.upsert([{"id": key}]).version for key in range(200)]
    past = north.storage.perform(ReadPast(DOG, versions[120])).vector
    assert past == {north.origin: 120}
    assert north.storage.perform(ReadPast(DOG, 0)).vector == {north.origin: 0}
    assert north.storage.perform(ReadPast(DOG, versions[-1] + 1)).vector == {north.origin: 200}
    south.apply(north.entries())
    assert south.storage.perform(ReadPast(DOG, versions[120])).vector == {north.origin: 120, south.origin: 0}


def test_rows_and_tombstones_come_over_and_the_later_ones_win(two: tuple[Place, Place]) -> None:
    north, south = two
    south.table.insert([{"id": key, "from": "south"} for key in range(50)])
    north.table.insert([{"id": key, "from": "north"} for key in range(25, 1000)])
    north.table.delete([30, 31])
    south.table.update([{"id": 40, "from": "south again"}])

    def bring(source: Place, target: Place) -> None:
        after = None
        while True:
            chunk = source.storage.perform(ReadRows(DOG, None, after, 4000))
            target.storage.perform(MergeRows(DOG, target.table.id, chunk.rows))
            after = chunk.after
            if after is None:
                return

    bring(north, south)
    bring(south, north)
    assert north.rows() == south.rows()
    assert len(north.rows()) == 998
    assert {row["id"]: row["from"] for row in north.rows()}[40] == "south again"
    head = south.table.feed.head
    bring(north, south)
    assert south.table.feed.head == head, "rows that are there already leave no trace"


def test_only_rows_since_a_time(two: tuple[Place, Place]) -> None:
    north, _ = two
    north.table.insert([{"id": 1}])
    since = north.table.insert([{"id": 2}]).version
    assert len(north.storage.perform(ReadRows(DOG, since, None, 1 << 20)).rows) == 1


def test_a_malformed_row_is_left_out(two: tuple[Place, Place], caplog: pytest.LogCaptureFixture) -> None:
    north, south = two
    north.table.insert([{"id": 1}])
    rows = north.storage.perform(ReadRows(DOG, None, None, 1 << 20)).rows
    south.storage.perform(MergeRows(DOG, south.table.id, [b"garbage", *rows]))
    assert south.rows() == north.rows()
    assert "malformed row" in caplog.text


def test_a_table_made_anew_takes_nothing_that_was_meant_for_the_former_one(two: tuple[Place, Place]) -> None:
    north, south = two
    north.table.insert([{"id": 1}])
    south.node.drop_table("dev", "dog")
    with pytest.raises(engine.NotFound):
        south.apply(north.entries())
    south.node.create_table("dev", "dog")
    with pytest.raises(engine.NotFound):
        south.apply(north.entries())


def test_a_lost_epoch_is_renewed_and_its_transactions_are_taken_back(two: tuple[Place, Place]) -> None:
    north, south = two
    for key in range(3):
        north.table.insert([{"id": key}])
    lost = north.entries()
    south.apply(lost)
    before = north.origin
    north.storage.perform(RenewEpoch(DOG))
    assert north.origin != before
    look = north.storage.perform(Look(DOG))
    assert look.own == north.origin
    assert look.vector == {before: 3, north.origin: 1}  # the renewal itself is the first transaction
    assert north.apply(lost) == ["duplicate"] * 3
    north.table.insert([{"id": 10}])
    assert [entry.number for entry in north.entries()] == [1, 2]
    assert south.apply(north.entries()) == ["applied"] * 2
    assert south.rows() == north.rows()


def test_tables_are_described_and_created_and_the_system_has_none(two: tuple[Place, Place]) -> None:
    north, _ = two
    cat, user = Stream("zoo", "cat"), Stream("system", "hdb_user")
    assert north.storage.perform(Describe((DOG, cat, user))) == {DOG: (north.table.id, "id")}
    made = north.storage.perform(CreateTable(cat, "uid"))
    assert made == north.storage.perform(CreateTable(cat, "id")) == (north.node.table("zoo", "cat").id, "uid")
    with pytest.raises(engine.KennelError):
        north.storage.perform(CreateTable(user, "username"))
    with pytest.raises(engine.NotFound):
        north.storage.perform(ReadRows(user, None, None, 1000))


def test_neighbours_are_kept(two: tuple[Place, Place]) -> None:
    north, _ = two
    subscriptions = {
        DOG: Subscription(True, False, 12, 5, True, "table"),
        Stream("a", "b"): Subscription(True, True, 14),
    }
    south = Neighbour("south", "uuid", 3, subscriptions, 9932, 9925)
    north.storage.perform(SaveNeighbour(south))
    assert north.storage.neighbours() == [south]
    changed = Neighbour("south", "uuid", 20)
    north.storage.perform(SaveNeighbour(changed))
    assert north.storage.neighbours() == [changed]
    north.storage.perform(ForgetNeighbour("south"))
    assert north.storage.neighbours() == []
