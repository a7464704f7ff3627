"""The C face of JSON fragments; fragments.pyx tells their canonical form."""

# The inside of a JSON text as UTF-8. Stops after the character that reaches `enough` bytes: `out` needs 3 more.
# Returns the length, -1 when malformed; half a surrogate pair is malformed.
cdef Py_ssize_t unescape(const unsigned char* json, Py_ssize_t n, unsigned char* out, Py_ssize_t enough) noexcept nogil

# Steps through a JSON array without white space; *pos starts at 0.
# Returns 1 with the element in [*start, *end), 0 at the end, -1 when malformed.
cdef int json_array_next(
    const unsigned char* json, Py_ssize_t n, Py_ssize_t* pos, Py_ssize_t* start, Py_ssize_t* end) noexcept nogil

# The value of a fragment. Raises UnicodeDecodeError, msgspec.DecodeError or RecursionError when malformed.
cdef object decode_fragment(const unsigned char* json, Py_ssize_t n)


cdef struct Writer:
    unsigned char* data
    Py_ssize_t used
    Py_ssize_t room
    unsigned char* first    # the room that the caller gave; more than that is on the heap


cdef void open_writer(Writer* out, unsigned char* first, Py_ssize_t room) noexcept
cdef void close_writer(Writer* out) noexcept
# Appends the fragment of a value. Raises InvalidRecord, with the name of the attribute.
cdef int put_value(Writer* out, object value, object name) except -1
