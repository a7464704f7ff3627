"""Predicates made ready to be judged without the GIL: arrays of nodes, of terms and of what these are compared with.

What a predicate may be for a record is told by filters.pyx.
"""

from engine.fields cimport Columns
from engine.numbers cimport number_from_object
from libc.stdlib cimport calloc, free

from engine import predicates

cdef enum:
    MAX_DEPTH = 100             # deeper ones are unknown

cdef dict TERMS = {"+": ADD, "-": SUBTRACT, "*": MULTIPLY, "/": DIVIDE, "%": REMAINDER}
cdef dict SIGNS = {"=": EQUAL, "<": BELOW, "<=": AT_MOST, ">": ABOVE, ">=": AT_LEAST}


cdef class Program:
    """A predicate, and operands to be computed. `number_of` gives the number of an attribute, -1 for one that no record has."""

    def __cinit__(self, predicate, number_of, operands=()) -> None:
        self.columns = Columns([name for each in (predicate, *operands) for name in predicates.attributes_of(each)], number_of)
        self.kept = []
        lists = _Lists(self.columns, self.kept)
        self.root = lists.add(predicate, 0)
        self.operand_count = <int>len(operands)
        self.operands = <int*>calloc(self.operand_count + 1, sizeof(int))
        if self.operands == NULL:
            raise MemoryError
        for index, operand in enumerate(operands):
            self.operands[index] = lists.term(operand, 0)
        self.nodes = <Node*>calloc(len(lists.nodes) + 1, sizeof(Node))
        self.terms = <Term*>calloc(len(lists.terms) + 1, sizeof(Term))
        self.links = <int*>calloc(len(lists.links) + 1, sizeof(int))
        self.pieces = <Piece*>calloc(len(self.kept) + 1, sizeof(Piece))
        if self.nodes == NULL or self.terms == NULL or self.links == NULL or self.pieces == NULL:
            raise MemoryError
        self._fill(lists)

    def _fill(self, _Lists lists) -> None:
        cdef Node* node
        cdef Term* term
        for index, (what, members) in enumerate(lists.nodes):
            node = &self.nodes[index]
            node.what, node.sign, node.truth = what, members.get("sign", 0), members.get("truth", 0)
            node.first, node.count = members.get("first", 0), members.get("count", 0)
            node.left, node.right = members.get("left", 0), members.get("right", 0)
            node.by_element, node.folded = members.get("by_element", False), members.get("folded", False)
        for index, (what, column, left, right, number) in enumerate(lists.terms):
            term = &self.terms[index]
            term.what, term.column, term.left, term.right = what, column, left, right
            term.number = number_from_object(number)
        for index, link in enumerate(lists.links):
            self.links[index] = link
        for index, piece in enumerate(self.kept):
            self.pieces[index].at = <const unsigned char*>(<char*>(<bytes>piece))
            self.pieces[index].length = len(piece)

    def __dealloc__(self) -> None:
        free(self.nodes)
        free(self.terms)
        free(self.operands)
        free(self.links)
        free(self.pieces)
        free(self.scratch.data)
        free(self.second.data)


cdef class _Lists:
    """The arrays of a program while they grow."""

    cdef Columns columns
    cdef list nodes, terms, links, pieces

    def __cinit__(self, Columns columns, list pieces) -> None:
        self.columns, self.pieces = columns, pieces
        self.nodes, self.terms, self.links = [], [], []

    cdef int add(self, predicate, int depth) except -1:
        """Adds a predicate, its members first; the number of its node."""
        kind = type(predicate)
        if depth > MAX_DEPTH or kind is predicates.Unknown:
            return self.node(FIXED, truth=OPEN)
        if kind is predicates.AllOf or kind is predicates.AnyOf:
            members = [self.add(member, depth + 1) for member in predicate.members]
            self.links += members
            return self.node(ALL if kind is predicates.AllOf else ANY, first=len(self.links) - len(members), count=len(members))
        if kind is predicates.Not:
            return self.node(NOT, first=self.add(predicate.member, depth + 1))
        if kind is predicates.Fixed:
            return self.node(FIXED, truth=NEITHER if predicate.value is None else YES if predicate.value else NO)
        if kind is predicates.Missing:
            return self.node(MISSING, left=self.term(predicate.operand, depth))
        if kind is predicates.Compare:
            left, right = self.term(predicate.left, depth), self.term(predicate.right, depth)
            return self.node(COMPARE, left=left, right=right, sign=SIGNS[predicate.operator])
        return self.leaf(predicate, kind, depth)

    cdef int leaf(self, predicate, kind, int depth) except -1:
        first = len(self.pieces)
        if kind is predicates.Within:
            for bounds in predicate.ranges:
                self.pieces += (bounds.low, bounds.high)
            return self.node(
                WITHIN, first=first, count=len(predicate.ranges), left=self.term(predicate.operand, depth),
                by_element=predicate.by_element)
        self.pieces += [segment.encode() for segment in predicate.segments]
        return self.node(
            MATCHES, first=first, count=len(predicate.segments), left=self.term(predicate.operand, depth),
            folded=predicate.folded, by_element=predicate.by_element)

    def node(self, what, **members):
        self.nodes.append((what, members))
        return len(self.nodes) - 1

    cdef int term(self, operand, int depth) except -1:
        if depth > MAX_DEPTH:
            raise RecursionError("an expression is nested too deeply")
        kind = type(operand)
        if kind is predicates.Attribute:
            self.terms.append((COLUMN, self.columns.place(operand.name), 0, 0, 0))
        elif kind is predicates.Constant:
            self.terms.append((NUMBER, 0, 0, 0, operand.value))
        else:
            left, right = self.term(operand.left, depth + 1), self.term(operand.right, depth + 1)
            self.terms.append((TERMS[operand.operator], 0, left, right, 0))
        return <int>len(self.terms) - 1
