"""One table's files, open in this process."""

from libc.stdint cimport uint32_t, uint64_t

from engine.doorbell cimport Doorbell
from engine.layout cimport kn_meta, kn_op
from engine.shared cimport Coordination
from engine.core cimport Core


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
    cdef list names             # attribute number -> name, None where dropped or never introduced
    cdef dict numbers           # name -> attribute number
    cdef uint64_t names_generation
    cdef bint names_known
    cdef object awaited         # (segments to unlink, the state that all readers must have reached); see compaction.pyx
    cdef uint32_t segments_mapped       # those there are of the numbers up to this one
    cdef uint32_t removals              # the state of compaction that this is of
    cdef int fail(self, int code) except -1
    cdef int map_segments(self, uint32_t last) except? -1
    cdef int begin(self, kn_meta* meta, bint at_head, uint32_t* slot) except -1
    cdef int load_names(self, const kn_meta* meta) except -1
    cdef const kn_op* record(self, const kn_meta* meta, const unsigned char* key, int key_length) except? NULL
    cdef const kn_op* record_of_entry(self, const kn_meta* meta, const unsigned char* key, int key_length) except NULL
