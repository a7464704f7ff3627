"""The C face of record bodies; record.pyx tells the layout and the canonical JSON of the fragments."""

from libc.limits cimport UINT_MAX


cdef enum:
    MAX_RECORD = 16 << 20   # bytes of an encoded record


cdef struct Field:
    unsigned int attribute
    unsigned int start      # offset of the fragment in the body
    unsigned int length


cdef inline Py_ssize_t get_varint(const unsigned char* body, Py_ssize_t n, Py_ssize_t pos, unsigned int* value) noexcept nogil:
    """The offset after the number, -1 when it is cut off or exceeds 32 bits. Most are of one byte."""
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


# The offset of the first field behind the number of fields, -1 when there cannot be so many.
cdef Py_ssize_t get_count(const unsigned char* body, Py_ssize_t n, unsigned int* count) noexcept nogil

# Number of fields, -1 when the head of the body is malformed; an upper bound to size the array for record_fields.
cdef int record_count(const unsigned char* body, Py_ssize_t n) noexcept nogil

# Fills `out` in ascending attribute order; the number of fields, -1 when malformed or more than `cap`.
cdef int record_fields(const unsigned char* body, Py_ssize_t n, Field* out, int cap) noexcept nogil

# Shallow merge, the patch wins; the length written, -1 when either is malformed or the result exceeds `cap`.
cdef Py_ssize_t record_merge(
    const unsigned char* old, Py_ssize_t nold, const unsigned char* patch, Py_ssize_t npatch,
    unsigned char* out, Py_ssize_t cap) noexcept nogil
cdef Py_ssize_t record_merge_bound(Py_ssize_t nold, Py_ssize_t npatch) noexcept nogil

cdef bytes encode_record(dict record, dict numbers, object skip)                 # raises InvalidRecord
cdef dict decode_record(const unsigned char* body, Py_ssize_t n, list names)     # raises Corrupt
cdef int decode_into(dict record, const unsigned char* body, Py_ssize_t n, list names) except -1
cdef tuple decode_columns(const unsigned char* body, Py_ssize_t n, const int* columns, int ncolumns)  # raises Corrupt
