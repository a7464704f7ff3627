"""The oracle: tables and views as dictionaries and sorted lists, slow and evidently right.

Writes take the version that the engine gave them, so that times agree. A view is a copy of the rows. An index is built
anew for each question: the sorted list of (key bytes, value as the index shows it, primary key).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

from engine import keys
from engine.errors import InvalidSearch
from engine.keys import EVERYTHING, Bounds
from engine.predicates import Filter

TIMES = ("__createdtime__", "__updatedtime__")


class Table:
    """`declared` maps the attributes of a schema-defined table to whether they are indexed; it has no times then."""

    def __init__(self, name: str = "t", primary_key: str = "id", declared: dict[str, bool] | None = None):
        self.name = name
        self.primary_key = primary_key
        self.declared = declared
        self.rows: dict[bytes, dict[str, Any]] = {}
        self.attributes = [primary_key, *(TIMES if declared is None else declared)]

    def view(self) -> View:
        return View(self)

    def get(self, key: Any) -> dict[str, Any] | None:
        return self.view().get(key)

    def search(self, attribute: str, comparator: str, value: Any) -> list[dict[str, Any]]:
        """In the order of primary keys; `comparator` is a short name."""
        condition = {"attribute": attribute, "comparator": comparator, "value": value}
        return [row for _, row in sorted(self.view().rows.items()) if meets(row, condition)]

    def count(self, attribute: str | None = None, comparator: str = "", value: Any = None) -> int:
        return len(self.rows) if attribute is None else len(self.search(attribute, comparator, value))

    def insert(self, records: Iterable[dict[str, Any]], version: int) -> tuple[list[Any], list[Any]]:
        return self._write(records, version, when_known=False, when_unknown=True)

    def update(self, records: Iterable[dict[str, Any]], version: int) -> tuple[list[Any], list[Any]]:
        return self._write(records, version, when_known=True, when_unknown=False)

    def upsert(self, records: Iterable[dict[str, Any]], version: int) -> tuple[list[Any], list[Any]]:
        return self._write(records, version, when_known=True, when_unknown=True)

    def delete(self, listed: Iterable[Any]) -> tuple[list[Any], list[Any]]:
        written, skipped = [], []
        for key in listed:
            known = self.rows.pop(keys.encode(key), None) is not None
            (written if known else skipped).append(key)
        return written, skipped

    def expire(self, version: int) -> None:
        """What was last written at this version (µs) or before is gone."""
        self.rows = {key: row for key, row in self.rows.items() if row["__updatedtime__"] > version / 1000}

    def drop_attribute(self, name: str) -> None:
        if name in self.attributes:
            self.attributes.remove(name)
        for row in self.rows.values():
            row.pop(name, None)

    def create_attribute(self, name: str) -> None:
        self.attributes.append(name)

    def _write(
        self, records: Iterable[dict[str, Any]], version: int, *, when_known: bool, when_unknown: bool
    ) -> tuple[list[Any], list[Any]]:
        written, skipped = [], []
        for record in records:
            given = {name: canonical(value) for name, value in record.items() if name not in TIMES}
            key = given[self.primary_key]
            place = keys.encode(key)
            if not (when_known if place in self.rows else when_unknown):
                skipped.append(key)
                continue
            written.append(key)
            row = self.rows.setdefault(place, {})
            row.update(given)
            if self.declared is None:
                row.setdefault("__createdtime__", canonical(version / 1000))
                row["__updatedtime__"] = canonical(version / 1000)
        if self.declared is None and written:
            self.attributes += dict.fromkeys(
                name for record in records for name in record if name not in (*self.attributes, *TIMES)
            )
        return written, skipped


class View:
    def __init__(self, table: Table) -> None:
        self.schema = "dev"
        self.name = table.name
        self.primary_key = table.primary_key
        self.attributes = list(table.attributes)
        self.declared = table.declared
        self.rows = copy.deepcopy(table.rows)

    def close(self) -> None:
        pass

    def count(self) -> int:
        return len(self.rows)

    def has_attribute(self, name: str) -> bool:
        return name in self.attributes

    def is_indexed(self, attribute: str) -> bool:
        return self.declared is None or attribute == self.primary_key or self.declared.get(attribute, False)

    def get(self, key: Any, columns: Any = None) -> dict[str, Any] | None:
        row = self.rows.get(keys.encode(key))
        if row is None:
            return None
        return dict(row) if columns is None else {name: row[name] for name in columns if name in row}

    def get_many(self, wanted: Iterable[Any], columns: Any = None) -> list[dict[str, Any]]:
        found = (self.get(key, columns) for key in wanted)
        return [record for record in found if record is not None]

    def entries(self, attribute: str, bounds: Bounds, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        found = [(value, key) for place, value, key in self._index(attribute) if bounds.low <= place < bounds.high]
        return iter(found[::-1] if reverse else found)

    def keys(
        self, attribute: str, bounds: Bounds, *, reverse: bool = False, offset: int = 0, limit: int | None = None
    ) -> Iterator[Any]:
        stop = None if limit is None else offset + limit
        return (key for _, key in islice(self.entries(attribute, bounds, reverse=reverse), offset, stop))

    def scan(
        self,
        attribute: str,
        bounds: Bounds = EVERYTHING,
        *,
        reverse: bool = False,
        offset: int = 0,
        limit: int | None = None,
        columns: Any = None,
    ) -> Iterator[dict[str, Any]]:
        return iter(self.get_many(self.keys(attribute, bounds, reverse=reverse, offset=offset, limit=limit), columns))

    def tuples(
        self,
        attribute: str,
        bounds: Bounds,
        columns: list[str],
        *,
        reverse: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        rows = self.scan(attribute, bounds, reverse=reverse, offset=offset, limit=limit)
        return (tuple(row.get(name) for name in columns) for row in rows)

    def find_keys(
        self, attribute: str, ranges: Iterable[Bounds], where: Filter, *, reverse: bool = False
    ) -> Iterator[Any]:
        """By the filter's test alone, which is what its predicate has to agree with."""
        for bounds in reversed(list(ranges)) if reverse else ranges:
            for key in self.keys(attribute, bounds, reverse=reverse):
                row = self.rows[keys.encode(key)]
                if where.test({name: row[name] for name in where.columns if name in row}):
                    yield key

    def find(
        self, attribute: str, ranges: Iterable[Bounds], where: Filter, columns: Any = None, *, reverse: bool = False
    ) -> Iterator[dict[str, Any]]:
        return iter(self.get_many(self.find_keys(attribute, ranges, where, reverse=reverse), columns))

    def count_in(self, attribute: str, bounds: Bounds) -> int:
        return len(list(self.entries(attribute, bounds)))

    def distinct(self, attribute: str, bounds: Bounds) -> Iterator[tuple[Any, int]]:
        """Values in order with their number of records; texts that the index cuts are told apart by the records."""
        values = []
        for value, key in self.entries(attribute, bounds):
            if attribute == self.primary_key:
                yield key, 1
                continue
            whole = self.rows[keys.encode(key)][attribute] if value is keys.CUT else value
            values.append(whole)
        for _, group in groupby(sorted(values, key=place), key=place):
            alike = list(group)
            yield alike[0], len(alike)

    def _index(self, attribute: str) -> list[tuple[bytes, Any, Any]]:
        if not self.is_indexed(attribute):
            raise InvalidSearch(f"{attribute} has no index")
        if attribute == self.primary_key:
            return sorted((place, row[attribute], row[attribute]) for place, row in self.rows.items())
        entries = []
        for place, row in self.rows.items():
            if attribute not in row:
                continue
            value = row[attribute]
            entries.append((index_key(value) + place, shown(value), row[self.primary_key]))
            if isinstance(value, list):
                elements = {index_key(item, element=True): shown(item) for item in value if is_scalar(item)}
                entries += [(key + place, item, row[self.primary_key]) for key, item in elements.items()]
        return sorted(entries, key=lambda entry: entry[0])


