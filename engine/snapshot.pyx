"""A state of one table, held open for reading: lookups, scans in index order, counts.

A view holds a reader slot: the pages of its state are not reused until it is closed. Scans know beforehand how many
entries they will give, from the counts in the branches, so they never compare against the end of their range, and an
offset costs one descent. A secondary entry is the value's key followed by the primary key; the record is found through
the primary index, and its checksum is verified whenever it is read.
"""

from collections.abc import Iterable, Iterator, Sequence

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from engine.btree cimport (
    DAMAGED, OUTSIDE, OUT_OF_ORDER, REACHED_TWICE, WRONG_COUNT, WRONG_TOTAL, tree_check, tree_get, tree_rank,
)
from engine.cursor cimport Cursor, cursor_key, cursor_next, cursor_previous, cursor_rank, cursor_seek
from engine.fragments cimport json_array_next
from engine.keybytes cimport MAX_PRIMARY_KEY, MAX_VALUE_KEY, element_key_from_json, key_from_double, key_from_json, key_length
from engine.keys cimport Bounds, decode_key, put_key
from engine.layout cimport kn_load32, kn_locator, kn_meta, kn_op, kn_tree
from engine.record cimport Field, decode_columns, decode_into, record_count, record_fields
from engine.store cimport Store
from engine.core cimport CREATED_TIME, FIRST_ATTRIBUTE, PRIMARY_KEY, UPDATED_TIME, attribute_tree
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

cdef extern from *:
    dict new_dict "__Pyx_PyDict_NewPresized" (Py_ssize_t room)      # Cython's own, over that of each Python version

from engine.errors import Closed, Corrupt, InvalidSearch
from engine.keys import CUT

CREATED = "__createdtime__"
UPDATED = "__updatedtime__"

cdef enum:
    UNKNOWN_COLUMN = -1

cdef dict VIOLATIONS = {
    OUTSIDE: "is not in the file",
    REACHED_TWICE: "is reached twice",
    DAMAGED: "is damaged: its checksum, its place or its cells are wrong",
    OUT_OF_ORDER: "has keys out of order",
    WRONG_COUNT: "has a wrong count of the entries below it",
    WRONG_TOTAL: "is the root of more or fewer entries than the index should have",
}


cdef inline const uint8_t* _body(const kn_op* op) noexcept:
    return <const uint8_t*>op + sizeof(kn_op) + op.key_length


