"""Keys and the Python values they stand for, and the bounds between which the keys of some values lie; keybytes.pyx tells how
keys look.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject_RichCompare
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcpy

import enum

from engine.errors import InvalidKey

from engine.fragments cimport json_array_next
from engine.keybytes cimport (
    COMPOSITE_TAG, CUT_MARK, ELEMENT_TAG, MAX_KEY, MAX_PRIMARY_KEY, MAX_VALUE_KEY, NUMBER_ROOM, NUMBER_TAG, NULL_TAG, TEXT_ROOM,
    TEXT_TAG, TRUE_TAG, element_key_from_json, key_from_json, key_length, put_number, read_number,
)
from engine.numbers cimport NOT_A_NUMBER, Number, number_from_object, number_to_object

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    void* PyUnicode_DATA(object text)


# --- values of keys ---------------------------------------------------------------------------------------------------

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
