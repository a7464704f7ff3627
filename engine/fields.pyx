"""Stored values as they stand: found in a record's body or an index entry, and read without a Python object each.

A value is a JSON fragment of a body, a key of an index, or a number that was computed. Its kind is told by its first byte;
everything else (its number, its text, its key) is made when it is asked for. What is not canonical is MALFORMED or told so
by the function that meets it: bodies have checksums, so that this is damage, never a user's doing.
"""

from engine.core cimport CREATED_TIME, FIRST_ATTRIBUTE, PRIMARY_KEY
from engine.fragments cimport Writer, unescape
from engine.keybytes cimport (
    COMPOSITE_TAG, CUT_MARK, ELEMENT_TAG, FALSE_TAG, MAX_VALUE_KEY, NULL_TAG, NUL_MARK, NUMBER_ROOM, NUMBER_TAG, TEXT_TAG, TRUE_TAG,
    key_from_json, put_number, read_number,
)
from engine.layout cimport kn_op
from engine.numbers cimport Number, number_from_double, number_from_json
from engine.record cimport get_count, get_varint
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcpy


# --- finding ----------------------------------------------------------------------------------------------------------

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
            pos = get_varint(body, n, pos, &attribute)
            if pos >= 0:
                pos = get_varint(body, n, pos, &length)
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
    if tag == TEXT_TAG:
        out.kind = HIDDEN if secondary and key[n - 1] == CUT_MARK else TEXTUAL
    elif tag == NUMBER_TAG:
        out.kind = NUMERIC if n <= NUMBER_ROOM else MALFORMED
    elif tag == NULL_TAG:
        out.kind = NOTHING
    elif tag == FALSE_TAG:
        out.kind = FALSEHOOD
    elif tag == TRUE_TAG:
        out.kind = TRUTH
    elif tag == COMPOSITE_TAG:
        out.kind = HIDDEN if secondary else COMPOSITE
    elif tag == ELEMENT_TAG and secondary:
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
    at[0] = TEXT_TAG
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


# --- columns ----------------------------------------------------------------------------------------------------------

cdef class Columns:
    """`number_of` gives the number of an attribute, -1 for one that no record has."""

    def __cinit__(self, names, number_of) -> None:
        cdef int index
        numbered = sorted({(number_of(name), name) for name in names}, key=_stored_first)
        self.names = tuple([name for _, name in numbered])
        self.count = <int>len(numbered)
        self.numbers = <int*>calloc(self.count + 1, sizeof(int))
        self.spans = <Span*>calloc(self.count + 1, sizeof(Span))
        self.values = <Stored*>calloc(self.count + 1, sizeof(Stored))
        if self.numbers == NULL or self.spans == NULL or self.values == NULL:
            raise MemoryError
        for index in range(self.count):
            self.numbers[index] = numbered[index][0]
            self.stored += self.numbers[index] >= FIRST_ATTRIBUTE

    def __dealloc__(self) -> None:
        free(self.numbers)
        free(self.spans)
        free(self.values)

    cdef int place(self, str name) except -1:
        """Where a name is among the columns."""
        return self.names.index(name)

    cdef bint read(self, const kn_op* op) noexcept nogil:
        """The values of a record; False when its body is malformed."""
        cdef const unsigned char* key = <const unsigned char*>op + sizeof(kn_op)
        cdef const unsigned char* body = key + op.key_length
        cdef int index
        if locate_fields(body, op.body_length, self.numbers, self.stored, self.spans) < 0:
            return False
        for index in range(self.stored):
            if self.spans[index].length == 0:
                set_absent(&self.values[index])
            else:
                set_fragment(&self.values[index], body + self.spans[index].start, self.spans[index].length)
        for index in range(self.stored, self.count):
            if self.numbers[index] == PRIMARY_KEY:
                set_key(&self.values[index], key, op.key_length, False)
            elif self.numbers[index] == UNKNOWN_ATTRIBUTE:
                set_absent(&self.values[index])
            else:
                set_number(&self.values[index], number_from_double(
                    <double>(op.created if self.numbers[index] == CREATED_TIME else op.version) / 1000.0))
        return True

    cdef void read_entry(self, int attribute, const unsigned char* entry, int length, int value_length) noexcept nogil:
        """What the entry of an attribute's index tells: that attribute and the primary key, which is all of an entry of the
        primary index (`value_length` 0)."""
        cdef int index
        for index in range(self.count):
            if self.numbers[index] == PRIMARY_KEY:
                set_key(&self.values[index], entry + value_length, length - value_length, False)
            elif self.numbers[index] == attribute:
                set_key(&self.values[index], entry, value_length, True)
            elif self.numbers[index] == UNKNOWN_ATTRIBUTE:
                set_absent(&self.values[index])
            else:
                set_hidden(&self.values[index])


def _stored_first(numbered):
    number, _ = numbered
    return number < FIRST_ATTRIBUTE, number