cdef inline object _milliseconds(uint64_t version):
    """Microseconds as the milliseconds that records show: whole ones as int."""
    return <long long>(version // 1000) if version % 1000 == 0 else <double>version / 1000.0


cdef class _Columns:
    """A projection: attribute numbers in the order asked for."""

    def __dealloc__(self) -> None:
        free(self.numbers)


@cython.no_gc_clear
cdef class StoreView:
    """Used by one thread at a time. Iterators end with Closed when the view is closed under them."""

    def __cinit__(self, Store store) -> None:
        self.closed = True
        self.store = store
        self.open()

    cdef int open(self) except -1:
        """Takes the state that is current now, once the former one is closed."""
        self.store.begin(&self.meta, False, &self.slot)
        self.closed = False
        self.names, self.numbers = self.store.attributes.names, self.store.attributes.numbers
        if PyList_GET_SIZE(self.names) > <Py_ssize_t>self.meta.next_attribute:  # the store knows later ones
            self.names = self.names[: self.meta.next_attribute]
        return 0

    def __dealloc__(self) -> None:
        self.let_go()

    def close(self) -> None:
        self.let_go()

    cdef void let_go(self) noexcept:
        if not self.closed:
            self.closed = True
            if not self.store.closed:
                self.store.shared.give_slot(self.slot)

    cdef int need_open(self) except -1:
        if self.closed or self.store.closed:
            raise Closed(f"This view of {self.store.directory} is closed")
        return 0

    @property
    def seq(self) -> int:
        return self.meta.seq

    @property
    def version(self) -> int:
        return self.meta.version

    @property
    def attributes(self) -> list[str]:
        return [name for name in self.names if name is not None]

    def count(self) -> int:
        self.need_open()
        return self.meta.primary.entries

    def has(self, str name) -> bool:
        """Whether it is the primary key, a time that records carry, or an attribute that some record has had."""
        return self._number(name) != UNKNOWN_COLUMN

    # ---- columns and rows ----

    cdef int _number(self, str name) except -2:
        if name == self.store.primary_key:
            return PRIMARY_KEY
        if self.store.timestamps:
            if name == CREATED:
                return CREATED_TIME
            if name == UPDATED:
                return UPDATED_TIME
        number = self.numbers.get(name, UNKNOWN_COLUMN)
        return number if number < <long>self.meta.next_attribute else UNKNOWN_COLUMN

    cdef _Columns _project(self, columns):
        cdef _Columns projection
        cdef int index
        if columns is None:
            return None
        projection = _Columns()
        projection.names = list(columns)
        projection.count = <int>len(projection.names)
        projection.numbers = <int*>malloc((projection.count + 1) * sizeof(int))
        if projection.numbers == NULL:
            raise MemoryError
        for index in range(projection.count):
            projection.numbers[index] = self._number(projection.names[index])
        return projection

    cdef object _key_value(self, const kn_op* op):
        return decode_key(<const uint8_t*>op + sizeof(kn_op), op.key_length)

    cdef dict row(self, const kn_op* op, _Columns columns):
        """The record in `op` as a dict; absent attributes are absent."""
        cdef dict record
        if columns is not None:
            return self._projected_row(op, columns)
        record = new_dict(record_count(_body(op), op.body_length) + 3)
        record[self.store.primary_key] = self._key_value(op)
        if self.store.timestamps:
            record[CREATED] = _milliseconds(op.created)
            record[UPDATED] = _milliseconds(op.version)
        decode_into(record, _body(op), op.body_length, self.names)
        return record

    cdef dict _projected_row(self, const kn_op* op, _Columns columns):
        cdef Field few[64]
        cdef Field* fields = few
        cdef int count = record_count(_body(op), op.body_length), index, other
        cdef tuple values = self._tuple(op, columns)
        cdef dict record = {}
        cdef bint present
        if count > 64:
            fields = <Field*>malloc(count * sizeof(Field))
            if fields == NULL:
                raise MemoryError
        try:
            count = record_fields(_body(op), op.body_length, fields, count)
            for index in range(columns.count):
                present = values[index] is not None
                for other in range(count):
                    if present:
                        break
                    present = columns.numbers[index] == <int>fields[other].attribute
                if present:
                    record[columns.names[index]] = values[index]
        finally:
            if fields != few:
                free(fields)
        return record

    cdef tuple _tuple(self, const kn_op* op, _Columns columns):
        """The values of these columns, None where absent."""
        cdef tuple values = decode_columns(_body(op), op.body_length, columns.numbers, columns.count)
        cdef int index
        cdef list changed = None
        for index in range(columns.count):
            if 0 <= columns.numbers[index] < FIRST_ATTRIBUTE:
                if changed is None:
                    changed = list(values)
                if columns.numbers[index] == PRIMARY_KEY:
                    changed[index] = self._key_value(op)
                else:
                    changed[index] = _milliseconds(op.created if columns.numbers[index] == CREATED_TIME else op.version)
        return values if changed is None else tuple(changed)

    # ---- single records ----

    cdef dict find(self, object key, _Columns columns):
        cdef uint8_t encoded[MAX_PRIMARY_KEY]
        cdef int length = <int>put_key(key, encoded)
        cdef const kn_op* op
        self.need_open()
        op = self.store.record(&self.meta, encoded, length)
        return None if op == NULL else self.row(op, columns)

    def get(self, key: object, columns: Sequence[str] | None = None) -> dict | None:
        return self.find(key, self._project(columns))

    cpdef list get_many(self, keys: Iterable, columns: Sequence[str] | None = None):
        cdef _Columns projection = self._project(columns)
        cdef list rows = []
        cdef dict row
        self.need_open()
        for key in keys:
            row = self.find(key, projection)
            if row is not None:
                rows.append(row)
        return rows

    def place_of(self, bytes key) -> tuple[int, int]:
        """Segment and offset of the operation that holds the record of an encoded primary key; (0, 0) when there is none."""
        cdef kn_locator place
        cdef const uint8_t* found
        cdef int result
        self.need_open()
        result = tree_get(&self.store.core.pager, &self.meta.primary, <const uint8_t*>(<char*>key), <int>len(key), &found)
        if result < 0:
            self.store.fail(result)
        if found == NULL:
            return 0, 0
        memcpy(&place, found, sizeof(kn_locator))
        return place.segno, place.offset

    # ---- ranges ----

    cdef int find_tree(self, str attribute, kn_tree* tree) except -1:
        """The index of this attribute: 1 for the primary one, else 0; an attribute nobody has yet has an empty one."""
        cdef int number = self._number(attribute)
        if number == PRIMARY_KEY:
            memcpy(tree, &self.meta.primary, sizeof(kn_tree))
            return 1
        if number == UNKNOWN_COLUMN:
            tree.root, tree.height, tree.value_size, tree.entries = 0, 0, 0, 0
            return 0
        cdef int indexed = attribute_tree(&self.store.core, &self.meta, <uint32_t>number, tree)
        if indexed < 0:
            self.store.fail(indexed)
        if not indexed:
            raise InvalidSearch(f"{attribute} has no index")
        return 0

    cdef uint64_t _rank(self, const kn_tree* tree, bytes key) except? 0xFFFFFFFFFFFFFFFF:
        """How many entries of an index lie below a key."""
        cdef uint64_t rank
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(key)
        cdef int result = tree_rank(&self.store.core.pager, tree, start, <int>PyBytes_GET_SIZE(key), &rank)
        if result < 0:
            self.store.fail(result)
        return rank

    cdef _Scan _start(self, str attribute, Bounds bounds, bint reverse, long long offset, limit):
        cdef _Scan scan = _Scan()
        cdef uint64_t first, end
        self.need_open()
        scan.view = self
        scan.primary = self.find_tree(attribute, &scan.tree)
        scan.reverse = reverse
        first, end = self._rank(&scan.tree, bounds.low), self._rank(&scan.tree, bounds.high)
        scan.left = end - first if end > first else 0
        if offset >= <long long>scan.left:
            scan.left = 0
            return scan
        scan.left -= offset
        if limit is not None and limit < scan.left:
            scan.left = limit
        scan.place(end - 1 - offset if reverse else first + offset, scan.left)
        return scan

    def scan(self, attribute: str, Bounds bounds not None, *, reverse: bool = False, offset: int = 0, limit: int | None = None,
             columns: Sequence[str] | None = None) -> Iterator[dict]:
        return self._rows(self._start(attribute, bounds, reverse, offset, limit), self._project(columns))

    def tuples(self, attribute: str, Bounds bounds not None, columns: Sequence[str], *, reverse: bool = False, offset: int = 0,
               limit: int | None = None) -> Iterator[tuple]:
        return self._tuples(self._start(attribute, bounds, reverse, offset, limit), self._project(columns))

    def keys(self, attribute: str, Bounds bounds not None, *, reverse: bool = False, offset: int = 0,
             limit: int | None = None) -> Iterator:
        return self._keys(self._start(attribute, bounds, reverse, offset, limit))

    def entries(self, attribute: str, Bounds bounds not None, *, reverse: bool = False) -> Iterator[tuple]:
        return self._entries(self._start(attribute, bounds, reverse, 0, None))

    cdef const kn_op* _record_of(self, _Scan scan) except NULL:
        return self.store.record_of_entry(&self.meta, scan.at + scan.value_length, scan.length - scan.value_length)

    def _rows(self, _Scan scan, _Columns columns):
        while scan.step():
            yield self.row(self._record_of(scan), columns)

    def _tuples(self, _Scan scan, _Columns columns):
        while scan.step():
            yield self._tuple(self._record_of(scan), columns)

    def _keys(self, _Scan scan):
        while scan.step():
            yield decode_key(scan.at + scan.value_length, scan.length - scan.value_length)

    def _entries(self, _Scan scan):
        while scan.step():
            key = decode_key(scan.at + scan.value_length, scan.length - scan.value_length)
            yield (key if scan.primary else decode_key(scan.at, scan.value_length)), key

    def count_in(self, str attribute, Bounds bounds not None) -> int:
        cdef kn_tree tree
        cdef uint64_t first, end
        self.need_open()
        self.find_tree(attribute, &tree)
        first, end = self._rank(&tree, bounds.low), self._rank(&tree, bounds.high)
        return end - first if end > first else 0

    def distinct(self, attribute: str, Bounds bounds not None) -> Iterator[tuple]:
        cdef _Scan scan = self._start(attribute, bounds, False, 0, None)
        cdef uint64_t rank, total, group
        cdef bytes upper
        if scan.left == 0:
            return
        total = scan.left
        first = self._rank(&scan.tree, bounds.low)
        rank = 0
        while rank < total:
            self.need_open()
            scan.place(first + rank, 1)
            scan.step()
            upper = bytes(scan.at[:scan.length if scan.primary else scan.value_length]) + b"\x41"
            group = self._rank(&scan.tree, upper) - first - rank
            value = decode_key(scan.at, scan.length if scan.primary else scan.value_length)
            if value is CUT:
                yield from self._distinct_cut(attribute, scan, first + rank, group)
            else:
                yield value, group
            rank += group

    def _distinct_cut(self, attribute, _Scan scan, uint64_t first, uint64_t group):
        """Texts that are alike as far as the index holds them: told apart, and put in order, by their records."""
        counts: dict = {}
        cdef _Columns column = self._project([attribute])
        scan.place(first, group)
        while scan.step():
            row = self._tuple(self._record_of(scan), column)
            counts[row[0]] = counts.get(row[0], 0) + 1
        yield from sorted(counts.items())

    # ---- check ----

    def check(self) -> None:
        """Walks all trees (order, counts, page numbers, no page twice) and compares each index with the records."""
        self.need_open()
        cdef uint8_t* seen = <uint8_t*>calloc(self.meta.next_pgno, 1)
        if seen == NULL:
            raise MemoryError
        try:
            self._check_tree("primary index", &self.meta.primary, seen)
            self._check_tree("tombstones", &self.meta.tombstones, seen)
            self._check_tree("names", &self.meta.names, seen)
            self._check_tree("directory of indexes", &self.meta.directory, seen)
            self._check_indexes(seen)
        finally:
            free(seen)

    cdef int _check_tree(self, str name, const kn_tree* tree, uint8_t* seen) except -1:
        cdef int result = tree_check(&self.store.core.pager, tree, self.meta.txn, seen, self.meta.next_pgno)
        if result < 0:
            page = kn_load32(&self.store.core.shared.damaged)
            raise Corrupt(f"{self.store.label}: page {page} of index.kbt, of the {name}, {VIOLATIONS[-result]}")
        return 0

    cdef int _check_indexes(self, uint8_t* seen) except -1:
        cdef kn_tree tree
        cdef uint32_t number
        cdef int indexed
        expected = self._expected_entries()
        for number in range(1, self.meta.next_attribute):
            indexed = attribute_tree(&self.store.core, &self.meta, number, &tree)
            if indexed < 0:
                self.store.fail(indexed)
            if not indexed:
                continue
            self._check_tree(f"index of attribute {number}", &tree, seen)
            if self._all_keys(&tree) != sorted(expected.get(number, ())):
                raise Corrupt(f"{self.store.label}: the index of attribute {number} differs from the records")
        return 0

    cdef list _all_keys(self, const kn_tree* tree):
        cdef Cursor cursor
        cdef int length
        cdef const uint8_t* key
        keys = []
        cursor_seek(&cursor, &self.store.core.pager, tree, b"", 0)
        while cursor.valid:
            key = cursor_key(&cursor, &length)
            keys.append(<bytes>key[:length])
            cursor_next(&cursor)
        if cursor.error < 0:
            self.store.fail(cursor.error)
        return keys

    cdef dict _expected_entries(self):
        """attribute number -> the set of entries that its index must hold, from the records alone."""
        cdef Cursor cursor
        cdef int length
        cdef const uint8_t* key
        cdef const kn_op* op
        expected: dict = {}
        cursor_seek(&cursor, &self.store.core.pager, &self.meta.primary, b"", 0)
        while cursor.valid:
            key = cursor_key(&cursor, &length)
            op = self.store.record(&self.meta, key, length)
            if <bytes>key[:length] != <bytes>(<const uint8_t*>op + sizeof(kn_op))[:op.key_length]:
                raise Corrupt(f"{self.store.label}: the primary index points to the record of another key")
            self._expect_record(op, <bytes>key[:length], expected)
            cursor_next(&cursor)
        if cursor.error < 0:
            self.store.fail(cursor.error)
        return expected

    cdef int _expect_record(self, const kn_op* op, bytes key, dict expected) except -1:
        cdef int count = record_count(_body(op), op.body_length), index
        cdef Field* fields
        cdef uint8_t value[MAX_VALUE_KEY + 1]
        cdef Py_ssize_t length, at, start, end
        cdef const uint8_t* json
        if self.store.timestamps:
            length = key_from_double(<double>op.created / 1000.0, value)
            expected.setdefault(CREATED_TIME, set()).add(<bytes>value[:length] + key)
            length = key_from_double(<double>op.version / 1000.0, value)
            expected.setdefault(UPDATED_TIME, set()).add(<bytes>value[:length] + key)
        fields = <Field*>malloc((count + 1) * sizeof(Field))
        if fields == NULL:
            raise MemoryError
        try:
            count = record_fields(_body(op), op.body_length, fields, count)
            for index in range(count):
                json = _body(op) + fields[index].start
                entries = expected.setdefault(fields[index].attribute, set())
                length = key_from_json(json, fields[index].length, value)
                entries.add(<bytes>value[:length] + key)
                at = 0
                while json[0] == c"[" and json_array_next(json, fields[index].length, &at, &start, &end) > 0:
                    length = element_key_from_json(json + start, end - start, value)
                    if length > 0:
                        entries.add(<bytes>value[:length] + key)
        finally:
            free(fields)
        return 0


cdef class _Scan:
    """A cursor over `left` entries of one index."""

    cdef void place(self, uint64_t rank, uint64_t left):
        """The next step stands on the entry with `rank` entries before it."""
        cursor_rank(&self.cursor, &self.view.store.core.pager, &self.tree, rank)
        self.at = NULL
        self.left = left

    cdef bint step(self) except -1:
        """Moves to the next entry: `at` and `length` are its key, `value_length` the part before the primary key."""
        if self.left == 0:
            return False
        self.view.need_open()
        if self.at != NULL:
            if self.reverse:
                cursor_previous(&self.cursor)
            else:
                cursor_next(&self.cursor)
        if not self.cursor.valid and self.cursor.error < 0:
            self.view.store.fail(self.cursor.error)
        if not self.cursor.valid:
            raise Corrupt(f"{self.view.store.label}: an index ends before its count")
        self.left -= 1
        self.at = cursor_key(&self.cursor, &self.length)
        self.value_length = 0 if self.primary else <int>key_length(self.at, self.length)
        if self.value_length < 0:
            raise Corrupt(f"{self.view.store.label}: an index holds a malformed key")
        return True
