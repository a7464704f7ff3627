"""One table's files, open in this process."""

from libc.stdint cimport uint32_t, uint64_t

from engine.doorbell cimport Doorbell
from engine.layout cimport kn_meta, kn_op
from engine.nametree cimport Attributes
from engine.shared cimport Coordination
from engine.core cimport Core
from engine.request cimport Origin, Request


cdef class Store:
    cdef object __weakref__
    cdef Core core
    cdef Coordination shared
    cdef Doorbell doorbell
    cdef bytes node_name
    cdef int index_fd
    cdef int calls              # of other threads inside the core
    cdef readonly str directory, primary_key, label
    cdef readonly frozenset skipped     # names that are never stored in a record's body
    cdef readonly bint closed
    cdef readonly bint timestamps
    cdef bint durable_first
    cdef object not_indexed
    cdef Attributes attributes  # the latest that are known here; None before the first read
    cdef object awaited         # (segments to unlink, the state that all readers must have reached); see compaction.pyx
    cdef uint32_t segments_mapped       # those there are of the numbers up to this one
    cdef uint32_t removals              # the state of compaction that this is of
    cdef int fail(self, int code) except -1
    cdef int need_open(self) except -1
    cdef kn_meta published(self, bint durable) except *
    cdef int map_segments(self, uint32_t last) except? -1
    cdef int begin(self, kn_meta* meta, bint at_head, uint32_t* slot) except -1
    cdef int load_attributes(self, const kn_meta* meta) except -1
    cdef int refresh_attributes(self) except -1
    cdef Attributes known_attributes(self)
    cdef const kn_op* record(self, const kn_meta* meta, const unsigned char* key, int key_length) except? NULL
    cdef const kn_op* record_of_entry(self, const kn_meta* meta, const unsigned char* key, int key_length) except NULL
    cdef int commit(self, Request request, int operation, user, Origin origin, bint unreplicated, bint sync) except -1
    cdef bint change_attribute(self, str name, bint wanted, int operation, user) except -1
    cdef Request replicate(self, changes, Origin source, user, int operation, bint sync, int* verdict)
    cdef int advance_to(self, uint64_t to, Origin source) except -1
