"""The experiment of test_kills.py, run as a process of its own: python killing.py DIRECTORY SEED KILLS HITS WRITES

Four writers, four readers and one keeper (checkpoints, compaction) work on one table and are killed, at failpoints and
at random; or stopped while they hold a lock, and later continued or killed. A failpoint that everybody passes kills at
one of its next HITS hits. What a writer does it writes down before (intent) and after (acknowledgement), in a file that
outlives it. Whoever follows a killed writer finds its records as they were either before or after the request that was
under way; readers find every record whole, every request whole, and everything that was acknowledged before they
looked. It ends after so many kills, when so many writes are acknowledged.

Prints one JSON object: what was killed and stopped where, how often each failpoint was passed, and what was wrong.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from failpoints import KILL, NUMBERS, STOP, Failpoints

from engine import keys
from engine.compaction import compact, finish
from engine.errors import Conflict, KennelError
from engine.history import History
from engine.process import die_with
from engine.store import Store

WRITERS, READERS = 4, 4
TEAM = 4  # records that are always written together
KILLS_PER_TABLE = 25
DEADLINE = 30.0  # seconds without any progress: somebody hangs
COMMIT_PATH = (
    "locked", "composed", "half_written", "written", "slot", "published", "unlocked", "sync_locked", "sync", "synced",
    "turned", "visible",
)  # fmt: skip
RARE = (
    "read", "roll", "grow", "prepared", "activated", "begun", "checkpoint", "slot_written", "copied", "gathered",
    "adopting", "adopted", "anchored", "removed", "submitted", "yielded",
)  # fmt: skip
HOLDING = (  # steps with a lock held
    "locked", "composed", "half_written", "written", "slot", "published", "sync_locked", "yielded", "sync", "synced",
    "turned", "visible", "roll", "prepared", "activated", "adopting", "adopted",
)  # fmt: skip

Row = dict[str, Any]


# --- records and what requests do to them ----------------------------------------------------------------------------


def seal(record: Row) -> Row:
    """With a checksum over its own fields; those named x… may be dropped from the table, and are left out."""
    return record | {"sum": checksum(record)}


def checksum(record: Row) -> int:
    own = {name: value for name, value in record.items() if name[0] not in "x_" and name != "sum"}
    return zlib.crc32(json.dumps(own, sort_keys=True).encode())


def apply(rows: dict[str, Row], request: Row) -> None:
    """What the request makes of the writer's records."""
    kind = request["kind"]
    if kind == "drop":
        for row in rows.values():
            row.pop(request["name"], None)
    elif kind == "delete":
        for key in request["keys"]:
            rows.pop(key, None)
    elif kind != "count":
        for record in request["records"]:
            if kind == ("insert" if record["id"] in rows else "update"):
                continue
            rows.setdefault(record["id"], {}).update(record)


def own_rows(store: Store, writer: int) -> dict[str, Row]:
    view = store.view()
    try:
        listed = view.scan("id", keys.starts_with(f"{writer}-"))
        return {row["id"]: {name: value for name, value in row.items() if name[0] != "_"} for row in listed}
    finally:
        view.close()


# --- the files that outlive a process --------------------------------------------------------------------------------


class Experiment:
    def __init__(self, directory: Path, table_id: bytes) -> None:
        self.directory = directory
        self.table_id = table_id
        self.failures = directory / "failures"
        self.table = directory / "table"

    def open(self) -> Store:
        return Store(str(self.table), self.table_id)

    def diary(self, writer: int) -> Path:
        return self.directory / f"diary-{writer}"

    def complain(self, text: str) -> None:
        with self.failures.open("a") as file:
            file.write(text + "\n")

    def entries(self, writer: int) -> Iterator[Row]:
        """A line that ends early is that of a process killed while it wrote it: it had not begun what it says."""
        lines = self.diary(writer).read_text().splitlines() if self.diary(writer).exists() else []
        for line in lines:
            if line.endswith("}"):
                yield json.loads(line)

    def read_diary(self, writer: int) -> tuple[dict[str, Row], Row | None, int, int]:
        """The records after all acknowledged requests; the request that is in doubt; the number of the last request;
        how often the writer has counted."""
        rows: dict[str, Row] = {}
        doubtful: Row | None = None
        number = counted = 0
        for entry in self.entries(writer):
            if "kind" in entry:
                doubtful, number = entry, entry["number"]
            elif entry.get("acknowledged", entry.get("found")) is not False:
                if doubtful is None:
                    raise AssertionError("an acknowledgement without a request")
                apply(rows, doubtful)
                counted += doubtful["kind"] == "count"
                doubtful = None
            else:
                doubtful = None
        return rows, doubtful, number, counted


