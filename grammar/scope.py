"""Looks up names: which tables a statement touches, and what each column in it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import engine
from grammar import syntax
from grammar.bound import BoundQuery, Field, Key, QuerySource, TableSource
from grammar.errors import SqlError, UnknownColumn, UnknownTable, ambiguous_column, closest
from grammar.kept import TableState
from grammar.syntax import Expression, walk

Visible = Callable[[str, str], "list[str] | None"]
SECRETS = frozenset({"password", "refresh_token"})  # of system tables: for SQL these attributes do not exist


@dataclass(frozen=True, slots=True)
class Touch:
    """What a statement does with a table, for permissions.

    `action` is read, insert, update or delete; or filter, for attributes that an UPDATE or DELETE only looks at (in
    WHERE or on the right of SET). `attributes` are those named in the statement, None for * (all that may be seen).
    """

    schema: str
    table: str
    action: str
    attributes: tuple[str, ...] | None


def _attributes(table: Any) -> tuple[str, ...]:
    names = table.attribute_names()
    return tuple([name for name in names if name not in SECRETS]) if table.schema == "system" else tuple(names)


@dataclass(slots=True)
class Catalog:
    """The tables of a node as one statement sees them, and a record of what it does with them.

    `visible` narrows what * stands for: the attributes of a table that may be seen, or None for all. `seen` are the
    states of the tables when they were looked up.
    """

    node: Any
    visible: Visible | None = None
    seen: dict[tuple[str, str], TableState] = field(default_factory=dict)
    _named: dict[tuple[str, str, str], dict[str, None]] = field(default_factory=dict)
    _starred: dict[tuple[str, str], None] = field(default_factory=dict)
    _sources: int = 0

    def next_number(self) -> int:
        self._sources += 1
        return self._sources

    def table(self, name: syntax.TableName, alias: str | None, action: str) -> TableSource:
        """The table as a source. Raises SqlError without a schema, engine.NotFound when there is none."""
        if name.schema is None:
            raise SqlError(f"schema not defined for table {name.table}")
        table = self._opened(name.schema, name.table)
        self._named.setdefault((name.schema, name.table, action), {})
        self.seen[name.schema, name.table] = TableState.of(table)
        return TableSource(
            self.next_number(), alias or name.table, name.schema, name.table, table.primary_key, _attributes(table)
        )

    def _opened(self, schema: str, table: str) -> Any:
        try:
            return self.node.table(schema, table)
        except engine.NoSuchTable:
            raise UnknownTable(schema, table, closest(table, self.node.tables(schema))) from None

    def see(self, source: TableSource, action: str, attribute: str) -> None:
        self._named.setdefault((source.schema, source.table, action), {})[attribute] = None

    def star(self, source: TableSource) -> tuple[str, ...]:
        """What * stands for, in order."""
        self._starred[source.schema, source.table] = None
        seen = None if self.visible is None else self.visible(source.schema, source.table)
        if seen is None:
            return source.attributes
        return tuple([attribute for attribute in seen if attribute in source.attributes])

    def touches(self) -> list[Touch]:
        named = [Touch(*table, tuple(attributes)) for table, attributes in self._named.items()]
        return named + [Touch(schema, table, "read", None) for schema, table in self._starred]


Resolve = Callable[[syntax.Column], Expression | None]


@dataclass(slots=True)
class Scope:
    """The names that the expressions of one query can use.

    `action` is what reading an attribute here counts as. `merged` are the columns of USING. `captured` collects the
    fields of enclosing queries that were found through `parent`.
    """

    catalog: Catalog
    parent: Scope | None = None
    action: str = "read"
    sources: list[TableSource | QuerySource] = field(default_factory=list)
    merged: dict[str, Expression] = field(default_factory=dict)
    queries: Mapping[str, tuple[BoundQuery, tuple[str, ...]]] = field(default_factory=dict)
    captured: dict[Key, Field] = field(default_factory=dict)

    def add(self, source: TableSource | QuerySource) -> None:
        """Raises SqlError when the alias is taken."""
        for other in self.sources:
            if other.alias == source.alias and not _told_apart(other, source):
                raise ambiguous_column(f"{source.alias}.{next(iter(source.attributes), '*')}")
        self.sources.append(source)

    def holds(self, number: int) -> bool:
        return any(source.number == number for source in self.sources)

    def resolve(self, column: syntax.Column) -> Expression:
        """What a column stands for. Raises SqlError when nothing or several things have that name."""
        found = self.find(column)
        if found is None:
            if not self.sources and self.parent is None:
                raise SqlError("no from clause")
            raise UnknownColumn(".".join(column.names), self._meant(column))
        return found

    def _meant(self, column: syntax.Column) -> str | None:
        """The name that an unknown column may be meant to be, qualified as it is."""
        *qualifier, attribute = column.names
        called = [each for each in self.sources if _is_called(each, qualifier)]
        if called:
            name = closest(attribute, [known for each in called for known in each.attributes])
            return name and ".".join([*qualifier, name])
        having = [each for each in self.sources if attribute in each.attributes]
        hidden = [each.alias for each in having if isinstance(each, TableSource) and each.table == qualifier[-1]]
        alias = hidden[0] if hidden else closest(qualifier[-1], [each.alias for each in having])
        return alias and f"{alias}.{attribute}"

    def find(self, column: syntax.Column) -> Expression | None:
        found = self._own(column)
        if found is not None or self.parent is None:
            return found
        outer = self.parent.find(column)
        if outer is not None:
            self.captured.update({each.key: each for each in walk(outer) if isinstance(each, Field)})
        return outer

    def _own(self, column: syntax.Column) -> Expression | None:
        *qualifier, attribute = column.names
        if not qualifier and attribute in self.merged:
            return self.merged[attribute]
        candidates = [each for each in self.sources if attribute in each.attributes and _is_called(each, qualifier)]
        if len(candidates) > 1:
            raise ambiguous_column(attribute)
        return self.field(candidates[0], attribute, ".".join(column.names)) if candidates else None

    def field(self, source: TableSource | QuerySource, attribute: str, label: str) -> Field:
        if isinstance(source, TableSource):
            self.catalog.see(source, self.action, attribute)
        return Field(source.number, attribute, label)

    def starred(self, table: str | None) -> list[tuple[TableSource | QuerySource, tuple[str, ...]]]:
        """The sources that a * stands for, with their attributes. Raises SqlError when there is none of that name."""
        if not self.sources:
            raise SqlError("no from clause")
        sources = [each for each in self.sources if table is None or each.alias == table]
        if not sources:
            alias = closest(table or "", [each.alias for each in self.sources])
            raise UnknownColumn(f"{table}.*", alias and f"{alias}.*")
        return [
            (each, self.catalog.star(each) if isinstance(each, TableSource) else each.attributes) for each in sources
        ]

    def named_query(self, name: str) -> tuple[BoundQuery, tuple[str, ...]] | None:
        found = self.queries.get(name)
        return found if found is not None or self.parent is None else self.parent.named_query(name)


def table_for_write(catalog: Catalog, name: syntax.TableName, action: str) -> TableSource:
    """The table of an INSERT, UPDATE or DELETE, for which a missing one is a bad request. Raises SqlError."""
    try:
        return catalog.table(name, None, action)
    except engine.NoSuchSchema as error:
        raise SqlError(error.message if action == "insert" else f"schema {name.schema} does not exist") from None
    except UnknownTable as error:
        message = f"table {name.schema}.{name.table} does not exist{error.suggestion}"
        raise SqlError(error.message if action == "insert" else message) from None


def _is_called(source: TableSource | QuerySource, qualifier: list[str]) -> bool:
    """Whether a source goes by a table or schema.table in front of a column."""
    match qualifier:
        case []:
            return True
        case [alias]:
            return source.alias == alias
        case [schema, table]:
            return isinstance(source, TableSource) and (source.schema, source.table, source.alias) == (
                schema,
                table,
                table,
            )
    return False


def _told_apart(one: TableSource | QuerySource, other: TableSource | QuerySource) -> bool:
    """Whether two sources of one alias are tables of that name in two schemas: schema.table.column names them."""
    if not isinstance(one, TableSource) or not isinstance(other, TableSource):
        return False
    return one.alias == one.table and other.alias == other.table and one.schema != other.schema
