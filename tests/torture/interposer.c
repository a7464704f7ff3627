/* Stands between a process and the C library (LD_PRELOAD), for files under one directory:
 *
 *   it records what is done to them, so that a test can build what a power cut would have left (recording.py reads it);
 *   it makes the k-th call of a kind fail: of files under that directory; of memory and mappings that the engine's own C
 *   code asks for; of memory that the interpreter asks for, which needs PYTHONMALLOC=malloc.
 *
 * A record is a sequence of
 *     kind u8 | inode u64 | offset u64 | size u32 | data
 *   C created    offset: inode of the directory; data: name       M the same for a directory, L for another name
 *   U unlinked   inode: of the directory; data: name
 *   R renamed    inode: of what was; offset: inode of the directory; data: old name, NUL, new name (in the same directory)
 *   W written    P punched: data is the length u64         A allocated: up to `offset`     T truncated: to `offset`
 *   V a page of a shared, writable mapping has changed, seen at the next call; the sectors of 512 bytes that differ
 *   S synced     also a directory                          Y a mapping was synced: data is the length u64
 *   N note of the test
 * Each call is recorded when it has succeeded. Files named *.shm are left out: nothing in them outlives the kernel. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR 512
#define MAPS 64
#define DESCRIPTORS 65536
#define RANGES 128

enum { READ, WRITE, SYNC, SPACE, MEMORY, MAP, OPEN, NAME, INTERPRETER, KINDS };
enum { FOREIGN, RECORDED, UNRECORDED }; /* what a descriptor stands for */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), __libc_free(void *);

static char root[PATH_MAX];
static size_t root_length;
static int record = -1;
static unsigned char descriptors[DESCRIPTORS];
static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;

/* ---- calls that fail ---------------------------------------------------------------------------------------------- */

static int armed;
static struct { long seen, first, last; int error; } plan[KINDS];
static struct { uintptr_t start, end; } engine[RANGES], interpreter; /* their code in memory */
static int ranges;

static int note_range(struct dl_phdr_info *info, size_t size, void *allocator) {
    (void)size;
    int of_engine = info->dlpi_name != NULL && strstr(info->dlpi_name, "/engine/") != NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + part->p_vaddr, end = start + part->p_memsz;
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        if ((uintptr_t)allocator >= start && (uintptr_t)allocator < end) interpreter.start = start, interpreter.end = end;
        if (of_engine && ranges < RANGES) engine[ranges].start = start, engine[ranges++].end = end;
    }
    return 0;
}

static int is_engine(void *caller) {
    for (int i = 0; i < ranges; i++)
        if ((uintptr_t)caller >= engine[i].start && (uintptr_t)caller < engine[i].end) return 1;
    return 0;
}

static int is_interpreter(void *caller) {
    return (uintptr_t)caller >= interpreter.start && (uintptr_t)caller < interpreter.end;
}

/* Whether this call is to fail, with errno set; a write that is to fail with 0 stops half way, as the kernel may. */
static int fails(int kind) {
    if (!__atomic_load_n(&armed, __ATOMIC_ACQUIRE)) return 0;
    long number = __atomic_add_fetch(&plan[kind].seen, 1, __ATOMIC_SEQ_CST);
    if (number < plan[kind].first || number > plan[kind].last) return 0;
    errno = plan[kind].error;
    return 1;
}

/* From now on count all calls, and let those of `kind` from the first to the last fail with `error`. */
void interposer_arm(int kind, long first, long last, int error) {
    memset(plan, 0, sizeof(plan));
    plan[kind].first = first, plan[kind].last = last, plan[kind].error = error;
    ranges = 0;
    dl_iterate_phdr(note_range, dlsym(RTLD_DEFAULT, "PyObject_Malloc"));
    __atomic_store_n(&armed, 1, __ATOMIC_RELEASE);
}

void interposer_disarm(void) { __atomic_store_n(&armed, 0, __ATOMIC_RELEASE); }

