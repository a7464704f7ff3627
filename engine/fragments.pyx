"""JSON fragments: one value each, in canonical form.

Numbers as in engine.numbers; texts in UTF-8 with the fewest escapes; arrays and objects of the same, keys in their
order; no white space outside texts. What JSON lacks is stored as text: datetimes in ISO form (UTC, milliseconds, Z),
bytes in base64. NaN, infinity, half surrogate pairs, keys that are no texts and nesting beyond MAX_DEPTH are refused.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

from base64 import b64encode
from datetime import UTC, datetime

import msgspec

from engine.errors import InvalidRecord
from engine.numbers cimport (
    LONGEST_NUMBER, NOT_A_NUMBER, Number, number_from_json, number_from_object, number_to_json, number_to_object)

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    MAX_DEPTH = 128             # of arrays and objects inside each other


# --- reading ----------------------------------------------------------------------------------------------------------

cdef int hexadecimal(const unsigned char* json) noexcept nogil:
    """The value of four digits, -1 when they are none."""
    cdef int value = 0
    cdef unsigned char c
    cdef int i
    for i in range(4):
        c = json[i]
        if 48 <= c <= 57:
            value = value << 4 | (c - 48)
        elif 97 <= c | 0x20 <= 102:
            value = value << 4 | ((c | 0x20) - 87)
        else:
            return -1
    return value


cdef int put_character(int point, unsigned char* out) noexcept nogil:
    """UTF-8 of one character, 1 to 4 bytes."""
    if point < 0x80:
        out[0] = <unsigned char>point
        return 1
    if point < 0x800:
        out[0] = <unsigned char>(0xC0 | point >> 6)
        out[1] = <unsigned char>(0x80 | point & 0x3F)
        return 2
    if point < 0x10000:
        out[0] = <unsigned char>(0xE0 | point >> 12)
        out[1] = <unsigned char>(0x80 | point >> 6 & 0x3F)
        out[2] = <unsigned char>(0x80 | point & 0x3F)
        return 3
    out[0] = <unsigned char>(0xF0 | point >> 18)
    out[1] = <unsigned char>(0x80 | point >> 12 & 0x3F)
    out[2] = <unsigned char>(0x80 | point >> 6 & 0x3F)
    out[3] = <unsigned char>(0x80 | point & 0x3F)
    return 4


cdef Py_ssize_t unescape_unicode(const unsigned char* json, Py_ssize_t n, int* point) noexcept nogil:
    """Reads \\uXXXX, or the two of a surrogate pair; the length read, -1 when malformed or a lone surrogate."""
    cdef int low
    if n < 6:
        return -1
    point[0] = hexadecimal(json + 2)
    if point[0] & ~0x7FF != 0xD800:
        return 6 if point[0] >= 0 else -1
    if point[0] >= 0xDC00 or n < 12 or json[6] != c"\\" or json[7] != c"u":
        return -1
    low = hexadecimal(json + 8)
    if low & ~0x3FF != 0xDC00:
        return -1
    point[0] = 0x10000 + ((point[0] & 0x3FF) << 10 | low & 0x3FF)
    return 12


cdef int unescape_character(unsigned char c) noexcept nogil:
    """What a backslash and `c` stand for, -1 for nothing."""
    if c == c"n":
        return 10
    if c == c"t":
        return 9
    if c == c"r":
        return 13
    if c == c"b":
        return 8
    if c == c"f":
        return 12
    return c if c == c'"' or c == c"\\" or c == c"/" else -1


cdef Py_ssize_t unescape(
        const unsigned char* json, Py_ssize_t n, unsigned char* out, Py_ssize_t enough
) noexcept nogil:
    """The inside of a JSON text as UTF-8, up to the character that reaches `enough` bytes; -1 when malformed."""
    cdef Py_ssize_t pos = 0
    cdef Py_ssize_t used = 0
    cdef Py_ssize_t width
    cdef int point
    while pos < n and used < enough:
        if json[pos] != c"\\":
            out[used] = json[pos]
            used += 1
            pos += 1
            continue
        if pos + 1 == n:
            return -1
        if json[pos + 1] == c"u":
            width = unescape_unicode(json + pos, n - pos, &point)
        else:
            point = unescape_character(json[pos + 1])
            width = 2 if point >= 0 else -1
        if width < 0:
            return -1
        used += put_character(point, out + used)
        pos += width
    return used


cdef Py_ssize_t skip_text(const unsigned char* json, Py_ssize_t n, Py_ssize_t pos) noexcept nogil:
    """The offset after the text that opens at `pos`; n or more when it does not close."""
    pos += 1
    while pos < n and json[pos] != c'"':
        pos += 2 if json[pos] == c"\\" else 1
    return pos + 1


cdef int json_array_next(
        const unsigned char* json, Py_ssize_t n, Py_ssize_t* pos, Py_ssize_t* start, Py_ssize_t* end
) noexcept nogil:
    cdef Py_ssize_t at = pos[0]
    cdef Py_ssize_t depth = 0
    cdef unsigned char c
    if at < 0 or at >= n or json[at] != (c"," if at else c"["):
        return 0 if 0 < at == n - 1 and json[at] == c"]" else -1
    if n == 2 and json[1] == c"]":
        pos[0] = 1
        return 0
    at += 1
    start[0] = at
    while at < n:
        c = json[at]
        if c == c'"':
            at = skip_text(json, n, at)
            continue
        if depth == 0 and (c == c"," or c == c"]"):
            pos[0] = at
            end[0] = at
            return 1 if at > start[0] else -1
        if c == c"[" or c == c"{":
            depth += 1
        elif c == c"]" or c == c"}":
            depth -= 1
        at += 1
    return -1


cdef object decode_nested = msgspec.json.Decoder().decode


cdef object decode_fragment(const unsigned char* json, Py_ssize_t n):
    cdef unsigned char first = json[0]
    cdef Number number
    if first == c'"':
        if n > 1 and json[n - 1] == c'"' and memchr(json, c"\\", n) == NULL:
            return PyUnicode_DecodeUTF8(<const char*>json + 1, n - 2, NULL)
    elif first == c"-" or 48 <= first <= 57:
        number = number_from_json(json, n)
        if number.kind != NOT_A_NUMBER:
            return number_to_object(number)
    elif n == 4 and memcmp(json, b"null", 4) == 0:
        return None
    elif n == 4 and memcmp(json, b"true", 4) == 0:
        return True
    elif n == 5 and memcmp(json, b"false", 5) == 0:
        return False
    return decode_nested(PyBytes_FromStringAndSize(<const char*>json, n))


# --- writing ----------------------------------------------------------------------------------------------------------

cdef void open_writer(Writer* out, unsigned char* first, Py_ssize_t room) noexcept:
    out.data = out.first = first
    out.used = 0
    out.room = room


cdef void close_writer(Writer* out) noexcept:
    if out.data != out.first:
        free(out.data)


cdef int grow(Writer* out, Py_ssize_t more) except -1:
    cdef Py_ssize_t room = max(out.room * 2, out.used + more)
    cdef unsigned char* data
    if out.data == out.first:
        data = <unsigned char*>malloc(room)
        if data != NULL:
            memcpy(data, out.data, out.used)
    else:
        data = <unsigned char*>realloc(out.data, room)
    if data == NULL:
        raise MemoryError
    out.data = data
    out.room = room
    return 0


cdef inline int reserve(Writer* out, Py_ssize_t more) except -1:
    return grow(out, more) if out.used + more > out.room else 0


cdef inline int put_bytes(Writer* out, const char* data, Py_ssize_t n) except -1:
    reserve(out, n)
    memcpy(out.data + out.used, data, n)
    out.used += n
    return 0


cdef object refused(object name, str reason):
    return InvalidRecord(f"attribute '{name}' cannot be stored: {reason}")


cdef Py_ssize_t plain_run(const unsigned char* text, Py_ssize_t n) noexcept nogil:
    """How many bytes from the start need no escape. Eight at a time; each test may only err behind a true hit."""
    cdef uint64_t ones = 0x0101010101010101
    cdef uint64_t word, quotes, slashes
    cdef Py_ssize_t pos = 0
    while pos + 8 <= n:
        memcpy(&word, text + pos, 8)
        quotes = word ^ ones * c'"'
        slashes = word ^ ones * c"\\"
        if ((word - ones * 0x20) & ~word | (quotes - ones) & ~quotes | (slashes - ones) & ~slashes) & ones * 0x80:
            break
        pos += 8
    while pos < n and text[pos] >= 0x20 and text[pos] != c'"' and text[pos] != c"\\":
        pos += 1
    return pos


cdef Py_ssize_t put_escape(unsigned char c, unsigned char* out) noexcept nogil:
    """The shortest escape of a character that needs one, 2 or 6 bytes."""
    cdef const char* digits = "0123456789abcdef"
    cdef const char* letters = "btn_fr"     # of 8 to 13; 11 has none
    out[0] = c"\\"
    if c >= 0x20:
        out[1] = c
        return 2
    if 8 <= c <= 13 and c != 11:
        out[1] = letters[c - 8]
        return 2
    memcpy(out + 1, b"u00", 3)
    out[4] = digits[c >> 4]
    out[5] = digits[c & 15]
    return 6


cdef int put_text(Writer* out, object text, object name) except -1:
    cdef Py_ssize_t n, run
    cdef const unsigned char* utf8
    try:
        utf8 = <const unsigned char*>PyUnicode_AsUTF8AndSize(text, &n)
    except UnicodeEncodeError as error:
        raise refused(name, "a text with half a surrogate pair") from error
    put_bytes(out, '"', 1)
    while True:
        run = plain_run(utf8, n)
        reserve(out, n + 6)     # the run, an escape or the quote, and most likely all that follows
        memcpy(out.data + out.used, utf8, run)
        out.used += run
        if run == n:
            break
        out.used += put_escape(utf8[run], out.data + out.used)
        utf8 += run + 1
        n -= run + 1
    out.data[out.used] = c'"'
    out.used += 1
    return 0


cdef int put_number(Writer* out, object value, object name) except -1:
    cdef Number number = number_from_object(value)
    if number.kind == NOT_A_NUMBER:
        raise refused(name, "not a finite number")
    reserve(out, LONGEST_NUMBER)
    out.used += number_to_json(number, out.data + out.used)
    return 0


cdef int put_array(Writer* out, object values, object name, int depth) except -1:
    cdef Py_ssize_t start = out.used
    put_bytes(out, "[", 1)
    for value in values:
        if out.used > start + 1:
            put_bytes(out, ",", 1)
        put_nested(out, value, name, depth)
    return put_bytes(out, "]", 1)


cdef int put_object(Writer* out, object members, object name, int depth) except -1:
    cdef Py_ssize_t start = out.used
    put_bytes(out, "{", 1)
    for key, value in members.items():
        if not isinstance(key, str):
            raise refused(name, "a key of an object that is not a text")
        if out.used > start + 1:
            put_bytes(out, ",", 1)
        put_text(out, key, name)
        put_bytes(out, ":", 1)
        put_nested(out, value, name, depth)
    return put_bytes(out, "}", 1)


cdef str iso_text(object moment, object name):
    """A datetime in UTC; one without a zone is in UTC already."""
    try:
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError as error:
        raise refused(name, "a datetime beyond the calendar") from error
    return moment.isoformat(timespec="milliseconds") + "Z"


cdef int put_nested(Writer* out, object value, object name, int depth) except -1:
    """The fragment of a value inside `depth` arrays and objects."""
    if isinstance(value, str):
        return put_text(out, value, name)
    if value is None:
        return put_bytes(out, "null", 4)
    if value is True:
        return put_bytes(out, "true", 4)
    if value is False:
        return put_bytes(out, "false", 5)
    if isinstance(value, (int, float)):
        return put_number(out, value, name)
    if isinstance(value, (dict, list, tuple)):
        if depth == MAX_DEPTH:
            raise refused(name, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            return put_object(out, value, name, depth + 1)
        return put_array(out, value, name, depth + 1)
    if isinstance(value, datetime):
        return put_text(out, iso_text(value, name), name)
    if isinstance(value, bytes):
        return put_text(out, b64encode(value).decode("ascii"), name)
    raise refused(name, f"a value of type {type(value).__name__}")


cdef int put_value(Writer* out, object value, object name) except -1:
    return put_nested(out, value, name, 0)
