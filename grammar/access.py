"""Chooses how to read one table.

The counted trees tell exactly how many entries a range has, so the cheapest way is known rather than guessed: the
whole table in key order, the smallest range of an index, several indexes for an OR, or the one that ORDER BY asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2

from engine import keys
from grammar import syntax
from grammar.bound import TableSource, attributes_in
from grammar.expressions import Scope
from grammar.frame import Frame
from grammar.operators.operator import Operator
from grammar.operators.rows import Filter
from grammar.operators.scan import KeyUnion, Scan
from grammar.predicates import condition
from grammar.pushdown import filter_of
from grammar.ranges import EVERYTHING, Place, Ranges, Reach, intersection, parts, reach
from grammar.syntax import Expression

# What reading a row through a secondary index costs, against reading it in key order; and comparing two rows in a sort.
LOOKUP_COST = 4.0
SORT_COST = 0.1
# What it costs to judge an entry of an index alone; worth finding out in tables from so many records on.
ENTRY_COST = 0.5
LARGE = 1000
SAMPLES = 100  # entries that tell about which part of an index a condition lets pass
SCALARS: Ranges = (keys.BOOLEANS, keys.NUMBERS, keys.STRINGS)
RESIDUAL = 3  # one in so many rows is expected to pass a condition that no index tells about


@dataclass(frozen=True, slots=True)
class Wish:
    """The order that ORDER BY asks for, if one index has it, and how many rows are wanted of it at most.

    `otherwise` are the columns that are needed for sorting if the wish does not come true.
    """

    attribute: str | None = None
    reverse: bool = False
    rows: int | None = None
    otherwise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Path:
    """A way to read the table; `rest` are the conditions still to be checked, `ordered` if the wish came true."""

    attribute: str
    ranges: Ranges
    entries: int
    rest: tuple[Expression, ...]
    used: tuple[Expression, ...]
    cost: float
    ordered: bool
    several: tuple[Reach, ...] = ()


@dataclass(frozen=True, slots=True)
class Access:
    """The operator that reads and filters the table, and what the plan above wants to know of it."""

    operator: Operator
    scan: Scan | None  # the operator itself, when nothing is filtered
    ordered: bool
    estimate: int


def access(
    source: TableSource, conditions: Sequence[Expression], columns: Sequence[str], frame: Frame, wish: Wish
) -> Access:
    """Reads the rows of a table for which all conditions hold, with at least the given columns."""
    place = Place(source, frame.views[source.schema, source.table], frame)
    path = choose(place, tuple(conditions), wish, columns)
    where = None if path.several or not path.rest else filter_of(path.rest, source, frame)
    wanted = [*columns, *(() if path.ordered else wish.otherwise)]
    if where is None:
        wanted += [name for number, name in attributes_in(path.rest) if number == source.number]
    needed = tuple(dict.fromkeys(wanted))
    if path.several:
        reader: Operator = KeyUnion(source, place.view, path.several, needed, path.entries, frame.budget, path.used)
    else:
        reader = Scan(
            source, place.view, path.attribute, path.ranges, needed, path.entries, frame.budget, path.used,
            reverse=path.ordered and wish.reverse, sorted=path.ordered, where=where,
        )  # fmt: skip
    if not path.rest:
        return Access(reader, reader if isinstance(reader, Scan) else None, path.ordered, path.entries)
    tests = () if where else tuple([condition(each, Scope(frame, reader.layout)) for each in path.rest])
    estimate = max(path.entries // RESIDUAL ** len(path.rest), 1)
    return Access(Filter(reader, tests, path.rest, estimate), None, path.ordered, estimate)


def estimate(source: TableSource, conditions: Sequence[Expression], frame: Frame) -> int:
    """About how many rows fulfil the conditions."""
    place = Place(source, frame.views[source.schema, source.table], frame)
    path = choose(place, tuple(conditions), Wish(), None)
    return max(path.entries // RESIDUAL ** len(path.rest), 1 if path.entries else 0)


def reading_cost(source: TableSource, conditions: Sequence[Expression], frame: Frame) -> float:
    """What it costs to read the rows that fulfil the conditions, in rows read in key order."""
    place = Place(source, frame.views[source.schema, source.table], frame)
    return choose(place, tuple(conditions), Wish(), None).cost


def choose(place: Place, conditions: tuple[Expression, ...], wish: Wish, columns: Sequence[str] | None) -> Path:
    """The cheapest path to rows with these columns (None: of which only the number matters).

    Costs are in rows read in key order.
    """
    primary, total = place.source.primary_key, place.view.count()
    whole = Path(primary, EVERYTHING, total, conditions, (), total, ordered=False)
    if not place.frame.indexes:
        return whole
    reached = [(each, reach(each, place)) for each in conditions]
    paths = [_along(place, attribute, conditions, reached) for attribute in _attributes(reached)]
    paths += [path for each in conditions if (path := _union(place, each, conditions)) is not None]
    paths += [path for each, found in reached if found is None and (path := _judged(place, each, conditions, columns))]
    matching = min([path.entries for path in paths], default=total)
    candidates = [whole, *paths]
    if wish.attribute is not None:
        candidates = [_with_sort(path, matching) for path in candidates]
        candidates += _ordered(place, wish, conditions, reached, matching)
    elif wish.rows is not None:
        candidates = [_cut_short(path, wish.rows, matching) for path in candidates]
    return min(candidates, key=lambda path: path.cost)


Reached = list[tuple[Expression, Reach | None]]


def _attributes(reached: Reached) -> list[str]:
    return list(dict.fromkeys([found.attribute for _, found in reached if found is not None]))


def _along(place: Place, attribute: str, conditions: tuple[Expression, ...], reached: Reached) -> Path:
    """The path through one index, narrowed by every condition that says something about it."""
    ranges: Ranges = EVERYTHING
    used: list[Expression] = []
    done: list[Expression] = []
    for node, found in reached:
        if found is not None and found.attribute == attribute:
            ranges = intersection(ranges, found.ranges) if used else found.ranges
            used.append(node)
            if found.exact:
                done.append(node)
    entries = sum([place.view.count_in(attribute, each) for each in ranges])
    rest = tuple([each for each in conditions if not any(each is node for node in done)])
    cost = entries * (1.0 if attribute == place.source.primary_key else LOOKUP_COST)
    return Path(attribute, ranges, entries, rest, tuple(used), cost, ordered=False)


def _union(place: Place, node: Expression, conditions: tuple[Expression, ...]) -> Path | None:
    """The path through several indexes that an OR makes possible."""
    several = parts(node, place)
    if several is None or len({each.attribute for each in several}) < 2:
        return None
    entries = sum([place.view.count_in(each.attribute, bounds) for each in several for bounds in each.ranges])
    rest = conditions
    if all(each.exact for each in several):
        rest = tuple([each for each in conditions if each is not node])
    return Path("", (), entries, rest, (node,), entries * (LOOKUP_COST + 1), ordered=False, several=several)


def _judged(
    place: Place, node: Expression, conditions: tuple[Expression, ...], columns: Sequence[str] | None
) -> Path | None:
    """The path through all texts of an index, for a pattern that can be judged there: few records are looked up."""
    if columns is None or not isinstance(node, syntax.Like) or place.view.count() < LARGE:
        return None
    attribute = place.indexed(node.operand)
    if attribute is None or attribute == place.source.primary_key:
        return None
    where = filter_of([node], place.source, place.frame)
    if where is None:
        return None
    entries = sum([place.view.count_in(attribute, each) for each in SCALARS])
    passing = entries * place.view.selection(attribute, SCALARS, (), where).share(SAMPLES)
    looked_up = not {attribute, place.source.primary_key}.issuperset(columns)
    cost = entries * ENTRY_COST + (passing * LOOKUP_COST if looked_up else 0)
    return Path(attribute, SCALARS, entries, conditions, (node,), cost, ordered=False)


def _with_sort(path: Path, matching: int) -> Path:
    rows = min(matching, path.entries)
    return replace(path, cost=path.cost + SORT_COST * rows * log2(rows + 2))


def _cut_short(path: Path, wanted: int, matching: int) -> Path:
    """The cost of a path that is left after so many rows: those that match are taken to lie evenly in it."""
    seen = (wanted + 1) * RESIDUAL ** len(path.rest)
    return replace(path, cost=path.cost * min(1.0, seen / (matching + 1)))


def _ordered(
    place: Place, wish: Wish, conditions: tuple[Expression, ...], reached: Reached, matching: int
) -> list[Path]:
    """The path along the wanted index, if it has an entry in the right place for every row that is wanted."""
    attribute = wish.attribute
    assert attribute is not None
    if not place.view.is_indexed(attribute):
        return []
    path = _along(place, attribute, conditions, reached)
    if attribute != place.source.primary_key:
        if not path.used and path.entries != place.view.count():
            return []
        if any(place.view.count_in(attribute, each & keys.COMPOSITES) for each in path.ranges):
            return []
    path = replace(path, ordered=True)
    return [path if wish.rows is None else _cut_short(path, wish.rows, min(matching, path.entries))]