long interposer_seen(int kind) { return plan[kind].seen; }

void interposer_watch(const char *directory) {
    snprintf(root, sizeof(root), "%s", directory);
    root_length = strlen(root);
}

__attribute__((constructor)) static void begin(void) {
    const char *watched = getenv("INTERPOSER_DIRECTORY"), *path = getenv("INTERPOSER_RECORD");
    if (watched != NULL) interposer_watch(watched);
    if (path != NULL) record = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* ---- which file --------------------------------------------------------------------------------------------------- */

static int absolute(int directory, const char *path, char *out) {
    char link[64];
    ssize_t length = 0;
    if (path[0] != '/') {
        snprintf(link, sizeof(link), directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
        length = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 2);
        if (length < 0) length = 0;
        out[length++] = '/';
    }
    snprintf(out + length, PATH_MAX - length, "%s", path);
    return root_length > 0 && strncmp(out, root, root_length) == 0 && (out[root_length] == '/' || out[root_length] == 0);
}

static int is_coordination(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".shm") == 0;
}

static uint64_t inode_of(const char *path) {
    struct stat found;
    return syscall(SYS_newfstatat, AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) == 0 ? found.st_ino : 0;
}

static uint64_t inode_at(int fd) {
    struct stat found;
    return syscall(SYS_fstat, fd, &found) == 0 ? found.st_ino : 0;
}

static uint64_t parent_of(const char *path) {
    char parent[PATH_MAX];
    snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    *slash = 0;
    return inode_of(parent);
}

static int kind_of(int fd) { return fd >= 0 && fd < DESCRIPTORS ? descriptors[fd] : FOREIGN; }

/* ---- the record --------------------------------------------------------------------------------------------------- */

static struct { uint8_t *at, *shadow; size_t length; uint64_t offset, inode, known; int fd; } maps[MAPS];

static void put(char kind, uint64_t inode, uint64_t offset, const void *data, uint32_t size) {
    uint8_t head[21];
    struct iovec parts[2] = {{head, sizeof(head)}, {(void *)data, size}};
    head[0] = (uint8_t)kind;
    memcpy(head + 1, &inode, 8), memcpy(head + 9, &offset, 8), memcpy(head + 17, &size, 4);
    if (syscall(SYS_writev, record, parts, 2) != (long)(sizeof(head) + size)) abort();
}

/* How much of a mapping lies inside of its file, in whole sectors: what is behind the end reads as zeros. */
static uint64_t inside(int map) {
    struct stat found;
    if (syscall(SYS_fstat, maps[map].fd, &found) != 0 || (uint64_t)found.st_size <= maps[map].offset) return 0;
    uint64_t size = (found.st_size - maps[map].offset + SECTOR - 1) / SECTOR * SECTOR;
    return size < maps[map].length ? size : maps[map].length;
}

/* Makes the shadow of a mapping what the file is now, and records what was different. */
static void look(int map, int quietly) {
    uint64_t size = inside(map), end;
    if (size > maps[map].known) {
        maps[map].shadow = __libc_realloc(maps[map].shadow, size);
        if (maps[map].shadow == NULL) abort();
        memset(maps[map].shadow + maps[map].known, 0, size - maps[map].known);
    }
    maps[map].known = size;
    for (uint64_t at = 0; at < size; at += SECTOR) {
        if (at % 4096 == 0 && at + 4096 <= size && memcmp(maps[map].at + at, maps[map].shadow + at, 4096) == 0) {
            at += 4096 - SECTOR;
            continue;
        }
        for (end = at; end < size && memcmp(maps[map].at + end, maps[map].shadow + end, SECTOR) != 0; end += SECTOR)
            memcpy(maps[map].shadow + end, maps[map].at + end, SECTOR);
        if (end > at && !quietly)
            put('V', maps[map].inode, maps[map].offset + at, maps[map].shadow + at, (uint32_t)(end - at));
        if (end > at) at = end - SECTOR;
    }
}

