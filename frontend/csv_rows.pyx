"""CSV text into rows: RFC 4180 over bytes that come in pieces, and cells as the values that they read like.

A row ends with LF, CR or CRLF; empty lines are no rows. A cell that begins with a quote ends with the next single one;
within it two quotes stand for one, and line ends are text. What follows the closing quote up to the comma is added as it
is, and so is a quote within a cell that does not begin with one. Text is UTF-8; bytes that are not become U+FFFD.

The reader looks at each byte about twice: once to find where cells end, once to make the value. A row that the bytes at
hand do not end is read again when there are more of them, at least twice as many, so long rows do not cost their square.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp

from datetime import datetime

cdef enum:
    PIECE = 1 << 18             # bytes that are asked for at a time
    MAX_ROW = 16 << 20          # bytes, as much as a record may have
    LONGEST_NUMBER = 64         # bytes; longer digits stay text
    SAFE_DIGITS = 18            # so many fit 64 bits, whatever they are
    ZERO = 48                   # the digit


class Malformed(Exception):
    """The text is not CSV, or not one that can be loaded."""


cdef struct Cell:
    const char* start           # without its quotes
    Py_ssize_t length
    bint quoted                 # holds quotes to be undone
    bint last                   # of its row
    Py_ssize_t next             # offset after the separator or line end


cdef class Reader:
    """The rows of a CSV text; `read(n)` gives up to about n more bytes of it, none at its end. `taken` counts the bytes."""

    cdef object read
    cdef bytes text
    cdef Py_ssize_t at
    cdef bint ended
    cdef readonly long long taken

    def __init__(self, read) -> None:
        self.read = read
        self.text = b""
        self.at = 0
        self.ended = False
        self.taken = 0
        while len(self.text) < 3 and self._more():
            pass
        if self.text.startswith(b"\xef\xbb\xbf"):
            self.at = 3

    def row(self) -> list[str]:
        """The cells of the next row as text, an empty list at the end of the text. Malformed."""
        cdef list cells = []
        cdef Cell cell
        cdef Py_ssize_t start
        while self._at_row():
            start = self.at
            cells.clear()
            while self._cell(&cell):
                cells.append(_text(&cell))
                self.at = cell.next
                if cell.last:
                    return cells
            self.at = start
            self._need_more()
        return cells

    def records(self, columns: tuple[str, ...], texts: frozenset[str], most: int, size: int) -> list[dict[str, object]]:
        """The next rows as records, until there are `most` of them or their text has `size` bytes; none at the end.

        Cells of the columns in `texts` stay text. Cells beyond the columns are left out, columns beyond the cells too.
        Malformed.
        """
        cdef list found = [], names = list(columns), kept = [name in texts for name in columns]
        cdef Py_ssize_t wanted = most, least = size, read = 0, start, number, width = PyList_GET_SIZE(names)
        cdef dict record
        cdef Cell cell
        while PyList_GET_SIZE(found) < wanted and read < least and self._at_row():
            start, number, record = self.at, 0, {}
            while self._cell(&cell):
                if number < width:
                    value = _text(&cell) if <object>PyList_GET_ITEM(kept, number) is True else _value(&cell)
                    PyDict_SetItem(record, <object>PyList_GET_ITEM(names, number), value)
                number += 1
                self.at = cell.next
                if cell.last:
                    found.append(record)
                    read += self.at - start
                    break
            else:
                self.at = start
                self._need_more()
        self.taken += read
        return found

    # ---- inside ----

    cdef bint _at_row(self) except -1:
        """Passes over line ends; whether a row begins then."""
        cdef const char* text = PyBytes_AS_STRING(self.text)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self.text)
        while True:
            while self.at < size and (text[self.at] == b"\n" or text[self.at] == b"\r"):
                self.at += 1
            if self.at < size:
                return True
            if not self._more():
                return False
            text, size = PyBytes_AS_STRING(self.text), PyBytes_GET_SIZE(self.text)

    cdef bint _cell(self, Cell* cell) noexcept:
        """The cell that begins here; false when its end is not at hand yet."""
        cdef const char* text = PyBytes_AS_STRING(self.text)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self.text), at = self.at
        cdef const char* found
        cdef char here
        cell.quoted = at < size and text[at] == b'"'
        cell.start = text + at
        if cell.quoted:
            at += 1
            while True:
                found = <const char*>memchr(text + at, b'"', size - at)
                if found == NULL:
                    at = size
                    break
                at = found - text + 1
                if at == size or text[at] != b'"':
                    break
                at += 1
        while at < size:
            here = text[at]
            if here == b"," or here == b"\n" or here == b"\r":
                break
            at += 1
        if at == size and not self.ended:
            return False
        cell.length = text + at - cell.start
        cell.last = at == size or text[at] != b","
        cell.next = at + 1 if at < size else at
        return True

    cdef int _need_more(self) except -1:
        if PyBytes_GET_SIZE(self.text) - self.at > MAX_ROW:
            raise Malformed("a row is too long, or a quote is never closed")
        self._more()

    cdef bint _more(self) except -1:
        """Have more bytes at hand, at least as many as there are; false at the end of the text."""
        cdef bytes rest = self.text[self.at :]
        cdef Py_ssize_t wanted = max(1, PyBytes_GET_SIZE(rest)), came = 0
        cdef list pieces = [rest]
        while came < wanted:
            piece = self.read(max(PIECE, wanted - came))
            if not piece:
                self.ended = True
                break
            came += len(piece)
            pieces.append(piece)
        self.text, self.at = b"".join(pieces), 0
        return came > 0


# ---- values ----

cdef object _text(const Cell* cell):
    if not cell.quoted:
        return PyUnicode_DecodeUTF8(cell.start, cell.length, "replace")
    return _unquoted(cell)


cdef object _unquoted(const Cell* cell):
    """The text of a cell that begins with a quote."""
    cdef char* room = <char*>PyMem_Malloc(cell.length)
    if room == NULL:
        raise MemoryError
    cdef Py_ssize_t i = 1, n = 0
    cdef bint inside = True
    try:
        while i < cell.length:
            if inside and cell.start[i] == b'"':
                if i + 1 < cell.length and cell.start[i + 1] == b'"':
                    i += 1
                else:
                    inside = False
                    i += 1
                    continue
            room[n] = cell.start[i]
            n += 1
            i += 1
        return PyUnicode_DecodeUTF8(room, n, "replace")
    finally:
        PyMem_Free(room)


cdef object _value(const Cell* cell):
    """What a cell stands for. Quotes make no difference: writers quote what they like."""
    if not cell.quoted:
        return _value_of(cell.start, cell.length)
    cdef bytes content = _unquoted(cell).encode()
    return _value_of(PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content))


def value_of(cell: str) -> object:
    """The value that the text of a cell stands for: a number, true, false, null, a time, or the text itself."""
    cdef bytes content = cell.encode(errors="replace")
    return _value_of(PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content))


cdef object _value_of(const char* text, Py_ssize_t n):
    if n == 0:
        return ""
    cdef char first = text[0]
    if b"0" <= first <= b"9" or first == b"-":
        return _number(text, n)
    if first == b"t" or first == b"T":
        if n == 4 and (memcmp(text, b"true", 4) == 0 or memcmp(text, b"TRUE", 4) == 0):
            return True
    elif first == b"f" or first == b"F":
        if n == 5 and (memcmp(text, b"false", 5) == 0 or memcmp(text, b"FALSE", 5) == 0):
            return False
    elif first == b"n" or first == b"N":
        if n == 4 and (memcmp(text, b"null", 4) == 0 or memcmp(text, b"NULL", 4) == 0):
            return None
    elif n == 9 and memcmp(text, b"undefined", 9) == 0:
        return None
    return PyUnicode_DecodeUTF8(text, n, "replace")


cdef object _number(const char* text, Py_ssize_t n):
    """An integer or a decimal fraction as JSON writes them, without an exponent; else a time or a text."""
    cdef Py_ssize_t i = 1 if text[0] == b"-" else 0, first = i, digits
    cdef long long integer = 0
    cdef bytes copy
    while i < n and b"0" <= text[i] <= b"9":
        if i - first < SAFE_DIGITS:
            integer = integer * 10 + (text[i] - ZERO)
        i += 1
    digits = i - first
    if digits == 0 or (digits > 1 and text[first] == b"0") or n > LONGEST_NUMBER:
        return _moment(text, n)
    if i == n:
        if digits <= SAFE_DIGITS:
            return -integer if first else integer
        return _long_integer(text, n)
    if text[i] != b"." or i + 1 == n:
        return _moment(text, n)
    i += 1
    while i < n and b"0" <= text[i] <= b"9":
        i += 1
    if i < n:
        return _moment(text, n)
    copy = text[:n]
    return float(copy)


cdef object _long_integer(const char* text, Py_ssize_t n):
    """An integer if it fits 64 bits with or without a sign; else it stays text, which loses nothing."""
    cdef bytes copy = text[:n]
    integer = int(copy)
    return integer if -(2**63) <= integer < 2**64 else copy.decode()


cdef object _moment(const char* text, Py_ssize_t n):
    """A time such as 2026-03-01T12:00:00Z with milliseconds, as every other one is written; else the text."""
    cdef str cell = PyUnicode_DecodeUTF8(text, n, "replace")
    if not _looks_like_moment(text, n):
        return cell
    try:
        return datetime.fromisoformat(cell).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except ValueError:  # the 30th of February, say
        return cell


cdef bint _looks_like_moment(const char* text, Py_ssize_t n) noexcept nogil:
    """`0000-00-00T00:00:00Z`, with one to six digits of a second's fraction or none."""
    cdef const char* form = "0000-00-00T00:00:00.000000"
    cdef Py_ssize_t i
    if n < 20 or n == 21 or n > 27 or text[n - 1] != b"Z":
        return False
    for i in range(n - 1):
        if form[i] == b"0":
            if not b"0" <= text[i] <= b"9":
                return False
        elif text[i] != form[i]:
            return False
    return True
