"""Stored values as C sees them: where they stand, of which kind they are; fields.pyx tells more."""

from engine.fragments cimport Writer
from engine.layout cimport kn_op
from engine.numbers cimport Number


cdef enum Kind:
    MALFORMED
    ABSENT
    HIDDEN          # an index entry does not tell it
    NOTHING         # null
    FALSEHOOD
    TRUTH
    NUMERIC
    TEXTUAL
    COMPOSITE       # an array or an object


cdef enum Form:
    FRAGMENT        # JSON
    KEY             # as in an index; never cut, else it is HIDDEN
    COMPUTED        # `number`


cdef enum:
    UNKNOWN_ATTRIBUTE = -1      # the number of one that no record has


cdef struct Stored:
    Kind kind
    Form form
    const unsigned char* at
    Py_ssize_t length
    Number number


cdef struct Span:
    unsigned int start      # offset in the body
    unsigned int length     # 0 for an attribute that the record lacks


# Where the attributes `wanted` (ascending) stand in a body; 0, or -1 when its head is malformed.
cdef int locate_fields(const unsigned char* body, Py_ssize_t n, const int* wanted, int count, Span* out) noexcept nogil

cdef void set_absent(Stored* out) noexcept nogil
cdef void set_hidden(Stored* out) noexcept nogil
cdef void set_fragment(Stored* out, const unsigned char* json, Py_ssize_t n) noexcept nogil
cdef void set_key(Stored* out, const unsigned char* key, Py_ssize_t n, bint secondary) noexcept nogil
cdef void set_number(Stored* out, Number number) noexcept nogil

# The key of a value as its index holds it, in `room` (MAX_VALUE_KEY + 1 bytes) or where it stands; NULL when malformed.
cdef const unsigned char* index_key(const Stored* value, unsigned char* room, Py_ssize_t* n) noexcept nogil

# The number of a NUMERIC; its kind is NOT_A_NUMBER when it is malformed.
cdef Number numeric(const Stored* value) noexcept nogil

# The UTF-8 of a TEXTUAL, where it stands or in `scratch`; 1, 0 when there is no memory, -1 when it is malformed.
cdef int textual(const Stored* value, Writer* scratch, const unsigned char** text, Py_ssize_t* n) noexcept nogil

# Room for `more` bytes behind what is used; False when there is no memory.
cdef bint make_room(Writer* out, Py_ssize_t more) noexcept nogil

# Appends the key of a value in full, however long; False when there is no memory. COMPOSITE as in an index.
# 1, 0 when there is no memory, -1 when malformed.
cdef int put_whole_key(Writer* out, const Stored* value, Writer* scratch) noexcept nogil


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
