"""Keys as bytes, read and written without the GIL; keybytes.pyx tells the encoding and its invariants."""

from engine.numbers cimport Number


cpdef enum:
    MAX_PRIMARY_KEY = 600   # bytes of an encoded primary key
    MAX_VALUE_KEY = 398     # bytes of an encoded value in a secondary key
    MAX_KEY = 1000          # bytes of a secondary key: element tag, value, primary key


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
