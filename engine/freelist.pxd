"""The free pages of the index."""

from libc.stdint cimport uint8_t, uint32_t

from engine.layout cimport kn_free_page, kn_meta
from engine.pager cimport PageList, Pager, Txn


cdef uint32_t take_free(Txn* txn, bint* hole) noexcept nogil
cdef void put_free(Txn* txn, const kn_free_page* page) noexcept nogil
cdef int keep_overflow(Txn* txn) noexcept nogil
cdef int free_others(Txn* txn, uint8_t* kept) noexcept nogil
cdef void seal_chains(Pager* pager, const kn_meta* meta) noexcept nogil
cdef int settle(Txn* txn, bint* changed) noexcept nogil
cdef int collect_free(Pager* pager, const kn_meta* meta, PageList* found, PageList* chains) noexcept nogil
cdef int trim(Pager* pager, int milliseconds) noexcept nogil
