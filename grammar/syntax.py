"""The syntax tree: what a statement says, before any name in it has been looked up.

All nodes are frozen and compare by content. Expressions keep their classes when names are resolved: `bind` only
replaces `Column` by what it stands for (see bound.py), so `children` and `rewrite` serve both trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any


class Expression:
    """Marks the nodes that have a value."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """`text` is the literal as written, `slot` its number among the literals (none for true, false, null)."""

    value: Any
    text: str
    slot: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Parameter(Expression):
    """`key` is the position (from 0) of a `?` or `$n`, or the name of a `:name`."""

    key: int | str


@dataclass(frozen=True, slots=True)
class Column(Expression):
    """One to three names: column, table.column, schema.table.column."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """Arithmetic, bits and concatenation."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Compare(Expression):
    """`operator` is one of = <> < <= > >=."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class SubQuery(Expression):
    """A query in brackets: one value, or the rows that IN, ANY and ALL look through."""

    query: Query


@dataclass(frozen=True, slots=True)
class Quantified(Expression):
    """left operator ALL (items), or ANY when not `universal`."""

    operator: str
    left: Expression
    universal: bool
    items: tuple[Expression, ...] | Expression


@dataclass(frozen=True, slots=True)
class Like(Expression):
    """`operator` is LIKE, GLOB or REGEXP."""

    operator: str
    operand: Expression
    pattern: Expression
    escape: Expression | None
    negated: bool


@dataclass(frozen=True, slots=True)
class Within(Expression):
    """operand [NOT] IN (items); `items` is a tuple, or one sub-query."""

    operand: Expression
    items: tuple[Expression, ...] | Expression
    negated: bool


@dataclass(frozen=True, slots=True)
class Between(Expression):
    operand: Expression
    low: Expression
    high: Expression
    negated: bool


@dataclass(frozen=True, slots=True)
class Is(Expression):
    """operand IS [NOT] value, where value is null, true or false."""

    operand: Expression
    value: bool | None
    negated: bool


@dataclass(frozen=True, slots=True)
class Exists(Expression):
    query: Expression


@dataclass(frozen=True, slots=True)
class Not(Expression):
    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Expression):
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Case(Expression):
    """With an `operand`, each branch's first expression is compared with it; without, it is a condition."""

    operand: Expression | None
    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression | None


@dataclass(frozen=True, slots=True)
class Type:
    """A type of CAST: the name in capitals and up to two numbers in brackets."""

    name: str
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Cast(Expression):
    operand: Expression
    target: Type


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function; `star` for COUNT(*). `name` is as written."""

    name: str
    arguments: tuple[Expression, ...]
    distinct: bool = False
    star: bool = False


@dataclass(frozen=True, slots=True)
class Step(Expression):
    """operand->key, one step into an object (text) or an array (number)."""

    operand: Expression
    key: str | int


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a select list; `alias` is None when there is none."""

    expression: Expression
    alias: str | None


@dataclass(frozen=True, slots=True)
class Star:
    """* or table.*"""

    table: str | None


@dataclass(frozen=True, slots=True)
class TableName:
    schema: str | None
    table: str


@dataclass(frozen=True, slots=True)
class NamedTable:
    name: TableName
    alias: str | None


@dataclass(frozen=True, slots=True)
class DerivedTable:
    query: Query
    alias: str


@dataclass(frozen=True, slots=True)
class Join:
    """`kind` is inner, left, right, full or cross; `using` the columns of USING."""

    kind: str
    left: Source
    right: Source
    condition: Expression | None
    using: tuple[str, ...] = ()


Source = NamedTable | DerivedTable | Join


@dataclass(frozen=True, slots=True)
class Order:
    """`nulls_first` is None where the statement does not say; `folded` for COLLATE NOCASE."""

    expression: Expression
    descending: bool
    nulls_first: bool | None
    folded: bool


@dataclass(frozen=True, slots=True)
class Limit:
    count: Expression | None
    offset: Expression | None
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Select:
    items: tuple[Item | Star, ...]
    distinct: bool
    top: Limit | None
    source: Source | None
    where: Expression | None
    group: tuple[Expression, ...]
    having: Expression | None


@dataclass(frozen=True, slots=True)
class Compound:
    """`operator` is union, intersect or except; `every` for UNION ALL."""

    operator: str
    every: bool
    left: Body
    right: Body


Body = Select | Compound


@dataclass(frozen=True, slots=True)
class NamedQuery:
    name: str
    columns: tuple[str, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class Query:
    body: Body
    order: tuple[Order, ...] = ()
    limit: Limit | None = None
    names: tuple[NamedQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    column: Column
    value: Expression


@dataclass(frozen=True, slots=True)
class Conflict:
    """ON CONFLICT (column) DO NOTHING, or UPDATE SET when there are assignments."""

    column: str
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Insert:
    """`upsert` for UPSERT INTO. `columns` is empty when the statement has no list of them."""

    table: TableName
    columns: tuple[str, ...]
    source: tuple[tuple[Expression, ...], ...] | Query
    upsert: bool
    conflict: Conflict | None


@dataclass(frozen=True, slots=True)
class Update:
    table: TableName
    assignments: tuple[Assignment, ...]
    where: Expression | None


@dataclass(frozen=True, slots=True)
class Delete:
    table: TableName
    where: Expression | None


@dataclass(frozen=True, slots=True)
class Explain:
    """`analyze` has the query run as well."""

    query: Query
    analyze: bool


Statement = Query | Insert | Update | Delete | Explain


_known_fields: dict[type, tuple[str, ...]] = {}


def _field_names(node: Any) -> tuple[str, ...]:
    names = _known_fields.get(type(node))
    if names is None:
        names = _known_fields[type(node)] = tuple([each.name for each in fields(node)])
    return names


def children(node: Any) -> list[Expression]:
    """The expressions directly below an expression, from left to right; not those inside a sub-query."""
    found: list[Expression] = []
    for name in _field_names(node):
        _gather(getattr(node, name), found)
    return found


def _gather(value: Any, found: list[Expression]) -> None:
    if isinstance(value, Expression):
        found.append(value)
    elif type(value) is tuple:
        for each in value:
            _gather(each, found)


def walk(node: Expression) -> Iterator[Expression]:
    """The expression and everything below it."""
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(children(node))


def conjuncts(node: Expression | None) -> list[Expression]:
    """The conditions that all have to hold for the expression to hold."""
    if node is None:
        return []
    if isinstance(node, And):
        return [each for operand in node.operands for each in conjuncts(operand)]
    return [node]


def rewrite(node: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """The expression with `change` applied to each of its children."""
    changes = {}
    for name in _field_names(node):
        old = getattr(node, name)
        new = _rewritten(old, change)
        if new is not old:
            changes[name] = new
    return replace(node, **changes) if changes else node  # type: ignore[type-var]


def _rewritten(value: Any, change: Callable[[Expression], Expression]) -> Any:
    if isinstance(value, Expression):
        return change(value)
    if isinstance(value, tuple) and value:
        new = tuple([_rewritten(each, change) for each in value])
        return value if all(map(lambda a, b: a is b, new, value)) else new
    return value


def nodes(tree: Any) -> Iterator[tuple[Any, int]]:
    """Every node of any tree, queries and sources included, with its depth; walks without recursion."""
    pending = [(tree, 1)]
    while pending:
        node, depth = pending.pop()
        if isinstance(node, tuple):
            pending.extend((each, depth) for each in node)
        elif hasattr(node, "__dataclass_fields__"):
            yield node, depth
            pending.extend((getattr(node, name), depth + 1) for name in _field_names(node))
