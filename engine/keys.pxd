"""The C face of the key codec; keys.pyx tells the encoding and its invariants."""

from engine.fragments cimport json_array_next
from engine.numbers cimport Number


cpdef enum:
    MAX_PRIMARY_KEY = 600   # bytes of an encoded primary key
    MAX_VALUE_KEY = 398     # bytes of an encoded value in a secondary key
    MAX_KEY = 1000          # bytes of a secondary key: element tag, value, primary key


# These write at most MAX_VALUE_KEY bytes (elements: one more) and return the length, or -1 when the input is malformed.
# Elements that are arrays or objects themselves have no entry: 0.
cdef Py_ssize_t key_from_json(const unsigned char* json, Py_ssize_t n, unsigned char* out) noexcept nogil
cdef Py_ssize_t element_key_from_json(const unsigned char* json, Py_ssize_t n, unsigned char* out) noexcept nogil
cdef Py_ssize_t key_from_double(double value, unsigned char* out) noexcept nogil
cdef Py_ssize_t key_from_int64(long long value, unsigned char* out) noexcept nogil

# At most 12 bytes; -1 for what is not a number.
cdef Py_ssize_t put_number(Number number, unsigned char* out) noexcept nogil
# The number of a key of the right length, at most 12; NOT_A_NUMBER when no number has this key.
cdef Number read_number(const unsigned char* key, Py_ssize_t n) noexcept nogil

# Length of the first value key at `key` (cut, element and compound keys too), -1 when malformed.
cdef Py_ssize_t key_length(const unsigned char* key, Py_ssize_t n) noexcept nogil


cdef class Bounds:
    cdef readonly bytes low, high


cdef bytes encode_key(object value)                             # a primary key; raises InvalidKey
cdef Py_ssize_t put_key(object value, unsigned char* out) except -1     # the same, into MAX_PRIMARY_KEY bytes
cdef object decode_key(const unsigned char* key, Py_ssize_t n)  # one value key of exactly n bytes; raises InvalidKey
