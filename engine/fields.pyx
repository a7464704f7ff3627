"""Stored values as they stand: found in a record's body or an index entry, and read without a Python object each.

A value is a JSON fragment of a body, a key of an index, or a number that was computed. Its kind is told by its first byte;
everything else (its number, its text, its key) is made when it is asked for. What is not canonical is MALFORMED or told so
by the function that meets it: bodies have checksums, so that this is damage, never a user's doing.
"""

from engine.fragments cimport Writer, unescape
from engine.keys cimport MAX_VALUE_KEY, key_from_json, put_number, read_number
from engine.numbers cimport NOT_A_NUMBER, Number, number_from_json
from engine.record cimport get_count
from libc.limits cimport UINT_MAX
from libc.stdlib cimport malloc, realloc
from libc.string cimport memchr, memcpy

cdef enum:
    CUT_MARK = 0xFE
    NUL_MARK = 0xFF
    LONGEST_NUMBER_KEY = 12


# --- finding ----------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t varint(const unsigned char* body, Py_ssize_t n, Py_ssize_t pos, unsigned int* value) noexcept nogil:
    """Like record.get_varint; most are of one byte."""
    cdef unsigned long long result
    cdef int shift = 7
    if pos >= n:
        return -1
    result = body[pos]
    pos += 1
    if result < 0x80:
        value[0] = <unsigned int>result
        return pos
    result &= 0x7F
    while pos < n and shift < 35:
        result |= <unsigned long long>(body[pos] & 0x7F) << shift
        pos += 1
        if body[pos - 1] < 0x80:
            value[0] = <unsigned int>result
            return pos if result <= UINT_MAX else -1
        shift += 7
    return -1


cdef int locate_fields(const unsigned char* body, Py_ssize_t n, const int* wanted, int count, Span* out) noexcept nogil:
    cdef unsigned int fields, attribute, length, i
    cdef unsigned long long start = 0
    cdef long long last = -1
    cdef int next_wanted = 0
    cdef Py_ssize_t pos = get_count(body, n, &fields)
    if pos < 0:
        return -1
    for i in range(fields):
        if pos + 2 <= n and not (body[pos] | body[pos + 1]) & 0x80:
            attribute, length = body[pos], body[pos + 1]
            pos += 2
        else:
            pos = varint(body, n, pos, &attribute)
            if pos >= 0:
                pos = varint(body, n, pos, &length)
            if pos < 0:
                return -1
        if <long long>attribute <= last or length == 0:
            return -1
        last = attribute
        while next_wanted < count and wanted[next_wanted] < last:
            out[next_wanted].length = 0
            next_wanted += 1
        if next_wanted < count and wanted[next_wanted] == last:
            out[next_wanted].start = <unsigned int>start
            out[next_wanted].length = length
            next_wanted += 1
        start += length
    if <unsigned long long>pos + start != <unsigned long long>n:
        return -1
    while next_wanted < count:
        out[next_wanted].length = 0
        next_wanted += 1
    for i in range(<unsigned int>count):
        out[i].start += <unsigned int>pos
    return 0


cdef void set_absent(Stored* out) noexcept nogil:
    out.kind = ABSENT


cdef void set_hidden(Stored* out) noexcept nogil:
    out.kind = HIDDEN


cdef void set_fragment(Stored* out, const unsigned char* json, Py_ssize_t n) noexcept nogil:
    cdef unsigned char first = json[0]
    out.form, out.at, out.length = FRAGMENT, json, n
    if first == c'"':
        out.kind = TEXTUAL if n > 1 and json[n - 1] == c'"' else MALFORMED
    elif first == c"-" or 48 <= first <= 57:
        out.kind = NUMERIC
    elif first == c"{" or first == c"[":
        out.kind = COMPOSITE
    elif first == c"n" and n == 4:
        out.kind = NOTHING
    elif first == c"t" and n == 4:
        out.kind = TRUTH
    elif first == c"f" and n == 5:
        out.kind = FALSEHOOD
    else:
        out.kind = MALFORMED


cdef void set_key(Stored* out, const unsigned char* key, Py_ssize_t n, bint secondary) noexcept nogil:
    """The key of a value. What a secondary index does not hold whole is hidden."""
    cdef unsigned char tag = key[0] if n > 0 else 0
    out.form, out.at, out.length = KEY, key, n
    if tag == 0x20:
        out.kind = HIDDEN if secondary and key[n - 1] == CUT_MARK else TEXTUAL
    elif tag == 0x10:
        out.kind = NUMERIC if n <= LONGEST_NUMBER_KEY else MALFORMED
    elif tag == 0x05:
        out.kind = NOTHING
    elif tag == 0x06:
        out.kind = FALSEHOOD
    elif tag == 0x07:
        out.kind = TRUTH
    elif tag == 0x30:
        out.kind = HIDDEN if secondary else COMPOSITE
    elif tag == 0x40 and secondary:
        out.kind = HIDDEN
    else:
        out.kind = MALFORMED


