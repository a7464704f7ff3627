"""Order-preserving keys: comparing the bytes of two keys compares the values they stand for.

    null                 05
    false, true          06, 07
    number               10, 1 to 11 bytes: 7 bits of the number each, and 1 unless only zeros follow
    text                 20, UTF-8 with every 00 as 00 FF, 00
    text cut short       20, the first bytes of the same, 00 FE
    compound key         30, the keys of its scalars (null as 00 FF), 00
    array or object      30 00             (as an indexed value; compound keys are never empty)
    element of an array  40, the key of the scalar

The bits of a number are those of its double, with the sign flipped (all bits when negative) and rounded towards minus
infinity, and 11 more for what an integer in [-2^63, 2^64) exceeds the double by. Most numbers end in many zero bits, which
take no bytes: an integer below 2^k takes about (12 + k) / 7. 1 and 1.0 are one number with one key.

Keys are self-delimiting, so a secondary key is the key of the value followed by the primary key, without lengths. What
follows a value key is nothing or a tag, hence below FE: this is what tells the end of a text (00) from its cut (00 FE)
and from a NUL inside it (00 FF), and why `key + FE` is the upper end of everything that carries the value.

A text in a secondary key has at most TEXT_ROOM bytes of body; a longer one is cut there, inside a character if need be,
but never inside 00 FF. Since no uncut text of an index has more bytes of body than a cut one, cut texts sort correctly
among the uncut; only texts that share a cut key are left in the order of their primary keys, and have to be compared in
the records. Texts in primary keys are never cut.
"""

from engine.fragments cimport unescape
from engine.numbers cimport (
    NOT_A_NUMBER, REAL, SIGNED, UNSIGNED, Number, number_from_double, number_from_json)
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from * nogil:
    ctypedef unsigned long long uint128 "unsigned __int128"
    int __builtin_clzll(uint64_t value)

cdef enum:
    RESIDUAL_BITS = 11


# --- numbers ----------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t put_bits(double value, unsigned int residual, unsigned char* out) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    bits = ~bits if bits >> 63 else bits | 1ULL << 63
    cdef uint128 left = (<uint128>bits << RESIDUAL_BITS | residual) << 128 - 64 - RESIDUAL_BITS
    cdef Py_ssize_t n = 1
    out[0] = NUMBER_TAG
    while True:
        out[n] = <unsigned char>(left >> 121) << 1
        left <<= 7
        n += 1
        if left == 0:
            return n
        out[n - 1] |= 1


cdef Py_ssize_t put_integer(bint negative, unsigned long long magnitude, unsigned char* out) noexcept nogil:
    cdef unsigned long long residual = 0
    cdef int shift
    if magnitude >> 53:
        shift = 11 - __builtin_clzll(magnitude)
        residual = magnitude & ((1ULL << shift) - 1)
        magnitude -= residual
        if negative and residual:       # towards minus infinity
            residual = (1ULL << shift) - residual
            magnitude += 1ULL << shift
    cdef double rounded = <double>magnitude
    return put_bits(-rounded if negative else rounded, <unsigned int>residual, out)


cdef Py_ssize_t put_number(Number number, unsigned char* out) noexcept nogil:
    if number.kind == SIGNED:
        return key_from_int64(<long long>number.integer, out)
    if number.kind == UNSIGNED:
        return put_integer(False, number.integer, out)
    if number.kind == REAL:
        return put_bits(number.real, 0, out)
    return -1


cdef Py_ssize_t key_from_double(double value, unsigned char* out) noexcept nogil:
    return put_number(number_from_double(value), out)


cdef Py_ssize_t key_from_int64(long long value, unsigned char* out) noexcept nogil:
    if value < 0:
        return put_integer(True, 0 - <unsigned long long>value, out)
    return put_integer(False, <unsigned long long>value, out)


