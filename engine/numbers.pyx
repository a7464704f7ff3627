"""The one canonical form of a number.

An integer where it is one in [-2^63, 2^64), exact; the shortest decimals of the double otherwise; -0.0 is 0. So equal
numbers are one text in records and one key in indexes, whichever way they came in.
"""

from cpython.mem cimport PyMem_Free
from libc.math cimport fabs, isfinite, rint
from libc.string cimport memcpy, strlen

cdef extern from * nogil:
    """
    #include <locale.h>
    #include <stdlib.h>
    """
    ctypedef void* locale_t
    int LC_ALL_MASK
    locale_t newlocale(int mask, const char* name, locale_t base)
    double strtod_l(const char* text, char** end, locale_t locale)

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1
    char* PyOS_double_to_string(double value, char format, int precision, int flags, int* kind) except NULL

cdef enum:
    LONGEST_REAL = 64                   # characters of JSON that are read as a double

cdef locale_t C_LOCALE = newlocale(LC_ALL_MASK, b"C", NULL)     # the process may have chosen one with decimal commas

cdef double TWO_63 = 9223372036854775808.0
cdef double TWO_64 = 18446744073709551616.0
cdef unsigned long long MAX_UNSIGNED_TENTH = 1844674407370955161    # 2^64 - 1 is ten times this and 5
cdef double[23] POWERS_OF_TEN = [                                   # those that are exact as doubles
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22]


cdef inline Number make(NumberKind kind, unsigned long long integer, double real) noexcept nogil:
    cdef Number number
    number.kind = kind
    number.integer = integer
    number.real = real
    return number


cdef Number number_from_double(double value) noexcept nogil:
    cdef long long whole
    if not isfinite(value):
        return make(NOT_A_NUMBER, 0, 0.0)
    if -TWO_63 <= value < TWO_63:
        whole = <long long>value
        if <double>whole == value:
            return make(SIGNED, <unsigned long long>whole, 0.0)
    elif TWO_63 <= value < TWO_64:      # every double of this size is an integer
        return make(UNSIGNED, <unsigned long long>value, 0.0)
    return make(REAL, 0, value)


cdef inline Number number_from_digits(bint negative, unsigned long long magnitude) noexcept nogil:
    if magnitude >> 63 == 0:
        return make(SIGNED, 0 - magnitude if negative else magnitude, 0.0)
    if negative:
        return number_from_double(-<double>magnitude)
    return make(UNSIGNED, magnitude, 0.0)


cdef Number number_from_object(object value) noexcept:
    cdef int overflow = 0
    cdef long long whole
    if isinstance(value, float):
        return number_from_double(value)
    whole = PyLong_AsLongLongAndOverflow(value, &overflow)
    if not overflow:
        return make(SIGNED, <unsigned long long>whole, 0.0)
    try:
        if overflow > 0 and value < TWO_64:
            return make(UNSIGNED, value, 0.0)
        return number_from_double(float(value))
    except OverflowError:
        return make(NOT_A_NUMBER, 0, 0.0)


cdef object number_to_object(Number number):
    if number.kind == SIGNED:
        return <long long>number.integer
    return number.integer if number.kind == UNSIGNED else number.real


# --- JSON -------------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t skip_digits(const unsigned char* json, Py_ssize_t n, Py_ssize_t pos) noexcept nogil:
    while pos < n and 48 <= json[pos] <= 57:
        pos += 1
    return pos


cdef Number number_from_json(const unsigned char* json, Py_ssize_t n) noexcept nogil:
    cdef bint negative = n > 0 and json[0] == c"-"
    cdef Py_ssize_t first = 1 if negative else 0
    cdef Py_ssize_t pos = first
    cdef unsigned long long magnitude = 0
    cdef unsigned int digit
    cdef bint overflow = False
    while pos < n and 48 <= json[pos] <= 57:
        digit = json[pos] - 48
        if magnitude >= MAX_UNSIGNED_TENTH and (magnitude > MAX_UNSIGNED_TENTH or digit > 5):
            overflow = True
        magnitude = magnitude * 10 + digit
        pos += 1
    if pos == first or (json[first] == c"0" and pos > first + 1):
        return make(NOT_A_NUMBER, 0, 0.0)
    if pos < n or overflow:
        return real_from_json(json, n, pos)
    return number_from_digits(negative, magnitude)


