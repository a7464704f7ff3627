"""Every call of the operating system that the core makes, declared once."""


from engine.layout cimport pthread_mutex_t


cdef extern from "<sys/types.h>" nogil:
    ctypedef long off_t
    ctypedef long ssize_t


cdef extern from "<fcntl.h>" nogil:
    int O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_CLOEXEC, O_DIRECTORY
    int open(const char* path, int flags, ...)
    int FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE, POSIX_FADV_WILLNEED
    int posix_fadvise(int fd, off_t offset, off_t length, int advice)
    int fallocate(int fd, int mode, off_t offset, off_t length)
    int posix_fallocate(int fd, off_t offset, off_t length)
    unsigned int SYNC_FILE_RANGE_WRITE
    int sync_file_range(int fd, off_t offset, off_t length, unsigned int flags)


cdef extern from "<sys/file.h>" nogil:
    int LOCK_UN
    int flock(int fd, int operation)


cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t pwrite(int fd, const void* data, size_t size, off_t offset)
    ssize_t pread(int fd, void* data, size_t size, off_t offset)
    int fdatasync(int fd)
    int fsync(int fd)
    int ftruncate(int fd, off_t size)
    int getpid()
    int usleep(unsigned int microseconds)


cdef extern from "<sched.h>" nogil:
    int sched_yield()


cdef extern from "<sys/mman.h>" nogil:
    int PROT_READ, PROT_WRITE, MAP_SHARED, MS_SYNC
    void* MAP_FAILED
    void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset)
    int munmap(void* address, size_t length)
    int MADV_RANDOM
    int madvise(void* address, size_t length, int advice)
    int msync(void* address, size_t length, int flags)
    int mincore(void* address, size_t length, unsigned char* resident)


cdef extern from "<sys/stat.h>" nogil:
    ctypedef struct stat_result "struct stat":
        unsigned long st_dev
        unsigned long st_ino
        off_t st_size
    int fstat(int fd, stat_result* out)


cdef extern from "<signal.h>" nogil:
    int SIGKILL, SIGSTOP
    int raise_signal "raise" (int number)


cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_REALTIME
    int clock_gettime(int clock, timespec* out)


cdef extern from "<errno.h>" nogil:
    int errno
    int EBUSY, EDQUOT, EFBIG, EINTR, EIO, ENOENT, ENOMEM, ENOSPC, EOWNERDEAD, EROFS, ETIMEDOUT, EUCLEAN


cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_mutexattr_t:
        pass
    int pthread_create(pthread_t* thread, const void* attributes, void* (*run)(void*) noexcept nogil, void* argument)
    int pthread_join(pthread_t thread, void** result)
    int PTHREAD_PROCESS_SHARED, PTHREAD_MUTEX_ROBUST
    int pthread_mutexattr_init(pthread_mutexattr_t* attributes)
    int pthread_mutexattr_setpshared(pthread_mutexattr_t* attributes, int shared)
    int pthread_mutexattr_setrobust(pthread_mutexattr_t* attributes, int robust)
    int pthread_mutexattr_destroy(pthread_mutexattr_t* attributes)
    int pthread_mutex_init(pthread_mutex_t* mutex, const pthread_mutexattr_t* attributes)
    int pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* limit)
    int pthread_mutex_trylock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)
    int pthread_mutex_consistent(pthread_mutex_t* mutex)
