"""Order-preserving keys: comparing the bytes of two keys compares the values they stand for.

    null                 05
    false, true          06, 07
    number               10, 1 to 11 bytes: 7 bits of the number each, and 1 unless only zeros follow
    text                 20, UTF-8 with every 00 as 00 FF, 00
    text cut short       20, the first bytes of the same, 00 FE
    compound key         30, the keys of its scalars (null as 00 FF), 00
    array or object      30 00             (as an indexed value; compound keys are never empty)
    element of an array  40, the key of the scalar

The bits of a number are those of its double, with the sign flipped (all bits when negative) and rounded towards minus
infinity, and 11 more for what an integer in [-2^63, 2^64) exceeds the double by. Most numbers end in many zero bits, which
take no bytes: an integer below 2^k takes about (12 + k) / 7. 1 and 1.0 are one number with one key.

Keys are self-delimiting, so a secondary key is the key of the value followed by the primary key, without lengths. What
follows a value key is nothing or a tag, hence below FE: this is what tells the end of a text (00) from its cut (00 FE)
and from a NUL inside it (00 FF), and why `key + FE` is the upper end of everything that carries the value.

A text in a secondary key has at most TEXT_ROOM bytes of body; a longer one is cut there, inside a character if need be,
but never inside 00 FF. Since no uncut text of an index has more bytes of body than a cut one, cut texts sort correctly
among the uncut; only texts that share a cut key are left in the order of their primary keys, and have to be compared in
the records. Texts in primary keys are never cut.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject_RichCompare
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy

import enum

from engine.errors import InvalidKey

from engine.fragments cimport unescape
from engine.numbers cimport (
    NOT_A_NUMBER, REAL, SIGNED, UNSIGNED, Number, number_from_double, number_from_json, number_from_object,
    number_to_object)

cdef extern from * nogil:
    ctypedef unsigned long long uint128 "unsigned __int128"
    int __builtin_clzll(uint64_t value)

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    void* PyUnicode_DATA(object text)

cdef enum:
    NULL_TAG = 0x05
    FALSE_TAG = 0x06
    TRUE_TAG = 0x07
    NUMBER_TAG = 0x10
    TEXT_TAG = 0x20
    COMPOSITE_TAG = 0x30
    ELEMENT_TAG = 0x40
    CUT_MARK = 0xFE                     # after 00
    NUL_MARK = 0xFF                     # after 00
    TEXT_ROOM = MAX_VALUE_KEY - 3       # tag, body, 00 FE
    NUMBER_ROOM = 12                    # tag, 11 times 7 bits
    RESIDUAL_BITS = 11


# --- numbers ----------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t put_bits(double value, unsigned int residual, unsigned char* out) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    bits = ~bits if bits >> 63 else bits | 1ULL << 63
    cdef uint128 left = (<uint128>bits << RESIDUAL_BITS | residual) << 128 - 64 - RESIDUAL_BITS
    cdef Py_ssize_t n = 1
    out[0] = NUMBER_TAG
    while True:
        out[n] = <unsigned char>(left >> 121) << 1
        left <<= 7
        n += 1
        if left == 0:
            return n
        out[n - 1] |= 1


cdef Py_ssize_t put_integer(bint negative, unsigned long long magnitude, unsigned char* out) noexcept nogil:
    cdef unsigned long long residual = 0
    cdef int shift
    if magnitude >> 53:
        shift = 11 - __builtin_clzll(magnitude)
        residual = magnitude & ((1ULL << shift) - 1)
        magnitude -= residual
        if negative and residual:       # towards minus infinity
            residual = (1ULL << shift) - residual
            magnitude += 1ULL << shift
    cdef double rounded = <double>magnitude
    return put_bits(-rounded if negative else rounded, <unsigned int>residual, out)


cdef Py_ssize_t put_number(Number number, unsigned char* out) noexcept nogil:
    if number.kind == SIGNED:
        return key_from_int64(<long long>number.integer, out)
    if number.kind == UNSIGNED:
        return put_integer(False, number.integer, out)
    if number.kind == REAL:
        return put_bits(number.real, 0, out)
    return -1


cdef Py_ssize_t key_from_double(double value, unsigned char* out) noexcept nogil:
    return put_number(number_from_double(value), out)


cdef Py_ssize_t key_from_int64(long long value, unsigned char* out) noexcept nogil:
    if value < 0:
        return put_integer(True, 0 - <unsigned long long>value, out)
    return put_integer(False, <unsigned long long>value, out)


cdef Py_ssize_t number_length(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t pos = 1
    while pos < n and pos < NUMBER_ROOM:
        pos += 1
        if not key[pos - 1] & 1:
            return pos
    return -1


cdef Number read_number(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    """The number of a key whose length is known to be right; NOT_A_NUMBER when no number has this key."""
    cdef uint128 all_bits = 0
    cdef uint64_t bits
    cdef double rounded
    cdef unsigned char[NUMBER_ROOM] again
    cdef int i
    for i in range(1, <int>n):
        all_bits |= <uint128>(key[i] >> 1) << 121 - 7 * (i - 1)
    bits = <uint64_t>(all_bits >> 64)
    bits = bits ^ 1ULL << 63 if bits >> 63 else ~bits
    memcpy(&rounded, &bits, 8)
    cdef Number number = number_from_double(rounded)
    number.integer += <uint64_t>all_bits >> 64 - RESIDUAL_BITS
    if put_number(number, again) != n or memcmp(again, key, n) != 0:
        number.kind = NOT_A_NUMBER
    return number


# --- texts ------------------------------------------------------------------------------------------------------------

cdef Py_ssize_t put_text(const unsigned char* text, Py_ssize_t n, unsigned char* out) noexcept nogil:
    """The key of a text of n bytes of UTF-8 (it may end after MAX_VALUE_KEY bytes), cut where needed."""
    cdef unsigned char* body = out + 1
    cdef Py_ssize_t used = min(n, <Py_ssize_t>TEXT_ROOM)
    cdef Py_ssize_t pos = used
    out[0] = TEXT_TAG
    if memchr(text, 0, used) == NULL:
        memcpy(body, text, used)
    else:
        used = pos = 0
        while pos < n and used + (text[pos] == 0) < TEXT_ROOM:
            body[used] = text[pos]
            used += 1
            if text[pos] == 0:
                body[used] = NUL_MARK
                used += 1
            pos += 1
    body[used] = 0
    if pos == n:
        return used + 2
    body[used + 1] = CUT_MARK
    return used + 3


cdef Py_ssize_t text_from_json(const unsigned char* json, Py_ssize_t n, unsigned char* out) noexcept nogil:
    cdef unsigned char[MAX_VALUE_KEY + 4] text
    cdef Py_ssize_t length
    if n < 2 or json[n - 1] != c'"':
        return -1
    if memchr(json, c"\\", n) == NULL:
        return put_text(json + 1, n - 2, out)
    length = unescape(json + 1, n - 2, text, MAX_VALUE_KEY)
    return put_text(text, length, out) if length >= 0 else -1


# --- keys of JSON fragments -------------------------------------------------------------------------------------------

cdef inline Py_ssize_t put_word(
        const unsigned char* json, Py_ssize_t n, const char* word, Py_ssize_t length, int tag, unsigned char* out
) noexcept nogil:
    out[0] = <unsigned char>tag
    return 1 if n == length and memcmp(json, word, length) == 0 else -1


cdef Py_ssize_t key_from_json(const unsigned char* json, Py_ssize_t n, unsigned char* out) noexcept nogil:
    if n <= 0:
        return -1
    cdef unsigned char first = json[0]
    if first == c'"':
        return text_from_json(json, n, out)
    if first == c"n":
        return put_word(json, n, "null", 4, NULL_TAG, out)
    if first == c"t":
        return put_word(json, n, "true", 4, TRUE_TAG, out)
    if first == c"f":
        return put_word(json, n, "false", 5, FALSE_TAG, out)
    if first == c"[" or first == c"{":
        out[0] = COMPOSITE_TAG
        out[1] = 0
        return 2
    return put_number(number_from_json(json, n), out)


cdef Py_ssize_t element_key_from_json(const unsigned char* json, Py_ssize_t n, unsigned char* out) noexcept nogil:
    cdef Py_ssize_t length
    if n > 0 and (json[0] == c"[" or json[0] == c"{"):
        return 0
    out[0] = ELEMENT_TAG
    length = key_from_json(json, n, out + 1)
    return length + 1 if length > 0 else -1


# --- reading keys -----------------------------------------------------------------------------------------------------

cdef Py_ssize_t text_length(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    cdef const unsigned char* nul
    cdef Py_ssize_t pos = 1
    while True:
        nul = <const unsigned char*>memchr(key + pos, 0, n - pos)
        if nul == NULL:
            return -1
        pos = nul - key + 1
        if pos == n or key[pos] < CUT_MARK:
            return pos
        pos += 1
        if key[pos - 1] == CUT_MARK:
            return pos


cdef Py_ssize_t compound_length(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t pos = 1
    cdef Py_ssize_t length
    while pos < n:
        if key[pos] != 0:
            if not FALSE_TAG <= key[pos] < COMPOSITE_TAG:
                return -1
            length = key_length(key + pos, n - pos)
            if length < 0 or (key[pos] == TEXT_TAG and key[pos + length - 1] == CUT_MARK):
                return -1
            pos += length
        elif pos + 1 < n and key[pos + 1] == NUL_MARK:
            pos += 2
        else:
            return pos + 1
    return -1


cdef Py_ssize_t key_length(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t length
    if n <= 0:
        return -1
    cdef unsigned char tag = key[0]
    if tag == TEXT_TAG:
        return text_length(key, n)
    if tag == NUMBER_TAG:
        return number_length(key, n)
    if NULL_TAG <= tag <= TRUE_TAG:
        return 1
    if tag == COMPOSITE_TAG:
        return compound_length(key, n)
    if tag == ELEMENT_TAG and n > 1 and key[1] < ELEMENT_TAG:
        length = key_length(key + 1, n - 1)
        return length + 1 if length > 0 else -1
    return -1


class Marker(enum.Enum):
    """What an index holds in place of a value that it does not hold in full."""

    CUT = "cut"                 # a text longer than its share of the key
    COMPOSITE = "composite"     # an array or an object


CUT = Marker.CUT
COMPOSITE = Marker.COMPOSITE


cdef object malformed(const unsigned char* key, Py_ssize_t n):
    return InvalidKey(f"Malformed key: {key[:min(n, <Py_ssize_t>MAX_KEY)].hex()}")


cdef object decode_text(const unsigned char* key, Py_ssize_t n):
    """The text of a key of the right length."""
    if key[n - 1] == CUT_MARK:          # no byte of UTF-8
        return CUT
    try:
        if memchr(key + 1, 0, n - 2) == NULL:
            return PyUnicode_DecodeUTF8(<const char*>key + 1, n - 2, NULL)
        return key[1:n - 1].replace(b"\x00\xff", b"\x00").decode()
    except UnicodeDecodeError as error:
        raise malformed(key, n) from error


cdef list decode_compound(const unsigned char* key, Py_ssize_t n):
    cdef list values = []
    cdef Py_ssize_t pos = 1
    cdef Py_ssize_t length
    while pos < n - 1:
        if key[pos] == 0:
            values.append(None)
            pos += 2
            continue
        length = key_length(key + pos, n - pos)
        values.append(decode_key(key + pos, length))
        pos += length
    return values


cdef object decode_key(const unsigned char* key, Py_ssize_t n):
    if key_length(key, n) != n:
        raise malformed(key, n)
    cdef unsigned char tag = key[0]
    cdef Number number
    if tag == TEXT_TAG:
        return decode_text(key, n)
    if tag == NUMBER_TAG:
        number = read_number(key, n)
        if number.kind == NOT_A_NUMBER:
            raise malformed(key, n)
        return number_to_object(number)
    if tag == COMPOSITE_TAG:
        return decode_compound(key, n) if n > 2 else COMPOSITE
    if tag == ELEMENT_TAG:
        return decode_key(key + 1, n - 1)
    return None if tag == NULL_TAG else tag == TRUE_TAG


# --- keys of Python values --------------------------------------------------------------------------------------------

cdef bytes encode_text(object text):
    cdef Py_ssize_t n
    cdef const char* utf8
    cdef bytes body
    cdef char* out
    try:
        utf8 = PyUnicode_AsUTF8AndSize(text, &n)
    except UnicodeEncodeError as error:
        raise InvalidKey("Invalid key: a text with half a surrogate pair") from error
    if memchr(utf8, 0, n) != NULL:
        return b"\x20" + utf8[:n].replace(b"\x00", b"\x00\xff") + b"\x00"
    body = PyBytes_FromStringAndSize(NULL, n + 2)
    out = PyBytes_AS_STRING(body)
    out[0] = TEXT_TAG
    memcpy(out + 1, utf8, n)
    out[n + 1] = 0
    return body


cdef bytes encode_number(object value):
    cdef unsigned char[NUMBER_ROOM] out
    cdef Py_ssize_t n = put_number(number_from_object(value), out)
    if n < 0:
        raise InvalidKey("Invalid key: not a finite number")
    return PyBytes_FromStringAndSize(<char*>out, n)


cdef bytes encode_scalar(object value):
    if isinstance(value, str):
        return encode_text(value)
    if value is True:
        return b"\x07"
    if value is False:
        return b"\x06"
    if isinstance(value, (int, float)):
        return encode_number(value)
    if value is None:
        return b"\x05"
    raise InvalidKey(f"Invalid key type: {type_name(value)}")


cdef bytes encode_value(object value):
    """The key of a value in full; lists are compound keys."""
    if not isinstance(value, (list, tuple)):
        return encode_scalar(value)
    if not value:
        raise InvalidKey("Invalid key: an empty array")
    return b"\x30" + b"".join([b"\x00\xff" if item is None else encode_scalar(item) for item in value]) + b"\x00"


cdef str type_name(object value):
    """The type as the API's users call it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, (list, tuple)):
        return "array"
    return type(value).__name__


