"""Record bodies give back the record they were made of, whole, in columns and merged, and broken ones are refused."""

import json
import math
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import record
from engine.errors import Corrupt, InvalidRecord

NAMES = ["id", "name", "breed", "age", "weight", "nested", "größe", ""] + [f"attribute {n}" for n in range(8, 400)]
NUMBERS = {name: number for number, name in enumerate(NAMES)}


def stored(value):
    """What comes back for a value: numbers in their one form, tuples as lists."""
    if isinstance(value, dict):
        return {key: stored(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [stored(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if -(2**63) <= value < 2**64:
        return int(value) if value == int(value) else value
    double = float(value)
    return int(double) if double == -(2**63) else double


def identical(left, right):
    """Equal to the types of numbers and the order of keys."""
    return repr(left) == repr(right)


texts = st.text(max_size=20) | st.text(st.sampled_from('"\\/\0\x01\x1f \x7f\n\r\té😀a'), max_size=40)
edges = st.sampled_from(
    [2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**18, 10**19, 0]
)
decimals = st.builds(lambda digits, power: digits / 10**power, st.integers(-(10**16), 10**16), st.integers(0, 20))
numbers = st.integers() | edges | edges.map(float) | decimals | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
records = st.dictionaries(st.sampled_from(NAMES[:12]) | st.sampled_from(NAMES), values, max_size=12)


def in_order(given_record):
    return {name: stored(given_record[name]) for name in sorted(given_record, key=NUMBERS.__getitem__)}


# --- whole records ----------------------------------------------------------------------------------------------------


@given(records)
def test_a_record_comes_back_in_the_order_of_its_attributes(given_record):
    body = record.encode(given_record, NUMBERS)
    assert identical(record.decode(body, NAMES), in_order(given_record))


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 392])
def test_records_of_any_width_come_back(count):
    wide = {name: n for n, name in enumerate(NAMES[8 : 8 + count])}
    backwards = dict(reversed(wide.items()))
    body = record.encode(backwards, NUMBERS)
    assert body == record.encode(wide, NUMBERS)
    assert record.decode(body, NAMES) == wide
    assert record.columns(body, range(len(NAMES))) == (None,) * 8 + tuple(range(count)) + (None,) * (392 - count)
    assert record.merge(body, record.encode({"id": 1}, NUMBERS)) == record.encode({"id": 1} | wide, NUMBERS)


@pytest.mark.parametrize("length", [*range(30), 4080, 4095, 4096, 4097, 100_000])
def test_texts_of_any_length_come_back(length):
    for text in ("x" * length, '"' * length, "\0" * length, "é" * length, "x" * length + "\n", "\\" + "x" * length):
        given_record = {"name": text, "nested": [text, {text: text}], "age": 7}
        body = record.encode(given_record, NUMBERS)
        assert record.decode(body, NAMES) == given_record


@given(values)
def test_fragments_are_canonical_json(value):
    fragment = record.fragments(record.encode({"id": value}, NUMBERS))[0]
    assert fragment == json.dumps(stored(value), ensure_ascii=False, separators=(",", ":")).encode()


@given(numbers)
@example(0.1 + 0.2)
@example(1e-4)
@example(123456.123456789)
@example(999999.9999999999)
@example(5e-324)
@example(1795537796146.9673)
@example(-0.0)
def test_numbers_have_the_shortest_form(number):
    assert record.fragments(record.encode({"id": number}, NUMBERS)) == {0: repr(stored(number)).encode()}


def test_encoding_again_changes_nothing():
    first = record.encode({"weight": 1.0, "age": 2**64, "name": "\u2028", "nested": (1.50, {"b": 1, "a": 2})}, NUMBERS)
    assert record.encode(record.decode(first, NAMES), NUMBERS) == first


def test_subclasses_are_stored_as_their_base():
    class Shout(str):
        __slots__ = ()

    given_record = {"name": Shout("WOOF"), "nested": OrderedDict(b=1, a=2), "age": type("Age", (int,), {})(3)}
    assert record.decode(record.encode(given_record, NUMBERS), NAMES) == {
        "name": "WOOF",
        "age": 3,
        "nested": {"b": 1, "a": 2},
    }


def test_named_attributes_are_skipped_on_the_way_in_and_dropped_ones_on_the_way_out():
    body = record.encode({"id": 1, "name": "Penny", "age": 5}, NUMBERS, frozenset({"name"}))
    assert record.decode(body, NAMES) == {"id": 1, "age": 5}
    assert record.decode(body, [None, "name", "breed", "age"]) == {"age": 5}


# --- what JSON does not have ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2024, 2, 29, 13, 5, 7, 89_999, UTC), "2024-02-29T13:05:07.089Z"),
        (datetime(2024, 2, 29, 13, 5, 7), "2024-02-29T13:05:07.000Z"),
        (datetime(2024, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=2))), "2024-02-29T22:30:00.000Z"),
        (b"", ""),
        (b"\x00\xff\x10", "AP8Q"),
    ],
)
def test_datetimes_and_bytes_are_stored_as_texts(value, text):
    body = record.encode({"name": value, "nested": {"inside": [value]}}, NUMBERS)
    assert record.decode(body, NAMES) == {"name": text, "nested": {"inside": [text]}}


class Unknown:
    pass


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "not a finite number"),
        (-math.inf, "not a finite number"),
        (10**400, "not a finite number"),
        ("a\ud800", "a text with half a surrogate pair"),
        ({"\udfff": 1}, "a text with half a surrogate pair"),
        ({1: 2}, "a key of an object that is not a text"),
        (Unknown(), "a value of type Unknown"),
        ({1, 2}, "a value of type set"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=2))), "a datetime beyond the calendar"),
    ],
)
def test_what_cannot_be_stored(value, reason):
    for given_record in ({"id": 1, "breed": value}, {"breed": [{"deep": value}]}):
        with pytest.raises(InvalidRecord) as error:
            record.encode(given_record, NUMBERS)
        assert str(error.value) == f"attribute 'breed' cannot be stored: {reason}"