cdef Number real_from_json(const unsigned char* json, Py_ssize_t n, Py_ssize_t pos) noexcept nogil:
    """A number whose integer digits end at `pos`, and that is not an exact integer."""
    cdef char[LONGEST_REAL + 1] text
    cdef Py_ssize_t point = pos
    if pos < n and json[pos] == c".":
        point = pos + 1
        pos = skip_digits(json, n, point)
        if pos == point:
            return make(NOT_A_NUMBER, 0, 0.0)
        if pos == n and n - (json[0] == c"-") <= 16:     # a point and 15 digits
            return number_from_double(short_decimal(json, n, n - point))
    if pos < n and json[pos] | 0x20 == c"e":
        pos += 1
        if pos < n and (json[pos] == c"+" or json[pos] == c"-"):
            pos += 1
        point = pos
        pos = skip_digits(json, n, pos)
        if pos == point:
            return make(NOT_A_NUMBER, 0, 0.0)
    if pos < n or n > LONGEST_REAL:
        return make(NOT_A_NUMBER, 0, 0.0)
    memcpy(text, json, n)
    text[n] = 0
    return number_from_double(strtod_l(text, NULL, C_LOCALE))


cdef inline double short_decimal(const unsigned char* json, Py_ssize_t n, Py_ssize_t decimals) noexcept nogil:
    """At most 15 digits are an exact double, and so is the power of ten: one rounding, hence the right double."""
    cdef unsigned long long digits = 0
    cdef Py_ssize_t pos
    for pos in range(1 if json[0] == c"-" else 0, n):
        if json[pos] != c".":
            digits = digits * 10 + json[pos] - 48
    cdef double value = <double>digits / POWERS_OF_TEN[decimals]
    return -value if json[0] == c"-" else value


cdef Py_ssize_t put_digits(unsigned long long value, int least, unsigned char* out) noexcept nogil:
    """Decimal digits, zeros in front up to `least`; at most 20."""
    cdef unsigned char[20] digits
    cdef int pos = 20
    while value > 0 or pos > 20 - least:
        pos -= 1
        digits[pos] = <unsigned char>(48 + value % 10)
        value //= 10
    memcpy(out, digits + pos, 20 - pos)
    return 20 - pos


cdef Py_ssize_t put_short_decimal(double value, unsigned char* out) noexcept nogil:
    """The shortest form of a double that is a decimal of at most 15 digits and needs no exponent; 0 when it is not.

    Decimals of 15 digits are further apart than doubles, so that the rounded one is the only candidate; both it and the
    power of ten are exact as doubles, so that their quotient is the double that it reads as.
    """
    cdef double size = fabs(value)
    cdef double power = 1e9 if size < 1e6 else 1e3
    cdef int decimals = 9 if size < 1e6 else 3
    if not 1e-4 <= size < 1e12:
        return 0
    cdef double scaled = rint(size * power)
    if scaled / power != size:
        return 0
    cdef unsigned long long digits = <unsigned long long>scaled
    cdef unsigned long long unit = <unsigned long long>power
    cdef Py_ssize_t n = 0
    while digits % 10 == 0:
        digits //= 10
        unit //= 10
        decimals -= 1
    if value < 0:
        out[0] = c"-"
        n = 1
    n += put_digits(digits // unit, 1, out + n)
    out[n] = c"."
    return n + 1 + put_digits(digits % unit, decimals, out + n + 1)


cdef Py_ssize_t put_double(double value, unsigned char* out) except -1:
    cdef Py_ssize_t n = put_short_decimal(value, out)
    if n > 0:
        return n
    cdef char* text = PyOS_double_to_string(value, c"r", 0, 0, NULL)
    n = strlen(text)
    memcpy(out, text, n)
    PyMem_Free(text)
    return n


cdef Py_ssize_t number_to_json(Number number, unsigned char* out) except -1:
    if number.kind == REAL:
        return put_double(number.real, out)
    if number.kind == UNSIGNED or number.integer >> 63 == 0:
        return put_digits(number.integer, 1, out)
    out[0] = c"-"
    return 1 + put_digits(0 - number.integer, 1, out + 1)
