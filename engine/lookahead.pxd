"""Reading ahead the pages that replaying a log will touch."""

from engine.core cimport Core
from engine.gathering cimport Gathering
from engine.layout cimport kn_meta, kn_tree
from engine.pager cimport Txn
from engine.posix cimport pthread_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef struct Place:
    int segment                 # index
    uint32_t offset


cdef struct Lookahead:
    Core* core
    kn_meta meta                # the checkpoint's
    uint32_t* segnos            # those to replay; the caller fills them in
    int count
    Place from_, to             # the window
    uint64_t window             # operations that the next one is to have
    uint64_t reached            # the place up to which all has been asked for
    uint64_t granted            # what whoever replays knows of it
    uint64_t replaying          # the place that he had come to when he asked last
    uint32_t moved              # moves with both
    uint32_t stop
    uint64_t* asked             # a bit per page
    uint32_t* pages             # to be asked for next
    int pending, room
    uint32_t branches           # asked for
    kn_tree* trees              # of attributes, by number
    uint8_t* states
    uint32_t tree_room
    Txn told                    # by apply.pyx, of entries
    Gathering entries           # told, not looked for yet
    pthread_t thread
    bint running


cdef bint prepare_look(Lookahead* ahead, Core* core, const kn_meta* meta, int count) noexcept nogil
cdef void begin_look(Lookahead* ahead) noexcept nogil
cdef void end_look(Lookahead* ahead) noexcept nogil
cdef bint has_looked(Lookahead* ahead, uint64_t place) noexcept nogil
cdef void wait_for_look(Lookahead* ahead, uint64_t place) noexcept nogil


cdef inline uint64_t place_of(int segment, uint32_t offset) noexcept nogil:
    return <uint64_t>segment << 32 | offset


cdef inline bint is_granted(const Lookahead* ahead, uint64_t place) noexcept nogil:
    """Whether the frame at this place can be replayed without more ado."""
    return not ahead.running or place < ahead.granted
