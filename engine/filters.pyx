"""Predicates evaluated on stored records: which rows of a scan pass is decided here, without a Python object per field.

A predicate (predicates.py) becomes an array of nodes, and each evaluation gives the *set* of what it may be: true, false,
null. A node that knows has one member; one that does not, because only Python can judge it or because an index entry does
not hold the value, has all three. AND, OR and NOT combine sets, so that `unknown AND false` is false, and what remains open
at the root is all that the asker has to be asked about.

Comparisons are of index keys, byte by byte (keys.pyx): the order of all values is written down once.
"""

from engine.core cimport CREATED_TIME, FIRST_ATTRIBUTE, PRIMARY_KEY, UPDATED_TIME
from engine.fields cimport (
    ABSENT, COMPOSITE, FALSEHOOD, FRAGMENT, HIDDEN, KEY, MALFORMED, NOTHING, NUMERIC, TEXTUAL, TRUTH, Kind, Stored,
    index_key, locate_fields, make_room, numeric, set_absent, set_fragment, set_hidden, set_key, set_number, textual,
)
from engine.fragments cimport Writer, json_array_next
from engine.keys cimport MAX_VALUE_KEY
from engine.layout cimport kn_op
from engine.numbers cimport NOT_A_NUMBER, REAL, SIGNED, Number, number_from_double, number_from_object
from libc.math cimport fabs, fmod, isfinite
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy

from engine import predicates
from engine.errors import Corrupt

cdef extern from * nogil:
    """
    #include <string.h>
    void *memmem(const void *, size_t, const void *, size_t);
    """
    void* memmem(const void* text, size_t n, const void* part, size_t m)
    bint __builtin_add_overflow(long long a, long long b, long long* result)
    bint __builtin_sub_overflow(long long a, long long b, long long* result)
    bint __builtin_mul_overflow(long long a, long long b, long long* result)

cdef enum:
    # what a node is
    WITHIN, MATCHES, COMPARE, MISSING, ALL, ANY, NOT, FIXED
    # what a term is
    COLUMN, NUMBER, ADD, SUBTRACT, MULTIPLY, DIVIDE, REMAINDER
    # signs
    EQUAL, BELOW, AT_MOST, ABOVE, AT_LEAST

cdef enum:
    UNKNOWN_ATTRIBUTE = -1
    CUT_MARK = 0xFE
    MAX_DEPTH = 100             # deeper ones are unknown
    FEW_RANGES = 8              # are compared one after the other
    SHORT_TEXT = 256            # bytes; in longer ones a part is sought in linear time

cdef dict TERMS = {"+": ADD, "-": SUBTRACT, "*": MULTIPLY, "/": DIVIDE, "%": REMAINDER}
cdef dict SIGNS = {"=": EQUAL, "<": BELOW, "<=": AT_MOST, ">": ABOVE, ">=": AT_LEAST}

cdef double SAFE_INTEGER = 9007199254740992.0


# --- columns ----------------------------------------------------------------------------------------------------------

cdef class Columns:
    """`number_of` gives the number of an attribute, -1 for one that no record has."""

    def __cinit__(self, names, number_of) -> None:
        cdef int index
        numbered = sorted({(number_of(name), name) for name in names}, key=_stored_first)
        self.names = tuple([name for _, name in numbered])
        self.count = <int>len(numbered)
        self.numbers = <int*>calloc(self.count + 1, sizeof(int))
        self.spans = <Span*>calloc(self.count + 1, sizeof(Span))
        self.values = <Stored*>calloc(self.count + 1, sizeof(Stored))
        if self.numbers == NULL or self.spans == NULL or self.values == NULL:
            raise MemoryError
        for index in range(self.count):
            self.numbers[index] = numbered[index][0]
            self.stored += self.numbers[index] >= FIRST_ATTRIBUTE

    def __dealloc__(self) -> None:
        free(self.numbers)
        free(self.spans)
        free(self.values)

    cdef int place(self, str name) except -1:
        """Where a name is among the columns."""
        return self.names.index(name)

    cdef bint read(self, const kn_op* op) noexcept nogil:
        """The values of a record; False when its body is malformed."""
        cdef const uint8_t* key = <const uint8_t*>op + sizeof(kn_op)
        cdef const uint8_t* body = key + op.key_length
        cdef int index
        if locate_fields(body, op.body_length, self.numbers, self.stored, self.spans) < 0:
            return False
        for index in range(self.stored):
            if self.spans[index].length == 0:
                set_absent(&self.values[index])
            else:
                set_fragment(&self.values[index], body + self.spans[index].start, self.spans[index].length)
        for index in range(self.stored, self.count):
            if self.numbers[index] == PRIMARY_KEY:
                set_key(&self.values[index], key, op.key_length, False)
            elif self.numbers[index] == UNKNOWN_ATTRIBUTE:
                set_absent(&self.values[index])
            else:
                set_number(&self.values[index], number_from_double(
                    <double>(op.created if self.numbers[index] == CREATED_TIME else op.version) / 1000.0))
        return True

    cdef void read_entry(self, int attribute, const uint8_t* entry, int length, int value_length) noexcept nogil:
        """What the entry of an attribute's index tells: that attribute and the primary key, which is all of an entry of the
        primary index (`value_length` 0)."""
        cdef int index
        for index in range(self.count):
            if self.numbers[index] == PRIMARY_KEY:
                set_key(&self.values[index], entry + value_length, length - value_length, False)
            elif self.numbers[index] == attribute:
                set_key(&self.values[index], entry, value_length, True)
            elif self.numbers[index] == UNKNOWN_ATTRIBUTE:
                set_absent(&self.values[index])
            else:
                set_hidden(&self.values[index])


