"""Statements with their names looked up: what `bind` makes of a syntax tree and `plan` works on.

Expressions are those of syntax.py, with `Column` replaced by `Field`, aggregate calls by `Reduction`, both by `Slot`
above a grouping, and `SubQuery` by `Nested`. Rows are tuples; which field stands where in them is the plan's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from grammar.syntax import Expression, Limit, conjuncts, walk

Key = tuple[int, str]  # a source's number and an attribute: names a field anywhere in a statement


@dataclass(frozen=True, slots=True)
class Field(Expression):
    """An attribute of one source of a query; `label` is how the statement wrote it."""

    source: int
    attribute: str
    label: str = field(compare=False)

    @property
    def key(self) -> Key:
        return self.source, self.attribute


@dataclass(frozen=True, slots=True)
class Slot(Expression):
    """A place in the row of a group: its keys first, then its reductions."""

    index: int


@dataclass(frozen=True, slots=True)
class Reduction(Expression):
    """An aggregate function over the rows of a group; `star` for COUNT(*)."""

    name: str
    arguments: tuple[Expression, ...]
    distinct: bool
    star: bool


@dataclass(frozen=True, slots=True)
class Nested(Expression):
    """A sub-query; `names` are the fields of enclosing queries that it uses, `values` what gives these their values."""

    query: BoundQuery
    names: tuple[Key, ...]
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class TableSource:
    number: int
    alias: str
    schema: str
    table: str
    primary_key: str
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuerySource:
    """A query in FROM, or a named one of WITH; `attributes` are the keys of its rows, in order."""

    number: int
    alias: str
    query: BoundQuery
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """`kind` is inner, left, right or full; an inner join without condition is a product."""

    kind: str
    left: Source
    right: Source
    condition: Expression | None


Source = TableSource | QuerySource | Joined


@dataclass(frozen=True, slots=True)
class Grouping:
    keys: tuple[Expression, ...]
    reductions: tuple[Reduction, ...]


@dataclass(frozen=True, slots=True)
class Ordering:
    """Sorts by one of the selection's columns."""

    column: int
    descending: bool
    nulls_first: bool
    folded: bool


@dataclass(frozen=True)
class Selection:
    """One SELECT. `columns` holds a value for each of `keys`, and after those what is needed for sorting only."""

    source: Source | None
    where: Expression | None
    grouping: Grouping | None
    having: Expression | None
    columns: tuple[Expression, ...]
    keys: tuple[str, ...]
    distinct: bool
    order: tuple[Ordering, ...]
    limit: Limit | None

    @cached_property
    def conditions(self) -> tuple[Expression, ...]:
        """The conditions of WHERE that all have to hold."""
        return tuple(conjuncts(self.where))

    @cached_property
    def needs(self) -> dict[int, list[str]]:
        """The attributes that are needed of each source."""
        grouped = () if self.grouping is None else (*self.grouping.keys, *self.grouping.reductions)
        nodes = (*self.columns, *self.conditions, *conditions_of(self.source), *grouped)
        wanted: dict[int, list[str]] = {each.number: [] for each in tables_of(self.source)}
        for number, attribute in attributes_in(nodes):
            if number in wanted:
                wanted[number].append(attribute)
        return wanted

    @cached_property
    def result_needs(self) -> list[str]:
        """The attributes of the only source that the result shows, whatever the conditions and the order need."""
        grouped = () if self.grouping is None else (*self.grouping.keys, *self.grouping.reductions)
        known = {each.number for each in tables_of(self.source)}
        return [name for number, name in attributes_in((*self.unsorted.columns, *grouped)) if number in known]

    @cached_property
    def order_needs(self) -> list[str]:
        """The attributes of the only source that are needed for sorting."""
        known = {each.number for each in tables_of(self.source)}
        return [name for number, name in attributes_in(self.columns[len(self.keys) :]) if number in known]

    @cached_property
    def unsorted(self) -> Selection:
        """The same without ORDER BY."""
        return replace(self, columns=self.columns[: len(self.keys)], order=()) if self.order else self


@dataclass(frozen=True, slots=True)
class Combination:
    """`operator` is union, intersect or except; `every` keeps duplicates."""

    operator: str
    every: bool
    left: BoundQuery
    right: BoundQuery

    @property
    def keys(self) -> tuple[str, ...]:
        return self.left.keys


BoundQuery = Selection | Combination


@dataclass(frozen=True, slots=True)
class BoundInsert:
    """`verb` is insert or upsert; `updates` are what ON CONFLICT DO UPDATE sets, None without it.

    In the expressions of `updates` the fields of source 0 are the stored record, those of source 1 the one proposed.
    """

    verb: str
    target: TableSource
    columns: tuple[str, ...]
    rows: tuple[tuple[Expression, ...], ...]
    query: BoundQuery | None
    updates: tuple[tuple[str, Expression], ...] | None
    proposed: int


@dataclass(frozen=True, slots=True)
class BoundUpdate:
    target: TableSource
    assignments: tuple[tuple[str, Expression], ...]
    where: Expression | None


@dataclass(frozen=True, slots=True)
class BoundDelete:
    target: TableSource
    where: Expression | None


@dataclass(frozen=True, slots=True)
class BoundExplain:
    query: BoundQuery
    analyze: bool


BoundStatement = Selection | Combination | BoundInsert | BoundUpdate | BoundDelete | BoundExplain


def attributes_in(nodes: Iterable[Expression]) -> list[Key]:
    """The fields in some expressions, each once."""
    return list(dict.fromkeys([each.key for node in nodes for each in walk(node) if isinstance(each, Field)]))


def index_order(order: Sequence[Ordering], columns: Sequence[Expression], source: TableSource) -> str | None:
    """The attribute whose index has this order: its entries follow the value and then the primary key."""
    if any(each.folded or each.nulls_first is each.descending for each in order):
        return None
    fields = [columns[each.column] for each in order]
    attributes = [each.attribute for each in fields if isinstance(each, Field) and each.source == source.number]
    if len(attributes) < len(order):
        return None
    first = attributes[0]
    if first == source.primary_key:
        return first
    if len(order) == 1 or (attributes[1] == source.primary_key and order[0].descending is order[1].descending):
        return first
    return None


def conditions_of(source: Source | None) -> list[Expression]:
    """The ON conditions of a FROM clause."""
    if not isinstance(source, Joined):
        return []
    own = [] if source.condition is None else [source.condition]
    return [*own, *conditions_of(source.left), *conditions_of(source.right)]


def tables_of(source: Source | None) -> list[TableSource | QuerySource]:
    """The sources of a FROM clause, from left to right."""
    if source is None:
        return []
    if isinstance(source, Joined):
        return tables_of(source.left) + tables_of(source.right)
    return [source]
