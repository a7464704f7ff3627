"""Plans a FROM clause with its conditions: which table first, and how each next one is joined.

Inner joins are one set of sources and one pool of conditions, whatever order they are written in. An outer join is a
unit of its own: conditions on its preserved side move into it, and those of its ON on the other side; the rest stays
above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine import keys
from grammar import syntax
from grammar.access import LOOKUP_COST, Wish, access, estimate, reading_cost
from grammar.bound import Field, Joined, Key, QuerySource, Source, TableSource, attributes_in, tables_of
from grammar.expressions import Scope, compile_expression
from grammar.frame import Frame, Layout
from grammar.operators.join import HashJoin, LookupJoin, key_maker
from grammar.operators.operator import Operator
from grammar.operators.rows import Filter, Renamed
from grammar.predicates import condition
from grammar.syntax import Expression, conjuncts
from grammar.values import COMPOSITE_TYPES

SEARCH_COST = 8.0  # of a row's first partner in an index, in rows read in key order
SAMPLES = 4  # values of an index that tell about how many records have one
Columns = Mapping[int, Sequence[str]]  # the attributes that a query needs of each source


@dataclass(frozen=True, slots=True)
class Part:
    """An operator for some of the sources, as it grows."""

    operator: Operator
    numbers: frozenset[int]
    width: int
    estimate: int


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans the sources of one query."""

    frame: Frame
    columns: Columns
    known: dict[int, frozenset[int]] = field(default_factory=dict)  # what _sources told of expressions, by identity

    def inner(self, sources: Sequence[Source], pool: list[Expression]) -> Part:
        """The inner join of all sources under all conditions of the pool."""
        operands = [each for source in sources for each in self._flattened(source, pool)]
        owned = [self._take(pool, _numbers(each)) for each in operands]
        waiting = list(zip(operands, owned, strict=True))
        sizes = [self._size(source, conditions) for source, conditions in waiting]
        start = sizes.index(min(sizes))
        first, conditions = waiting.pop(start)
        sizes.pop(start)
        part = self._part(first, conditions)
        while waiting:
            index = self._next(part, waiting, sizes, pool)
            source, conditions = waiting.pop(index)
            sizes.pop(index)
            part = self._joined(part, source, conditions, self._take(pool, part.numbers | _numbers(source)), False)
        return self._filtered(part, pool)

    def _flattened(self, source: Source, pool: list[Expression]) -> list[Source]:
        if not isinstance(source, Joined) or source.kind != "inner":
            return [source]
        pool += conjuncts(source.condition)
        return self._flattened(source.left, pool) + self._flattened(source.right, pool)

    def _take(self, pool: list[Expression], numbers: frozenset[int]) -> list[Expression]:
        """Takes the conditions out of the pool that are about these sources only."""
        taken = [each for each in pool if self._about(each) <= numbers]
        pool[:] = [each for each in pool if not any(each is other for other in taken)]
        return taken

    def _about(self, node: Expression) -> frozenset[int]:
        """The sources of this query, not of enclosing ones, that a condition is about."""
        return self._sources(node) & self.columns.keys()

    def _sources(self, node: Expression) -> frozenset[int]:
        """The sources whose fields are in an expression."""
        found = self.known.get(id(node))
        if found is None:
            found = self.known[id(node)] = frozenset([number for number, _ in attributes_in([node])])
        return found

    def _size(self, source: Source, conditions: list[Expression]) -> int:
        if isinstance(source, TableSource):
            return estimate(source, conditions, self.frame)
        if isinstance(source, QuerySource):
            return 1000
        return max([self._size(source.left, []), self._size(source.right, [])])

    def _next(
        self, part: Part, waiting: list[tuple[Source, list[Expression]]], sizes: list[int], pool: list[Expression]
    ) -> int:
        """The smallest source that an equality ties to what is there; without one, the smallest of all."""
        tied = [
            index
            for index, (source, _) in enumerate(waiting)
            if any(self._equality(each, part.numbers, _numbers(source)) is not None for each in pool)
        ]
        return min(tied or range(len(waiting)), key=lambda index: sizes[index])

    def _part(self, source: Source, conditions: list[Expression]) -> Part:
        """A source with its own conditions."""
        if isinstance(source, TableSource):
            columns = self.columns[source.number]
            found = access(source, conditions, columns, self.frame, Wish())
            return Part(found.operator, frozenset({source.number}), len(columns), found.estimate)
        if isinstance(source, QuerySource):
            return self._filtered(self._derived(source), conditions)
        return self._outer(source, conditions)

    def _derived(self, source: QuerySource) -> Part:
        layout = {(source.number, key): place for place, key in enumerate(source.attributes)}
        operator = Renamed(self.frame.plan(source.query, self.frame), layout, source.alias)
        return Part(operator, frozenset({source.number}), len(source.attributes), operator.estimate)

    def _outer(self, join: Joined, conditions: list[Expression]) -> Part:
        left, right = (join.right, join.left) if join.kind == "right" else (join.left, join.right)
        pool, above = conjuncts(join.condition), list(conditions)
        if join.kind == "full":
            one, other = self.inner([left], []), self.inner([right], [])
            return self._filtered(self._hashed(one, other, pool, outer=True, full=True), above)
        preserved = self._take(above, _numbers(left))
        part = self.inner([left], preserved)
        own = [each for each in pool if self._about(each) <= _numbers(right)]
        rest = [each for each in pool if not any(each is other for other in own)]
        return self._filtered(self._joined(part, right, own, rest, True), above)

    def _joined(
        self, part: Part, source: Source, own: list[Expression], between: list[Expression], outer: bool
    ) -> Part:
        """One more source, by an index of it if few rows look for few partners, else by hashing."""
        if isinstance(source, TableSource) and self.frame.indexes:
            for each in between:
                found = self._equality(each, part.numbers, frozenset({source.number}))
                attribute = found[1].attribute if found is not None and isinstance(found[1], Field) else None
                if found is not None and attribute is not None and self._is_looked_up(part, source, attribute, own):
                    return self._looked_up(part, source, each, *found, own + between, outer)
        right = self.inner([source], own) if outer else self._part(source, own)
        if not outer and part.estimate < right.estimate:
            part, right = right, part
        return self._hashed(part, right, between, outer, full=False)

    def _is_looked_up(self, part: Part, source: TableSource, attribute: str, own: list[Expression]) -> bool:
        """Whether to look up partners one by one costs less than to read all of the source."""
        view = self.frame.views[source.schema, source.table]
        if part.estimate * SEARCH_COST >= view.count() or not view.is_indexed(attribute):
            return False
        further = (_alike(view, attribute) - 1) * LOOKUP_COST
        return part.estimate * (SEARCH_COST + further) < reading_cost(source, own, self.frame)

    def _looked_up(
        self,
        part: Part,
        source: TableSource,
        tie: Expression,
        value: Expression,
        field: Expression,
        conditions: list[Expression],
        outer: bool,
    ) -> Part:
        assert isinstance(field, Field)
        columns = tuple(dict.fromkeys([*self.columns[source.number], field.attribute]))
        view = self.frame.views[source.schema, source.table]
        layout = {
            **part.operator.layout,
            **{(source.number, column): part.width + place for place, column in enumerate(columns)},
        }
        rest = [each for each in conditions if each is not tie]
        test = self._test(rest, layout)
        value_of = compile_expression(value, self.frame, part.operator.layout)
        operator = LookupJoin(
            part.operator, source, view, field.attribute, value_of, columns, test, outer, part.width, part.estimate,
            self.frame.budget, (tie, *rest),
        )  # fmt: skip
        return Part(operator, part.numbers | {source.number}, part.width + len(columns), part.estimate)

    def _hashed(self, left: Part, right: Part, conditions: list[Expression], outer: bool, full: bool) -> Part:
        ties = [
            (each, found)
            for each in conditions
            if (found := self._equality(each, left.numbers, right.numbers)) is not None
        ]
        rest = [each for each in conditions if not any(each is tie for tie, _ in ties)]
        left_key = right_key = tied = places = None
        if ties:
            tied = _attributes([sides for _, sides in ties])
            if tied is not None and len(tied) == 1:
                places = left.operator.layout[tied[0][0]], right.operator.layout[tied[0][1]]
            left_key = key_maker(
                tuple([compile_expression(one, self.frame, left.operator.layout) for _, (one, _) in ties])
            )
            right_key = key_maker(
                tuple([compile_expression(other, self.frame, right.operator.layout) for _, (_, other) in ties])
            )
        shifted = {name: place + left.width for name, place in right.operator.layout.items()}
        test = self._test(rest, {**left.operator.layout, **shifted})
        rows = max(left.estimate, right.estimate) if ties else left.estimate * max(right.estimate, 1)
        operator = HashJoin(
            left.operator, right.operator, left_key, right_key, tied, places, test, outer, full, right.width,
            left.width, rows, self.frame.budget, tuple(conditions),
        )  # fmt: skip
        return Part(operator, left.numbers | right.numbers, left.width + right.width, rows)

    def _equality(
        self, node: Expression, left: frozenset[int], right: frozenset[int]
    ) -> tuple[Expression, Expression] | None:
        """The sides of an equality between a value from the left sources and one from the right ones, in this order."""
        if not isinstance(node, syntax.Compare) or node.operator != "=":
            return None
        one, other = self._sources(node.left), self._sources(node.right)
        if one and other and one <= left and other <= right:
            return node.left, node.right
        if one and other and one <= right and other <= left:
            return node.right, node.left
        return None

    def _test(self, conditions: list[Expression], layout: Layout) -> Any:
        if not conditions:
            return None
        node = conditions[0] if len(conditions) == 1 else syntax.And(tuple(conditions))
        return condition(node, Scope(self.frame, layout))

    def _filtered(self, part: Part, conditions: list[Expression]) -> Part:
        if not conditions:
            return part
        tests = tuple([condition(each, Scope(self.frame, part.operator.layout)) for each in conditions])
        operator = Filter(part.operator, tests, tuple(conditions), part.estimate)
        return Part(operator, part.numbers, part.width, part.estimate)


def _attributes(ties: Sequence[tuple[Expression, Expression]]) -> tuple[tuple[Key, Key], ...] | None:
    """The attributes on both sides of some equalities, if they are nothing else."""
    found = [(one.key, other.key) for one, other in ties if isinstance(one, Field) and isinstance(other, Field)]
    return tuple(found) if len(found) == len(ties) else None


def _alike(view: Any, attribute: str) -> int:
    """About how many records have one value of an attribute."""
    if attribute == view.primary_key:
        return 1
    entries, alike = view.count_in(attribute, keys.EVERYTHING), 0
    for sample in range(SAMPLES):
        offset = (2 * sample + 1) * entries // (2 * SAMPLES)
        for (value,) in view.tuples(attribute, keys.EVERYTHING, (attribute,), offset=offset, limit=1):
            alike += 1 if type(value) in COMPOSITE_TYPES else view.count_in(attribute, keys.equal(value))
    return max(alike // SAMPLES, 1)


def _numbers(source: Source) -> frozenset[int]:
    return frozenset([each.number for each in tables_of(source)])
