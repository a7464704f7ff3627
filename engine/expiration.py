"""Tables whose records expire so many seconds after their last write.

An expired record is gone at once for every read, and for writes: they first remove what has expired under their keys.
The upkeep removes the others, on each node by itself: expiration is not replicated. A view has the time at which it
was opened.

All of it rests on the index of __updatedtime__: a view subtracts the range of it that has expired. While nothing in
that range waits for the upkeep, which is almost always, reads go straight to the store.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby, islice
from typing import Any

from engine import keys
from engine.catalog import TableDefinition
from engine.errors import Conflict
from engine.keys import EVERYTHING, Bounds
from engine.predicates import AllOf, Attribute, Filter, Not, Within
from engine.store import Store, StoreView

UPDATED = "__updatedtime__"
BATCH = 1000  # records removed in one transaction
BATCHES = 100  # of one round of the upkeep

Row = dict[str, Any]


def _now() -> int:
    return time.time_ns() // 1000


clock: Callable[[], int] = _now  # µs since 1970


def expired(seconds: float) -> Bounds:
    """The range of the __updatedtime__ index that has expired by now."""
    return keys.NUMBERS & keys.at_most((clock() - round(seconds * 1_000_000)) / 1000)


def remove_expired(definition: TableDefinition, store: Store) -> int:
    """The upkeep: delete what has expired, on this node only. Returns how many records that were."""
    if definition.expiration is None:
        return 0
    bounds = expired(definition.expiration)
    removed = 0
    for _ in range(BATCHES):
        with contextlib.closing(store.view()) as view:
            gone = list(view.keys(UPDATED, bounds, limit=BATCH))
            if gone:
                removed += _remove(store, view, gone)
        if len(gone) < BATCH:
            break
    return removed


def remove_expired_of(definition: TableDefinition, store: Store, wanted: Iterable[Any]) -> None:
    """Before a write to these keys: delete those that have expired, so that it meets none of them."""
    if definition.expiration is None:
        return
    bounds = expired(definition.expiration)
    with contextlib.closing(store.view()) as view:
        if not view.count_in(UPDATED, bounds):
            return
        gone = LiveView(view, definition.primary_key, bounds).gone_of(wanted)
        if gone:
            _remove(store, view, gone)


def _remove(store: Store, view: StoreView, gone: list[Any]) -> int:
    """Unless one of the records was written since, which a later round finds out."""
    try:
        written, _, _ = store.write("delete", gone, at=view, replicated=False)
    except Conflict:
        return 0
    return len(written)


class LiveView:
    """What a StoreView offers to read, without the records in the range `expired` of the __updatedtime__ index."""

    def __init__(self, view: StoreView, primary_key: str, expired: Bounds) -> None:
        self._view = view
        self._key = primary_key
        self._expired = expired
        self._waiting: int = view.count_in(UPDATED, expired)

    @cached_property
    def _gone(self) -> frozenset[bytes]:
        return frozenset(map(keys.encode, self._view.keys(UPDATED, self._expired)))

    def gone_of(self, wanted: Iterable[Any]) -> list[Any]:
        """Which of these keys belong to expired records, each once."""
        found = {keys.encode(key): key for key in wanted}
        limit = self._expired
        rows = self._view.get_many(found.values(), (self._key, UPDATED))
        return [row[self._key] for row in rows if limit.low <= keys.encode(row[UPDATED]) < limit.high]

    def living(self, where: Filter | None) -> Filter | None:
        """A filter that also keeps out what has expired."""
        if not self._waiting:
            return where
        lives = Not(Within(Attribute(UPDATED), (self._expired,)))
        if where is None:
            return Filter(lives, (), lambda _: True)
        return replace(where, predicate=AllOf((lives, where.predicate)))

    def count(self) -> int:
        return self._view.count() - self._waiting

    def get(self, key: Any, columns: Sequence[str] | None = None) -> Row | None:
        if self._waiting and self.gone_of([key]):
            return None
        return self._view.get(key, columns)

    def get_many(self, wanted: Iterable[Any], columns: Sequence[str] | None = None) -> list[Row]:
        if not self._waiting:
            return self._view.get_many(wanted, columns)
        listed = list(wanted)
        gone = set(map(keys.encode, self.gone_of(listed)))
        return self._view.get_many([key for key in listed if keys.encode(key) not in gone], columns)

    def keys(
        self, attribute: str, bounds: Bounds, *, reverse: bool = False, offset: int = 0, limit: int | None = None
    ) -> Iterator[Any]:
        if not self._waiting:
            return self._view.keys(attribute, bounds, reverse=reverse, offset=offset, limit=limit)
        found = (key for key in self._view.keys(attribute, bounds, reverse=reverse) if self._lives(key))
        return islice(found, offset, None if limit is None else offset + limit)

    def entries(self, attribute: str, bounds: Bounds, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        found = self._view.entries(attribute, bounds, reverse=reverse)
        return (entry for entry in found if self._lives(entry[1])) if self._waiting else found

    def scan(
        self,
        attribute: str,
        bounds: Bounds = EVERYTHING,
        *,
        reverse: bool = False,
        offset: int = 0,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[Row]:
        if not self._waiting:
            return self._view.scan(attribute, bounds, reverse=reverse, offset=offset, limit=limit, columns=columns)
        found = self.keys(attribute, bounds, reverse=reverse, offset=offset, limit=limit)
        return (row for key in found if (row := self._view.get(key, columns)) is not None)

    def tuples(
        self,
        attribute: str,
        bounds: Bounds,
        columns: Sequence[str],
        *,
        reverse: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        if not self._waiting:
            return self._view.tuples(attribute, bounds, columns, reverse=reverse, offset=offset, limit=limit)
        rows = self.scan(attribute, bounds, reverse=reverse, offset=offset, limit=limit, columns=columns)
        return (tuple(row.get(name) for name in columns) for row in rows)

    def count_in(self, attribute: str, bounds: Bounds) -> int:
        """From the counts alone for all records and for __updatedtime__; else, while expired records wait for the
        upkeep, from the entries."""
        if not self._waiting:
            return self._view.count_in(attribute, bounds)
        if attribute == UPDATED:
            return self._view.count_in(attribute, bounds) - self._view.count_in(attribute, bounds & self._expired)
        if attribute == self._key and bounds == EVERYTHING:
            return self.count()
        return sum(1 for _ in self.keys(attribute, bounds))

    def distinct(self, attribute: str, bounds: Bounds) -> Iterator[tuple[Any, int]]:
        if not self._waiting:
            yield from self._view.distinct(attribute, bounds)
            return
        for value, group in groupby(self.entries(attribute, bounds), key=_value):
            if value[1] is keys.CUT:
                yield from self._distinct_texts(attribute, [key for _, key in group])
            else:
                yield value[1], sum(1 for _ in group)

    def _distinct_texts(self, attribute: str, found: list[Any]) -> Iterator[tuple[Any, int]]:
        """Texts that the index does not hold in full: from the records."""
        values = sorted(row[attribute] for row in self._view.get_many(found, [attribute]))
        yield from ((value, len(list(alike))) for value, alike in groupby(values))

    def _lives(self, key: Any) -> bool:
        return keys.encode(key) not in self._gone


def _value(entry: tuple[Any, Any]) -> tuple[type, Any]:
    """So that 1 and true are told apart."""
    return type(entry[0]), entry[0]
