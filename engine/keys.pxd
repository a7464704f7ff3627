"""The C face of keys.pyx: keys of Python values, and what lies between two keys."""


cdef class Bounds:
    cdef readonly bytes low, high


cdef bytes encode_key(object value)                             # a primary key; raises InvalidKey
cdef Py_ssize_t put_key(object value, unsigned char* out) except -1     # the same, into MAX_PRIMARY_KEY bytes
cdef object decode_key(const unsigned char* key, Py_ssize_t n)  # one value key of exactly n bytes; raises InvalidKey
