"""Generates statements of the subset that KennelDB and SQLite have in common, in both spellings, and data for them.

Columns have one type each, because the two compare values of different types in different ways; n and m hold numbers, s
and t texts, and every column but the key has nulls. All rows have a unique id, so that ORDER BY can be made total.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import engine

T = TypeVar("T")

NUMBERS = ("id", "n", "m")
WHOLE = ("id", "m")
TEXTS = ("s", "t")
LONG = "long " * 90
WORDS = ("", "a", "A", "ab", "Ab", "abc", "b", "ba", "B%", "c_d", "x y", "zz", LONG, LONG + "er", "it's")
PATTERNS = ("'a%'", "'%b'", "'%B%'", "'_b%'", "'abc'", "'%'", "''", "'x y'", "'A_'", "'%g l%'", "'long l%'", "'a%b%c'")


@dataclass(frozen=True)
class Both:
    """One piece of SQL in the two spellings."""

    kennel: str
    sqlite: str


def both(template: str, *parts: Both | str) -> Both:
    """Fills the parts into the template, each in its own spelling."""
    return Both(
        template.format(*[part.kennel if isinstance(part, Both) else part for part in parts]),
        template.format(*[part.sqlite if isinstance(part, Both) else part for part in parts]),
    )


def same(text: str) -> Both:
    return Both(text, text)


def listed(items: Sequence[Both]) -> Both:
    return Both(", ".join([item.kennel for item in items]), ", ".join([item.sqlite for item in items]))


def named(items: Sequence[Both]) -> list[Both]:
    return [both("{} AS {}", item, f"c{place}") for place, item in enumerate(items)]


def table(name: str, alias: str) -> Both:
    return Both(f"d.{name} {alias}", f"{name} {alias}")


# --- data


def rows(chance: Random, count: int) -> list[dict[str, Any]]:
    """Rows with nulls, and with attributes missing."""
    made = []
    for key in range(1, count + 1):
        row: dict[str, Any] = {"id": key}
        for column in ("n", "m", "s", "t"):
            luck = chance.random()
            if luck > 0.15:
                row[column] = _value(chance, column)
            elif luck > 0.07:
                row[column] = None
        made.append(row)
    return made


def _value(chance: Random, column: str) -> Any:
    if column == "m":
        return chance.randint(-5, 5)
    if column == "n":
        return chance.choice([chance.randint(-9, 9), chance.randint(-40, 40) / 4, 1000, 2**40])
    return chance.choice(WORDS)


def fill(node: engine.Node, database: sqlite3.Connection, name: str, data: list[dict[str, Any]]) -> None:
    """Makes the table in both, with every attribute known even when no row has it."""
    made = node.create_table("d", name)
    for column in ("n", "m", "s", "t"):
        made.create_attribute(column)
    made.insert(data)
    database.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, n, m, s, t)")
    values = [[row.get(column) for column in ("id", "n", "m", "s", "t")] for row in data]
    database.executemany(f"INSERT INTO {name} VALUES (?,?,?,?,?)", values)


# --- expressions and statements


@dataclass(frozen=True)
class Generator:
    """Makes expressions over the columns of some aliases."""

    chance: Random
    aliases: tuple[str, ...] = ("a",)

    def over(self, *aliases: str) -> Generator:
        return Generator(self.chance, aliases)

    def one_of(self, *makers: Callable[[], Both]) -> Both:
        return self.chance.choice(makers)()

    def several(self, make: Callable[[], Both], least: int, most: int) -> list[Both]:
        return [make() for _ in range(self.chance.randint(least, most))]

    def pick(self, options: Sequence[T]) -> T:
        return self.chance.choice(options)

    # expressions

    def column(self, names: Sequence[str]) -> Both:
        return same(f"{self.pick(self.aliases)}.{self.pick(names)}")

    def number_literal(self) -> Both:
        chance = self.chance
        return same(str(chance.choice([chance.randint(-9, 9), chance.randint(-40, 40) / 4, 1000, 2**40])))

    def text_literal(self) -> Both:
        return same("'" + self.pick(WORDS).replace("'", "''") + "'")

    def number(self, depth: int) -> Both:
        if depth == 0 or self.chance.random() < 0.3:
            return self.one_of(lambda: self.column(NUMBERS), self.number_literal)
        x, y = self.number(depth - 1), self.number(depth - 1)
        return self.one_of(
            lambda: both("({} {} {})", x, self.pick("+-*"), y),
            lambda: Both(f"({x.kennel} / {y.kennel})", f"({x.sqlite} * 1.0 / {y.sqlite})"),
            lambda: both("({} % 3)", self.column(WHOLE)),
            lambda: both("(- {})", x),
            lambda: both("ABS({})", x),
            lambda: both("COALESCE({}, {})", x, y),
            lambda: both("NULLIF({}, {})", x, y),
            lambda: both("LENGTH({})", self.text(depth - 1)),
            lambda: both("INSTR({}, {})", self.column(TEXTS), self.text_literal()),
            lambda: both("CASE WHEN {} THEN {} ELSE {} END", self.condition(depth - 1), x, y),
        )

    def text(self, depth: int) -> Both:
        if depth == 0 or self.chance.random() < 0.4:
            return self.one_of(lambda: self.column(TEXTS), self.text_literal)
        x, y = self.text(depth - 1), self.text(depth - 1)
        start, size = self.chance.randint(-4, 4), self.chance.randint(0, 4)
        return self.one_of(
            lambda: both("{}({})", self.pick(("UPPER", "LOWER")), x),
            lambda: both("SUBSTR({}, {}, {})", x, str(start), str(size)),
            lambda: both("REPLACE({}, {}, 'q')", x, self.text_literal()),
            lambda: Both(f"({x.kennel} || {y.kennel})", f"(COALESCE({x.sqlite}, '') || COALESCE({y.sqlite}, ''))"),
            lambda: both("CASE WHEN {} THEN {} END", self.condition(depth - 1), x),
        )

    def condition(self, depth: int) -> Both:
        if depth > 0 and self.chance.random() < 0.6:
            p, q = self.condition(depth - 1), self.condition(depth - 1)
            return self.one_of(
                lambda: both("({} AND {})", p, q), lambda: both("({} OR {})", p, q), lambda: both("NOT ({})", p)
            )
        below = max(depth - 1, 0)
        sign, negation = self.pick(("=", "<>", "<", "<=", ">", ">=")), self.pick(("", "NOT "))
        literals = [*self.several(self.number_literal, 1, 3), *([same("NULL")] if self.chance.random() < 0.2 else [])]
        return self.one_of(
            lambda: both("{} {} {}", self.column(NUMBERS), sign, self.number_literal()),
            lambda: both("{} {} {}", self.column(TEXTS), sign, self.text_literal()),
            lambda: both("{} {} {}", self.number(below), sign, self.number(below)),
            lambda: both("{} {} {}", self.text(below), sign, self.text(below)),
            lambda: both("{} IS {}NULL", self.one_of(lambda: self.number(below), lambda: self.text(below)), negation),
            lambda: both("{} {}LIKE {}", self.text(below), negation, self.pick(PATTERNS)),
            lambda: both("{} {}BETWEEN {} AND {}", self.number(below), negation, self.number(0), self.number(0)),
            lambda: both("{} {}IN ({})", self.number(below), negation, listed(literals)),
            lambda: both("{} {}IN ({})", self.text(below), negation, listed(self.several(self.text_literal, 1, 4))),
        )

    def column_condition(self) -> Both:
        """A condition that no part of is constant."""
        sign, negation = self.pick(("=", "<>", "<", "<=", ">", ">=")), self.pick(("", "NOT "))
        return self.one_of(
            lambda: both("{} {} {}", self.column(NUMBERS), sign, self.number_literal()),
            lambda: both("{} {} {}", self.column(TEXTS), sign, self.column(TEXTS)),
            lambda: both("{} IS {}NULL", self.column((*NUMBERS, *TEXTS)), negation),
            lambda: both("{} {}LIKE {}", self.column(TEXTS), negation, self.pick(PATTERNS)),
            lambda: both("({} OR {})", self.column_condition(), self.column_condition()),
        )

    def scalar(self, depth: int) -> Both:
        return self.one_of(lambda: self.number(depth), lambda: self.text(depth), lambda: self.condition(depth))

    def key(self, depth: int) -> Both:
        """What can stand in ORDER BY and GROUP BY, where a bare literal means something else."""
        text = self.text(depth)
        return self.one_of(
            lambda: self.column((*NUMBERS, *TEXTS)),
            lambda: both("({} + 0)", self.number(depth)),
            lambda: Both(f"({text.kennel} || '')", f"(COALESCE({text.sqlite}, '') || '')"),
        )

    def reduction(self) -> Both:
        return self.one_of(self.number_reduction, lambda: both("{}({})", self.pick(("MIN", "MAX")), self.text(1)))

    def number_reduction(self) -> Both:
        number = self.number(1)
        either = self.one_of(lambda: number, lambda: self.text(1))
        return self.one_of(
            lambda: same("COUNT(*)"),
            lambda: both("COUNT({})", either),
            lambda: both("COUNT(DISTINCT {})", either),
            lambda: both("{}({})", self.pick(("MIN", "MAX")), number),
            lambda: both("AVG({})", number),
            lambda: both("AVG(DISTINCT {})", self.column(WHOLE)),
            lambda: Both(f"SUM({number.kennel})", f"CASE WHEN COUNT(*) = 0 THEN 0 ELSE SUM({number.sqlite}) END"),
        )

    def where(self, depth: int) -> Both:
        return both(" WHERE {}", self.condition(depth)) if self.chance.random() < 0.7 else same("")


Statement = tuple[Both, bool]  # and whether the order of its rows is fixed


def statement(chance: Random) -> Statement:
    return chance.choice([_select, _select, _group, _join, _nested])(Generator(chance))


def _select(make: Generator) -> Statement:
    """Filters, expressions, order and limit over one table."""
    items, where = make.several(lambda: make.scalar(2), 0, 3), make.where(2)
    if make.chance.random() < 0.25:
        columns = listed(named(items or [make.column((*NUMBERS, *TEXTS))]))
        return both("SELECT DISTINCT {} FROM {}{}", columns, table("one", "a"), where), False
    directions = ("", " DESC", " NULLS LAST", " DESC NULLS FIRST")
    order = [both("{}{}", make.key(1), make.pick(directions)) for _ in range(make.chance.randint(0, 2))]
    sorting = listed([*order, same(make.pick(("a.id", "a.id DESC")))])
    limit = make.pick(("", f" LIMIT {make.chance.randint(0, 9)} OFFSET {make.chance.randint(0, 9)}"))
    columns = listed([same("a.id"), *named(items)])
    return both("SELECT {} FROM {}{} ORDER BY {}{}", columns, table("one", "a"), where, sorting, limit), True


def _group(make: Generator) -> Statement:
    """Aggregate functions, with and without GROUP BY and HAVING."""
    grouped, reductions = make.several(lambda: make.key(1), 0, 2), make.several(make.reduction, 1, 3)
    group = both(" GROUP BY {}", listed(grouped)) if grouped else same("")
    having = same("")
    if grouped and make.chance.random() < 0.4:
        having = both(" HAVING {} > {}", make.number_reduction(), make.number_literal())
    items = listed(named([*grouped, *reductions]))
    return both("SELECT {} FROM {}{}{}{}", items, table("one", "a"), make.where(1), group, having), False


def _join(make: Generator) -> Statement:
    """Two or three tables, joined in every way."""
    aliases = ("a", "b", "c")[: make.pick((2, 2, 3))]
    source = table(make.pick(("one", "two")), "a")
    for place in range(1, len(aliases)):
        kind = make.pick(
            ("JOIN", "INNER JOIN", "LEFT JOIN", "LEFT OUTER JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN")
        )
        on = same("")
        if kind != "CROSS JOIN":
            on = both(" ON {}", _tie(make, aliases[:place], aliases[place]))
        source = both("{} {} {}{}", source, kind, table(make.pick(("one", "two")), aliases[place]), on)
    every = make.over(*aliases)
    where = every.where(1)
    if make.chance.random() < 0.3:
        return both("SELECT COUNT(*) AS c0, MAX(a.m) AS c1 FROM {}{}", source, where), False
    columns = [same(f"{alias}.id") for alias in aliases] + every.several(lambda: every.scalar(1), 0, 2)
    return both("SELECT {} FROM {}{}", listed(named(columns)), source, where), False


def _tie(make: Generator, left: tuple[str, ...], right: str) -> Both:
    """An ON condition, without constant parts: SQLite 3.40 forgets the rows of a FULL JOIN after `JOIN … ON 0`."""
    before, after, every = make.over(*left), make.over(right), make.over(*left, right)
    tie = make.one_of(
        lambda: both("{} = {}", before.column(NUMBERS), after.column(NUMBERS)),
        lambda: both("{} = {}", after.column(TEXTS), before.column(TEXTS)),
        lambda: both("{} < {}", before.column(WHOLE), after.column(WHOLE)),
        every.column_condition,
    )
    return both("{} AND {}", tie, every.column_condition()) if make.chance.random() < 0.4 else tie


def _nested(make: Generator) -> Statement:
    """Sub-queries of every kind, and combinations of queries."""
    inner, linked = make.over("b"), make.over("a", "b")
    outer = both("SELECT {} FROM {}", listed(named([same("a.id"), make.scalar(1)])), table("one", "a"))
    own = both(" WHERE {}", inner.condition(1))
    where = make.pick((own, both(" WHERE b.m = a.m AND {}", linked.condition(0))))
    two = table("two", "b")
    kind = make.pick(("in", "exists", "scalar", "from", "with", "combined"))
    if kind == "in":
        word = make.pick(("IN", "NOT IN"))
        return both("{} WHERE a.m {} (SELECT b.m FROM {}{})", outer, word, two, where), False
    if kind == "exists":
        return both("{} WHERE {}EXISTS (SELECT 1 FROM {}{})", outer, make.pick(("", "NOT ")), two, where), False
    if kind == "scalar":
        value = both("(SELECT MAX(b.n) FROM {}{})", two, where)
        return both("SELECT a.id AS c0, {} AS c1 FROM {}", value, table("one", "a")), False
    if kind == "combined":
        word = make.pick(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
        other = both("SELECT b.m AS c0 FROM {}{}", two, own)
        return both("SELECT a.m AS c0 FROM {} {} {}", table("one", "a"), word, other), False
    query = both("SELECT b.id AS x, b.m AS y FROM {}{}", two, own)
    if kind == "from":
        return both("SELECT q.x AS c0, q.y + 1 AS c1 FROM ({}) q WHERE q.y > 0", query), False
    return both("WITH q AS ({}) SELECT q.x AS c0, r.y AS c1 FROM q JOIN q r ON q.x = r.x", query), False