def test_names_of_attributes_are_texts():
    with pytest.raises(InvalidRecord):
        record.encode({1: 2}, NUMBERS)


def nest(depth, shell):
    value = 1
    for _ in range(depth):
        value = shell(value)
    return value


@pytest.mark.parametrize("shell", [lambda value: [value], lambda value: {"a": value}])
def test_nesting_ends_at_128_levels(shell):
    deepest = {"nested": nest(128, shell)}
    assert record.decode(record.encode(deepest, NUMBERS), NAMES) == deepest
    with pytest.raises(InvalidRecord, match="'nested' cannot be stored: nested deeper than 128 levels"):
        record.encode({"nested": nest(129, shell)}, NUMBERS)


def test_cycles_are_refused():
    cycle = []
    cycle.append(cycle)
    with pytest.raises(InvalidRecord, match="nested deeper"):
        record.encode({"nested": cycle}, NUMBERS)


def test_a_record_has_at_most_16_mebibytes():
    head = len(record.encode({"name": "x" * (16 * 2**20 - 100)}, NUMBERS)) - (16 * 2**20 - 100)
    largest = {"name": "x" * (16 * 2**20 - head)}
    assert len(record.encode(largest, NUMBERS)) == 16 * 2**20
    for too_large in ({"name": largest["name"] + "x"}, {"name": "\0" * (3 * 2**20)}, {"id": 1} | largest):
        with pytest.raises(InvalidRecord, match="A record is larger than 16777216 bytes"):
            record.encode(too_large, NUMBERS)


# --- columns and merges -----------------------------------------------------------------------------------------------


@given(records, st.lists(st.sampled_from([-1, *range(20), 399, 400, 2**31 - 1]), max_size=8))
def test_columns_are_the_values_in_the_order_asked_for(given_record, wanted):
    body = record.encode(given_record, NUMBERS)
    by_number = {NUMBERS[name]: stored(value) for name, value in given_record.items()}
    assert identical(record.columns(body, wanted), tuple(by_number.get(number) for number in wanted))


@given(records, records)
def test_a_merge_is_the_encoding_of_the_merged_records(old, patch):
    merged = record.merge(record.encode(old, NUMBERS), record.encode(patch, NUMBERS))
    assert merged == record.encode(old | patch, NUMBERS)


@given(records)
def test_an_empty_patch_changes_nothing(given_record):
    body, nothing = record.encode(given_record, NUMBERS), record.encode({}, NUMBERS)
    assert record.merge(body, nothing) == record.merge(nothing, body) == record.merge(body, body) == body


# --- broken bodies ----------------------------------------------------------------------------------------------------


def survives(body):
    """Reads a body in every way; a list of what was read, without the refused."""
    read = []
    for attempt in (
        lambda: record.decode(body, NAMES),
        lambda: record.columns(body, [0, 5, 399]),
        lambda: record.fragments(body),
        lambda: record.merge(body, record.encode({"id": 1}, NUMBERS)),
        lambda: record.merge(record.encode({"id": 1}, NUMBERS), body),
    ):
        try:
            read.append(attempt())
        except Corrupt:
            continue
    return read


@given(
    st.binary(max_size=60)
    | st.builds(lambda count, rest: bytes([1, count]) + rest, st.integers(0, 6), st.binary(max_size=60))
)
def test_random_bytes_are_read_or_refused(body):
    survives(body)


@given(records, st.data())
def test_broken_bodies_are_read_or_refused(given_record, data):
    body = bytearray(record.encode(given_record, NUMBERS))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(body))


@given(records, st.data())
def test_bodies_of_another_length_are_refused(given_record, data):
    body = record.encode(given_record, NUMBERS)
    assert survives(body[: data.draw(st.integers(0, len(body) - 1))]) == []
    assert survives(body + data.draw(st.binary(min_size=1, max_size=5))) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        b"\x02\x00",
        b"\x01\x01",
        b"\x01\x01\x00",
        b"\x01\x01\x00\x00",
        b"\x01\x02\x00\x01\x00\x0112",
        b"\x01\x02\x01\x01\x00\x0112",
        b"\x01\x01\x00\xff\xff\xff\xff\x0f1",
        b"\x01\x01\xff\xff\xff\xff\x1f\x011",
        b"\x01\xff\xff\xff\xff\x0f\x00\x011",
        b"\x01\xff\xff\xff\xff\xff\x0f\x00\x011",
        b"\x01\x80",
    ],
    ids=lambda body: body.hex(),
)
def test_malformed_heads_are_refused(body):
    assert survives(body) == []


@pytest.mark.parametrize(
    "fragment", [b"x", b'"', b'"a', b'"\\"', b'"\xff"', b"[", b"[" * 5000, b"nul", b"01", b"1.", b"-", b'"\\ud800"']
)
def test_malformed_values_are_refused(fragment):
    length = bytes([len(fragment)]) if len(fragment) < 128 else bytes([len(fragment) & 127 | 128, len(fragment) >> 7])
    body = b"\x01\x01\x00" + length + fragment
    for read in (lambda: record.decode(body, NAMES), lambda: record.columns(body, [0])):
        with pytest.raises(Corrupt):
            read()
    assert record.decode(body, [None]) == {}


def test_attributes_unknown_to_the_table_are_refused():
    body = record.encode({"age": 1}, NUMBERS)
    with pytest.raises(Corrupt, match="A record has attribute 3, its table only 2"):
        record.decode(body, ["id", "name"])
