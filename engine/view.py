"""A table at one point in time: what searches, SQL and snapshots read from.

Rows are dictionaries in which absent attributes are absent, or tuples in which they are None. An index holds, for each
record with the attribute, one entry in the main region (`keys.EVERYTHING`; arrays and objects share one place after all
texts), and for arrays one more per scalar element in the region that only `keys.elements(bounds)` reaches. The index of
the primary key has every record. Equal values are ordered by primary key.

Iterators need the view open; a view sees nothing of later writes, nor of records that had expired when it was opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from engine.catalog import TIMES, TableDefinition
from engine.errors import InvalidSearch
from engine.expiration import LiveView, expired
from engine.keys import EVERYTHING, Bounds
from engine.predicates import Filter
from engine.selection import Selection
from engine.store import StoreView

MOST_RECORDS = 1 << 60  # more than any table has; two of them still fit 64 bits


class View:
    """Reads of one table at one point; a context manager that lets go of the snapshot at its end."""

    __slots__ = ("_indexed", "_reads", "definition", "name", "primary_key", "schema", "snapshot")

    def __init__(self, definition: TableDefinition, snapshot: StoreView) -> None:
        self.definition = definition
        self.schema = definition.schema
        self.name = definition.name
        self.primary_key = definition.primary_key
        self._indexed = definition.indexed
        self.snapshot = snapshot
        self._reads: StoreView | LiveView = snapshot
        if definition.expiration is not None:
            self._reads = LiveView(snapshot, definition.primary_key, expired(definition.expiration))

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.snapshot.close()

    @property
    def attributes(self) -> list[str]:
        """Names: the primary key, the two times, the others by first appearance; as declared if schema-defined."""
        if self.definition.attributes:
            return [attribute.name for attribute in self.definition.attributes]
        return [self.primary_key, *TIMES, *self.snapshot.attributes]

    @property
    def version(self) -> int:
        """When the table was last written, in microseconds; 0 before the first write."""
        return self.snapshot.version

    @property
    def seq(self) -> int:
        """The number of the last transaction that this view sees."""
        return self.snapshot.seq

    def has_attribute(self, name: str) -> bool:
        """Whether it is one of `attributes`."""
        if self.definition.attributes:
            return name in self.attributes
        return name in TIMES or self.snapshot.has(name)

    def is_indexed(self, attribute: str) -> bool:
        return self._indexed is None or attribute in self._indexed

    def count(self) -> int:
        return self._reads.count()

    def get(self, key: Any, columns: Sequence[str] | None = None) -> dict[str, Any] | None:
        """The record of a primary key, or these columns of it."""
        return self._reads.get(key, columns)

    def get_many(self, keys: Iterable[Any], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The records of these keys in this order; unknown keys are left out."""
        return self._reads.get_many(keys, columns)

    def scan(
        self,
        attribute: str,
        bounds: Bounds = EVERYTHING,
        *,
        reverse: bool = False,
        offset: int = 0,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Records in the order of an index. Skipping `offset` entries costs no more than finding one."""
        self._need_index(attribute)
        return self._reads.scan(attribute, bounds, reverse=reverse, offset=offset, limit=limit, columns=columns)

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
        """The same as tuples: the values of `columns` in their order, None where absent."""
        self._need_index(attribute)
        return self._reads.tuples(attribute, bounds, columns, reverse=reverse, offset=offset, limit=limit)

    def keys(
        self, attribute: str, bounds: Bounds, *, reverse: bool = False, offset: int = 0, limit: int | None = None
    ) -> Iterator[Any]:
        """Primary keys in the order of an index; no record is read."""
        self._need_index(attribute)
        return self._reads.keys(attribute, bounds, reverse=reverse, offset=offset, limit=limit)

    def entries(self, attribute: str, bounds: Bounds, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        """(value, primary key) in the order of an index; the value is keys.CUT or keys.COMPOSITE where the index does
        not hold it in full. No record is read."""
        self._need_index(attribute)
        return self._reads.entries(attribute, bounds, reverse=reverse)

    def count_in(self, attribute: str, bounds: Bounds) -> int:
        """How many entries an index has within bounds, from the counts in its branches."""
        self._need_index(attribute)
        return self._reads.count_in(attribute, bounds)

    def distinct(self, attribute: str, bounds: Bounds) -> Iterator[tuple[Any, int]]:
        """(value, number of records) in order, jumping from value to value; cut texts are resolved by the records."""
        self._need_index(attribute)
        return self._reads.distinct(attribute, bounds)

    def select(
        self,
        attribute: str,
        ranges: Sequence[Bounds],
        columns: Sequence[str],
        where: Filter | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The values of `columns` of the records that have an entry in some ranges of an index and pass a filter.

        In the order of the index: a list, perhaps an empty one, for each step of the walk. The ranges are disjoint and
        in order.
        """
        return self.selection(attribute, ranges, columns, where, reverse=reverse).tuples(columns)

    def find(
        self,
        attribute: str,
        ranges: Sequence[Bounds],
        where: Filter,
        columns: Sequence[str] | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """The same as dictionaries, one by one."""
        return chain.from_iterable(self.selection(attribute, ranges, columns, where, reverse=reverse).records(columns))

    def find_keys(
        self, attribute: str, ranges: Sequence[Bounds], where: Filter, *, reverse: bool = False
    ) -> Iterator[Any]:
        """Their primary keys; no record is read that the index can judge."""
        wanted = (self.primary_key,)
        return chain.from_iterable(self.selection(attribute, ranges, wanted, where, reverse=reverse).keys())

    def selection(
        self,
        attribute: str,
        ranges: Sequence[Bounds],
        wanted: Sequence[str] | None,
        where: Filter | None,
        *,
        reverse: bool = False,
    ) -> Selection:
        """The walk behind the three above, for what is computed of the records without making rows of them."""
        self._need_index(attribute)
        if isinstance(self._reads, LiveView):
            where = self._reads.living(where)
        return Selection(self.snapshot, attribute, ranges, wanted, where, reverse)

    def _need_index(self, attribute: str) -> None:
        if self._indexed is not None and attribute not in self._indexed:
            raise InvalidSearch(f"{attribute} has no index")