static void look_at_all(void) {
    for (int map = 0; map < MAPS; map++)
        if (maps[map].at != NULL) look(map, 0);
}

/* What a call has changed in a mapped file is told by the record of the call. */
static void know(uint64_t inode) {
    for (int map = 0; map < MAPS; map++)
        if (maps[map].at != NULL && maps[map].inode == inode) look(map, 1);
}

/* Around every call that is recorded: before it, stores into mappings are; nobody else comes between. */
static int enter(int wanted) {
    if (record < 0 || !wanted) return 0;
    pthread_mutex_lock(&recording);
    look_at_all();
    return 1;
}

static void leave(int entered, int happened, char kind, uint64_t inode, uint64_t offset, const void *data, uint32_t size) {
    if (!entered) return;
    int error = errno;
    if (happened) {
        know(inode);
        put(kind, inode, offset, data, size);
    }
    pthread_mutex_unlock(&recording);
    errno = error;
}

void interposer_note(const char *text) {
    leave(enter(1), 1, 'N', 0, 0, text, (uint32_t)strlen(text));
}

/* ---- opening and closing ------------------------------------------------------------------------------------------ */

static int opens(int directory, const char *path, int flags, unsigned mode) {
    char whole[PATH_MAX];
    int error;
    int ours = absolute(directory, path, whole);
    int recorded = ours && !is_coordination(whole);
    if (ours && fails(OPEN)) return -1;
    uint64_t before = recorded && flags & (O_CREAT | O_TRUNC) ? inode_of(whole) : 1;
    int entered = enter(recorded && (before == 0 || flags & O_TRUNC));
    int fd = (int)syscall(SYS_openat, directory, path, flags, mode);
    error = errno;
    if (fd >= 0 && fd < DESCRIPTORS) descriptors[fd] = recorded ? RECORDED : ours ? UNRECORDED : FOREIGN;
    if (before == 0)
        leave(entered, fd >= 0, 'C', inode_at(fd), parent_of(whole), strrchr(whole, '/') + 1, strlen(strrchr(whole, '/') + 1));
    else
        leave(entered, fd >= 0, 'T', inode_at(fd), 0, NULL, 0);
    errno = error;
    return fd;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, unsigned) : 0; \
        va_end(more); \
        return opens(AT_FDCWD, path, flags, mode); \
    }
#define OPENS_AT(name) \
    int name(int directory, const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, unsigned) : 0; \
        va_end(more); \
        return opens(directory, path, flags, mode); \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
int __open_2(const char *path, int flags) { return opens(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opens(AT_FDCWD, path, flags, 0); }

int close(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS) descriptors[fd] = FOREIGN;
    return (int)syscall(SYS_close, fd);
}

/* ---- reading and writing ------------------------------------------------------------------------------------------ */