def _stored_first(numbered):
    number, _ = numbered
    return number < FIRST_ATTRIBUTE, number


# --- texts ------------------------------------------------------------------------------------------------------------

cdef inline uint64_t small_letters(uint64_t word) noexcept nogil:
    """Eight bytes with their ASCII capitals made small."""
    cdef uint64_t ones = 0x0101010101010101
    cdef uint64_t low = word & ones * 0x7F
    return word | ((low + ones * (0x80 - 65)) & ~(low + ones * (0x7F - 90)) & ~word & ones * 0x80) >> 2


cdef bint fold(const uint8_t* text, Py_ssize_t n, uint8_t* out) noexcept nogil:
    """Copies with ASCII capitals made small; whether the text may hold a letter outside ASCII that equals one in ASCII when
    case is ignored: they are in the blocks of UTF-8 that begin with C4, C5 and E2. `out` has room for 8 bytes at least."""
    cdef uint64_t high_bits = 0x8080808080808080
    cdef uint64_t word, every = 0
    cdef Py_ssize_t i = 0
    cdef bint doubtful = False
    while i + 8 <= n:
        memcpy(&word, text + i, 8)
        every |= word
        word = small_letters(word)
        memcpy(out + i, &word, 8)
        i += 8
    if i < n and n >= 8:
        memcpy(&word, text + n - 8, 8)
        every |= word
        word = small_letters(word)
        memcpy(out + n - 8, &word, 8)
    elif i < n:
        word = 0
        for i in range(n):
            word |= <uint64_t>text[i] << 8 * i
        every |= word
        word = small_letters(word)
        memcpy(out, &word, 8)
    if every & high_bits:
        for i in range(n):
            doubtful |= text[i] == 0xC4 or text[i] == 0xC5 or text[i] == 0xE2
    return doubtful


cdef const uint8_t* find(const uint8_t* text, Py_ssize_t n, const Piece* part) noexcept nogil:
    """The first place of a part in a text, or NULL."""
    cdef const uint8_t* at = text
    cdef const uint8_t* end = text + n - part.length + 1    # behind the last place where it can begin
    if part.length == 0:
        return text
    if n > SHORT_TEXT:
        return <const uint8_t*>memmem(text, n, part.at, part.length)
    while at < end:
        at = <const uint8_t*>memchr(at, part.at[0], end - at)
        if at == NULL or memcmp(at, part.at, part.length) == 0:
            return at
        at += 1
    return NULL


cdef bint fits(const Piece* pieces, int count, const uint8_t* text, Py_ssize_t n) noexcept nogil:
    """Whether a text has the segments; the leftmost place of each is as good as any other."""
    cdef const Piece* first = &pieces[0]
    cdef const Piece* last = &pieces[count - 1]
    cdef const uint8_t* found
    cdef int i
    if count == 1:
        return n == first.length and memcmp(text, first.at, n) == 0
    if n < first.length + last.length:
        return False
    if first.length > 0 and memcmp(text, first.at, first.length) != 0:
        return False
    if last.length > 0 and memcmp(text + n - last.length, last.at, last.length) != 0:
        return False
    text += first.length
    n -= first.length + last.length
    for i in range(1, count - 1):
        found = find(text, n, &pieces[i])
        if found == NULL:
            return False
        n -= found + pieces[i].length - text
        text = found + pieces[i].length
    return True


