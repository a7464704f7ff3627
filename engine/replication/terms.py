"""What two nodes have agreed on: which tables one sends to the other. Pure values and their merging.

Each node keeps one `Neighbour` per other node it has subscriptions with, its own view of a register that both share.
Every change carries a stamp; the larger stamp wins, per table, and a removal wins over every term with a smaller one.
Merging is therefore commutative and idempotent: whatever the order in which the two learn of each other's changes, and
whoever was down meanwhile, both end with the same terms. The last bit of a stamp tells which of the two nodes made it,
so that two changes never tie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from engine.replication.messages import Agree, Stream, Term


@dataclass(frozen=True, slots=True)
class Subscription:
    """One table between this node and a neighbour.

    `start_time` and `stamp` are in microseconds (the stamp doubled, see above). `joined`: the rows that were there
    before have been brought over, the stream of transactions is followed from here on. `table_id`: which table it was
    made for; a table of the same name made later is another one. `reached`: up to where in this node's log of the table
    the other has everything."""

    publish: bool
    subscribe: bool
    stamp: int
    start_time: int | None = None
    joined: bool = False
    table_id: str | None = None
    reached: int = 0

    @property
    def live(self) -> bool:
        return self.publish or self.subscribe


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another node as this one keeps it in `system.hdb_nodes`; without subscriptions it is the memory of a removal."""

    name: str
    uuid: str
    removed: int = 0
    subscriptions: Mapping[Stream, Subscription] = field(default_factory=dict)
    clustering_port: int | None = None
    operations_port: int | None = None

    def next_stamp(self, now: int, own_uuid: str) -> int:
        """A stamp later than all in here; `now` in microseconds."""
        latest = max((self.removed, *(s.stamp for s in self.subscriptions.values())))
        return max(now, latest // 2 + 1) * 2 + (own_uuid > self.uuid)

    def with_terms(self, terms: Iterable[tuple[Stream, Subscription]]) -> Neighbour:
        return replace(self, subscriptions={**self.subscriptions, **dict(terms)})

    def without_terms(self, stamp: int) -> Neighbour:
        return replace(self, removed=stamp, subscriptions={})

    def agreement(self, primary_keys: Mapping[Stream, str]) -> Agree:
        """This view on the wire; `primary_keys` are those of the tables that this node has."""
        terms = [
            Term(*stream, s.stamp, s.publish, s.subscribe, s.start_time, primary_keys.get(stream))
            for stream, s in sorted(self.subscriptions.items())
        ]
        return Agree(self.removed, terms)

    def agrees(self, theirs: Agree) -> bool:
        """Whether the other's view is this one, mirrored (a stamp belongs to one change only)."""
        return {t.stream: t.stamp for t in theirs.terms} == {n: s.stamp for n, s in self.subscriptions.items()}

    def merged(self, theirs: Agree) -> Neighbour:
        """This view after learning the other's."""
        removed = max(self.removed, theirs.removed)
        subscriptions = dict(self.subscriptions)
        for term in theirs.terms:
            mine = subscriptions.get(term.stream)
            if mine is None or term.stamp > mine.stamp:
                subscriptions[term.stream] = mirrored(term, mine)
        kept = {stream: s for stream, s in subscriptions.items() if s.stamp > removed}
        return replace(self, removed=removed, subscriptions=kept)


def mirrored(term: Term, before: Subscription | None, table_id: str | None = None) -> Subscription:
    """The other's term from this side, as what follows on `before`."""
    after = Subscription(term.subscribe, term.publish, term.stamp, term.start_time, table_id=table_id)
    return continued(before, after)


def continued(before: Subscription | None, after: Subscription) -> Subscription:
    """A changed subscription: what was joined stays joined, if the same table was subscribed to throughout."""
    if before is None:
        return after
    same_table = before.table_id == after.table_id
    return replace(
        after,
        joined=same_table and before.joined and before.subscribe and after.subscribe,
        reached=before.reached if same_table and before.publish and after.publish else 0,
    )
