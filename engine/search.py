"""Running searches on a view: which index is read, which records are, and in which order they come.

A search first finds candidate keys from indexes alone, then reads records: those it returns, and those which no index
could exclude at less cost.

- A single condition is one walk along its index; offsets jump, because the trees are counted.
- "and" is driven by the member with the smallest counted range. The keys of the other members are intersected with it
  while walking their range costs less than reading the driver's records; conditions on the primary key are judged on
  the key itself; what remains is judged on the record.
- "or" unites the keys of its members. If one of them has no index, the whole group is judged on every record.
- What has to be judged while an index is walked becomes a filter (predicates.py) of that walk.
- Sorting follows the index of the sort attribute if that needs no more than the candidates' keys; otherwise the sort
  attributes of all candidates are read. In either case paging comes after sorting, and only the page is read whole.

All results are iterators that need the view open. Errors of the request are raised before the first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, TypeGuard

from engine import keys
from engine.conditions import (
    Condition,
    Group,
    Order,
    attributes_of,
    compare,
    filter_of,
    met_by,
    order,
    parse,
    parse_sort,
    wildcard,
)
from engine.errors import InvalidSearch, NoSuchAttribute, UnknownAttribute
from engine.keys import Bounds
from engine.view import MOST_RECORDS, View

# How many index entries can be walked in the time that it takes to find and read one record.
ENTRIES_PER_RECORD = 8
FIRST_CHUNK, LARGEST_CHUNK = 16, 1024  # records read at a time

Record = dict[str, Any]
Columns = Sequence[str] | None


def search(
    view: View,
    attribute: str,
    comparator: str,
    value: Any,
    *,
    limit: int | None = None,
    offset: int = 0,
    reverse: bool = False,
    columns: Columns = None,
) -> Iterator[Record]:
    """The records whose `attribute` stands to `value` as `comparator` says, in the order of the attribute's index.

    Records that match by an element of an array follow the others, each once. `columns` are the members of the
    results (None: all that a record has). InvalidSearch, UnknownAttribute.
    """
    _check(view, (attribute,), columns, offset, limit)
    condition = compare(attribute, comparator, value, is_key=attribute == view.primary_key)
    return _run(view, condition, (), offset, limit, columns, reverse)


def search_value(
    view: View,
    attribute: str,
    value: Any,
    *,
    sort: Any = None,
    limit: int | None = None,
    offset: int = 0,
    reverse: bool = False,
    columns: Columns = None,
) -> Iterator[Record]:
    """The records of search_by_value: equality, or wildcards `*` at the ends of a text.

    InvalidSearch, UnknownAttribute, NoSuchAttribute.
    """
    orders = _sort(view, sort)
    _check(view, (attribute,), columns, offset, limit)
    primary_key = view.primary_key
    condition = wildcard(attribute, value, is_key=attribute == primary_key, primary_key=primary_key)
    return _run(view, condition, orders, offset, limit, columns, reverse)


def search_conditions(
    view: View,
    conditions: Any,
    operator: Any = "and",
    *,
    sort: Any = None,
    limit: int | None = None,
    offset: int = 0,
    columns: Columns = None,
) -> Iterator[Record]:
    """The records of search_by_conditions; `conditions`, `operator` and `sort` as the request has them.

    InvalidSearch, UnknownAttribute, NoSuchAttribute.
    """
    node = parse(conditions, operator, view.primary_key)
    _check(view, attributes_of(node), columns, offset, limit)
    return _run(view, node, _sort(view, sort), offset, limit, columns)


def count(view: View, attribute: str, comparator: str, value: Any) -> int:
    """How many records `search` would find; from the counted index where that decides alone."""
    _check(view, (attribute,))
    condition = compare(attribute, comparator, value, is_key=attribute == view.primary_key)
    if _is_plain(condition, view):
        return _entries(view, attribute, condition.ranges)
    return sum(1 for _ in _resolved(view, condition))


def _check(
    view: View, attributes: Iterable[str], columns: Columns = None, offset: int = 0, limit: int | None = None
) -> None:
    has = view.has_attribute
    unknown = [name for name in (*(columns or ()), *attributes) if not has(name)]
    if unknown:
        raise UnknownAttribute(*dict.fromkeys(unknown))
    if limit is not None and limit < 1:
        raise InvalidSearch("'limit' must be greater than or equal to 1")
    if offset < 0:
        raise InvalidSearch("'offset' must be greater than or equal to 0")


def _sort(view: View, sort: Any) -> tuple[Order, ...]:
    """The sort keys up to the primary key, after which nothing is left to be decided."""
    orders = parse_sort(sort)
    for position, by in enumerate(orders):
        if by.attribute not in view.attributes:
            raise NoSuchAttribute(by.attribute)
        if by.attribute == view.primary_key:
            return orders[: position + 1]
    return orders


def _run(
    view: View,
    node: Condition | Group,
    sort: tuple[Order, ...],
    offset: int,
    limit: int | None,
    columns: Columns,
    reverse: bool = False,
) -> Iterator[Record]:
    offset, limit = min(offset, MOST_RECORDS), None if limit is None else min(limit, MOST_RECORDS)
    if not sort and _is_plain(node, view):
        return _scan(view, Walk(node.attribute, node.ranges, reverse), offset, limit, columns)
    stop = None if limit is None else offset + limit
    if sort:
        walk = _walk_for(view, node, sort)
        if walk is not None and walk.is_exact(view):
            return _scan(view, walk, offset, limit, columns)
        found_keys = _sorted(view, node, sort) if walk is None else walk.keys(view)
        return _fetch(view, islice(found_keys, offset, stop), columns)
    found = _candidates(view, node, reverse)
    if found.rest or (found.walk and found.judged):
        return islice(_matching(view, found, columns), offset, stop)
    return _fetch(view, islice(found.keys, offset, stop), columns)


# --- candidates ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidates:
    """Keys found from indexes, each once. Those count whose record also meets all of `rest`.

    With `walk` there is another way to the same: along one index, judging what is met there by all of `judged`.
    """

    keys: Iterator[Any]
    rest: tuple[Condition | Group, ...] = ()
    walk: Walk | None = None
    judged: tuple[Condition | Group, ...] = ()


def _candidates(view: View, node: Condition | Group, reverse: bool = False) -> Candidates:
    if not _has_index(view, node):
        walk = Walk(view.primary_key, (keys.EVERYTHING,), reverse)
        return Candidates(view.keys(walk.attribute, keys.EVERYTHING, reverse=reverse), (node,), walk, (node,))
    if isinstance(node, Condition):
        once = Walk(node.attribute, node.ranges, reverse) if _is_met_once(view, node) else None
        return Candidates(_keys(view, node, reverse), (), once, () if node.decided else (node,))
    if not node.every:
        return Candidates(_once(key for member in node.members for key in _resolved(view, member)))
    return _intersection(view, node, reverse)


def _intersection(view: View, group: Group, reverse: bool) -> Candidates:
    sizes = {member: _size(view, member) for member in group.members}
    driver, *others = sorted(group.members, key=lambda member: (not _has_index(view, member), sizes[member]))
    found = _candidates(view, driver, reverse)
    matching, rest, walk = found.keys, list(found.rest), found.walk
    for member in others:
        if isinstance(member, Condition) and member.attribute == view.primary_key:
            matching = filter(member.test, matching)
        elif _has_index(view, member) and sizes[member] <= ENTRIES_PER_RECORD * sizes[driver]:
            matching, walk = _within(matching, {_mark(key) for key in _resolved(view, member)}), None
        else:
            rest.append(member)
    return Candidates(matching, tuple(rest), walk, (*found.judged, *others))


def _resolved(view: View, node: Condition | Group) -> Iterator[Any]:
    """The keys of all records that meet a condition, each once."""
    found = _candidates(view, node)
    if found.walk and found.judged:
        walk = found.walk
        return view.find_keys(walk.attribute, walk.ranges, filter_of(*found.judged), reverse=walk.reverse)
    if not found.rest:
        return found.keys
    return (record[view.primary_key] for record in _matching(view, found, (view.primary_key,)))


def _keys(view: View, condition: Condition, reverse: bool) -> Iterator[Any]:
    """The keys of the records that meet a condition, from its index. Arrays, which have many entries, are met once."""
    ranges = _ranges(condition)
    arrays = set(ranges[len(condition.ranges) :]) | {keys.COMPOSITES}
    seen: set[Any] = set()
    for bounds in reversed(ranges) if reverse else ranges:
        found = _keys_within(view, condition, bounds, reverse)
        yield from _once(found, seen) if bounds in arrays and condition.elementwise else found


def _keys_within(view: View, condition: Condition, bounds: Bounds, reverse: bool) -> Iterator[Any]:
    attribute = condition.attribute
    if condition.decided:
        yield from view.keys(attribute, bounds, reverse=reverse)
        return
    for value, key in view.entries(attribute, bounds, reverse=reverse):
        if value is keys.CUT or value is keys.COMPOSITE:
            holds = met_by(condition, view.get(key, (attribute,)) or {})
        else:
            holds = condition.test(value)
        if holds:
            yield key


def _ranges(condition: Condition) -> tuple[Bounds, ...]:
    """Where the index has entries for a condition: its ranges, and the same in the element region."""
    if not condition.elementwise:
        return condition.ranges
    return condition.ranges + tuple(map(keys.elements, condition.ranges))


def _has_index(view: View, node: Condition | Group) -> bool:
    """Whether indexes can narrow a search for this condition."""
    if isinstance(node, Condition):
        return view.is_indexed(node.attribute)
    any_or_all = any if node.every else all
    return any_or_all(_has_index(view, member) for member in node.members)


def _size(view: View, node: Condition | Group) -> int:
    """How many index entries there are to walk for a condition; its matches are no more than that."""
    if not _has_index(view, node):
        return view.count()
    if isinstance(node, Condition):
        return _entries(view, node.attribute, _ranges(node))
    if node.every:
        return min(_size(view, member) for member in node.members)
    return sum(_size(view, member) for member in node.members)


def _is_plain(node: Condition | Group, view: View) -> TypeGuard[Condition]:
    """Whether a condition is met by exactly the records that its ranges list, once each."""
    return isinstance(node, Condition) and node.decided and _is_met_once(view, node)


def _is_met_once(view: View, condition: Condition) -> bool:
    """Whether an index has one entry, within the condition's ranges, for each record that meets it."""
    if not view.is_indexed(condition.attribute):
        return False
    ranges = condition.ranges
    return not condition.elementwise or not _entries(view, condition.attribute, map(keys.elements, ranges))


