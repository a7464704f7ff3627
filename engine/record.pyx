"""Record bodies: the JSON fragments of a record's attributes behind a small head.

    codec u8 (= 1) | count varint | count x (attribute varint, length varint) | fragments

Attributes are numbers of the table, ascending and without repetition; their values, as in engine.fragments, follow in
the same order and fill the body. Varints are little endian, seven bits to a byte. A projection reads the head and
decodes what it wants; a merge copies fragments without looking into them.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.limits cimport UINT_MAX
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

import msgspec

from engine.errors import Corrupt, InvalidRecord
from engine.fragments cimport Writer, close_writer, decode_fragment, open_writer, put_value

cdef enum:
    CODEC = 1
    FEW_FIELDS = 64             # records of this many attributes need no allocation
    FIRST_ROOM = 4096           # bytes of fragments that need no allocation

cdef tuple MALFORMED = (UnicodeDecodeError, msgspec.MsgspecError, RecursionError)    # of decode_fragment


# --- the head ---------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t put_varint(unsigned int value, unsigned char* out) noexcept nogil:
    cdef Py_ssize_t n = 0
    while value >= 0x80:
        out[n] = <unsigned char>(value | 0x80)
        value >>= 7
        n += 1
    out[n] = <unsigned char>value
    return n + 1


cdef inline Py_ssize_t varint_length(unsigned int value) noexcept nogil:
    cdef Py_ssize_t n = 1
    while value >= 0x80:
        value >>= 7
        n += 1
    return n


cdef Py_ssize_t get_count(const unsigned char* body, Py_ssize_t n, unsigned int* count) noexcept nogil:
    """The offset of the first field, -1 when there cannot be so many (each takes three bytes)."""
    if n < 2 or n > UINT_MAX or body[0] != CODEC:
        return -1
    cdef Py_ssize_t pos = get_varint(body, n, 1, count)
    return pos if pos > 0 and <Py_ssize_t>count[0] * 3 <= n - pos else -1


cdef int record_count(const unsigned char* body, Py_ssize_t n) noexcept nogil:
    cdef unsigned int count
    return <int>count if get_count(body, n, &count) > 0 else -1


cdef int record_fields(const unsigned char* body, Py_ssize_t n, Field* out, int cap) noexcept nogil:
    cdef unsigned int count
    cdef unsigned int start = 0
    cdef int i
    cdef Py_ssize_t pos = get_count(body, n, &count)
    if pos < 0 or count > <unsigned int>cap:
        return -1
    for i in range(<int>count):
        pos = get_varint(body, n, pos, &out[i].attribute)
        if pos < 0 or (i > 0 and out[i].attribute <= out[i - 1].attribute):
            return -1
        pos = get_varint(body, n, pos, &out[i].length)
        if pos < 0 or out[i].length == 0 or out[i].length > n - start:
            return -1
        out[i].start = start
        start += out[i].length
    if pos + start != n:
        return -1
    for i in range(<int>count):
        out[i].start += <unsigned int>pos
    return <int>count


cdef Field* open_fields(const unsigned char* body, Py_ssize_t n, Field* few, int* count) noexcept nogil:
    """The fields, in `few` if it has room; NULL when the body is malformed. To be given to close_fields."""
    cdef Field* fields = few
    count[0] = record_count(body, n)
    if count[0] > FEW_FIELDS:
        fields = <Field*>malloc(count[0] * sizeof(Field))
    if fields == NULL or count[0] < 0:
        return NULL
    if record_fields(body, n, fields, count[0]) >= 0:
        return fields
    close_fields(fields, few)
    return NULL


cdef inline void close_fields(Field* fields, Field* few) noexcept nogil:
    if fields != few:
        free(fields)


# --- merging ----------------------------------------------------------------------------------------------------------

cdef struct Side:
    const unsigned char* body
    const Field* fields
    int count
    int next


cdef inline const Field* take(Side* old, Side* patch, const unsigned char** body) noexcept nogil:
    """The next field of the merged record and the body it lies in; NULL at the end."""
    cdef bint has_old = old.next < old.count
    cdef bint has_patch = patch.next < patch.count
    if not has_old and not has_patch:
        return NULL
    if has_old and (not has_patch or old.fields[old.next].attribute < patch.fields[patch.next].attribute):
        body[0] = old.body
        old.next += 1
        return &old.fields[old.next - 1]
    if has_old and old.fields[old.next].attribute == patch.fields[patch.next].attribute:
        old.next += 1
    body[0] = patch.body
    patch.next += 1
    return &patch.fields[patch.next - 1]


cdef Py_ssize_t merge_sides(Side* old, Side* patch, unsigned char* out, Py_ssize_t cap) noexcept nogil:
    cdef const unsigned char* body
    cdef Py_ssize_t head = 0
    cdef Py_ssize_t data = 0
    cdef unsigned int count = 0
    cdef const Field* field = take(old, patch, &body)
    while field != NULL:
        count += 1
        head += varint_length(field.attribute) + varint_length(field.length)
        data += field.length
        field = take(old, patch, &body)
    head += 1 + varint_length(count)
    if head + data > cap:
        return -1
    old.next = patch.next = 0
    data = head
    out[0] = CODEC
    head = 1 + put_varint(count, out + 1)
    field = take(old, patch, &body)
    while field != NULL:
        head += put_varint(field.attribute, out + head)
        head += put_varint(field.length, out + head)
        memcpy(out + data, body + field.start, field.length)
        data += field.length
        field = take(old, patch, &body)
    return data


cdef Py_ssize_t record_merge(
        const unsigned char* old, Py_ssize_t nold, const unsigned char* patch, Py_ssize_t npatch,
        unsigned char* out, Py_ssize_t cap
) noexcept nogil:
    cdef Field[FEW_FIELDS] few_old
    cdef Field[FEW_FIELDS] few_patch
    cdef Side left
    cdef Side right
    cdef Py_ssize_t written = -1
    cdef Field* old_fields = open_fields(old, nold, few_old, &left.count)
    if old_fields == NULL:
        return -1
    cdef Field* patch_fields = open_fields(patch, npatch, few_patch, &right.count)
    if patch_fields != NULL:
        left.body, left.fields, left.next = old, old_fields, 0
        right.body, right.fields, right.next = patch, patch_fields, 0
        written = merge_sides(&left, &right, out, cap)
        close_fields(patch_fields, few_patch)
    close_fields(old_fields, few_old)
    return written


cdef Py_ssize_t record_merge_bound(Py_ssize_t nold, Py_ssize_t npatch) noexcept nogil:
    return nold + npatch    # no field of the result is longer than in its source, nor is the count


# --- encoding ---------------------------------------------------------------------------------------------------------

cdef int by_attribute(const void* left, const void* right) noexcept nogil:
    cdef unsigned int first = (<const Field*>left).attribute
    cdef unsigned int second = (<const Field*>right).attribute
    return (first > second) - (first < second)


cdef int put_fields(Writer* out, dict record, dict numbers, frozenset skip, Field* fields) except -1:
    """Writes the fragments in the order of the record; returns how many."""
    cdef int count = 0
    for name, value in record.items():
        if name in skip:
            continue
        if not isinstance(name, str):
            raise InvalidRecord("a record with an attribute name that is not a text")
        fields[count].attribute = numbers[name]
        fields[count].start = <unsigned int>out.used
        put_value(out, value, name)
        fields[count].length = <unsigned int>(out.used - fields[count].start)
        count += 1
        if out.used > MAX_RECORD:
            raise InvalidRecord(f"A record is larger than {MAX_RECORD} bytes")
    return count


cdef bytes assemble(Writer* data, Field* fields, unsigned int count):
    cdef Py_ssize_t head = 1 + varint_length(count)
    cdef bint ascending = True
    cdef unsigned int i
    cdef bytes body
    cdef unsigned char* out
    for i in range(count):
        head += varint_length(fields[i].attribute) + varint_length(fields[i].length)
        ascending = ascending and (i == 0 or fields[i - 1].attribute < fields[i].attribute)
    if head + data.used > MAX_RECORD:
        raise InvalidRecord(f"A record is larger than {MAX_RECORD} bytes")
    if not ascending:
        qsort(fields, count, sizeof(Field), by_attribute)
    body = PyBytes_FromStringAndSize(NULL, head + data.used)
    out = <unsigned char*>PyBytes_AS_STRING(body)
    out[0] = CODEC
    out += 1 + put_varint(count, out + 1)
    for i in range(count):
        out += put_varint(fields[i].attribute, out)
        out += put_varint(fields[i].length, out)
    if ascending:
        memcpy(out, data.data, data.used)
        return body
    for i in range(count):
        memcpy(out, data.data + fields[i].start, fields[i].length)
        out += fields[i].length
    return body


cdef bytes encode_record(dict record, dict numbers, object skip):
    cdef unsigned char[FIRST_ROOM] first
    cdef Field[FEW_FIELDS] few
    cdef Field* fields = few
    cdef Writer out
    cdef int count
    if len(record) > FEW_FIELDS:
        fields = <Field*>malloc(len(record) * sizeof(Field))
        if fields == NULL:
            raise MemoryError
    open_writer(&out, first, FIRST_ROOM)
    try:
        count = put_fields(&out, record, numbers, skip, fields)
        return assemble(&out, fields, count)
    finally:
        close_fields(fields, few)
        close_writer(&out)


# --- decoding ---------------------------------------------------------------------------------------------------------

cdef int fill_record(dict record, const unsigned char* body, const Field* fields, int count, list names) except -1:
    cdef Py_ssize_t known = PyList_GET_SIZE(names)
    cdef int i
    for i in range(count):
        if fields[i].attribute >= known:
            raise Corrupt(f"A record has attribute {fields[i].attribute}, its table only {known}")
        name = <object>PyList_GET_ITEM(names, fields[i].attribute)
        if name is not None:
            PyDict_SetItem(record, name, decode_fragment(body + fields[i].start, fields[i].length))
    return 0


cdef dict decode_record(const unsigned char* body, Py_ssize_t n, list names):
    cdef dict record = {}
    decode_into(record, body, n, names)
    return record


cdef int decode_into(dict record, const unsigned char* body, Py_ssize_t n, list names) except -1:
    """Adds the attributes of a body to a record."""
    cdef Field[FEW_FIELDS] few
    cdef int count
    cdef Field* fields = open_fields(body, n, few, &count)
    if fields == NULL:
        raise Corrupt("A record's body is malformed")
    try:
        return fill_record(record, body, fields, count, names)
    except MALFORMED as error:
        raise Corrupt(f"A record's value is malformed: {error}") from error
    finally:
        close_fields(fields, few)


cdef inline const Field* find(const Field* fields, int count, int attribute) noexcept nogil:
    """The field of an attribute or NULL. Numbers ascend, so that it cannot lie beyond the index of its own number."""
    cdef int i = min(attribute, count - 1)
    while i >= 0 and fields[i].attribute > <unsigned int>attribute:
        i -= 1
    return &fields[i] if i >= 0 and fields[i].attribute == <unsigned int>attribute else NULL


cdef tuple fill_columns(const unsigned char* body, const Field* fields, int count, const int* columns, int ncolumns):
    cdef tuple values = PyTuple_New(ncolumns)
    cdef const Field* field
    cdef int i
    for i in range(ncolumns):
        field = find(fields, count, columns[i])
        value = decode_fragment(body + field.start, field.length) if field != NULL else None
        Py_INCREF(value)
        PyTuple_SET_ITEM(values, i, value)
    return values


cdef tuple decode_columns(const unsigned char* body, Py_ssize_t n, const int* columns, int ncolumns):
    cdef Field[FEW_FIELDS] few
    cdef int count
    cdef Field* fields = open_fields(body, n, few, &count)
    if fields == NULL:
        raise Corrupt("A record's body is malformed")
    try:
        return fill_columns(body, fields, count, columns, ncolumns)
    except MALFORMED as error:
        raise Corrupt(f"A record's value is malformed: {error}") from error
    finally:
        close_fields(fields, few)


# --- the face for Python ----------------------------------------------------------------------------------------------

def encode(dict record not None, dict numbers not None, skip=frozenset()) -> bytes:
    """The body of a record: `numbers` gives the number of every attribute, `skip` names those to leave out.

    Raises InvalidRecord, naming the attribute, for what JSON cannot hold, for nesting beyond 128 levels, and for bodies
    above 16 MiB.
    """
    return encode_record(record, numbers, skip)


def decode(body: bytes, list names not None) -> dict:
    """The record of a body; `names[number]` is an attribute's name, None to leave it out. Raises Corrupt."""
    return decode_record(body, len(body), names)


