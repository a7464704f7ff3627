"""From syntax to bound statements: every name is looked up, every rule that needs no data is checked.

A query is bound from its FROM clause outwards: sources, WHERE, select list and GROUP BY, HAVING, ORDER BY.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from grammar import syntax
from grammar.bound import (
    BoundQuery,
    Combination,
    Field,
    Grouping,
    Joined,
    Nested,
    Ordering,
    QuerySource,
    Reduction,
    Selection,
    Slot,
    Source,
    TableSource,
    tables_of,
)
from grammar.errors import SqlError, UnknownColumn, ambiguous_column, closest
from grammar.functions import lookup
from grammar.functions.aggregate import find as find_aggregate
from grammar.functions.signature import check_arguments
from grammar.outputs import Output, numbered_keys, outputs_of
from grammar.scope import Scope
from grammar.syntax import Expression, rewrite, walk

Queries = Mapping[str, tuple[BoundQuery, tuple[str, ...]]]
Substitute = Callable[[syntax.Column], Expression | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed in one place of a statement.

    `place` names the place where aggregate functions are not allowed, None where they are. `before` and `after` give
    what a column stands for before and after it has been looked for among the tables (aliases of the select list).
    """

    place: str | None = None
    before: Substitute | None = None
    after: Substitute | None = None


def bind_expression(node: Expression, scope: Scope, rules: Rules) -> Expression:
    """The expression with its columns looked up and its calls checked. Raises SqlError."""
    match node:
        case syntax.Column():
            return _column(node, scope, rules)
        case syntax.SubQuery(query=query):
            return nested(query, scope, columns=1)
        case syntax.Exists(query=syntax.SubQuery(query=query)):
            return syntax.Exists(nested(query, scope, columns=None))
        case syntax.Call():
            return _call(node, scope, rules)
    return rewrite(node, lambda child: bind_expression(child, scope, rules))


def _column(node: syntax.Column, scope: Scope, rules: Rules) -> Expression:
    if rules.before is not None and (found := rules.before(node)) is not None:
        return found
    if rules.after is not None and (found := scope.find(node) or rules.after(node)) is not None:
        return found
    return scope.resolve(node)


def _call(node: syntax.Call, scope: Scope, rules: Rules) -> Expression:
    aggregate = find_aggregate(node.name, len(node.arguments))
    if aggregate is None:
        function = lookup(node.name)
        if function is None or node.star or node.distinct:
            raise SqlError(f"unknown function '{node.name}'")
        check_arguments(node.name, len(node.arguments), function.least, function.most)
        return rewrite(node, lambda child: bind_expression(child, scope, rules))
    if rules.place is not None:
        raise SqlError(f"aggregate functions are not allowed in {rules.place}")
    name = node.name.upper()
    if node.star and name != "COUNT":
        raise SqlError(f"{name}(*) makes no sense")
    if not node.star:
        check_arguments(name, len(node.arguments), 1, aggregate.most)
    inside = replace(rules, place="an aggregate function")
    return Reduction(
        name, tuple([bind_expression(each, scope, inside) for each in node.arguments]), node.distinct, node.star
    )


# --- queries


def nested(query: syntax.Query, scope: Scope, columns: int | None) -> Nested:
    """A sub-query inside an expression; `columns` is how many it must have."""
    inner = Scope(scope.catalog, scope)
    bound = bind_query(query, inner)
    if columns is not None and len(bound.keys) != columns:
        raise SqlError("A sub-query used as a value must have one column.")
    return Nested(bound, tuple(inner.captured), tuple(inner.captured.values()))


def bind_query(query: syntax.Query, scope: Scope) -> BoundQuery:
    """A whole query; `scope` is empty, but for its parent, and collects what the query takes from there."""
    queries: dict[str, tuple[BoundQuery, tuple[str, ...]]] = dict(scope.queries)
    for named in query.names:
        inner = Scope(scope.catalog, scope.parent, queries=dict(queries))
        bound = bind_query(named.query, inner)
        scope.captured.update(inner.captured)
        queries[named.name] = (bound, _column_names(named, bound))
    scope.queries = queries
    if isinstance(query.body, syntax.Select):
        return _select(query.body, query.order, query.limit, scope)
    combined = _body(query.body, scope)
    if not query.order and query.limit is None:
        return combined
    return _sorted_combination(combined, query, scope)


def _column_names(named: syntax.NamedQuery, bound: BoundQuery) -> tuple[str, ...]:
    if named.columns and len(named.columns) != len(bound.keys):
        raise SqlError(f"{named.name} has {len(bound.keys)} columns, but {len(named.columns)} names are given")
    return named.columns or bound.keys