def canonical(value: Any) -> Any:
    """A value as it comes back: a copy in which integral floats are integers."""
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


def index_key(value: Any, *, element: bool = False) -> bytes:
    return keys.from_json(json.dumps(value, ensure_ascii=False).encode(), element=element)


def shown(value: Any) -> Any:
    """What an index shows of a value."""
    if not is_scalar(value):
        return keys.COMPOSITE
    return keys.CUT if isinstance(value, str) and not keys.exact(value) else value


def is_scalar(value: Any) -> bool:
    return not isinstance(value, list | dict)


def same(one: Any, other: Any) -> bool:
    """Whether two results agree, 1 and true told apart."""
    return json.dumps(one, sort_keys=True, default=repr) == json.dumps(other, sort_keys=True, default=repr)


# --- searches, by definition -----------------------------------------------------------------------------------------


def place(value: Any) -> tuple[Any, ...]:
    """Where a value stands in the order of all values; arrays and objects share one place."""
    kinds = [(type(None), 0), (bool, 1), (int | float, 2), (str, 3)]
    kind = next((rank for kind, rank in kinds if isinstance(value, kind)), 4)
    return (kind, value) if kind in (1, 2, 3) else (kind,)


def holds(value: Any, comparator: str, sought: Any) -> bool:
    """Whether a value, or for arrays one of its elements, stands to a scalar as a comparator (short name) says."""
    if isinstance(value, list):
        looks_for_null = comparator == "eq" and sought is None
        return not looks_for_null and any(holds(element, comparator, sought) for element in value)
    if comparator in ("ct", "sw", "ew"):
        if isinstance(sought, bool) or sought is None or not isinstance(value, str):
            return False
        text = sought if isinstance(sought, str) else str(int(sought) if sought == int(sought) else sought)
        return {"ct": text in value, "sw": value.startswith(text), "ew": value.endswith(text)}[comparator]
    if isinstance(value, dict):
        return comparator == "ne"
    here = place(value)
    if comparator == "between":
        return place(sought[0]) <= here <= place(sought[1])
    there = place(sought)
    return {
        "eq": here == there,
        "ne": here != there,
        "gt": here > there,
        "ge": here >= there,
        "lt": here < there,
        "le": here <= there,
    }[comparator]


def meets(record: dict[str, Any], tree: dict[str, Any]) -> bool:
    """Whether a record meets conditions `{attribute, comparator, value}` or `{operator, conditions}`."""
    if "conditions" in tree:
        return (all if tree["operator"] == "and" else any)(meets(record, member) for member in tree["conditions"])
    return tree["attribute"] in record and holds(record[tree["attribute"]], tree["comparator"], tree["value"])