# --- programs ---------------------------------------------------------------------------------------------------------

cdef class Program:
    """`number_of` gives the number of an attribute, -1 for one that no record has."""

    def __cinit__(self, predicate, number_of) -> None:
        self.columns = Columns(list(predicates.attributes_of(predicate)), number_of)
        self.kept = []
        lists = _Lists(self.columns, self.kept)
        self.root = lists.add(predicate, 0)
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
            node.what = what
            for name, value in members.items():
                if name == "first":
                    node.first = value
                elif name == "count":
                    node.count = value
                elif name == "left":
                    node.left = value
                elif name == "right":
                    node.right = value
                elif name == "sign":
                    node.sign = value
                elif name == "by_element":
                    node.by_element = value
                elif name == "folded":
                    node.folded = value
                else:
                    node.truth = value
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
        free(self.links)
        free(self.pieces)
        free(self.scratch.data)
        free(self.second.data)

    cdef unsigned char judge(self) noexcept nogil:
        """What the predicate may be for the values in `columns`."""
        return self.node(self.root)

    cdef unsigned char node(self, int index) noexcept nogil:
        cdef const Node* node = &self.nodes[index]
        cdef unsigned char inner
        cdef Stored value
        if node.what == ALL:
            return self.all_of(node)
        if node.what == ANY:
            return self.any_of(node)
        if node.what == NOT:
            inner = self.node(node.first)
            return inner & NEITHER | (inner & YES) << 1 | (inner & NO) >> 1
        if node.what == FIXED:
            return node.truth
        if node.what == COMPARE:
            return self.compare(node)
        if node.by_element:
            return self.element(node)
        self.term(node.left, &value)
        if value.kind == HIDDEN:
            return OPEN
        if value.kind == MALFORMED:
            return DAMAGED
        if node.what == MISSING:
            return YES if value.kind == NOTHING or value.kind == ABSENT else NO
        if value.kind == NOTHING or value.kind == ABSENT:
            return NEITHER
        return self.within(node, &value) if node.what == WITHIN else self.matches(node, &value)

    cdef unsigned char all_of(self, const Node* node) noexcept nogil:
        cdef unsigned char so_far = YES
        cdef unsigned char one, both
        cdef int i
        for i in range(node.first, node.first + node.count):
            one = self.node(self.links[i])
            if one == DAMAGED:
                return DAMAGED
            both = so_far & one & YES | (so_far | one) & NO
            if (so_far & NEITHER and one & (YES | NEITHER)) or (one & NEITHER and so_far & (YES | NEITHER)):
                both |= NEITHER
            so_far = both
            if so_far == NO:
                break
        return so_far

    cdef unsigned char any_of(self, const Node* node) noexcept nogil:
        cdef unsigned char so_far = NO
        cdef unsigned char one, both
        cdef int i
        for i in range(node.first, node.first + node.count):
            one = self.node(self.links[i])
            if one == DAMAGED:
                return DAMAGED
            both = so_far & one & NO | (so_far | one) & YES
            if (so_far & NEITHER and one & (NO | NEITHER)) or (one & NEITHER and so_far & (NO | NEITHER)):
                both |= NEITHER
            so_far = both
            if so_far == YES:
                break
        return so_far

    cdef unsigned char within(self, const Node* node, const Stored* value) noexcept nogil:
        cdef uint8_t[MAX_VALUE_KEY + 1] room
        cdef Py_ssize_t n
        cdef const uint8_t* key = index_key(value, room, &n)
        cdef const Piece* bounds = self.pieces + node.first
        cdef int low = 0, high = node.count, middle
        if key == NULL:
            return DAMAGED
        if high <= FEW_RANGES:
            while low < high and not is_below(key, n, &bounds[2 * low + 1]):
                low += 1
        else:
            while low < high:       # the first range that does not end before the key
                middle = (low + high) >> 1
                if is_below(key, n, &bounds[2 * middle + 1]):
                    high = middle
                else:
                    low = middle + 1
        return YES if low < node.count and not is_below(key, n, &bounds[2 * low]) else NO

    cdef unsigned char matches(self, const Node* node, const Stored* value) noexcept nogil:
        cdef const uint8_t* text
        cdef Py_ssize_t n
        cdef int result = 1
        if value.kind == TEXTUAL:
            result = textual(value, &self.scratch, &text, &n)
        elif value.kind == COMPOSITE or node.by_element:
            return NO
        elif value.form == FRAGMENT and (value.kind != NUMERIC or is_whole(value)):
            text, n = value.at, value.length
        else:
            return OPEN
        if result <= 0:
            return DAMAGED if result < 0 else OPEN
        if not node.folded:
            return YES if fits(self.pieces + node.first, node.count, text, n) else NO
        self.second.used = 0
        if not make_room(&self.second, n + 8):
            return OPEN
        if fold(text, n, self.second.data):
            return OPEN
        return YES if fits(self.pieces + node.first, node.count, self.second.data, n) else NO

    cdef unsigned char compare(self, const Node* node) noexcept nogil:
        cdef Stored left, right
        cdef uint8_t[MAX_VALUE_KEY + 1] left_room
        cdef uint8_t[MAX_VALUE_KEY + 1] right_room
        cdef Py_ssize_t n, m
        cdef const uint8_t* one
        cdef const uint8_t* other
        cdef int order
        self.term(node.left, &left)
        self.term(node.right, &right)
        if left.kind == MALFORMED or right.kind == MALFORMED:
            return DAMAGED
        if left.kind == NOTHING or left.kind == ABSENT or right.kind == NOTHING or right.kind == ABSENT:
            return NEITHER
        if left.kind == HIDDEN or right.kind == HIDDEN or left.kind == COMPOSITE or right.kind == COMPOSITE:
            return OPEN
        if rank(left.kind) != rank(right.kind):
            return NO
        one, other = index_key(&left, left_room, &n), index_key(&right, right_room, &m)
        if one == NULL or other == NULL:
            return DAMAGED
        if left.kind == TEXTUAL and (one[n - 1] == CUT_MARK or other[m - 1] == CUT_MARK or n > MAX_VALUE_KEY or m > MAX_VALUE_KEY):
            return OPEN
        order = memcmp(one, other, n if n < m else m)
        if order == 0:
            order = (n > m) - (n < m)
        return YES if holds(node.sign, order) else NO

    cdef unsigned char element(self, const Node* node) noexcept nogil:
        """A leaf as NoSQL searches have it."""
        cdef Stored value, element
        cdef Py_ssize_t at = 0, start = 0, end = 0
        cdef int more
        cdef unsigned char found
        self.term(node.left, &value)
        if value.kind == HIDDEN:
            return OPEN
        if value.kind == MALFORMED:
            return DAMAGED
        if value.kind == ABSENT:
            return NO
        if value.kind != COMPOSITE:
            return self.within(node, &value) if node.what == WITHIN else self.matches(node, &value)
        if value.form == KEY or value.at[0] == c"{":
            return OPEN
        while True:
            more = json_array_next(value.at, value.length, &at, &start, &end)
            if more <= 0:
                return NO if more == 0 else DAMAGED
            set_fragment(&element, value.at + start, end - start)
            if element.kind == MALFORMED:
                return DAMAGED
            if element.kind != COMPOSITE:
                found = self.within(node, &element) if node.what == WITHIN else self.matches(node, &element)
                if found != NO:
                    return found

    cdef void term(self, int index, Stored* out) noexcept nogil:
        cdef const Term* term = &self.terms[index]
        if term.what == COLUMN:
            out[0] = self.columns.values[term.column]
        elif term.what == NUMBER:
            set_number(out, term.number)
        else:
            self.compute(term, out)

    cdef void compute(self, const Term* term, Stored* out) noexcept nogil:
        cdef Stored right
        self.term(term.left, out)
        self.term(term.right, &right)
        if out.kind == MALFORMED or right.kind == MALFORMED:
            out.kind = MALFORMED
        elif out.kind == NOTHING or out.kind == ABSENT or right.kind == NOTHING or right.kind == ABSENT:
            out.kind = NOTHING
        elif out.kind != NUMERIC or right.kind != NUMERIC:
            set_hidden(out)
        else:
            calculate(term.what, numeric(out), numeric(&right), out)


