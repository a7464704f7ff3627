"""What a search asks for: comparators, the index ranges that hold their matches, the requests they are read from.

A Condition on one attribute knows two things: the ranges of that attribute's index in which every match lies, and a
test on a value. Where the ranges hold nothing but matches the test is not needed (`decided`), and the index alone can
count and list them. Conditions nest in Groups of "and" and "or".

Ranges cross types in the order of the index: null < false < true < numbers < texts. Equality never converts. A value
that is an array is compared element by element, and matches if one of its scalar elements does; an object matches
nothing but `equals` with an equal object, and `not_equal`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine import keys
from engine.errors import InvalidKey, InvalidSearch, NoSuchAttribute
from engine.keys import Bounds
from engine.predicates import AllOf, AnyOf, Attribute, Filter, Fixed, Matches, Predicate, Unknown, Within

UNKNOWN: Predicate = Unknown()
SCALARS = Bounds(keys.NULL.low, keys.STRINGS.high)
MAX_DEPTH = 100  # of groups within groups

COMPARATORS = {
    "equals": "equals",
    "eq": "equals",
    "not_equal": "not_equal",
    "ne": "not_equal",
    "contains": "contains",
    "ct": "contains",
    "starts_with": "starts_with",
    "sw": "starts_with",
    "ends_with": "ends_with",
    "ew": "ends_with",
    "greater_than": "greater_than",
    "gt": "greater_than",
    "greater_than_equal": "greater_than_equal",
    "ge": "greater_than_equal",
    "less_than": "less_than",
    "lt": "less_than",
    "less_than_equal": "less_than_equal",
    "le": "less_than_equal",
    "between": "between",
}

Test = Callable[[Any], bool]


@dataclass(slots=True, eq=False)
class Condition:
    """One comparison. Never changed; not frozen, since that would take longer than to count its matches.

    `ranges` are disjoint and ascending. `elementwise`: arrays are judged by their elements, which the index has in its
    element region; otherwise (primary keys, comparisons with arrays or objects) a value is judged as a whole.
    `predicate` is the same for stored records, as far as it can be told there.
    """

    attribute: str
    ranges: tuple[Bounds, ...]
    test: Test
    decided: bool
    elementwise: bool
    predicate: Predicate = UNKNOWN

    def matches(self, value: Any) -> bool:
        """Whether a record with this value of the attribute is meant."""
        if self.elementwise and isinstance(value, list):
            return any(self.test(element) for element in value if not isinstance(element, list | dict))
        return self.test(value)


@dataclass(frozen=True, slots=True)
class Group:
    """Two or more conditions of which every one must hold, or else any one."""

    every: bool
    members: tuple[Condition | Group, ...]


def attributes_of(node: Condition | Group) -> Iterator[str]:
    """The attributes of a condition in the order of the request."""
    if isinstance(node, Condition):
        yield node.attribute
        return
    for member in node.members:
        yield from attributes_of(member)


def met_by(node: Condition | Group, record: dict[str, Any]) -> bool:
    """Whether a record meets a condition; a record without the attribute meets none."""
    if isinstance(node, Condition):
        return node.attribute in record and node.matches(record[node.attribute])
    holds = all if node.every else any
    return holds(met_by(member, record) for member in node.members)


def filter_of(*nodes: Condition | Group) -> Filter:
    """Lets the records pass that meet all of these."""

    def test(record: dict[str, Any]) -> bool:
        return all(met_by(node, record) for node in nodes)

    columns = tuple(dict.fromkeys([name for node in nodes for name in attributes_of(node)]))
    return Filter(AllOf(tuple(map(_predicate_of, nodes))), columns, test, by_name=True)


def _predicate_of(node: Condition | Group) -> Predicate:
    if isinstance(node, Condition):
        return node.predicate
    members = tuple(map(_predicate_of, node.members))
    return AllOf(members) if node.every else AnyOf(members)


@dataclass(frozen=True, slots=True)
class Order:
    attribute: str
    descending: bool = False


def order(value: Any) -> tuple[Any, ...]:
    """The place of a value in the order of the index, as something Python can compare and hash."""
    if value is None:
        return (0,)
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, int | float):
        return (2, value)
    if isinstance(value, str):
        return (3, value)
    if isinstance(value, list | tuple):
        return (4, tuple(order(element) for element in value))
    return (5,)


def identical(one: Any, other: Any) -> bool:
    """Equality of JSON values that tells 1 from true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(identical(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return not isinstance(one, list | dict) and not isinstance(other, list | dict) and order(one) == order(other)


# --- comparators -----------------------------------------------------------------------------------------------------


def compare(attribute: str, comparator: str, value: Any, *, is_key: bool) -> Condition:
    """The condition that `attribute` stands to `value` as `comparator`, a long or a short name, says; InvalidSearch."""
    name = COMPARATORS.get(comparator) if isinstance(comparator, str) else None
    if name is None:
        raise InvalidSearch(f'Unknown query comparator "{comparator}"')
    try:
        return _BUILDERS[name](attribute, value, is_key)
    except InvalidKey as error:
        raise InvalidSearch(error.message) from error


def everything(primary_key: str) -> Condition:
    """The condition that every record meets."""
    return Condition(primary_key, (keys.EVERYTHING,), lambda _: True, True, False, Fixed(True))


def wildcard(attribute: str, value: Any, *, is_key: bool, primary_key: str) -> Condition:
    """The condition of search_by_value: equality, and `*` at the ends of a text as in `ab*`, `*ab`, `*ab*`, `*`."""
    if not isinstance(value, str) or "*" not in (value[:1], value[-1:]):
        return compare(attribute, "equals", value, is_key=is_key)
    if value == "*":
        return everything(primary_key)
    if value == "**":
        return _nothing(attribute)
    if not value.endswith("*"):
        return compare(attribute, "ends_with", value[1:], is_key=is_key)
    if not value.startswith("*"):
        return compare(attribute, "starts_with", value[:-1], is_key=is_key)
    return compare(attribute, "contains", value[1:-1], is_key=is_key)


def _nothing(attribute: str) -> Condition:
    return Condition(attribute, (), lambda _: False, True, False, Fixed(False))


def _equals(attribute: str, value: Any, is_key: bool) -> Condition:
    if isinstance(value, dict) or (isinstance(value, list) and not is_key):
        return Condition(attribute, (keys.COMPOSITES,), lambda given: identical(given, value), False, False)
    if is_key:
        return _key_equals(attribute, value)
    ranges = (keys.equal(value),)
    decided = keys.exact(value)
    if value is None:  # looks for records whose value is null, not for arrays with a null among their elements
        return Condition(attribute, ranges, lambda given: given is None, decided, False)
    told = _told(attribute, ranges, decided)
    return Condition(attribute, ranges, lambda given: identical(given, value), decided, True, told)


def _told(attribute: str, ranges: tuple[Bounds, ...], decided: bool) -> Predicate:
    """The predicate of a value that lies in ranges, if they decide."""
    return Within(Attribute(attribute), ranges, by_element=True) if decided else UNKNOWN


def _key_equals(attribute: str, value: Any) -> Condition:
    """Primary keys are never cut, and no key begins with another one that is whole, so the key itself is the range."""
    try:
        low = keys.encode(value)
    except InvalidKey:
        return _nothing(attribute)
    ranges = (Bounds(low, low + b"\0"),)
    return Condition(
        attribute, ranges, lambda given: identical(given, value), True, False, _told(attribute, ranges, True)
    )


def _not_equal(attribute: str, value: Any, is_key: bool) -> Condition:
    ranges = (SCALARS, keys.COMPOSITES)
    elementwise = not is_key and not isinstance(value, list | dict)
    told = UNKNOWN
    if not isinstance(value, list | dict):
        equal = keys.equal(value)
        others = (Bounds(keys.EVERYTHING.low, equal.low), Bounds(equal.high, keys.EVERYTHING.high))
        told = _told(attribute, others, keys.exact(value))
    return Condition(attribute, ranges, lambda given: not identical(given, value), False, elementwise, told)


def _contains(attribute: str, value: Any, is_key: bool) -> Condition:
    return _on_texts(attribute, value, is_key, lambda text: lambda given: text in given, ("", None, ""))


def _ends_with(attribute: str, value: Any, is_key: bool) -> Condition:
    return _on_texts(attribute, value, is_key, lambda text: lambda given: given.endswith(text), ("", None))


def _on_texts(
    attribute: str, value: Any, is_key: bool, test_for: Callable[[str], Test], form: tuple[str | None, ...]
) -> Condition:
    """`form` are the segments of a pattern, None in place of the text."""
    text = _text(value)
    if text is None:
        return _nothing(attribute)
    test = test_for(text)
    return Condition(
        attribute,
        (keys.STRINGS,),
        lambda given: isinstance(given, str) and test(given),
        decided=False,
        elementwise=not is_key,
        predicate=_matches(attribute, text, form),
    )


def _matches(attribute: str, text: str, form: tuple[str | None, ...]) -> Predicate:
    segments = tuple([text if segment is None else segment for segment in form])
    return Matches(Attribute(attribute), segments, by_element=True)


def _starts_with(attribute: str, value: Any, is_key: bool) -> Condition:
    text = _text(value)
    if text is None:
        return _nothing(attribute)

    def test(given: Any) -> bool:
        return isinstance(given, str) and given.startswith(text)

    told = _matches(attribute, text, (None, ""))
    return Condition(attribute, (keys.starts_with(text),), test, keys.exact(text), not is_key, told)


def _greater_than(attribute: str, value: Any, is_key: bool) -> Condition:
    least = _end(attribute, value, is_key)
    return _range(attribute, (value,), is_key, keys.above, lambda place: place > least)


def _greater_than_equal(attribute: str, value: Any, is_key: bool) -> Condition:
    least = _end(attribute, value, is_key)
    return _range(attribute, (value,), is_key, keys.at_least, lambda place: place >= least)


def _less_than(attribute: str, value: Any, is_key: bool) -> Condition:
    most = _end(attribute, value, is_key)
    return _range(attribute, (value,), is_key, keys.below, lambda place: place < most)


def _less_than_equal(attribute: str, value: Any, is_key: bool) -> Condition:
    most = _end(attribute, value, is_key)
    return _range(attribute, (value,), is_key, keys.at_most, lambda place: place <= most)


def _between(attribute: str, value: Any, is_key: bool) -> Condition:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidSearch(f"Search condition for {attribute} must have an array of two values")
    least, most = (_end(attribute, end, is_key) for end in value)
    if least > most:
        return _nothing(attribute)
    return _range(attribute, tuple(value), is_key, keys.between, lambda place: least <= place <= most)


def _end(attribute: str, value: Any, is_key: bool) -> tuple[Any, ...]:
    """The place of one end of a range."""
    if isinstance(value, dict) or (isinstance(value, list) and not is_key):
        raise InvalidSearch(f"Search condition for {attribute} must have a value that can be ordered")
    return order(value)


def _range(
    attribute: str,
    ends: tuple[Any, ...],
    is_key: bool,
    bounds: Callable[..., Bounds],
    holds: Callable[[tuple[Any, ...]], bool],
) -> Condition:
    """A condition on the place of a value. Ends that the index cuts leave some values to be compared."""
    found = bounds(*ends) if is_key else bounds(*ends) & SCALARS
    decided = all(map(keys.exact, ends))
    return Condition(
        attribute,
        (found,),
        lambda given: not isinstance(given, dict) and holds(order(given)),
        decided,
        elementwise=not is_key,
        predicate=_told(attribute, (found,), decided),
    )


def _text(value: Any) -> str | None:
    """What the text comparators look for: texts as they are, numbers as JSON writes them, nothing else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


_BUILDERS: dict[str, Callable[[str, Any, bool], Condition]] = {
    "equals": _equals,
    "not_equal": _not_equal,
    "contains": _contains,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "greater_than": _greater_than,
    "greater_than_equal": _greater_than_equal,
    "less_than": _less_than,
    "less_than_equal": _less_than_equal,
    "between": _between,
}


# --- requests --------------------------------------------------------------------------------------------------------


def parse(conditions: Any, operator: Any, primary_key: str) -> Condition | Group:
    """The members `conditions` and `operator` of a search_by_conditions request; InvalidSearch, NoSuchAttribute.

    A condition is `{search_attribute, search_type, search_value}` or `{attribute, comparator, value}`, or a group of
    them `{operator, conditions}`. Whether the table has the attributes is left to the search.
    """
    if not isinstance(conditions, list | tuple):
        raise InvalidSearch("'conditions' is required" if conditions is None else "'conditions' must be an array")
    if not conditions:
        raise InvalidSearch("'conditions' must contain at least 1 items")
    return _group(conditions, operator, primary_key, depth=0)


def parse_sort(sort: Any) -> tuple[Order, ...]:
    """The member `sort` of a request, `{attribute, descending, next}`; InvalidSearch, NoSuchAttribute."""
    found: list[Order] = []
    while sort is not None:
        if not isinstance(sort, dict):
            raise InvalidSearch("'sort' must be of type object")
        attribute = sort.get("attribute")
        if not attribute:
            raise InvalidSearch("Sort requires an attribute")
        found.append(Order(_attribute_name(attribute), bool(sort.get("descending"))))
        sort = sort.get("next")
    return tuple(found)


def _group(conditions: Sequence[Any], operator: Any, primary_key: str, depth: int) -> Condition | Group:
    word = operator.lower() if isinstance(operator, str) else operator
    if word not in ("and", "or"):
        raise InvalidSearch("'operator' must be one of [and, or]")
    if not conditions:
        raise InvalidSearch(f'An "{word}" operator requires at least one condition')
    if depth > MAX_DEPTH:
        raise InvalidSearch("'conditions' are nested too deeply")
    members = tuple(_member(condition, primary_key, depth) for condition in conditions)
    return Group(word == "and", members) if len(members) > 1 else members[0]


def _member(condition: Any, primary_key: str, depth: int) -> Condition | Group:
    if not isinstance(condition, dict):
        raise InvalidSearch("'conditions' must be an array of objects")
    if "conditions" in condition:
        members = condition["conditions"]
        if not isinstance(members, list | tuple):
            raise InvalidSearch("'conditions' must be an array")
        return _group(members, condition.get("operator", "and"), primary_key, depth + 1)
    attribute = _first(condition, "search_attribute", "attribute")
    if attribute is None:
        raise InvalidSearch("Search condition must have an attribute")
    name = _attribute_name(attribute)
    if "search_value" not in condition and "value" not in condition:
        raise InvalidSearch(f"Search condition for {name} must have a value")
    comparator = _first(condition, "search_type", "comparator")
    return compare(
        name,
        "equals" if comparator is None else comparator,
        _first(condition, "search_value", "value"),
        is_key=name == primary_key,
    )


def _first(condition: dict[str, Any], *synonyms: str) -> Any:
    return next((condition[name] for name in synonyms if name in condition), None)


def _attribute_name(attribute: Any) -> str:
    """An array of names would walk a relationship, of which there are none yet."""
    if isinstance(attribute, list):
        raise NoSuchAttribute(",".join(map(str, attribute)))
    return str(attribute)
