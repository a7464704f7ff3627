"""A predicate made ready to be evaluated on records and on index entries without the GIL."""

from engine.fields cimport Span, Stored
from engine.fragments cimport Writer
from engine.layout cimport kn_op
from engine.numbers cimport Number


cdef enum:
    DAMAGED = 0     # what is stored is malformed, or there is no memory for it
    YES = 1         # the sets of what a predicate may be: true,
    NO = 2          # false,
    NEITHER = 4     # null
    OPEN = 7


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


cdef class Columns:
    """Attributes whose values are wanted of each record, and where they are in the current one."""
    cdef int count              # of all
    cdef int stored             # of those in bodies, which come first
    cdef int* numbers           # attribute numbers, ascending within the stored
    cdef Span* spans
    cdef Stored* values         # in the order of `numbers`
    cdef readonly tuple names   # the same order
    cdef int place(self, str name) except -1
    cdef bint read(self, const kn_op* op) noexcept nogil
    cdef void read_entry(self, int attribute, const unsigned char* entry, int length, int value_length) noexcept nogil


cdef class Program:
    cdef Node* nodes
    cdef Term* terms
    cdef int* links
    cdef Piece* pieces
    cdef int root
    cdef Columns columns
    cdef Writer scratch, second
    cdef list kept
    cdef unsigned char judge(self) noexcept nogil
    cdef unsigned char node(self, int index) noexcept nogil
    cdef unsigned char all_of(self, const Node* node) noexcept nogil
    cdef unsigned char any_of(self, const Node* node) noexcept nogil
    cdef unsigned char within(self, const Node* node, const Stored* value) noexcept nogil
    cdef unsigned char matches(self, const Node* node, const Stored* value) noexcept nogil
    cdef unsigned char compare(self, const Node* node) noexcept nogil
    cdef unsigned char element(self, const Node* node) noexcept nogil
    cdef void term(self, int index, Stored* out) noexcept nogil
    cdef void compute(self, const Term* term, Stored* out) noexcept nogil