cdef inline bint is_below(const uint8_t* key, Py_ssize_t n, const Piece* bound) noexcept nogil:
    cdef int order = memcmp(key, bound.at, n if n < bound.length else bound.length)
    return order < 0 or (order == 0 and n < bound.length)


cdef inline int rank(Kind kind) noexcept nogil:
    """Only values of one rank are equal or have an order."""
    return FALSEHOOD if kind == TRUTH else kind


cdef inline bint holds(int sign, int order) noexcept nogil:
    if sign == EQUAL:
        return order == 0
    if sign == BELOW:
        return order < 0
    if sign == AT_MOST:
        return order <= 0
    return order > 0 if sign == ABOVE else order >= 0


cdef inline bint is_whole(const Stored* value) noexcept nogil:
    """An integer's fragment is also its text."""
    cdef Py_ssize_t i
    for i in range(1, value.length):
        if not 48 <= value.at[i] <= 57:
            return False
    return True


# --- arithmetic -------------------------------------------------------------------------------------------------------

cdef void settle(double value, Stored* out) noexcept nogil:
    """The result of a computation: null when it is not finite, an integer when it is one that doubles count."""
    if not isfinite(value):
        out.kind = NOTHING
        return
    out.number = number_from_double(value)
    if out.number.kind != REAL and fabs(value) > SAFE_INTEGER:
        out.number.kind, out.number.real = REAL, value
    set_number(out, out.number)