def _body(body: syntax.Body, scope: Scope) -> BoundQuery:
    inner = Scope(scope.catalog, scope.parent, queries=scope.queries)
    if isinstance(body, syntax.Select):
        bound: BoundQuery = _select(body, (), None, inner)
    else:
        left, right = _body(body.left, inner), _body(body.right, inner)
        if len(left.keys) != len(right.keys):
            raise SqlError(f"{body.operator.upper()} needs the same number of columns on both sides")
        bound = Combination(body.operator, body.every, left, right)
    scope.captured.update(inner.captured)
    return bound


def _sorted_combination(combined: BoundQuery, query: syntax.Query, scope: Scope) -> Selection:
    """ORDER BY and LIMIT after a UNION: as if it were selected from."""
    source = QuerySource(scope.catalog.next_number(), "", combined, combined.keys)
    scope.add(source)
    items = tuple([Output(key, Field(source.number, key, key), None) for key in combined.keys])
    columns, order = _order(query.order, items, scope, distinct=False, above=_unchanged)
    return Selection(source, None, None, None, columns, combined.keys, False, order, query.limit)


def _select(
    select: syntax.Select, order: tuple[syntax.Order, ...], limit: syntax.Limit | None, scope: Scope
) -> Selection:
    source = None if select.source is None else _source(select.source, scope)
    where = None if select.where is None else bind_expression(select.where, scope, Rules(place="WHERE"))
    if select.top is not None and limit is not None:
        raise SqlError("TOP and LIMIT exclude each other")
    items = outputs_of(select, scope, lambda node: bind_expression(node, scope, Rules()))
    grouping = _Grouping.of(select, items, order, scope)
    above = _unchanged if grouping is None else grouping.above
    having = None
    if select.having is not None:
        having = above(bind_expression(select.having, scope, Rules(after=_alias(items))))
    items = tuple([replace(item, expression=above(item.expression)) for item in items])
    columns, sorting = _order(order, items, scope, select.distinct, above)
    keys = numbered_keys(items, len(tables_of(source)) > 1)
    bound = None if grouping is None else Grouping(grouping.keys, tuple(grouping.reductions))
    return Selection(source, where, bound, having, columns, keys, select.distinct, sorting, select.top or limit)


def _unchanged(node: Expression) -> Expression:
    return node


def _alias(items: tuple[Output, ...]) -> Substitute:
    """What an alias of the select list stands for."""

    def find(column: syntax.Column) -> Expression | None:
        found = [item.expression for item in items if (item.alias,) == column.names]
        if len(found) > 1:
            raise ambiguous_column(column.names[0])
        return found[0] if found else None

    return find


# --- sources


def _source(source: syntax.Source, scope: Scope) -> Source:
    match source:
        case syntax.NamedTable(name=name, alias=alias):
            bound = _named_source(name, alias, scope)
            scope.add(bound)
            return bound
        case syntax.DerivedTable(query=query, alias=alias):
            inner = Scope(scope.catalog, scope.parent, queries=scope.queries)
            derived = bind_query(query, inner)
            scope.captured.update(inner.captured)
            found = QuerySource(scope.catalog.next_number(), alias, derived, derived.keys)
            scope.add(found)
            return found
    return _join(source, scope)


def _named_source(name: syntax.TableName, alias: str | None, scope: Scope) -> TableSource | QuerySource:
    named = scope.named_query(name.table) if name.schema is None else None
    if named is None:
        return scope.catalog.table(name, alias, scope.action)
    return QuerySource(scope.catalog.next_number(), alias or name.table, *named)


def _join(join: syntax.Join, scope: Scope) -> Joined:
    left = _source(join.left, scope)
    right = _source(join.right, scope)
    kind = "inner" if join.kind == "cross" else join.kind
    condition = None
    if join.using:
        condition = _using(join, left, right, scope)
    elif join.condition is not None:
        condition = bind_expression(join.condition, scope, Rules(place="JOIN ON"))
    if join.kind == "cross" and condition is not None:
        raise SqlError("CROSS JOIN takes no condition")
    return Joined(kind, left, right, condition)


def _using(join: syntax.Join, left: Source, right: Source, scope: Scope) -> Expression:
    """The condition of USING; from here on each of its columns stands for one side, or for the one that is there."""
    conditions: list[Expression] = []
    for name in join.using:
        one = scope.merged.get(name) or _only_field(name, left, scope)
        other = _only_field(name, right, scope)
        conditions.append(syntax.Compare("=", one, other))
        match join.kind:
            case "right":
                scope.merged[name] = other
            case "full":
                scope.merged[name] = syntax.Call("COALESCE", (one, other))
            case _:
                scope.merged[name] = one
    return conditions[0] if len(conditions) == 1 else syntax.And(tuple(conditions))


