"""How many durable commits writers on one table can reach: a model of engine/sync.pyx, `python -m bench.group_commit`.

Seats are not in it: writers commit by themselves. They prepare a commit, take the writer mutex, apply the commit, and
wait until a sync covers it. All of that takes turns on the cores; only the disk itself does not. The costs are those of
the 2-core development machine (µs).
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

SECOND = 1_000_000.0  # µs

Step = tuple[str, float] | tuple[str, "deque[Writer]"]
Writer = Generator[Step, None, None]


@dataclass(frozen=True, slots=True)
class Costs:
    prepare: float = 25  # before the writer mutex
    apply: float = 20  # under it
    submit: float = 25  # of a sync, on a core, before the disk has it and after
    disk: float = 75  # of a sync, without a core
    wake: float = 9  # for him who wakes somebody on another core
    delay: float = 16  # until the woken runs, if a core is free
    cores: int = 2
    in_flight: int = 1  # syncs at once

    @property
    def bare(self) -> float:
        """Syncs per second of a process that does nothing else."""
        return SECOND / (2 * self.submit + self.disk)


@dataclass(slots=True)
class Model:
    costs: Costs
    now: float = 0.0
    free: int = 0
    head: int = 0
    synced: int = 0
    syncing: int = 0
    syncs: int = 0
    running: int = 0
    locked: bool = False
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    ready: deque[tuple[Writer, float]] = field(default_factory=deque)
    at_mutex: deque[Writer] = field(default_factory=deque)
    queued: deque[Writer] = field(default_factory=deque)
    covered: deque[Writer] = field(default_factory=deque)

    def run(self, writers: int, until: float) -> tuple[float, float]:
        """(commits per second, commits per sync)."""
        self.free = self.costs.cores
        for _ in range(writers):
            self.go_on(self.writer())
        while self.now < until:
            self.now, _, event = heapq.heappop(self.events)
            event()
        return self.synced / until * SECOND, self.synced / self.syncs

    def later(self, delay: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay, next(self.numbers), event))

    def go_on(self, writer: Writer) -> None:
        """Has a writer take its next step: compute on a core, leave the cores alone for a time, or sleep in a place."""
        kind, what = next(writer)
        if isinstance(what, deque):
            what.append(writer)
        elif kind == "disk":
            self.later(what, lambda: self.go_on(writer))
        else:
            self.ready.append((writer, what))
            self.occupy()

    def occupy(self) -> None:
        while self.free and self.ready:
            writer, cost = self.ready.popleft()
            self.free -= 1
            self.later(cost, lambda writer=writer: self.leave(writer))  # type: ignore[misc]

    def leave(self, writer: Writer) -> None:
        self.free += 1
        self.go_on(writer)
        self.occupy()

    def wake(self, sleeping: deque[Writer], most: int) -> float:
        """Wakes up to so many; gives what that costs."""
        woken = [sleeping.popleft() for _ in range(min(most, len(sleeping)))]
        for number, writer in enumerate(woken):
            self.later(number * self.costs.wake + self.costs.delay, lambda writer=writer: self.go_on(writer))  # type: ignore[misc]
        return len(woken) * self.costs.wake

    def writer(self) -> Writer:
        costs = self.costs
        while True:
            yield "core", costs.prepare
            while self.locked:
                yield "sleep", self.at_mutex
            self.locked = True
            yield "core", costs.apply
            self.head += 1
            mine = self.head
            self.locked = False
            yield "core", self.wake(self.at_mutex, 1)
            while self.synced < mine:
                if self.running and mine <= self.syncing:
                    yield "sleep", self.covered
                elif self.running == costs.in_flight:
                    yield "sleep", self.queued
                else:
                    yield from self.sync()

    def sync(self) -> Writer:
        self.running += 1
        candidate = self.syncing = self.head
        self.covered.extend(self.queued)
        self.queued.clear()
        yield "core", self.costs.submit
        yield "disk", self.costs.disk
        yield "core", self.costs.submit
        self.synced = max(self.synced, candidate)
        self.running -= 1
        self.syncs += 1
        yield "core", self.wake(self.queued, 1) + self.wake(self.covered, len(self.covered))


CASES = {
    "cold caches": Costs(),
    "hot caches": Costs(prepare=10, apply=7),
    "no work at all": Costs(prepare=0, apply=0),
    "cold caches, two syncs at once": Costs(in_flight=2),
    "cold caches, a core for everyone": Costs(cores=64),
    "cold caches, waking costs nothing": Costs(wake=0, delay=0),
}


def main() -> None:
    print(f"{'':36} {'writers':>7} {'commits/s':>10} {'x bare':>7} {'per sync':>9}")
    for (name, costs), writers in itertools.product(CASES.items(), (1, 2, 4, 8)):
        rate, grouped = Model(dataclasses.replace(costs)).run(writers, SECOND)
        print(f"{name:36} {writers:7} {rate:10,.0f} {rate / costs.bare:7.2f} {grouped:9.2f}")


if __name__ == "__main__":
    main()
