"""Keys keep the order of values and give them back; bounds cover what they say, on primary and on secondary indexes."""

import json
import math
from functools import cmp_to_key
from itertools import pairwise
from operator import itemgetter

import pytest
from engine.keybytes import MAX_KEY, MAX_PRIMARY_KEY, MAX_VALUE_KEY
from hypothesis import assume, example, given
from hypothesis import strategies as st

from engine import keys
from engine.errors import InvalidKey
from engine.keys import COMPOSITE, CUT, EVERYTHING, Bounds

ROOM = MAX_VALUE_KEY - 3  # bytes of a text, NULs counted twice, that a secondary key holds uncut


# --- the model: values, and their order -------------------------------------------------------------------------------


def canonical(value):
    """A number as the database knows it: exact as an integer of 64 bits, otherwise a double."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if -(2**63) <= value < 2**64:
        return int(value) if value == int(value) else value
    double = float(value)
    return int(double) if -(2**63) <= double < 2**64 else double


def place(value):
    """Sorts as the value does; everything composite alike."""
    if value is None:
        return (0,)
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, int | float):
        return (2, canonical(value))
    if isinstance(value, str):
        return (3, value)
    return (4,)


def compound_place(value):
    return (4, [place(item) for item in value]) if isinstance(value, list | tuple) else place(value)


def escaped(text):
    return len(text.encode()) + text.count("\0")


edges = st.sampled_from(
    [2**n + d for n in (0, 8, 31, 52, 53, 54, 55, 62, 63, 64, 65) for d in (-2049, -257, -1, 0, 1, 255, 1025)]
)
integers = st.integers(-(2**66), 2**66) | edges | edges.map(lambda n: -n) | st.integers(-3, 3)
numbers = integers | st.floats(allow_nan=False, allow_infinity=False) | integers.map(float)
characters = st.sampled_from('\0\x01\x02az\x7f\x80é߿ࠀ\uffff😀\U0010ffff"\\\n')
short_texts = st.text(characters, max_size=6) | st.text(max_size=12)
long_texts = st.builds(
    lambda head, fill, count, tail: head + fill * count + tail,
    st.text(characters, max_size=2),
    st.sampled_from(["a", "\0", "é", "😀"]),
    st.sampled_from([95, 98, 99, 100, 193, 196, 197, 198, 199, 200, 390, 392, 393, 394, 395, 396, 397, 398, 600]),
    st.text(characters, max_size=4),
)
texts = short_texts | long_texts
scalars = st.none() | st.booleans() | numbers | texts
small = st.none() | st.booleans() | numbers | short_texts
compounds = st.lists(small, min_size=1, max_size=4)
primaries = integers | short_texts | st.lists(integers | short_texts | st.none(), min_size=1, max_size=3)


def fragment(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def index_key(value):
    return keys.from_json(fragment(value))


# --- order ------------------------------------------------------------------------------------------------------------


@given(st.lists(small | compounds, min_size=2, max_size=12))
@example(
    [2**53, 2.0**53, 2**53 + 1, 2.0**53 + 2, 2**64 - 1, 2.0**64, 2**63, -(2**63), -(2**53) - 1, 0, -0.0, False, 1e-320]
)
def test_keys_sort_as_their_values(values):
    def compare(left, right):
        left, right = compound_place(left), compound_place(right)
        return (left > right) - (left < right)

    in_order = sorted(values, key=cmp_to_key(compare))
    for left, right in pairwise(in_order):
        if compare(left, right) == 0:
            assert keys.encode(left) == keys.encode(right)
        else:
            assert keys.encode(left) < keys.encode(right)


@given(st.lists(st.tuples(scalars, primaries), min_size=2, max_size=10))
@example([("a" * ROOM + "b", 1), ("a" * ROOM + "a", 2)])
@example([("a" * ROOM + "b", 1), ("a" * (ROOM + 1), 2), ("a" * ROOM, 3), ("a" * (ROOM - 1), 4)])
@example([("a" * (ROOM - 1) + "\0", 1), ("a" * (ROOM - 1) + "\x01", 2), ("a" * (ROOM - 1) + "\x01b", 3)])
@example([("a", "x"), ("a\0", "x"), ("a\0b", "x"), ("ab", "x"), ("a", [None])])
def test_secondary_keys_sort_by_value_then_primary_key(entries):
    """Texts with the same cut key are the exception: they lie together, in the order of their primary keys."""
    encoded = [(index_key(value) + keys.encode(primary), value, primary) for value, primary in entries]
    encoded.sort(key=itemgetter(0))
    for (left_key, left, left_primary), (right_key, right, right_primary) in pairwise(encoded):
        assert len(left_key) <= MAX_KEY
        if keys.split(left_key)[0] == keys.split(right_key)[0]:
            assert place(left) == place(right) or keys.decode(keys.split(left_key)[0]) is CUT
            assert compound_place(left_primary) <= compound_place(right_primary)
        else:
            assert place(left) < place(right)


@given(texts, texts)
def test_texts_are_cut_only_when_they_are_long(left, right):
    for text in (left, right):
        cut = keys.decode(index_key(text)) is CUT
        assert cut == (escaped(text) > ROOM) == (not keys.exact(text))
        assert len(index_key(text)) <= MAX_VALUE_KEY
        assert not cut or len(index_key(text)) >= MAX_VALUE_KEY - 1
    if index_key(left) == index_key(right) and left != right:
        assert not keys.exact(left) and not keys.exact(right)


# --- round trips ------------------------------------------------------------------------------------------------------


def same(left, right):
    return type(left) is type(right) and left == right


@given(small | texts.filter(lambda text: escaped(text) < MAX_PRIMARY_KEY - 1))
@example(9007199254740993)
@example(-9007199254740993)
@example(2**64 - 1)
@example(-(2**63) + 1)
@example(5e-324)
@example("")
def test_a_scalar_comes_back(value):
    assert same(keys.decode(keys.encode(value)), canonical(value))


@given(compounds)
def test_a_compound_key_comes_back(values):
    assert keys.decode(keys.encode(values)) == [canonical(value) for value in values]
    assert keys.encode(tuple(values)) == keys.encode(values)


@given(scalars)
def test_values_and_their_json_have_the_same_key(value):
    key = index_key(canonical(value))
    if keys.exact(value):
        assert key == keys.encode(value)
        assert same(keys.decode(key), canonical(value))
    else:
        assert key == keys.equal(value).low
    assert keys.from_json(fragment(canonical(value)), element=True) == b"\x40" + key
    assert keys.decode(b"\x40" + key) == keys.decode(key)


@given(texts)
def test_escapes_of_json_texts_are_understood(text):
    assert keys.from_json(json.dumps(text).encode()) == index_key(text)


def test_all_escapes_are_understood():
    assert keys.decode(keys.from_json(rb'"\"\\\/\b\f\n\r\t\u0000\u00e9\uD83D\uDE00"')) == '"\\/\b\f\n\r\t\0é😀'


@given(numbers.map(canonical))
def test_numbers_are_understood_in_any_notation(number):
    texts_of = {repr(number), f"{float(number):.17e}" if number == float(number) else repr(number)}
    assert {keys.from_json(text.encode()) for text in texts_of} == {keys.encode(number)}


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 20))
def test_decimals_are_the_nearest_doubles(value, digits):
    text = f"{value:.{digits}e}"
    assume(math.isfinite(float(text)))
    assert keys.from_json(text.encode()) == keys.encode(float(text))
    if abs(value) < 1e15:
        text = f"{value:.{digits}f}"
        assert keys.from_json(text.encode()) == keys.encode(float(text))


def test_equal_numbers_have_one_key():
    assert (
        keys.encode(1) == keys.encode(1.0) == keys.from_json(b"1") == keys.from_json(b"1.0") == keys.from_json(b"10e-1")
    )
    assert keys.encode(0) == keys.encode(-0.0) == keys.from_json(b"-0") == keys.from_json(b"-0.0")
    assert keys.encode(1e19) == keys.encode(10**19) == keys.from_json(b"1e19")
    assert keys.encode(10**30) == keys.encode(1e30) != keys.encode(10**30 + 10**15)


@given(
    st.lists(scalars | st.lists(scalars, max_size=2) | st.dictionaries(short_texts, scalars, max_size=2), max_size=5)
)
def test_arrays_are_stepped_through(values):
    assert keys.elements_of(fragment(values)) == [fragment(value) for value in values]


def test_arrays_and_objects_have_one_entry_and_none_inside_arrays():
    for value in ([], [1], {}, {"a": 1}):
        assert keys.decode(index_key(value)) is COMPOSITE
        assert keys.from_json(fragment(value), element=True) == b""


@given(scalars, primaries)
def test_a_secondary_key_is_split_where_the_value_ends(value, primary):
    key, rest = index_key(value), keys.encode(primary)
    assert keys.split(key + rest) == (key, rest)
    assert keys.split(b"\x40" + key + rest) == (b"\x40" + key, rest)
    assert keys.split(index_key([]) + rest) == (index_key([]), rest)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "Invalid primary key type: boolean"),
        (False, "Invalid primary key type: boolean"),
        (None, "Invalid primary key type: null"),
        ({}, "Invalid primary key type: object"),
        ([], "Invalid key: an empty array"),
        ([[1]], "Invalid key type: array"),
        ([{}], "Invalid key type: object"),
        (float("nan"), "Invalid key: not a finite number"),
        (10**400, "Invalid key: not a finite number"),
        ("\ud800", "Invalid key: a text with half a surrogate pair"),
        (b"x", "Invalid key type: bytes"),
        ("x" * 599, "Primary key size is too large: 601"),
        ("\0" * 300, "Primary key size is too large: 602"),
        (["x" * 300, "y" * 300], "Primary key size is too large: 606"),
    ],
)
def test_what_cannot_be_a_primary_key(value, text):
    with pytest.raises(InvalidKey) as error:
        keys.encode_primary(value)
    assert str(error.value) == text


def test_the_longest_primary_keys():
    for value in ("x" * 598, "\0" * 299, "😀" * 149 + "xx"):
        assert len(keys.encode_primary(value)) == MAX_PRIMARY_KEY
        assert keys.decode(keys.encode_primary(value)) == value


tagged = st.builds(
    lambda tag, rest: bytes([tag]) + rest, st.sampled_from(b"\x05\x10\x20\x30\x40"), st.binary(max_size=40)
)


@given(tagged | st.binary(max_size=40))
@example(b"\x10\x7f" + b"\xff" * 8 + b"\x80")  # -0.0
@example(b"\x30\x05\x00")
@example(b"\x30\x20a\x00\xfe\x00")
def test_random_bytes_are_no_key_or_the_key_of_a_value(data):
    try:
        value, rest = keys.split(data)
        decoded = keys.decode(value)
    except InvalidKey:
        with pytest.raises(InvalidKey):
            keys.decode(data)
        return
    assert value + rest == data
    assert decoded is CUT or decoded is COMPOSITE or keys.encode(decoded) == value.removeprefix(b"\x40")


@given(st.data())
def test_broken_keys_are_decoded_or_refused(data):
    whole = bytearray(index_key(data.draw(scalars)) + keys.encode(data.draw(primaries)))
    place_of = data.draw(st.integers(0, len(whole) - 1))
    whole[place_of] = data.draw(st.integers(0, 255))
    broken = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        value, rest = keys.split(broken)
        keys.decode(value)
    except InvalidKey:
        return
    assert value + rest == broken


@given(st.binary(max_size=60) | st.text('[]{}",\\u0d8:-+.eE19truefalsnl', max_size=30).map(str.encode))
def test_random_json_is_read_or_refused(data):
    for read in (keys.from_json, keys.elements_of, lambda json: keys.from_json(json, element=True)):
        try:
            read(data)
        except InvalidKey:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "nul",
        "nullx",
        "tru",
        "falsey",
        "-",
        "+",
        ".5",
        "5.",
        "01",
        "-01",
        "1e",
        "1e+",
        "1.e5",
        "1x",
        "0x10",
        "inf",
        "NaN",
        "1e999",
        "-1e999",
        '"',
        '"a',
        'a"',
        '"\\"',
        '"\\x"',
        '"\\u12"',
        '"\\ud800"',
        '"\\ud800\\u0041"',
        '"\\udc00"',
        '"\\ud800\\ud800"',
        "1,2",
    ],
)
def test_malformed_json_is_refused(text):
    with pytest.raises(InvalidKey):
        keys.from_json(text.encode())


@pytest.mark.parametrize(
    "text", ["", "[", "[1", "[1,", "[1,]", "[,1]", "[]]", "[1]]", "[1]x", "{}", '["a]', '["\\"]', "[[1]", "1]"]
)
def test_malformed_arrays_are_refused(text):
    with pytest.raises(InvalidKey):
        keys.elements_of(text.encode())


# --- bounds -----------------------------------------------------------------------------------------------------------

RANGES = {
    "equal": lambda given, wanted: given == wanted,
    "at_least": lambda given, wanted: given >= wanted,
    "above": lambda given, wanted: given > wanted,
    "at_most": lambda given, wanted: given <= wanted,
    "below": lambda given, wanted: given < wanted,
}
close_texts = st.sampled_from(
    [
        fill * count + tail
        for fill in "a\0"
        for count in (0, 1, 196, 197, 198, 394, 395, 396)
        for tail in ("", "\0", "\x01", "b", "bb", "\0\0")
    ]
)
close_numbers = st.sampled_from(
    [base + d for base in (0, 2**53, 2**63, -(2**60)) for d in (-1, 0, 1, 2)] + [0.5, 2.0**53, 1e300, -1e300]
)
values_of_indexes = scalars | close_texts | close_numbers


def covered(bounds, key):
    return bounds.low <= key < bounds.high


@given(
    st.sampled_from(sorted(RANGES)), values_of_indexes, st.lists(st.tuples(values_of_indexes, primaries), max_size=12)
)
def test_bounds_cover_a_secondary_index(name, wanted, entries):
    bounds = getattr(keys, name)(wanted)
    assert len(bounds.low) <= MAX_KEY and len(bounds.high) <= MAX_KEY
    for value, primary in entries:
        key = index_key(canonical(value)) + keys.encode(primary)
        holds = RANGES[name](place(value), place(wanted))
        if keys.exact(wanted):
            assert covered(bounds, key) == holds
        else:
            unsure = keys.split(key)[0] == keys.equal(wanted).low
            assert covered(bounds, key) == holds or unsure
            assert covered(bounds, key) or not holds
        assert not covered(bounds, index_key([]) + keys.encode(primary)) or name in ("at_least", "above")
        assert covered(keys.elements(bounds), b"\x40" + key) == covered(bounds, key)
        assert not covered(bounds, b"\x40" + key) and not covered(keys.elements(bounds), key)


@given(
    st.sampled_from(sorted(RANGES)),
    values_of_indexes,
    st.lists(primaries | texts | close_texts | close_numbers, max_size=12),
)
def test_bounds_cover_a_primary_index(name, wanted, entries):
    bounds = getattr(keys, name)(wanted)
    for value in entries:
        if isinstance(value, str) and escaped(value) > MAX_PRIMARY_KEY - 2:
            continue
        holds = RANGES[name](place(value), place(wanted))
        inside = covered(bounds, keys.encode(value))
        assert inside == holds if keys.exact(wanted) else inside or not holds


@given(st.sampled_from(sorted(RANGES)), compounds, st.lists(compounds | small, max_size=12))
def test_bounds_of_compound_keys_cover_a_primary_index(name, wanted, entries):
    assert not keys.exact(wanted)
    bounds = getattr(keys, name)(wanted)
    for value in entries:
        if RANGES[name](compound_place(value), compound_place(wanted)):
            assert covered(bounds, keys.encode(value))


@pytest.mark.parametrize("value", [[], [1, 2], {}, {"a": 1}, [[1]], ["x" * 2000]])
def test_equal_finds_the_entries_of_composites(value):
    assert not keys.exact(value)
    assert covered(keys.equal(value), index_key(value) + keys.encode(7))
    assert not covered(keys.equal(value), index_key("x") + keys.encode(7))


@given(
    texts | close_texts,
    st.lists(st.tuples(texts | close_texts, primaries), max_size=8),
    st.text(characters, max_size=3),
)
def test_starts_with_covers_the_texts_that_do(prefix, entries, tail):
    bounds = keys.starts_with(prefix)
    assert len(bounds.low) <= MAX_KEY and len(bounds.high) <= MAX_KEY
    for text, primary in [*entries, (prefix + tail, 1), (prefix, 2), (prefix[:-1], 3)]:
        holds = text.startswith(prefix)
        candidates = [index_key(text) + keys.encode(primary)]
        if escaped(text) <= MAX_PRIMARY_KEY - 2:
            candidates.append(keys.encode(text))
        for key in candidates:
            assert covered(bounds, key) == holds if keys.exact(prefix) else covered(bounds, key) or not holds
    assert not covered(bounds, index_key([]) + b"\x06") and not covered(bounds, index_key(10**18) + b"\x06")


@given(scalars, scalars, values_of_indexes, primaries)
def test_between_includes_both_ends(low, high, value, primary):
    bounds = keys.between(low, high)
    if keys.exact(low) and keys.exact(high):
        assert covered(bounds, index_key(canonical(value)) + keys.encode(primary)) == (
            place(low) <= place(value) <= place(high)
        )
        assert not bounds.empty or place(low) > place(high)


@given(scalars | st.just([]) | st.just({}), primaries)
def test_every_type_has_its_bounds(value, primary):
    kinds = [keys.NULL, keys.BOOLEANS, keys.NUMBERS, keys.STRINGS, keys.COMPOSITES]
    key = index_key(canonical(value)) + keys.encode(primary)
    assert [covered(kind, key) for kind in kinds] == [rank == place(value)[0] for rank in range(5)]
    assert covered(EVERYTHING, key)
    assert not covered(EVERYTHING, b"\x40" + key)
    assert covered(keys.elements(EVERYTHING), b"\x40" + key)


def test_bounds_intersect_and_compare():
    above_five = keys.above(5) & keys.NUMBERS
    assert above_five == Bounds(keys.above(5).low, keys.NUMBERS.high)
    assert (keys.NUMBERS & keys.STRINGS).empty
    assert not EVERYTHING.empty
    assert len({keys.equal(1), keys.equal(1.0), keys.equal("1")}) == 2
    with pytest.raises(AttributeError):
        above_five.low = b""
