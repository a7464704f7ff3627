"""Encoding a transaction: what callers hand over becomes operations on keys, with bodies, for the core (transaction.pyx).

Attributes that the table does not have yet are introduced by the transaction that brings them, by operations before all
others. Their numbers follow on those that are known, so that a request is only good for the names it was encoded with.
"""

from engine.core cimport FIRST_ATTRIBUTE
from engine.keys cimport encode_key
from engine.record cimport encode_record
from engine.transaction cimport ADVANCE, DONE, INTRODUCE, REMOVE, REPLICATE_PUT, REPLICATE_REMOVE, WITHDRAW
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from engine.errors import InvalidName

cdef enum:
    MAX_NAME = 256
    FORMAT_NOT_INDEXED = 1


cdef bytes short_name(str name, str what):
    """The name as the names tree keeps it."""
    cdef bytes encoded = name.encode()
    if len(encoded) > MAX_NAME:
        raise InvalidName(f"The name of a{'n' if what == 'attribute' else ''} {what} may have {MAX_NAME} bytes, not {len(encoded)}")
    return encoded


cdef class Origin:
    def __cinit__(self, node: bytes, name: str, epoch: int, sequence: int, version: int) -> None:
        self.name = short_name(name, "node")
        memcpy(self.source.node, <const char*>node, 16)
        self.source.epoch, self.source.sequence, self.source.version = epoch, sequence, version
        self.source.name, self.source.name_length = <const char*>self.name, <int>len(self.name)


cdef class Request:
    def __cinit__(self, int room, uint64_t generation) -> None:
        self.at = <Operation*>calloc(room if room else 1, sizeof(Operation))
        if self.at == NULL:
            raise MemoryError
        self.kept, self.generation = [], generation

    def __dealloc__(self) -> None:
        free(self.at)

    cdef Operation* add(self, Intent intent, bytes key, bytes body):
        cdef Operation* operation = self.at + self.count
        self.count += 1
        self.kept.append(key)
        operation.intent = intent
        operation.key, operation.key_length = <const uint8_t*>(<char*>key), <uint32_t>len(key)
        if body is not None:
            self.kept.append(body)
            operation.body, operation.body_length = <const uint8_t*>(<char*>body), <uint32_t>len(body)
        return operation

    cdef int introduce(self, dict numbers, number, list fresh, check_name, not_indexed) except -1:
        """Gives new attributes the numbers from this one on, and notes them in `numbers`."""
        for name in fresh:
            if check_name is not None:
                check_name(name)  # first, since formats other than JSON have keys that are no text
            short_name(name, "attribute")
        for name in fresh:
            numbers[name] = number
            flags = FORMAT_NOT_INDEXED if not_indexed(name) else 0
            self.add(INTRODUCE, name.encode(), number.to_bytes(4, "little") + flags.to_bytes(4, "little"))
            number += 1
        return 0

    cdef int expect(self, at) except -1:
        """Each record must still be the one that the view saw; only the first operation on a key can tell."""
        cdef Operation* operation
        cdef int index
        seen = set()
        for index in range(self.count):
            operation = self.at + index
            if operation.intent == INTRODUCE:
                continue
            key = <bytes>operation.key[:operation.key_length]
            if key in seen:
                continue
            seen.add(key)
            operation.expected_segno, operation.expected_offset = at.place_of(key)
        return 0

    cdef tuple outcomes(self, keys):
        """(written, skipped) of the keys that it was made for: its last operations are on these."""
        cdef int first = self.count - <int>len(keys)
        cdef int index
        written, skipped = [], []
        for index in range(len(keys)):
            (written if self.at[first + index].outcome == DONE else skipped).append(keys[index])
        return written, skipped

    cdef int won(self):
        """How many of its operations on records took effect."""
        cdef int index, won = 0
        for index in range(self.count):
            won += self.at[index].intent != INTRODUCE and self.at[index].outcome == DONE
        return won


cdef int next_number(Attributes attributes):
    return <int>len(attributes.names) if attributes.names else <int>FIRST_ATTRIBUTE


cdef list new_names(records, dict numbers, frozenset skip):
    """What records call their unknown attributes, which may not even be text yet."""
    cdef dict fresh = {}
    cdef dict record
    for record in records:
        for name in record:
            if name not in numbers and name not in skip:
                fresh[name] = None
    return list(fresh)


cdef Request request_to_write(Intent intent, records, keys, Attributes attributes, frozenset skip, check_name, not_indexed):
    cdef dict numbers = attributes.numbers
    cdef Request request
    cdef list fresh
    if intent == REMOVE:
        request = Request(len(keys), attributes.generation)
        for key in keys:
            request.add(intent, encode_key(key), None)
        return request
    fresh = new_names(records, numbers, skip)
    request = Request(len(keys) + len(fresh), attributes.generation)
    if fresh:
        numbers = dict(numbers)
        request.introduce(numbers, next_number(attributes), fresh, check_name, not_indexed)
    for key, record in zip(keys, records, strict=True):
        request.add(intent, encode_key(key), encode_record(record, numbers, skip))
    return request


cdef Request request_to_change_attribute(str name, bint wanted, Attributes attributes, not_indexed):
    """Introduces an attribute that is not there, or withdraws one that is."""
    cdef Request request = Request(1, attributes.generation)
    if wanted:
        request.introduce(dict(attributes.numbers), next_number(attributes), [name], None, not_indexed)
    else:
        request.add(WITHDRAW, name.encode(), attributes.numbers[name].to_bytes(4, "little") + bytes(4))
    return request


cdef Request request_to_replicate(changes, Attributes attributes, frozenset skip, not_indexed):
    cdef dict numbers = dict(attributes.numbers)
    cdef list fresh = new_names([change[2] for change in changes if change[2] is not None], numbers, skip)
    cdef Request request = Request(len(changes) + len(fresh), attributes.generation)
    cdef Operation* added
    request.introduce(numbers, next_number(attributes), fresh, None, not_indexed)
    for kind, key, record, version, created in changes:
        body = encode_record(record, numbers, skip) if kind == "put" else None
        added = request.add(REPLICATE_PUT if kind == "put" else REPLICATE_REMOVE, encode_key(key), body)
        added.version, added.created = version, created
    return request


cdef Request request_to_advance(uint64_t to, Attributes attributes):
    cdef Request request = Request(1, attributes.generation)
    request.add(ADVANCE, b"", None).version = to
    return request
