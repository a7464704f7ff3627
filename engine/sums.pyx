"""Sums without rounding errors, so that a sum does not depend on the order of its terms.

Integers are added in 128 bits. Other doubles are kept as a few parts that do not overlap, in ascending order, whose sum is
exactly that of all terms (Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997; the same as in math.fsum). One
rounding at the end gives the double next to the true sum. What leaves the range of doubles on the way has no sum.
"""

from engine.numbers cimport NOT_A_NUMBER, REAL, SIGNED, Number, number_from_object
from libc.math cimport fabs, isfinite
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

import math

cdef enum:
    PIECE_BITS = 48         # of an integer that is taken apart into doubles

PIECE = (1 << 48) - 1


cdef bint sum_add(Sum* sum, Number number) noexcept nogil:
    if number.kind == REAL:
        sum.count += 1
        sum.has_reals = True
        return add_real(sum, number.real)
    if number.kind == NOT_A_NUMBER:
        sum.beyond = True
        return True
    sum.count += 1
    sum.whole += <int128><long long>number.integer if number.kind == SIGNED else <int128>number.integer
    return True


cdef inline double* parts_of(Sum* sum) noexcept nogil:
    if sum.many != NULL:
        return sum.many
    return &sum.few[0]


cdef bint add_real(Sum* sum, double value) noexcept nogil:
    cdef double* parts = parts_of(sum)
    cdef double part, high, low
    cdef int kept = 0, i
    for i in range(sum.used):
        part = parts[i]
        if fabs(value) < fabs(part):
            value, part = part, value
        high = value + part
        low = part - (high - value)
        if low != 0.0:
            parts[kept] = low
            kept += 1
        value = high
    if not isfinite(value):
        sum.beyond = True
        sum.used = 0
        return True
    if kept >= FEW_PARTS and kept >= sum.room:
        if not more_room(sum):
            return False
        parts = sum.many
    parts[kept] = value
    sum.used = kept + 1
    return True


cdef bint more_room(Sum* sum) noexcept nogil:
    """Twice as many parts; there are never more than doubles have bits, 2,098."""
    cdef int room = 2 * max(sum.room, <int>FEW_PARTS)
    cdef double* many = <double*>realloc(sum.many, room * sizeof(double))
    if many == NULL:
        return False
    if sum.many == NULL:
        memcpy(many, sum.few, sizeof(sum.few))
    sum.many, sum.room = many, room
    return True


cdef void sum_free(Sum* sum) noexcept nogil:
    free(sum.many)
    sum.many, sum.room = NULL, 0


cdef object as_int(int128 value):
    cdef object high = <long long>(value >> 64)
    cdef object low = <uint64_t>value
    return (high << 64) + low


cdef list doubles_of(object whole):
    """An integer as doubles that are exact."""
    cdef int sign = -1 if whole < 0 else 1
    cdef list found = []
    rest, shift = abs(whole), 0
    while rest:
        found.append(float(sign * (rest & PIECE) << shift))
        rest >>= PIECE_BITS
        shift += PIECE_BITS
    return found


cdef class ExactSum:
    """The sum of the numbers among some values; others, booleans too, are only counted."""

    def __dealloc__(self) -> None:
        sum_free(&self.sum)

    @property
    def seen(self) -> int:
        """How many values there were."""
        return self.sum.seen

    @property
    def count(self) -> int:
        """How many of them were numbers."""
        return self.sum.count

    @property
    def total(self):
        """An int if all numbers were integers, else the nearest double; None beyond the range of doubles."""
        cdef double* parts = parts_of(&self.sum)
        if self.sum.beyond:
            return None
        whole = as_int(self.sum.whole)
        if not self.sum.has_reals:
            return whole
        try:
            return math.fsum([parts[i] for i in range(self.sum.used)] + doubles_of(whole))
        except OverflowError:
            return None

    def add(self, list values not None) -> None:
        for value in values:
            self.sum.seen += 1
            if type(value) is int or type(value) is float:
                if not sum_add(&self.sum, number_from_object(value)):
                    raise MemoryError
