"""The select list: what its items and stars give, and under which keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grammar import syntax
from grammar.bound import Field
from grammar.scope import Scope
from grammar.syntax import Expression
from grammar.wording import key_of


@dataclass(frozen=True, slots=True)
class Output:
    """One column of a result; `alias` is None when the statement gives none."""

    key: str
    expression: Expression
    alias: str | None


def outputs_of(select: syntax.Select, scope: Scope, bind: Callable[[Expression], Expression]) -> tuple[Output, ...]:
    """The items in their order, and after them what the stars add; an attribute that is named is not added again."""
    named: list[Output] = []
    added: list[Output] = []
    for item in select.items:
        if isinstance(item, syntax.Item):
            key = item.alias or key_of(item.expression, select.source is not None)
            named.append(Output(key, bind(item.expression), item.alias))
    plain = [output.expression for output in named if output.alias is None]
    for item in select.items:
        if isinstance(item, syntax.Star):
            added += [each for each in _starred(item, scope) if each.expression not in plain]
            plain += [output.expression for output in added]
    return tuple(named + added)


def _starred(star: syntax.Star, scope: Scope) -> list[Output]:
    found: list[Output] = []
    merged = set()
    for source, attributes in scope.starred(star.table):
        for attribute in attributes:
            if star.table is None and attribute in scope.merged:
                if attribute not in merged:
                    found.append(Output(attribute, scope.merged[attribute], None))
                merged.add(attribute)
            else:
                found.append(Output(attribute, Field(source.number, attribute, attribute), None))
    return found


def numbered_keys(outputs: tuple[Output, ...], joined: bool) -> tuple[str, ...]:
    """The keys of a result. In joins a key that is taken gets a number: id, id1, id2, past those that exist anyway."""
    keys = [output.key for output in outputs]
    if not joined:
        return tuple(keys)
    taken, used, result = set(keys), set(), []
    for key in keys:
        number, name = 0, key
        while name in used or (number and name in taken):
            number += 1
            name = f"{key}{number}"
        used.add(name)
        result.append(name)
    return tuple(result)