cdef Py_ssize_t number_length(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t pos = 1
    while pos < n and pos < NUMBER_ROOM:
        pos += 1
        if not key[pos - 1] & 1:
            return pos
    return -1


cdef Number read_number(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    """The number of a key whose length is known to be right; NOT_A_NUMBER when no number has this key."""
    cdef uint128 all_bits = 0
    cdef uint64_t bits
    cdef double rounded
    cdef unsigned char[NUMBER_ROOM] again
    cdef int i
    for i in range(1, <int>n):
        all_bits |= <uint128>(key[i] >> 1) << 121 - 7 * (i - 1)
    bits = <uint64_t>(all_bits >> 64)
    bits = bits ^ 1ULL << 63 if bits >> 63 else ~bits
    memcpy(&rounded, &bits, 8)
    cdef Number number = number_from_double(rounded)
    number.integer += <uint64_t>all_bits >> 64 - RESIDUAL_BITS
    if put_number(number, again) != n or memcmp(again, key, n) != 0:
        number.kind = NOT_A_NUMBER
    return number


# --- texts ------------------------------------------------------------------------------------------------------------

cdef Py_ssize_t put_text(const unsigned char* text, Py_ssize_t n, unsigned char* out) noexcept nogil:
    """The key of a text of n bytes of UTF-8 (it may end after MAX_VALUE_KEY bytes), cut where needed."""
    cdef unsigned char* body = out + 1
    cdef Py_ssize_t used = min(n, <Py_ssize_t>TEXT_ROOM)
    cdef Py_ssize_t pos = used
    out[0] = TEXT_TAG
    if memchr(text, 0, used) == NULL:
        memcpy(body, text, used)
    else:
        used = pos = 0
        while pos < n and used + (text[pos] == 0) < TEXT_ROOM:
            body[used] = text[pos]
            used += 1
            if text[pos] == 0:
                body[used] = NUL_MARK
                used += 1
            pos += 1
    body[used] = 0
    if pos == n:
        return used + 2
    body[used + 1] = CUT_MARK
    return used + 3


cdef Py_ssize_t text_from_json(const unsigned char* json, Py_ssize_t n, unsigned char* out) noexcept nogil:
    cdef unsigned char[MAX_VALUE_KEY + 4] text
    cdef Py_ssize_t length
    if n < 2 or json[n - 1] != c'"':
        return -1
    if memchr(json, c"\\", n) == NULL:
        return put_text(json + 1, n - 2, out)
    length = unescape(json + 1, n - 2, text, MAX_VALUE_KEY)
    return put_text(text, length, out) if length >= 0 else -1


# --- keys of JSON fragments -------------------------------------------------------------------------------------------

cdef inline Py_ssize_t put_word(
        const unsigned char* json, Py_ssize_t n, const char* word, Py_ssize_t length, int tag, unsigned char* out
) noexcept nogil:
    out[0] = <unsigned char>tag
    return 1 if n == length and memcmp(json, word, length) == 0 else -1


cdef Py_ssize_t key_from_json(const unsigned char* json, Py_ssize_t n, unsigned char* out) noexcept nogil:
    if n <= 0:
        return -1
    cdef unsigned char first = json[0]
    if first == c'"':
        return text_from_json(json, n, out)
    if first == c"n":
        return put_word(json, n, "null", 4, NULL_TAG, out)
    if first == c"t":
        return put_word(json, n, "true", 4, TRUE_TAG, out)
    if first == c"f":
        return put_word(json, n, "false", 5, FALSE_TAG, out)
    if first == c"[" or first == c"{":
        out[0] = COMPOSITE_TAG
        out[1] = 0
        return 2
    return put_number(number_from_json(json, n), out)


cdef Py_ssize_t element_key_from_json(const unsigned char* json, Py_ssize_t n, unsigned char* out) noexcept nogil:
    cdef Py_ssize_t length
    if n > 0 and (json[0] == c"[" or json[0] == c"{"):
        return 0
    out[0] = ELEMENT_TAG
    length = key_from_json(json, n, out + 1)
    return length + 1 if length > 0 else -1


# --- reading keys -----------------------------------------------------------------------------------------------------

cdef Py_ssize_t text_length(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    cdef const unsigned char* nul
    cdef Py_ssize_t pos = 1
    while True:
        nul = <const unsigned char*>memchr(key + pos, 0, n - pos)
        if nul == NULL:
            return -1
        pos = nul - key + 1
        if pos == n or key[pos] < CUT_MARK:
            return pos
        pos += 1
        if key[pos - 1] == CUT_MARK:
            return pos


cdef Py_ssize_t compound_length(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t pos = 1
    cdef Py_ssize_t length
    while pos < n:
        if key[pos] != 0:
            if not FALSE_TAG <= key[pos] < COMPOSITE_TAG:
                return -1
            length = key_length(key + pos, n - pos)
            if length < 0 or (key[pos] == TEXT_TAG and key[pos + length - 1] == CUT_MARK):
                return -1
            pos += length
        elif pos + 1 < n and key[pos + 1] == NUL_MARK:
            pos += 2
        else:
            return pos + 1
    return -1


cdef Py_ssize_t key_length(const unsigned char* key, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t length
    if n <= 0:
        return -1
    cdef unsigned char tag = key[0]
    if tag == TEXT_TAG:
        return text_length(key, n)
    if tag == NUMBER_TAG:
        return number_length(key, n)
    if NULL_TAG <= tag <= TRUE_TAG:
        return 1
    if tag == COMPOSITE_TAG:
        return compound_length(key, n)
    if tag == ELEMENT_TAG and n > 1 and key[1] < ELEMENT_TAG:
        length = key_length(key + 1, n - 1)
        return length + 1 if length > 0 else -1
    return -1
