"""Predicates evaluated on stored records: which rows of a scan pass is decided here, without a Python object per field.

A predicate (predicates.py) becomes a program (program.pyx), and each evaluation gives the *set* of what it may be: true, false,
null. A node that knows has one member; one that does not, because only Python can judge it or because an index entry does
not hold the value, has all three. AND, OR and NOT combine sets, so that `unknown AND false` is false, and what remains open
at the root is all that the asker has to be asked about.

Comparisons are of index keys, byte by byte (keybytes.pyx): the order of all values is written down once.
"""

from engine.fields cimport (
    ABSENT, COMPOSITE, FALSEHOOD, FRAGMENT, HIDDEN, KEY, MALFORMED, NOTHING, NUMERIC, TEXTUAL, TRUTH, UNKNOWN_ATTRIBUTE, Kind, Stored,
    index_key, make_room, numeric, set_fragment, set_hidden, set_number, textual,
)
from engine.fragments cimport json_array_next
from engine.keybytes cimport CUT_MARK, MAX_VALUE_KEY
from engine.layout cimport kn_op
from engine.numbers cimport NOT_A_NUMBER, REAL, SIGNED, Number, number_from_double
from engine.program cimport (
    ABOVE, ADD, ALL, ANY, AT_MOST, BELOW, COLUMN, COMPARE, DIVIDE, EQUAL, FIXED, MISSING, MULTIPLY, NEITHER, NO, NOT, NUMBER,
    OPEN, REMAINDER, SUBTRACT, WITHIN, YES, Node, Piece, Program, Term,
)
from libc.math cimport fabs, fmod, isfinite
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy

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
    FEW_RANGES = 8              # are compared one after the other
    SHORT_TEXT = 256            # bytes; in longer ones a part is sought in linear time

cdef double SAFE_INTEGER = 9007199254740992.0


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


# --- judging ----------------------------------------------------------------------------------------------------------

cdef unsigned char verdict_of(Program program) noexcept nogil:
    return judge_node(program, program.root)


cdef unsigned char judge_node(Program program, int index) noexcept nogil:
    cdef const Node* node = &program.nodes[index]
    cdef unsigned char inner
    cdef Stored value
    if node.what == ALL:
        return combine(program, node, YES, NO)
    if node.what == ANY:
        return combine(program, node, NO, YES)
    if node.what == NOT:
        inner = judge_node(program, node.first)
        return inner & NEITHER | (inner & YES) << 1 | (inner & NO) >> 1
    if node.what == FIXED:
        return node.truth
    if node.what == COMPARE:
        return compare(program, node)
    if node.by_element:
        return element(program, node)
    evaluate(program, node.left, &value)
    if value.kind == HIDDEN:
        return OPEN
    if value.kind == MALFORMED:
        return DAMAGED
    if node.what == MISSING:
        return YES if value.kind == NOTHING or value.kind == ABSENT else NO
    if value.kind == NOTHING or value.kind == ABSENT:
        return NEITHER
    return within(program, node, &value) if node.what == WITHIN else matches(program, node, &value)


cdef unsigned char combine(Program program, const Node* node, unsigned char neutral, unsigned char decisive) noexcept nogil:
    """AND, of which one NO decides, and OR, of which one YES does."""
    cdef unsigned char so_far = neutral
    cdef unsigned char one, both
    cdef int i
    for i in range(node.first, node.first + node.count):
        one = judge_node(program, program.links[i])
        if one == DAMAGED:
            return DAMAGED
        both = so_far & one & neutral | (so_far | one) & decisive
        if (so_far | one) & NEITHER and so_far != decisive and one != decisive:
            both |= NEITHER
        so_far = both
        if so_far == decisive:
            break
    return so_far


cdef unsigned char within(Program program, const Node* node, const Stored* value) noexcept nogil:
    cdef uint8_t[MAX_VALUE_KEY + 1] room
    cdef Py_ssize_t n
    cdef const uint8_t* key = index_key(value, room, &n)
    cdef const Piece* bounds = program.pieces + node.first
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


cdef unsigned char matches(Program program, const Node* node, const Stored* value) noexcept nogil:
    cdef const uint8_t* text
    cdef Py_ssize_t n
    cdef int result = 1
    if value.kind == TEXTUAL:
        result = textual(value, &program.scratch, &text, &n)
    elif value.kind == COMPOSITE or node.by_element:
        return NO
    elif value.form == FRAGMENT and (value.kind != NUMERIC or is_whole(value)):
        text, n = value.at, value.length
    else:
        return OPEN
    if result <= 0:
        return DAMAGED if result < 0 else OPEN
    if not node.folded:
        return YES if fits(program.pieces + node.first, node.count, text, n) else NO
    program.second.used = 0
    if not make_room(&program.second, n + 8):
        return OPEN
    if fold(text, n, program.second.data):
        return OPEN
    return YES if fits(program.pieces + node.first, node.count, program.second.data, n) else NO


cdef unsigned char compare(Program program, const Node* node) noexcept nogil:
    cdef Stored left, right
    cdef uint8_t[MAX_VALUE_KEY + 1] left_room
    cdef uint8_t[MAX_VALUE_KEY + 1] right_room
    cdef Py_ssize_t n, m
    cdef const uint8_t* one
    cdef const uint8_t* other
    cdef int order
    evaluate(program, node.left, &left)
    evaluate(program, node.right, &right)
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


cdef unsigned char element(Program program, const Node* node) noexcept nogil:
    """A leaf as NoSQL searches have it."""
    cdef Stored value, element
    cdef Py_ssize_t at = 0, start = 0, end = 0
    cdef int more
    cdef unsigned char found
    evaluate(program, node.left, &value)
    if value.kind == HIDDEN:
        return OPEN
    if value.kind == MALFORMED:
        return DAMAGED
    if value.kind == ABSENT:
        return NO
    if value.kind != COMPOSITE:
        return within(program, node, &value) if node.what == WITHIN else matches(program, node, &value)
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
            found = within(program, node, &element) if node.what == WITHIN else matches(program, node, &element)
            if found != NO:
                return found


cdef void evaluate(Program program, int index, Stored* out) noexcept nogil:
    cdef const Term* term = &program.terms[index]
    if term.what == COLUMN:
        out[0] = program.columns.values[term.column]
    elif term.what == NUMBER:
        set_number(out, term.number)
    else:
        compute(program, term, out)


cdef void compute(Program program, const Term* term, Stored* out) noexcept nogil:
    cdef Stored right
    evaluate(program, term.left, out)
    evaluate(program, term.right, &right)
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
        verdict = verdict_of(program) if program.columns.read(op) else <unsigned char>DAMAGED
    finally:
        free(op)
    if verdict == DAMAGED:
        raise Corrupt("A record's body is malformed")
    return frozenset([value for bit, value in ((YES, True), (NO, False), (NEITHER, None)) if verdict & bit])
