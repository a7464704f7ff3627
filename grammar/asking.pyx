"""Running a statement with one call.

A count of all records of a table, asked for with a text that is kept, is read off the published state right here: what
remains of such a statement is to find its text, to see that the table is what it was, and to make the row.
"""

from grammar.kept cimport Known, by_text

from grammar.statement import of_known, of_text


def query(node: object, sql: object, parameters: object = None) -> list | dict:
    """Prepares and runs a statement: the rows of a query, or the reply of a write."""
    cdef Known known = by_text(node, sql)
    cdef list rows
    if known is None:
        return of_text(node, sql, parameters).run()
    if parameters is None and known.binding.counted is not None:
        rows = known.binding.count()
        if rows is not None:
            return rows
    return of_known(node, known, parameters).run()