cdef bytes checked(bytes key):
    if PyBytes_GET_SIZE(key) > MAX_PRIMARY_KEY:
        raise InvalidKey(f"Primary key size is too large: {len(key)}")
    return key


cdef bytes encode_key(object value):
    if value is None or isinstance(value, (bool, dict)):
        raise InvalidKey(f"Invalid primary key type: {type_name(value)}")
    return checked(encode_value(value))


cdef Py_ssize_t put_key(object value, unsigned char* out) except -1:
    cdef bytes key
    cdef Py_ssize_t n
    if type(value) is int:
        n = put_number(number_from_object(value), out)
        if n > 0:
            return n
    elif type(value) is str and PyUnicode_IS_COMPACT_ASCII(value):
        n = PyUnicode_GET_LENGTH(value)
        if n <= MAX_PRIMARY_KEY - 2 and memchr(PyUnicode_DATA(value), 0, n) == NULL:
            out[0] = TEXT_TAG
            memcpy(out + 1, PyUnicode_DATA(value), n)
            out[n + 1] = 0
            return n + 2
    key = encode_key(value)
    memcpy(out, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    return PyBytes_GET_SIZE(key)


def encode_primary(value) -> bytes:
    """The key of a record: of a number, a text or an array of scalars, at most MAX_PRIMARY_KEY bytes.

    Raises InvalidKey for booleans, null, objects, and keys that are too long.
    """
    return encode_key(value)


def encode(value) -> bytes:
    """The full key of a scalar, or of a list of scalars (a compound key).

    Keys sort as their values: null, false, true, numbers, texts by code point, compound keys element by element.
    Raises InvalidKey for other types, NaN, infinity, texts with half a surrogate pair, and keys above MAX_PRIMARY_KEY.
    """
    return checked(encode_value(value))


def decode(const unsigned char[:] key not None):
    """The value of one key; CUT for a cut text, COMPOSITE for the entry of an array or object. Raises InvalidKey."""
    return decode_key(&key[0] if key.shape[0] else NULL, key.shape[0])


def from_json(const unsigned char[:] fragment not None, *, element=False) -> bytes:
    """The index key of a JSON fragment, cut to its share; `b""` for a nested array or object as an element.

    Raises InvalidKey when the fragment is malformed.
    """
    cdef unsigned char[MAX_VALUE_KEY + 1] out
    cdef const unsigned char* json = &fragment[0] if fragment.shape[0] else NULL
    cdef Py_ssize_t n
    if element:
        n = element_key_from_json(json, fragment.shape[0], out)
    else:
        n = key_from_json(json, fragment.shape[0], out)
    if n < 0:
        raise InvalidKey("Malformed JSON")
    return PyBytes_FromStringAndSize(<char*>out, n)


def elements_of(const unsigned char[:] array not None) -> list:
    """The elements of a JSON array without white space, as fragments. Raises InvalidKey when it is malformed."""
    cdef list found = []
    cdef Py_ssize_t pos = 0
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t end = 0
    cdef int more = -1
    while array.shape[0]:
        more = json_array_next(&array[0], array.shape[0], &pos, &start, &end)
        if more <= 0:
            break
        found.append(bytes(array[start:end]))
    if more < 0:
        raise InvalidKey("Malformed JSON")
    return found


def split(const unsigned char[:] key not None) -> tuple:
    """A secondary key as (key of the value, primary key). Raises InvalidKey when it is malformed."""
    cdef Py_ssize_t n = key_length(&key[0] if key.shape[0] else NULL, key.shape[0])
    if n < 0:
        raise InvalidKey(f"Malformed key: {bytes(key).hex()}")
    return bytes(key[:n]), bytes(key[n:])


# --- bounds -----------------------------------------------------------------------------------------------------------

cdef class Bounds:
    """The keys in [low, high), of a primary or of a secondary index; a value: compared and hashed by its ends."""

    def __init__(self, bytes low not None, bytes high not None) -> None:
        self.low, self.high = low, high

    def __repr__(self) -> str:
        return f"Bounds({self.low!r}, {self.high!r})"

    def __hash__(self) -> int:
        return hash((self.low, self.high))

    def __richcmp__(self, other, int operator):
        if not isinstance(other, Bounds):
            return NotImplemented
        return PyObject_RichCompare((self.low, self.high), ((<Bounds>other).low, (<Bounds>other).high), operator)

    def __and__(self, Bounds other not None) -> Bounds:
        return Bounds(max(self.low, other.low), min(self.high, other.high))

    @property
    def empty(self) -> bool:
        return self.low >= self.high


EVERYTHING = Bounds(b"", b"\x40")
globals()["NULL"] = Bounds(b"\x05", b"\x06")       # Cython takes the bare name for the null pointer
BOOLEANS = Bounds(b"\x06", b"\x08")
NUMBERS = Bounds(b"\x10", b"\x11")
STRINGS = Bounds(b"\x20", b"\x21")
COMPOSITES = Bounds(b"\x30", b"\x31")


cdef bint is_composite(object value):
    return isinstance(value, (list, tuple, dict))


cdef bytes cut(bytes key):
    """The key of a text as secondary indexes hold it."""
    if PyBytes_GET_SIZE(key) <= TEXT_ROOM + 2:
        return key
    return key[:TEXT_ROOM if key[TEXT_ROOM] == 0 else TEXT_ROOM + 1] + b"\x00\xfe"


cdef bytes lowest(object value):
    """The first key that may carry the value: as in secondary indexes, which hold long texts and composites in part."""
    return b"\x30\x00" if is_composite(value) else cut(encode_scalar(value))


cdef bytes highest(object value):
    """The last key that may carry the value: as in the primary index, where no key is long enough to miss the rest."""
    if not is_composite(value):
        return encode_scalar(value)[:MAX_KEY - 1]
    try:
        return encode_value(list(value))[:MAX_KEY - 1]
    except InvalidKey:                  # no primary key, hence only in secondary indexes
        return b"\x30\x00"


cdef bytes after(bytes key):
    """Above `key` and everything that may follow it, below every other key above it."""
    return key + b"\xfe"


def exact(value) -> bool:
    """Whether indexes hold the value in full, so that the bounds below need no second look at the records."""
    return not is_composite(value) and PyBytes_GET_SIZE(encode_scalar(value)) <= TEXT_ROOM + 2


def equal(value) -> Bounds:
    return Bounds(lowest(value), after(highest(value)))


def at_least(value) -> Bounds:
    return Bounds(lowest(value), EVERYTHING.high)


def above(value) -> Bounds:
    return Bounds(after(lowest(value)) if exact(value) else lowest(value), EVERYTHING.high)


def at_most(value) -> Bounds:
    return Bounds(EVERYTHING.low, after(highest(value)))


def below(value) -> Bounds:
    return Bounds(EVERYTHING.low, highest(value) if exact(value) else after(highest(value)))


def between(low, high) -> Bounds:
    """Both ends included; empty when they are the wrong way round."""
    return at_least(low) & at_most(high)


def starts_with(text: str) -> Bounds:
    """The texts that begin with `text`; of those longer than `exact` allows, all that share its cut key."""
    cdef bytes key = encode_text(text)
    return Bounds(cut(key) if not exact(text) else key[:len(key) - 1], key[:min(len(key) - 1, MAX_KEY - 1)] + b"\xff")


def elements(Bounds bounds not None) -> Bounds:
    """The same values among the elements of arrays."""
    return Bounds(b"\x40" + bounds.low, b"\x40" + bounds.high)
