"""Sums without rounding errors; sums.pyx tells how."""

from engine.numbers cimport Number
from libc.stdint cimport uint64_t

cdef extern from * nogil:
    ctypedef long long int128 "__int128"


cdef enum:
    FEW_PARTS = 4


cdef struct Sum:
    uint64_t seen           # values, numbers or not
    uint64_t count          # numbers among them
    int128 whole            # the sum of those that are integers
    bint has_reals, beyond  # there were others; the sum left the range of doubles
    int used
    double[FEW_PARTS] few   # parts of the sum of the others
    double* many            # in place of `few`, on the heap, `room` of them
    int room


cdef bint sum_add(Sum* sum, Number number) noexcept nogil    # False when there is no memory
cdef void sum_free(Sum* sum) noexcept nogil


cdef class ExactSum:
    cdef Sum sum
