"""The shape of a statement: its text with the literals lifted out.

Statements that differ only in their literals have one shape, and so share one parse. This is all that a repeated
statement pays before its plan, hence one pass over the characters. It cuts as tokens.py does, but tells apart only what
a literal may hide in: quoted names, comments and words; `parse` compares what both find before it trusts a shape.
"""

from cpython.unicode cimport PyUnicode_Substring
from libc.stdint cimport uint32_t

from grammar.literals import number_literal, text_literal

cdef extern from "Python.h":
    uint32_t PyUnicode_READ(int kind, const void* data, Py_ssize_t index) nogil
    int PyUnicode_KIND(object text)
    const void* PyUnicode_DATA(object text)

cdef enum:
    PLAIN_DIGITS = 18       # so many digits surely fit 64 bits

cdef str TEXT_MARK = "\0t"  # no statement holds a NUL but in quotes and comments, where nothing is lifted
cdef str INTEGER_MARK = "\0i"
cdef str DECIMAL_MARK = "\0d"


cdef struct Text:
    int kind
    const void* data
    Py_ssize_t length


cdef inline uint32_t at(const Text* text, Py_ssize_t place) noexcept nogil:
    """The character at a place; NUL past the end."""
    return PyUnicode_READ(text.kind, text.data, place) if place < text.length else 0


cdef inline bint is_digit(uint32_t character) noexcept nogil:
    return c"0" <= character <= c"9"


cdef inline bint is_word(uint32_t character) noexcept nogil:
    return (
        c"a" <= character <= c"z" or c"A" <= character <= c"Z" or is_digit(character) or character == c"_"
        or character == c"$"
    )


cdef Py_ssize_t end_of_quoted(const Text* text, Py_ssize_t start, uint32_t quote) noexcept nogil:
    """Where a run of quoted characters ends, the closing quote included; behind the text when it is not closed."""
    cdef Py_ssize_t place = start + 1
    while place < text.length and at(text, place) != quote:
        place += 1
    return place + 1


cdef Py_ssize_t end_of_text(const Text* text, Py_ssize_t start) noexcept nogil:
    """The same for a text literal, in which a doubled quote stands for one."""
    cdef uint32_t quote = at(text, start)
    cdef Py_ssize_t place = end_of_quoted(text, start, quote)
    while at(text, place) == quote and place < text.length:
        place = end_of_quoted(text, place, quote)
    return place


cdef Py_ssize_t end_of_comment(const Text* text, Py_ssize_t start) noexcept nogil:
    """The end of the comment that starts here, behind the text if it is not closed; `start` when none does."""
    cdef Py_ssize_t place = start + 2
    if at(text, start) == c"-" and at(text, start + 1) == c"-":
        while place < text.length and at(text, place) != c"\n":
            place += 1
        return place
    if at(text, start) != c"/" or at(text, start + 1) != c"*":
        return start
    while place < text.length and (at(text, place) != c"*" or at(text, place + 1) != c"/"):
        place += 1
    return place + 2


cdef Py_ssize_t end_of_number(const Text* text, Py_ssize_t start, bint* whole) noexcept nogil:
    cdef Py_ssize_t place = start, exponent
    while is_digit(at(text, place)):
        place += 1
    whole[0] = at(text, place) != c"."
    if not whole[0]:
        place += 1
        while is_digit(at(text, place)):
            place += 1
    if at(text, place) == c"e" or at(text, place) == c"E":
        exponent = place + 1
        if at(text, exponent) == c"+" or at(text, exponent) == c"-":
            exponent += 1
        if is_digit(at(text, exponent)):
            whole[0] = False
            while is_digit(at(text, exponent)):
                exponent += 1
            return exponent
    return place


cdef object integer(const Text* text, Py_ssize_t start, Py_ssize_t end):
    cdef long long value = 0
    cdef Py_ssize_t place
    for place in range(start, end):
        value = value * 10 + <int>(at(text, place) - c"0")
    return value


def shape(str sql) -> tuple[str, tuple]:
    """A key that is equal for statements that differ in their literals only, and those literals, from left to right.

    SqlError for a number that is too large.
    """
    cdef Text text
    cdef Py_ssize_t place = 0, taken = 0, end
    cdef uint32_t character
    cdef bint whole
    cdef list pieces = [], literals = []
    text.kind, text.data, text.length = PyUnicode_KIND(sql), PyUnicode_DATA(sql), len(sql)
    while place < text.length:
        character = at(&text, place)
        if is_digit(character) or (character == c"." and is_digit(at(&text, place + 1))):
            end = end_of_number(&text, place, &whole)
            pieces.append(PyUnicode_Substring(sql, taken, place))
            pieces.append(INTEGER_MARK if whole else DECIMAL_MARK)
            if whole and end - place <= PLAIN_DIGITS:
                literals.append(integer(&text, place, end))
            else:
                literals.append(number_literal(PyUnicode_Substring(sql, place, end)))
            place = taken = end
        elif is_word(character):
            while is_word(at(&text, place)):
                place += 1
        elif character == c"'" or character == c'"':
            end = end_of_text(&text, place)
            if end > text.length:       # not closed, so this is no statement
                break
            pieces.append(PyUnicode_Substring(sql, taken, place))
            pieces.append(TEXT_MARK)
            literals.append(text_literal(PyUnicode_Substring(sql, place, end)))
            place = taken = end
        elif character == c"`":
            place = end_of_quoted(&text, place, c"`")
        elif character == c"[":
            place = end_of_quoted(&text, place, c"]")
        elif character == c"-" or character == c"/":
            end = end_of_comment(&text, place)
            place = end if end > place else place + 1
        else:
            place += 1
    if taken == 0:
        return sql, ()
    pieces.append(PyUnicode_Substring(sql, taken, text.length))
    return "".join(pieces), tuple(literals)