def _entries(view: View, attribute: str, ranges: Iterable[Bounds]) -> int:
    found = 0
    for bounds in ranges:
        found += view.count_in(attribute, bounds)
    return found


def _mark(key: Any) -> Any:
    """A primary key as something that can be hashed and that tells compound keys of 1 and of true apart."""
    return keys.encode(key) if isinstance(key, list) else key


def _once(found: Iterable[Any], seen: set[Any] | None = None) -> Iterator[Any]:
    seen = set() if seen is None else seen
    for key in found:
        mark = _mark(key)
        if mark not in seen:
            seen.add(mark)
            yield key


def _within(found: Iterable[Any], marks: set[Any]) -> Iterator[Any]:
    return (key for key in found if _mark(key) in marks)


# --- order -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Walk:
    """A way along one index that meets the records of a search in the order that was asked for."""

    attribute: str
    ranges: tuple[Bounds, ...]
    reverse: bool
    marks: set[Any] | None = None  # of the keys that count; None: all

    def is_exact(self, view: View) -> bool:
        """Whether nothing remains to be done: no keys to leave out, no texts that the index may hold in part."""
        if self.marks is not None:
            return False
        if self.attribute == view.primary_key:
            return True
        return not any(view.count_in(self.attribute, bounds & keys.STRINGS) for bounds in self.ranges)

    def keys(self, view: View) -> Iterator[Any]:
        for bounds in reversed(self.ranges) if self.reverse else self.ranges:
            entries = view.entries(self.attribute, bounds, reverse=self.reverse)
            for is_cut, run in groupby(self._wanted(entries), key=lambda entry: entry[0] is keys.CUT):
                found = (key for _, key in run)
                yield from _by_text(view, self.attribute, list(found), self.reverse) if is_cut else found

    def _wanted(self, entries: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        marks = self.marks
        return entries if marks is None else (entry for entry in entries if _mark(entry[1]) in marks)


def _walk_for(view: View, node: Condition | Group, sort: tuple[Order, ...]) -> Walk | None:
    """The walk that answers a search in order, if there is one that costs less than to read and sort."""
    by, *others = sort
    if not view.is_indexed(by.attribute) or others not in ([], [Order(view.primary_key, by.descending)]):
        return None
    if _is_plain(node, view) and node.attribute == by.attribute:
        return Walk(by.attribute, node.ranges, by.descending)
    total, size = view.count(), _size(view, node)
    if size * ENTRIES_PER_RECORD < total:
        return None
    if view.count_in(by.attribute, keys.EVERYTHING) < total:
        return None  # records without the attribute sort as null, but are not in its index
    everyone = size == total and _is_plain(node, view)
    marks = None if everyone else {_mark(key) for key in _resolved(view, node)}
    return Walk(by.attribute, (keys.EVERYTHING,), by.descending, marks)


def _by_text(view: View, attribute: str, found: list[Any], reverse: bool) -> Iterator[Any]:
    """Keys whose texts the index holds only in part, by the whole texts."""
    records = view.get_many(found, (view.primary_key, attribute))
    records.sort(key=lambda record: record[attribute], reverse=reverse)
    return (record[view.primary_key] for record in records)


def _sorted(view: View, node: Condition | Group, sort: tuple[Order, ...]) -> Iterator[Any]:
    """The keys of a search by the values of the sort attributes, which are read for all of them."""
    primary_key = view.primary_key
    if sort[0].attribute == primary_key:
        yield from sorted(_resolved(view, node), key=keys.encode, reverse=sort[0].descending)
        return
    found = _candidates(view, node)
    rows = list(_matching(view, found, (primary_key, *(by.attribute for by in sort))))
    for by in reversed(sort):
        rows.sort(key=lambda row, name=by.attribute: _place(row, name, primary_key), reverse=by.descending)  # type: ignore[misc]
    yield from (row[primary_key] for row in rows)


def _place(row: Record, attribute: str, primary_key: str) -> Any:
    """Where a record sorts by an attribute: arrays and objects are equals there, as they are in the index."""
    value = row.get(attribute)
    if attribute == primary_key:
        return keys.encode(value)
    return order([]) if isinstance(value, list | dict) else order(value)


# --- records ---------------------------------------------------------------------------------------------------------


def _scan(view: View, walk: Walk, offset: int, limit: int | None, columns: Columns) -> Iterator[Record]:
    """The records along an index; whole ranges are skipped by their counts."""
    for bounds in reversed(walk.ranges) if walk.reverse else walk.ranges:
        size = view.count_in(walk.attribute, bounds) if offset else 0
        if offset and offset >= size:
            offset -= size
            continue
        for record in view.scan(
            walk.attribute, bounds, reverse=walk.reverse, offset=offset, limit=limit, columns=columns
        ):
            yield record
            limit = None if limit is None else limit - 1
        offset = 0
        if limit == 0:
            return


def _fetch(view: View, found: Iterable[Any], columns: Columns) -> Iterator[Record]:
    """The records of these keys. The key alone needs no record."""
    if columns is not None and tuple(columns) == (view.primary_key,):
        yield from ({view.primary_key: key} for key in found)
        return
    for chunk in _chunks(found):
        yield from view.get_many(chunk, columns)


def _matching(view: View, found: Candidates, columns: Columns) -> Iterator[Record]:
    """The records of candidates that meet what the indexes could not tell, cut to `columns`."""
    if found.walk and found.judged:
        walk = found.walk
        yield from view.find(walk.attribute, walk.ranges, filter_of(*found.judged), columns, reverse=walk.reverse)
        return
    if not found.rest:
        yield from _fetch(view, found.keys, columns)
        return
    judged = dict.fromkeys(name for node in found.rest for name in attributes_of(node))
    needed = None if columns is None else tuple(dict.fromkeys([*columns, *judged]))
    for chunk in _chunks(found.keys):
        for record in view.get_many(chunk, needed):
            if all(met_by(node, record) for node in found.rest):
                yield record if columns is None else {name: record[name] for name in columns if name in record}


def _chunks(found: Iterable[Any]) -> Iterator[list[Any]]:
    """Small ones first, so that a short page reads little."""
    remaining = iter(found)
    size = FIRST_CHUNK
    while chunk := list(islice(remaining, size)):
        yield chunk
        size = min(2 * size, LARGEST_CHUNK)
