"""A predicate as arrays; program.pyx builds it, filters.pyx judges it."""

from engine.fields cimport Columns
from engine.fragments cimport Writer
from engine.numbers cimport Number


cdef enum:
    YES = 1         # the sets of what a predicate may be: true,
    NO = 2          # false,
    NEITHER = 4     # null
    OPEN = 7


cdef enum:
    # what a node is
    WITHIN, MATCHES, COMPARE, MISSING, ALL, ANY, NOT, FIXED
    # what a term is
    COLUMN, NUMBER, ADD, SUBTRACT, MULTIPLY, DIVIDE, REMAINDER
    # signs
    EQUAL, BELOW, AT_MOST, ABOVE, AT_LEAST


cdef struct Node:
    int what
    int first, count        # of its members in `links`, of its ranges or segments in `pieces`
    int left, right         # operands
    int sign
    bint by_element, folded
    unsigned char truth


cdef struct Term:
    int what
    int column
    int left, right
    Number number


cdef struct Piece:
    const unsigned char* at
    Py_ssize_t length


cdef class Program:
    cdef Node* nodes
    cdef Term* terms
    cdef int* links
    cdef Piece* pieces
    cdef int root
    cdef int* operands              # the terms that these are
    cdef int operand_count
    cdef Columns columns
    cdef Writer scratch, second     # room for texts while it is judged
    cdef list kept