ssize_t read(int fd, void *data, size_t size) {
    if (kind_of(fd) && fails(READ)) return -1;
    return syscall(SYS_read, fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
    if (kind_of(fd) && fails(READ)) return -1;
    return syscall(SYS_pread64, fd, data, size, offset);
}

ssize_t pread64(int fd, void *data, size_t size, off_t offset) { return pread(fd, data, size, offset); }
ssize_t __read_chk(int fd, void *data, size_t size, size_t room) { return size > room ? (abort(), -1) : read(fd, data, size); }
ssize_t __pread_chk(int fd, void *data, size_t size, off_t offset, size_t room) {
    return size > room ? (abort(), -1) : pread(fd, data, size, offset);
}
ssize_t __pread64_chk(int fd, void *data, size_t size, off_t offset, size_t room) {
    return size > room ? (abort(), -1) : pread(fd, data, size, offset);
}

/* Offset -1: where the descriptor stands. */
static ssize_t writes(int fd, const void *data, size_t size, off_t offset) {
    if (kind_of(fd) && fails(WRITE)) {
        if (errno != 0) return -1;
        size = (size + 1) / 2;
    }
    int entered = enter(kind_of(fd) == RECORDED);
    off_t at = offset >= 0 ? offset : entered ? syscall(SYS_lseek, fd, 0, SEEK_CUR) : 0;
    ssize_t done = offset >= 0 ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
    leave(entered, done > 0, 'W', inode_at(fd), at, data, done > 0 ? (uint32_t)done : 0);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return writes(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return writes(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return writes(fd, data, size, offset); }

/* What would change a file behind the record's back must not happen. */
ssize_t sendfile64(int to, int from, off_t *offset, size_t size) {
    if (kind_of(to) == RECORDED && record >= 0) abort();
    return syscall(SYS_sendfile, to, from, offset, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (kind_of(fd) == RECORDED && record >= 0) abort();
    return syscall(SYS_writev, fd, parts, count);
}

/* ---- sizes -------------------------------------------------------------------------------------------------------- */

int ftruncate(int fd, off_t size) {
    if (kind_of(fd) && fails(SPACE)) return -1;
    int entered = enter(kind_of(fd) == RECORDED);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    leave(entered, result == 0, 'T', inode_at(fd), size, NULL, 0);
    return result;
}

int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t length) {
    uint64_t punched = length;
    if (kind_of(fd) && fails(SPACE)) return -1;
    int entered = enter(kind_of(fd) == RECORDED);
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, length);
    if (mode & FALLOC_FL_PUNCH_HOLE)
        leave(entered, result == 0, 'P', inode_at(fd), offset, &punched, 8);
    else
        leave(entered, result == 0, 'A', inode_at(fd), offset + length, NULL, 0);
    return result;
}

int fallocate64(int fd, int mode, off_t offset, off_t length) { return fallocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return fallocate(fd, 0, offset, length) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off_t offset, off_t length) { return posix_fallocate(fd, offset, length); }

/* ---- syncing ------------------------------------------------------------------------------------------------------ */

static int syncs(long call, int fd) {
    if (kind_of(fd) && fails(SYNC)) return -1;
    int entered = enter(kind_of(fd) == RECORDED);
    int result = (int)syscall(call, fd);
    leave(entered, result == 0, 'S', inode_at(fd), 0, NULL, 0);
    return result;
}

int fsync(int fd) { return syncs(SYS_fsync, fd); }
int fdatasync(int fd) { return syncs(SYS_fdatasync, fd); }

int msync(void *address, size_t length, int flags) {
    if (is_engine(__builtin_return_address(0)) && fails(SYNC)) return -1;
    int entered = enter(1);
    int result = (int)syscall(SYS_msync, address, length, flags);
    uint64_t inode = 0, offset = 0, synced = length;
    for (int map = 0; map < MAPS; map++)
        if (maps[map].at != NULL && (uint8_t *)address >= maps[map].at && (uint8_t *)address < maps[map].at + maps[map].length)
            inode = maps[map].inode, offset = maps[map].offset + ((uint8_t *)address - maps[map].at);
    leave(entered, result == 0 && inode != 0, 'Y', inode, offset, &synced, 8);
    return result;
}

/* ---- mappings ----------------------------------------------------------------------------------------------------- */

static void *maps_it(void *caller, void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (is_engine(caller) && fails(MAP)) return MAP_FAILED;
    void *found = (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
    if (found == MAP_FAILED || record < 0 || kind_of(fd) != RECORDED || !(protection & PROT_WRITE) || !(flags & MAP_SHARED))
        return found;
    pthread_mutex_lock(&recording);
    int map = 0;
    while (map < MAPS && maps[map].at != NULL) map++;
    if (map == MAPS) abort();
    maps[map].length = length, maps[map].offset = offset, maps[map].inode = inode_at(fd), maps[map].known = 0;
    maps[map].fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 1000);
    maps[map].at = found, maps[map].shadow = NULL;
    look(map, 1); /* what is there already came with calls that were recorded, or was there from the start */
    pthread_mutex_unlock(&recording);
    return found;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return maps_it(__builtin_return_address(0), address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return maps_it(__builtin_return_address(0), address, length, protection, flags, fd, offset);
}

int munmap(void *address, size_t length) {
    if (record >= 0) {
        pthread_mutex_lock(&recording);
        for (int map = 0; map < MAPS; map++) {
            if (maps[map].at != address) continue;
            look(map, 0);
            syscall(SYS_close, maps[map].fd);
            __libc_free(maps[map].shadow);
            maps[map].at = NULL;
        }
        pthread_mutex_unlock(&recording);
    }
    return (int)syscall(SYS_munmap, address, length);
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

static int removes(int directory, const char *path, int flags) {
    char whole[PATH_MAX];
    int ours = absolute(directory, path, whole);
    if (ours && fails(NAME)) return -1;
    uint64_t parent = ours ? parent_of(whole) : 0;
    int entered = enter(ours && !is_coordination(whole));
    int result = (int)syscall(SYS_unlinkat, directory, path, flags);
    leave(entered, result == 0, 'U', parent, 0, strrchr(whole, '/') + 1, (uint32_t)strlen(strrchr(whole, '/') + 1));
    return result;
}

int unlink(const char *path) { return removes(AT_FDCWD, path, 0); }
int unlinkat(int directory, const char *path, int flags) { return removes(directory, path, flags); }
int rmdir(const char *path) { return removes(AT_FDCWD, path, AT_REMOVEDIR); }

int remove(const char *path) {
    int result = removes(AT_FDCWD, path, 0);
    return result < 0 && (errno == EISDIR || errno == EPERM) ? removes(AT_FDCWD, path, AT_REMOVEDIR) : result;
}

int mkdirat(int directory, const char *path, mode_t mode) {
    /* A sanitizer makes directories before snprintf works in its process. */
    if (root_length == 0) return (int)syscall(SYS_mkdirat, directory, path, mode);
    char whole[PATH_MAX];
    int ours = absolute(directory, path, whole);
    if (ours && fails(NAME)) return -1;
    int entered = enter(ours);
    int result = (int)syscall(SYS_mkdirat, directory, path, mode);
    leave(entered, result == 0, 'M', inode_of(whole), ours ? parent_of(whole) : 0, strrchr(whole, '/') + 1,
          (uint32_t)strlen(strrchr(whole, '/') + 1));
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    char whole[PATH_MAX];
    int ours = absolute(to, new, whole);
    if (ours && fails(NAME)) return -1;
    int entered = enter(ours && !is_coordination(whole));
    int result = (int)syscall(SYS_linkat, from, old, to, new, flags);
    leave(entered, result == 0, 'L', inode_of(whole), ours ? parent_of(whole) : 0, strrchr(whole, '/') + 1,
          (uint32_t)strlen(strrchr(whole, '/') + 1));
    return result;
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int renameat(int from, const char *old, int to, const char *new) {
    char source[PATH_MAX], target[PATH_MAX], names[2 * NAME_MAX + 3];
    int ours = absolute(from, old, source);
    if (absolute(to, new, target) != ours && record >= 0) abort();
    if (ours && fails(NAME)) return -1;
    uint64_t inode = ours ? inode_of(source) : 0, parent = ours ? parent_of(source) : 0;
    if (ours && record >= 0 && parent != parent_of(target)) abort();
    int entered = enter(ours && !is_coordination(target));
    int result = (int)syscall(SYS_renameat, from, old, to, new);
    int length = snprintf(names, sizeof(names), "%s%c%s", strrchr(source, '/') + 1, 0, strrchr(target, '/') + 1);
    leave(entered, result == 0, 'R', inode, parent, names, (uint32_t)length);
    return result;
}

int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static int refuses(void *caller) {
    if (!armed) return 0;
    return is_engine(caller) ? fails(MEMORY) : is_interpreter(caller) && fails(INTERPRETER);
}

void *malloc(size_t size) { return refuses(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) {
    return refuses(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) { return refuses(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size); }