def columns(body: bytes, numbers) -> tuple:
    """The values of these attribute numbers, None where absent. Raises Corrupt."""
    cdef Py_ssize_t n = len(numbers)
    cdef int* wanted = <int*>malloc((n + 1) * sizeof(int))
    if wanted == NULL:
        raise MemoryError
    try:
        for i in range(n):
            wanted[i] = numbers[i]
        return decode_columns(body, len(body), wanted, n)
    finally:
        free(wanted)


def fragments(body: bytes) -> dict:
    """The fragments of a body by attribute number. Raises Corrupt."""
    cdef Field[FEW_FIELDS] few
    cdef int count
    cdef const unsigned char* start = body
    cdef Field* fields = open_fields(start, len(body), few, &count)
    if fields == NULL:
        raise Corrupt("A record's body is malformed")
    try:
        return {fields[i].attribute: start[fields[i].start:fields[i].start + fields[i].length] for i in range(count)}
    finally:
        close_fields(fields, few)


def merge(old: bytes, patch: bytes) -> bytes:
    """The body of `old` with the attributes of `patch` in place of its own. Raises Corrupt."""
    cdef Py_ssize_t room = record_merge_bound(len(old), len(patch))
    cdef bytes out = PyBytes_FromStringAndSize(NULL, room)
    cdef Py_ssize_t n = record_merge(old, len(old), patch, len(patch), <unsigned char*>PyBytes_AS_STRING(out), room)
    if n < 0:
        raise Corrupt("A record's body is malformed")
    return out[:n]