# --- workers ---------------------------------------------------------------------------------------------------------


class Writer:
    def __init__(self, experiment: Experiment, number: int, seed: int, beat: Callable[[], None]) -> None:
        self.experiment = experiment
        self.writer = number
        self.random = random.Random(seed)
        self.beat = beat
        self.diary = os.open(experiment.diary(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self.diary, b"\n")
        self.store = experiment.open()
        self.rows, doubtful, self.number, _ = experiment.read_diary(number)
        if doubtful is not None:
            self._resolve(doubtful)
        self._compare()

    def _write(self, entry: Row) -> None:
        os.write(self.diary, (json.dumps(entry) + "\n").encode())

    def _resolve(self, doubtful: Row) -> None:
        """The request under which the last process died has happened, whole, or it has not."""
        self.store.sync()
        found = own_rows(self.store, self.writer)
        after = json.loads(json.dumps(self.rows))
        apply(after, doubtful)
        if found not in (self.rows, after):
            self.experiment.complain(
                f"writer {self.writer}: {doubtful} was done by halves: {difference(self.rows, found)}"
            )
        happened = found == after
        self._write({"found": happened})
        if happened:
            self.rows = after

    def _compare(self) -> None:
        found = own_rows(self.store, self.writer)
        if found != self.rows:
            self.experiment.complain(f"writer {self.writer} after {self.number}: {difference(self.rows, found)}")

    def run(self) -> None:
        while True:
            self.beat()
            self.number += 1
            request = self._request()
            self._write(request)
            self._do(request)
            self._write({"acknowledged": request["number"]})
            if self.number % 8 == 0:
                self._compare()

    def _key(self) -> str:
        return f"{self.writer}-{self.random.randrange(40):02}" + "k" * self.random.choice([0, 0, 0, 400])

    def _keys(self) -> list[str]:
        """Often a single one: small writes of single records are committed together with those of others."""
        return sorted({self._key() for _ in range(self.random.choice([1, 1, 1, 3]))})

    def _record(self, key: str) -> Row:
        choose = self.random
        record: Row = {"id": key, "writer": self.writer, "number": self.number, "value": choose.randrange(20)}
        record["text"] = "t" * choose.choice([1, 10, 400, 3000] + [200_000] * (choose.random() < 0.05))
        record["list"] = [choose.randrange(5), "x"]
        return seal(record)

    def _request(self) -> Row:
        kind = self.random.choice(
            ["insert", "upsert", "upsert", "upsert", "team", "team", "delete", "fresh", "drop", "count"]
        )
        request: Row = {"number": self.number, "kind": kind}
        if kind == "delete":
            request["keys"] = self._keys()
        elif kind == "drop":
            request["name"] = f"x{self.writer}_{self.random.randrange(5)}"
        elif kind == "team":
            team = [self._record(f"{self.writer}-team-{member}") for member in range(TEAM)]
            request |= {"kind": "upsert", "records": team, "team": True}
        elif kind == "fresh":
            record = self._record(self._key()) | {f"x{self.writer}_{self.random.randrange(5)}": self.number}
            request |= {"kind": "upsert", "records": [record]}
        elif kind != "count":
            request["records"] = [self._record(key) for key in self._keys()]
        return request

    def _do(self, request: Row) -> None:
        kind = request["kind"]
        if kind == "count":
            self._count()
        elif kind == "drop":
            self.store.drop_attribute(request["name"])
        elif kind == "delete":
            expected = [key for key in request["keys"] if key in self.rows]
            self._expect(request, expected, self.store.write("delete", request["keys"], user=f"u{self.writer}")[0])
        else:
            listed = [record["id"] for record in request["records"]]
            expected = [key for key in listed if kind == "upsert" or key not in self.rows]
            self._expect(request, expected, self.store.write(kind, request["records"], user=f"u{self.writer}")[0])
        apply(self.rows, request)

    def _expect(self, request: Row, expected: list[str], written: list[str]) -> None:
        if written != expected:
            self.experiment.complain(f"writer {self.writer}: {request} wrote {written} instead of {expected}")

    def _count(self) -> None:
        """All writers count up one record, each time deciding on a view."""
        while True:
            view = self.store.view()
            try:
                row = view.get("counter")
                self.store.write("update", [seal({"id": "counter", "n": row["n"] + 1})], at=view)
                return
            except Conflict:
                self.beat()
            finally:
                view.close()


def difference(expected: dict[str, Row], found: dict[str, Row]) -> str:
    odd = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    return "; ".join(f"{key}: {short(expected.get(key))} is {short(found.get(key))}" for key in sorted(odd)[:3])


def short(row: Row | None) -> str:
    return repr({name: str(value)[:20] for name, value in row.items()}) if row else "nothing"


class Reader:
    def __init__(self, experiment: Experiment, number: int, seed: int, beat: Callable[[], None]) -> None:
        self.experiment = experiment
        self.random = random.Random(seed)
        self.beat = beat
        self.store = experiment.open()
        self.latest = 0
        self.teams = [0] * WRITERS

    def run(self) -> None:
        while True:
            self.beat()
            promised = [self._promised(writer) for writer in range(WRITERS)]
            view = self.store.view()
            self._look(view, promised)
            if self.random.random() < 0.3:
                before = list(view.scan("id", keys.EVERYTHING))
                time.sleep(self.random.random() * 0.02)
                if list(view.scan("id", keys.EVERYTHING)) != before:
                    self.experiment.complain("a view has changed")
            if self.random.random() < 0.1:
                view.check()
            view.close()

    def _promised(self, writer: int) -> int:
        """The number of the last acknowledged team, from the end of the writer's diary."""
        try:
            with self.experiment.diary(writer).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 100_000))
                lines = file.read().splitlines()[1:]
        except FileNotFoundError:
            return 0
        last = team = 0
        for line in lines:
            if line.startswith(b'{"acknowledged"'):
                last = max(last, team)
            elif b'"team": true' in line[-20:] and line.startswith(b'{"number"'):
                team = int(line[len(b'{"number": ') : line.index(b",")])
            else:
                team = 0
        return last

    def _look(self, view: Any, promised: list[int]) -> None:
        complain = self.experiment.complain
        if view.seq < self.latest:
            complain(f"a reader went back from {self.latest} to {view.seq}")
        self.latest = view.seq
        rows = {row["id"]: row for row in view.scan("id", keys.EVERYTHING)}
        if len(rows) != view.count() or view.count_in("id", keys.EVERYTHING) != len(rows):
            complain(f"{len(rows)} rows, but a count of {view.count()}")
        for key, row in rows.items():
            if row["sum"] != checksum(row):
                complain(f"torn: {key} {short(row)}")
        for writer in range(WRITERS):
            numbers = {rows[key]["number"] if key in rows else 0 for key in members(writer)}
            if len(numbers) != 1:
                complain(f"half a request of writer {writer}: {numbers}")
            number = max(numbers)
            if number < max(promised[writer], self.teams[writer]):
                complain(f"writer {writer}: {number} is seen after {promised[writer]} was acknowledged")
            self.teams[writer] = number
        name = self.random.choice(["value", "number", "text", "list"])
        if name in view.attributes:
            indexed = sorted(view.keys(name, keys.EVERYTHING))
            if indexed != sorted(key for key, row in rows.items() if name in row):
                complain(f"the index of {name} does not agree with the records")