cdef inline double as_double(Number number) noexcept nogil:
    if number.kind == REAL:
        return number.real
    return <double><long long>number.integer if number.kind == SIGNED else <double>number.integer


cdef void calculate(int what, Number left, Number right, Stored* out) noexcept nogil:
    """Hidden where the result is beyond what integers of 64 bits, or one rounding, can tell."""
    cdef long long whole
    cdef double one, other
    if left.kind == NOT_A_NUMBER or right.kind == NOT_A_NUMBER:
        out.kind = MALFORMED
        return
    if left.kind != REAL and right.kind != REAL:
        if left.kind == SIGNED and right.kind == SIGNED and on_integers(what, <long long>left.integer, <long long>right.integer, &whole):
            out.number.kind, out.number.integer = SIGNED, <unsigned long long>whole
            set_number(out, out.number)
            return
        if what != DIVIDE or not (is_safe(left) and is_safe(right)):
            set_hidden(out)
            return
    one, other = as_double(left), as_double(right)
    if what == ADD:
        settle(one + other, out)
    elif what == SUBTRACT:
        settle(one - other, out)
    elif what == MULTIPLY:
        settle(one * other, out)
    elif other == 0.0:
        out.kind = NOTHING
    elif what == DIVIDE:
        settle(one / other, out)
    else:
        settle(fmod(one, other), out)


cdef inline bint is_safe(Number number) noexcept nogil:
    return fabs(as_double(number)) <= SAFE_INTEGER


cdef inline bint on_integers(int what, long long left, long long right, long long* result) noexcept nogil:
    """Whether the exact result is an integer of 64 bits."""
    if what == ADD:
        return not __builtin_add_overflow(left, right, result)
    if what == SUBTRACT:
        return not __builtin_sub_overflow(left, right, result)
    if what == MULTIPLY:
        return not __builtin_mul_overflow(left, right, result)
    if what == REMAINDER and right > 0:
        result[0] = left % right
        return True
    return False


# --- compiling --------------------------------------------------------------------------------------------------------

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


# --- the face for Python ----------------------------------------------------------------------------------------------

def judge(predicate, dict numbers not None, bytes key not None, bytes body not None) -> frozenset:
    """What a predicate may be for a record, of True, False and None; the record as the log has it, `numbers` those of its
    attributes by name. Raises Corrupt when the body is malformed as far as the predicate looks at it."""
    cdef Program program = Program(predicate, lambda name: numbers.get(name, UNKNOWN_ATTRIBUTE))
    cdef kn_op* op = <kn_op*>calloc(1, sizeof(kn_op) + len(key) + len(body))
    cdef unsigned char verdict
    if op == NULL:
        raise MemoryError
    try:
        op.key_length, op.body_length = <unsigned short>len(key), <unsigned int>len(body)
        memcpy(<uint8_t*>op + sizeof(kn_op), <const char*>key, len(key))
        memcpy(<uint8_t*>op + sizeof(kn_op) + len(key), <const char*>body, len(body))
        verdict = program.judge() if program.columns.read(op) else <unsigned char>DAMAGED
    finally:
        free(op)
    if verdict == DAMAGED:
        raise Corrupt("A record's body is malformed")
    return frozenset([value for bit, value in ((YES, True), (NO, False), (NEITHER, None)) if verdict & bit])
