"""The NoSQL searches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import engine
from engine.search import search_conditions, search_value
from frontend.operations.members import (
    HASH_VALUE_LABELS,
    LIMIT,
    OFFSET,
    SCHEMA,
    TABLE,
    Member,
    anything,
    array,
    attribute_name,
    boolean,
    get_attributes,
    keys,
    one_of,
)
from frontend.operations.row import Call, Operation
from frontend.permissions import on_table
from frontend.rows import Rows, begun

ALL = "*"

_ATTRIBUTE_LABELS = ("search_attribute", "attribute")


@dataclass(frozen=True, slots=True)
class Projection:
    """What the rows of an answer hold.

    `columns` are the attributes to read (None: all that a record has), `blank` is a row of nulls in the order of the
    answer (None: absent attributes stay absent), `picks` the members to take out of nested objects.
    """

    columns: tuple[str, ...] | None = None
    blank: dict[str, Any] | None = None
    picks: dict[str, tuple[str, ...]] | None = None

    def shape(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        blank = self.blank
        shaped = iter(rows) if blank is None else ({**blank, **row} for row in rows)
        return self._picking(shaped, self.picks) if self.picks else shaped

    @staticmethod
    def _picking(rows: Iterator[dict[str, Any]], picks: dict[str, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
        for row in rows:
            yield row | {name: _picked(row[name], members) for name, members in picks.items()}


def search_by_hash(call: Call) -> list[dict[str, Any]]:
    with call.table.view() as view:
        projection = _projection(call, view)
        known = view.attributes
        unknown = [name for name in projection.columns or () if name not in known]
        if unknown:
            raise engine.UnknownAttribute(*unknown)
        return list(projection.shape(view.get_many(call["hash_values"], projection.columns)))


def search_by_value(call: Call) -> list[dict[str, Any]] | Rows:
    return _answer(call, search_value, call["attribute"], call["value"], reverse=call["desc"])


def search_by_conditions(call: Call) -> list[dict[str, Any]] | Rows:
    return _answer(call, search_conditions, call["conditions"], call["operator"])


def _answer(
    call: Call, search: Callable[..., Iterator[dict[str, Any]]], *asked: Any, **named: Any
) -> list[dict[str, Any]] | Rows:
    """What the table has at this point, which lasts until all of it has been read."""
    view = call.table.view()
    try:
        projection = _projection(call, view)
        order = {name: call[name] for name in ("sort", "limit", "offset")}
        rows = projection.shape(search(view, *asked, **named, **order, columns=projection.columns))
    except BaseException:
        view.close()
        raise
    columns = projection.columns or tuple(view.attributes)
    return begun(rows, columns, view.close)


# -------------------------------------------------------------------------------------------------------- projections


def _projection(call: Call, view: engine.View) -> Projection:
    asked, readable = call["get_attributes"], _readable(call, view)
    if asked is None:
        return Projection(columns=readable)
    if asked[0] == ALL:
        if view.definition.attributes:
            return Projection(columns=readable)
        return Projection(columns=readable, blank=dict.fromkeys(view.attributes if readable is None else readable))
    names = tuple(dict.fromkeys(_name(element) for element in asked))
    picks = {element["name"]: tuple(element["select"]) for element in asked if isinstance(element, dict)}
    return Projection(columns=names, blank=dict.fromkeys(names), picks=picks)


def _readable(call: Call, view: engine.View) -> tuple[str, ...] | None:
    """The attributes that stand for all of them, None where there is nothing to hide."""
    grant = call.user.grants.on(view.schema, view.name)
    names = grant.readable(view.primary_key) if grant else []
    if names is None:
        return None
    known = view.attributes
    return tuple(name for name in names if name in known)


def _name(element: Any) -> str:
    return str(element["name"] if isinstance(element, dict) else element)


def _picked(value: Any, members: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_picked(element, members) for element in value]
    return {name: value.get(name) for name in members} if isinstance(value, dict) else None


# -------------------------------------------------------------------------------------------------------- permission


def _attributes(call: Call) -> tuple[str, ...]:
    """Every attribute that a search names, wherever it does."""
    asked = call["get_attributes"] or [ALL]
    named = [] if asked[0] == ALL else [_name(element) for element in asked]
    if isinstance(call.members.get("attribute"), str):
        named.append(call["attribute"])
    named += _in_conditions(call.members.get("conditions"))
    named += _in_sort(call.members.get("sort"))
    return tuple(dict.fromkeys(named))


def _in_conditions(conditions: Any) -> Iterator[str]:
    for condition in conditions if isinstance(conditions, list) else ():
        if isinstance(condition, dict):
            yield from (str(condition[label]) for label in _ATTRIBUTE_LABELS if condition.get(label) is not None)
            yield from _in_conditions(condition.get("conditions"))


def _in_sort(sort: Any) -> Iterator[str]:
    while isinstance(sort, dict):
        if sort.get("attribute"):
            yield str(sort["attribute"])
        sort = sort.get("next")


_READ = on_table("read", attributes=_attributes)
_SORT = Member("sort", anything)

_BY_HASH = (
    SCHEMA,
    TABLE,
    Member("hash_values", keys, HASH_VALUE_LABELS, required=True),
    get_attributes(required=True, items="item"),
)
_BY_VALUE = (
    SCHEMA,
    TABLE,
    Member("attribute", attribute_name, _ATTRIBUTE_LABELS, required=True),
    Member("value", anything, ("search_value", "value"), required=True),
    get_attributes(),
    LIMIT,
    OFFSET,
    Member("desc", boolean, default=False),
    _SORT,
)
_BY_CONDITIONS = (
    SCHEMA,
    TABLE,
    get_attributes(),
    Member("conditions", array(least=1), required=True),
    Member("operator", one_of("and", "or", fold=True), default="and"),
    LIMIT,
    OFFSET,
    _SORT,
)

OPERATIONS = (
    Operation("search_by_hash", search_by_hash, _READ, _BY_HASH),
    Operation("search_by_id", search_by_hash, _READ, _BY_HASH),
    Operation("search_by_value", search_by_value, _READ, _BY_VALUE),
    Operation("search_by_conditions", search_by_conditions, _READ, _BY_CONDITIONS),
)
