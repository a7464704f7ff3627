"""The inner loops of a hash join whose key is one column: rows by their key, and the partners of rows.

Keys are numbers and texts here. A boolean, an array or an object is never equal to one of these, and null joins nothing.
"""

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject


cdef inline bint _is_plain(object value) noexcept:
    return type(value) is str or type(value) is int or type(value) is float


def by_key(list rows, dict table, Py_ssize_t place) -> bool:
    """Adds rows to a table of lists by what they have at `place`; False as soon as there is a key of another kind."""
    cdef tuple row
    cdef object key
    cdef PyObject* found
    for row in rows:
        key = row[place]
        if key is None:
            continue
        if not _is_plain(key):
            return False
        found = PyDict_GetItem(table, key)
        if found == NULL:
            table[key] = [row]
        else:
            (<list>found).append(row)
    return True


def partnered(list rows, dict table, Py_ssize_t place, tuple nothing):
    """Each row beside each of its partners in the table; beside `nothing`, unless that is None, when it has none."""
    cdef tuple row, partner
    cdef object key
    cdef PyObject* found
    cdef list partners
    for row in rows:
        key = row[place]
        found = PyDict_GetItem(table, key) if _is_plain(key) else NULL
        if found != NULL:
            partners = <list>found
            for partner in partners:
                yield row + partner
        elif nothing is not None:
            yield row + nothing