def members(writer: int) -> list[str]:
    return [f"{writer}-team-{member}" for member in range(TEAM)]


class Keeper:
    def __init__(self, experiment: Experiment, number: int, seed: int, beat: Callable[[], None]) -> None:
        self.store = experiment.open()
        self.random = random.Random(seed)
        self.beat = beat

    def run(self) -> None:
        while True:
            self.beat()
            self.store.reclaim_slots()
            finish(self.store)
            now = time.time_ns() // 1000
            if not compact(self.store, keep_from=self.store.generation + 1, forget_before=now, largest=64 << 20):
                self.store.checkpoint()
            time.sleep(self.random.random() * 0.03)


CAST: list[tuple[type[Writer] | type[Reader] | type[Keeper], int]] = [
    *[(Writer, number) for number in range(WRITERS)],
    *[(Reader, number) for number in range(READERS)],
    (Keeper, 0),
]


# --- the killer ------------------------------------------------------------------------------------------------------


class Killer:
    def __init__(self, directory: Path, seed: int, kills: int, hits: int, writes: int, failpoints: Failpoints) -> None:
        self.directory = directory
        self.random = random.Random(seed)
        self.wanted = kills
        self.writes = writes
        self.hits = hits
        self.failpoints = failpoints
        self.kills: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.failures: list[str] = []
        self.acknowledged = 0  # writes
        self.beats = mmap.mmap(-1, 8 * len(CAST))
        self.workers: dict[int, int] = {}  # pid -> place in the cast
        self.progress = [(0, 0.0)] * len(CAST)  # the last beat seen, and when it was new

    def run(self) -> None:
        tables = 0
        while not self.failures and (sum(self.kills.values()) < self.wanted or self.acknowledged < self.writes):
            self._one_table(self.directory / f"{tables}")
            tables += 1

    def _one_table(self, directory: Path) -> None:
        directory.mkdir()
        experiment = Experiment(directory, uuid.uuid4().bytes)
        Store.create(str(experiment.table), experiment.table_id)
        store = experiment.open()
        store.write("insert", [seal({"id": "counter", "n": 0})])
        store.close()
        end = sum(self.kills.values()) + KILLS_PER_TABLE
        try:
            while sum(self.kills.values()) < end and not self._failed(experiment):
                self._fill_the_cast(experiment)
                self._kill_somebody(experiment)
                self._bury()
                self._look_for_hangs(experiment)
        finally:
            for pid in self.workers:
                os.kill(pid, signal.SIGKILL)
            self._bury(all_of_them=True)
        if not self._failed(experiment):
            self._verify(experiment)
        if not self._failed(experiment):
            shutil.rmtree(directory)

    def _failed(self, experiment: Experiment) -> bool:
        if experiment.failures.exists():
            self.failures = experiment.failures.read_text().splitlines()[:20]
        return bool(self.failures)

    def _fill_the_cast(self, experiment: Experiment) -> None:
        for place, (role, number) in enumerate(CAST):
            if place not in self.workers.values():
                seed = self.random.getrandbits(30)
                self.progress[place] = (self._beats_of(place), time.monotonic())
                killer, pid = os.getpid(), os.fork()
                if pid == 0:
                    die_with(killer)
                    work(experiment, role, number, seed, lambda place=place: self._beat(place))
                self.workers[pid] = place

    def _beat(self, place: int) -> None:
        self.beats[place * 8 : place * 8 + 8] = struct.pack("<Q", self._beats_of(place) + 1)

    def _beats_of(self, place: int) -> int:
        return int(struct.unpack_from("<Q", self.beats, place * 8)[0])

    def _look_for_hangs(self, experiment: Experiment) -> None:
        for place in self.workers.values():
            beats, since = self.progress[place]
            if self._beats_of(place) != beats:
                self.progress[place] = (self._beats_of(place), time.monotonic())
            elif time.monotonic() - since > DEADLINE:
                role, number = CAST[place]
                experiment.complain(f"{role.__name__} {number} has made no progress for {DEADLINE} s")

    def _kill_somebody(self, experiment: Experiment) -> None:
        turn = sum(self.kills.values())
        if turn % 23 == 22:
            time.sleep(self.random.random() * 0.02)
            for pid in self.workers:
                os.kill(pid, signal.SIGKILL)
            self._bury(all_of_them=True)
            self.kills["all at once"] += 1
        elif turn % 4 == 3:
            time.sleep(self.random.random() * 0.03)
            pid = self.random.choice(list(self.workers))
            os.kill(pid, signal.SIGKILL)
            self._note_death(*os.waitpid(pid, 0))
            self.kills["at random"] += 1
        elif turn % 8 == 6:
            self._stop_a_holder(experiment)
        else:
            name = self.random.choice(COMMIT_PATH + COMMIT_PATH + RARE)
            self.failpoints.set(name, KILL, self._hits_of(name))
            if self._wait_for_a_death(experiment, 2.0 if name in RARE else DEADLINE):
                self.kills[name] += 1
            self.failpoints.clear(name)

    def _hits_of(self, name: str) -> int:
        return self.random.randint(1, 3 if name in RARE else self.hits)

    def _stop_a_holder(self, experiment: Experiment) -> None:
        """Readers go on all the same; the writers wait, until it goes on or dies."""
        name = self.random.choice(HOLDING)
        self.failpoints.set(name, STOP, self._hits_of(name))
        pid = self._wait_for_a_stop(experiment, 2.0 if name in RARE else DEADLINE)
        self.failpoints.clear(name)
        if pid == 0:
            return
        self.stops[name] += 1
        self._wait_for_readers(experiment)
        time.sleep(self.random.random() * 0.05)
        if self.random.random() < 0.5:
            os.kill(pid, signal.SIGCONT)
            return
        os.kill(pid, signal.SIGKILL)
        self._note_death(*os.waitpid(pid, 0))
        self.kills["stopped"] += 1

    def _wait_for_a_stop(self, experiment: Experiment, seconds: float) -> int:
        """Its pid, 0 if there is none in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                return pid
            if pid:
                self._note_death(pid, status)
                return 0
            time.sleep(0.001)
        if seconds == DEADLINE:
            experiment.complain(f"nobody passed a failpoint of the commit path in {DEADLINE} s")
        return 0

    def _wait_for_readers(self, experiment: Experiment) -> None:
        """Until each that has begun to read has looked at the table once more."""
        places = [place for place in self.workers.values() if CAST[place][0] is Reader and self._has_begun(place)]
        before = {place: self._beats_of(place) for place in places}
        deadline = time.monotonic() + DEADLINE
        while any(self._beats_of(place) < before[place] + 2 for place in places):
            if time.monotonic() > deadline:
                experiment.complain("a reader waits for somebody who holds a lock")
                return
            time.sleep(0.001)

    def _has_begun(self, place: int) -> bool:
        return self._beats_of(place) > self.progress[place][0]

    def _wait_for_a_death(self, experiment: Experiment, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                self._note_death(pid, status)
                return True
            time.sleep(0.001)
        if seconds == DEADLINE:
            experiment.complain(f"nobody passed a failpoint of the commit path in {DEADLINE} s")
        return False

    def _note_death(self, pid: int, status: int) -> None:
        place = self.workers.pop(pid)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            role, number = CAST[place]
            self.failures.append(f"{role.__name__} {number} ended by itself: {status}")

    def _bury(self, all_of_them: bool = False) -> None:
        while self.workers:
            pid, status = os.waitpid(-1, 0 if all_of_them else os.WNOHANG)
            if not pid:
                break
            self._note_death(pid, status)

    # --- the end of a table

    def _verify(self, experiment: Experiment) -> None:
        """As it is attached to; as it is recovered from the last checkpoint; and from the log alone.

        One more write comes first: a recovery may find a frame that a writer was killed over before it was published,
        but not after another took its place."""
        store = experiment.open()
        store.write("upsert", [seal({"id": "the end"})])
        self.acknowledged += sum(
            "acknowledged" in entry for number in range(WRITERS) for entry in experiment.entries(number)
        )
        rows = self._verify_rows(experiment, store)
        store.close()
        for name in ("shared.shm", "index.kbt"):
            (experiment.table / "shared.shm").unlink(missing_ok=True)
            (experiment.table / name).unlink(missing_ok=True)
            store = experiment.open()
            recovered = self._verify_rows(experiment, store)
            if recovered != rows:
                experiment.complain(f"recovery without {name} gives other rows: {difference(rows, recovered)}")
            self._verify_log(experiment, store)
            store.close()

    def _verify_rows(self, experiment: Experiment, store: Store) -> dict[str, Row]:
        try:
            store.check()
        except KennelError as error:
            experiment.complain(f"check: {error}")
        counted = doubtful_counts = 0
        for writer in range(WRITERS):
            rows, doubtful, _, count = experiment.read_diary(writer)
            counted += count
            found = own_rows(store, writer)
            after = json.loads(json.dumps(rows))
            if doubtful is not None:
                apply(after, doubtful)
                doubtful_counts += doubtful["kind"] == "count"
            if found not in (rows, after):
                experiment.complain(f"at the end, writer {writer}: {difference(rows, found)}")
        view = store.view()
        listed = {row["id"]: row for row in view.scan("id", keys.EVERYTHING)}
        counter = listed["counter"]["n"]
        view.close()
        # a count whose writer died may have happened; its successor cannot tell, the rows are the same
        if not counted_for_certain(experiment) <= counter <= counted + doubtful_counts:
            experiment.complain(f"counted {counted}, and {doubtful_counts} in doubt, but the counter says {counter}")
        return listed

    def _verify_log(self, experiment: Experiment, store: Store) -> None:
        """Compaction leaves gaps; what has a number twice, or backwards, was never in the log."""
        history = History(store)
        seen = 0
        while found := history.read(seen):
            numbers = [seen, *(each.seq for each in found)]
            if numbers != sorted(set(numbers)):
                experiment.complain(f"the log is out of order after {seen}")
            seen = found[-1].seq
        if seen != store.generation:
            experiment.complain(f"the log ends at {seen}, the table at {store.generation}")


def counted_for_certain(experiment: Experiment) -> int:
    """How many counts were acknowledged by the store itself."""
    total = 0
    for writer in range(WRITERS):
        kind = ""
        for entry in experiment.entries(writer):
            total += kind == "count" and "acknowledged" in entry
            kind = entry.get("kind", "")
    return total


def work(
    experiment: Experiment, role: type[Writer] | type[Reader] | type[Keeper], number: int, seed: int, beat: Any
) -> None:
    """In the child; never returns."""
    try:
        role(experiment, number, seed, beat).run()
    except BaseException as error:  # whatever it is, it goes into the report
        experiment.complain(f"{role.__name__} {number}: {error!r}")
    finally:
        os._exit(1)


def main() -> None:
    directory, numbers = Path(sys.argv[1]), map(int, sys.argv[2:])
    killer = Killer(directory, *numbers, Failpoints(Path(os.environ["KENNEL_FAILPOINTS"])))
    killer.run()
    print(
        json.dumps(
            {
                "kills": killer.kills,
                "stops": killer.stops,
                "hits": {name: killer.failpoints.hits(name) for name in NUMBERS},
                "acknowledged": killer.acknowledged,
                "failures": killer.failures,
            }
        )
    )


if __name__ == "__main__":
    main()
