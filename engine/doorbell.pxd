from engine.layout cimport kn_doorbell


cdef class Doorbell:
    cdef kn_doorbell* at
    cdef object path
