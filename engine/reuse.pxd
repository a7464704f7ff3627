"""Which free pages of the index may be used again."""

from engine.layout cimport kn_free_page, kn_shared
from engine.pager cimport Txn


cdef bint checkpoints_allow(kn_shared* shared, const kn_free_page* page) noexcept nogil
cdef void note_readers(Txn* txn) noexcept nogil
cdef bint is_read(const Txn* txn, const kn_free_page* page) noexcept nogil