cdef void set_number(Stored* out, Number number) noexcept nogil:
    out.kind, out.form, out.number = NUMERIC, COMPUTED, number


# --- reading ----------------------------------------------------------------------------------------------------------

cdef const unsigned char* index_key(const Stored* value, unsigned char* room, Py_ssize_t* n) noexcept nogil:
    if value.form == KEY:
        n[0] = value.length
        return value.at
    if value.form == COMPUTED:
        n[0] = put_number(value.number, room)
    else:
        n[0] = key_from_json(value.at, value.length, room)
    return room if n[0] > 0 else NULL


cdef Number numeric(const Stored* value) noexcept nogil:
    if value.form == COMPUTED:
        return value.number
    if value.form == KEY:
        return read_number(value.at, value.length)
    return number_from_json(value.at, value.length)


cdef bint make_room(Writer* out, Py_ssize_t more) noexcept nogil:
    cdef Py_ssize_t room
    cdef unsigned char* data
    if out.used + more <= out.room:
        return True
    room = max(out.room * 2, out.used + more)
    if out.data == out.first:
        data = <unsigned char*>malloc(room)
        if data != NULL and out.used > 0:
            memcpy(data, out.data, out.used)
    else:
        data = <unsigned char*>realloc(out.data, room)
    if data == NULL:
        return False
    out.data, out.room = data, room
    return True


cdef int text_of_key(const Stored* value, Writer* scratch, const unsigned char** text, Py_ssize_t* n) noexcept nogil:
    """Of 20, UTF-8 with 00 as 00 FF, 00."""
    cdef const unsigned char* body = value.at + 1
    cdef Py_ssize_t length = value.length - 2
    cdef Py_ssize_t pos = 0, used = 0
    if length < 0:
        return -1
    if memchr(body, 0, length) == NULL:
        text[0], n[0] = body, length
        return 1
    scratch.used = 0
    if not make_room(scratch, length):
        return 0
    while pos < length:
        scratch.data[used] = body[pos]
        used += 1
        pos += 2 if body[pos] == 0 else 1
    text[0], n[0] = scratch.data, used
    return 1


cdef int textual(const Stored* value, Writer* scratch, const unsigned char** text, Py_ssize_t* n) noexcept nogil:
    cdef const unsigned char* inside = value.at + 1
    cdef Py_ssize_t length = value.length - 2
    if value.form == KEY:
        return text_of_key(value, scratch, text, n)
    if memchr(inside, c"\\", length) == NULL:
        text[0], n[0] = inside, length
        return 1
    scratch.used = 0
    if not make_room(scratch, length + 4):
        return 0
    text[0], n[0] = scratch.data, unescape(inside, length, scratch.data, length + 1)
    return 1 if n[0] >= 0 else -1


cdef int put_text_key(Writer* out, const Stored* value, Writer* scratch) noexcept nogil:
    cdef const unsigned char* text
    cdef unsigned char* at
    cdef Py_ssize_t n, pos
    cdef int result = textual(value, scratch, &text, &n)
    if result <= 0:
        return result
    if not make_room(out, 2 * n + 2):
        return 0
    at = out.data + out.used
    at[0] = 0x20
    at += 1
    if memchr(text, 0, n) == NULL:
        memcpy(at, text, n)
        at += n
    else:
        for pos in range(n):
            at[0] = text[pos]
            at += 1
            if text[pos] == 0:
                at[0] = NUL_MARK
                at += 1
    at[0] = 0
    out.used = at + 1 - out.data
    return 1


cdef int put_whole_key(Writer* out, const Stored* value, Writer* scratch) noexcept nogil:
    cdef unsigned char[MAX_VALUE_KEY + 1] room
    cdef const unsigned char* key
    cdef Py_ssize_t n
    if value.kind == TEXTUAL and value.form == FRAGMENT:
        return put_text_key(out, value, scratch)
    key = index_key(value, room, &n)
    if key == NULL:
        return -1
    if not make_room(out, n):
        return 0
    memcpy(out.data + out.used, key, n)
    out.used += n
    return 1