def _only_field(name: str, source: Source, scope: Scope) -> Field:
    found = [each for each in tables_of(source) if name in each.attributes]
    if not found:
        raise UnknownColumn(name, closest(name, [known for each in tables_of(source) for known in each.attributes]))
    if len(found) > 1:
        raise ambiguous_column(name)
    return scope.field(found[0], name, name)


# --- grouping


@dataclass(slots=True)
class _Grouping:
    """Rewrites expressions over rows into expressions over groups."""

    keys: tuple[Expression, ...]
    reductions: list[Reduction]
    scope: Scope

    @classmethod
    def of(
        cls, select: syntax.Select, items: tuple[Output, ...], order: tuple[syntax.Order, ...], scope: Scope
    ) -> _Grouping | None:
        """None for a query without groups."""
        reduced = any(isinstance(each, Reduction) for item in items for each in walk(item.expression))
        ordered = any(
            isinstance(each, syntax.Call) and find_aggregate(each.name, len(each.arguments)) is not None
            for item in order
            for each in walk(item.expression)
        )
        if not select.group and select.having is None and not reduced and not ordered:
            return None
        return cls(tuple([_group_key(each, items, scope) for each in select.group]), [], scope)

    def above(self, node: Expression) -> Expression:
        """The expression over the row of a group. Raises SqlError for a column that is not grouped."""
        for index, key in enumerate(self.keys):
            if node == key:
                return Slot(index)
        if isinstance(node, Reduction):
            if node not in self.reductions:
                self.reductions.append(node)
            return Slot(len(self.keys) + self.reductions.index(node))
        if isinstance(node, Field) and self.scope.holds(node.source):
            raise SqlError(f"select column '{node.label}' must be in group by")
        return rewrite(node, self.above)


def _group_key(node: Expression, items: tuple[Output, ...], scope: Scope) -> Expression:
    if isinstance(node, syntax.Literal) and type(node.value) is int:
        key = _positioned(node.value, items, "GROUP BY").expression
    else:
        key = bind_expression(node, scope, Rules(place="GROUP BY", after=_alias(items)))
    if any(isinstance(each, Reduction) for each in walk(key)):
        raise SqlError("aggregate functions are not allowed in GROUP BY")
    return key


def _positioned(position: int, items: tuple[Output, ...], clause: str) -> Output:
    if not 1 <= position <= len(items):
        raise SqlError(f"{clause} position {position} is not in the select list")
    return items[position - 1]


# --- order


def _order(
    order: tuple[syntax.Order, ...],
    items: tuple[Output, ...],
    scope: Scope,
    distinct: bool,
    above: Callable[[Expression], Expression],
) -> tuple[tuple[Expression, ...], tuple[Ordering, ...]]:
    """The columns to compute, those that are only sorted by at the end, and the order in terms of them.

    `items` are already over groups where there are any; `above` is what brings the expressions of ORDER BY there.
    """
    columns = [item.expression for item in items]
    sorting = []
    for each in order:
        place = _ordered_column(each.expression, items, scope, above, columns)
        if distinct and place >= len(items):
            raise SqlError("ORDER BY expressions must appear in the select list of SELECT DISTINCT")
        nulls_first = not each.descending if each.nulls_first is None else each.nulls_first
        sorting.append(Ordering(place, each.descending, nulls_first, each.folded))
    return tuple(columns), tuple(sorting)


def _ordered_column(
    node: Expression,
    items: tuple[Output, ...],
    scope: Scope,
    above: Callable[[Expression], Expression],
    columns: list[Expression],
) -> int:
    """The place among `columns` of what is sorted by; appends it when it is not there.

    What an alias stands for is over groups already, and `above` leaves that as it is.
    """
    if isinstance(node, syntax.Literal):
        if type(node.value) is int:
            return items.index(_positioned(node.value, items, "ORDER BY"))
        raise SqlError(f"ORDER BY {node.text} makes no sense: it is a constant")
    if isinstance(node, syntax.Column) and (place := _named_output(node, items)) is not None:
        return place
    expression = above(bind_expression(node, scope, Rules(before=_alias(items))))
    if expression not in columns:
        columns.append(expression)
    return columns.index(expression)


def _named_output(column: syntax.Column, items: tuple[Output, ...]) -> int | None:
    """The item that a bare name in ORDER BY means: an alias, or the only item with that key."""
    if len(column.names) != 1:
        return None
    name = column.names[0]
    aliased = [index for index, item in enumerate(items) if item.alias == name]
    if len(aliased) > 1:
        raise ambiguous_column(name, " in order by")
    if aliased:
        return aliased[0]
    keyed = [index for index, item in enumerate(items) if item.alias is None and item.key == name]
    return keyed[0] if len(keyed) == 1 else None
