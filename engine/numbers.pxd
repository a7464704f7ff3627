"""The C face of canonical numbers; numbers.pyx tells the form."""

cdef enum:
    LONGEST_NUMBER = 32             # bytes of a canonical number in JSON


cdef enum NumberKind:
    NOT_A_NUMBER
    SIGNED                  # an integer in [-2^63, 2^63)
    UNSIGNED                # an integer in [2^63, 2^64)
    REAL                    # any other finite double


cdef struct Number:
    NumberKind kind
    unsigned long long integer      # two's complement when SIGNED; meaningless when REAL
    double real                     # meaningless when not REAL


cdef Number number_from_json(const unsigned char* json, Py_ssize_t n) noexcept nogil
cdef Number number_from_double(double value) noexcept nogil
# An int or a float; NOT_A_NUMBER for NaN, infinity and integers beyond all doubles.
cdef Number number_from_object(object value) noexcept
cdef object number_to_object(Number number)

# Writes at most LONGEST_NUMBER bytes of JSON and returns how many.
cdef Py_ssize_t number_to_json(Number number, unsigned char* out) except -1
