/* Atomic loads and stores on memory shared between processes, and the futex that wakes them.
 * Only what the coordination protocol names: acquire, release, a full fence, compare-and-swap. */
#ifndef KENNEL_ATOMICS_H
#define KENNEL_ATOMICS_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t kn_load64(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline uint32_t kn_load32(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline void kn_store64(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static inline void kn_store32(uint32_t *at, uint32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static inline void *kn_load_pointer(void *const *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline void kn_store_pointer(void **at, void *value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static inline uint64_t kn_add64(uint64_t *at, uint64_t value) { return __atomic_add_fetch(at, value, __ATOMIC_ACQ_REL); }
static inline void kn_or64(uint64_t *at, uint64_t bits) { __atomic_fetch_or(at, bits, __ATOMIC_RELAXED); }
/* These give what was there before. */
static inline uint64_t kn_set64(uint64_t *at, uint64_t bits) { return __atomic_fetch_or(at, bits, __ATOMIC_ACQ_REL); }
static inline uint64_t kn_clear64(uint64_t *at, uint64_t bits) { return __atomic_fetch_and(at, ~bits, __ATOMIC_ACQ_REL); }
static inline int kn_lowest64(uint64_t bits) { return __builtin_ctzll(bits); } /* the lowest bit set; there must be one */
static inline int kn_count64(uint64_t bits) { return __builtin_popcountll(bits); }
static inline uint32_t kn_add32(uint32_t *at, uint32_t value) { return __atomic_add_fetch(at, value, __ATOMIC_ACQ_REL); }
static inline void kn_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void kn_fence_loads(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline int kn_swap32(uint32_t *at, uint32_t expected, uint32_t value) {
    return __atomic_compare_exchange_n(at, &expected, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Makes *at at least `value`. */
static inline void kn_raise32(uint32_t *at, uint32_t value) {
    uint32_t seen = kn_load32(at);
    while (seen < value && !__atomic_compare_exchange_n(at, &seen, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {}
}

static inline int kn_swap_pointer(void **at, void *expected, void *value) {
    return __atomic_compare_exchange_n(at, &expected, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Tells the processor that this is a loop that waits for another core. */
static inline void kn_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Sleeps while *word == seen, at most so many µs; 0 when these have passed. Shared between processes, hence no
 * FUTEX_PRIVATE_FLAG. */
static inline int kn_futex_wait(uint32_t *word, uint32_t seen, uint64_t microseconds) {
    struct timespec limit = {(time_t)(microseconds / 1000000), (long)(microseconds % 1000000) * 1000};
    return syscall(SYS_futex, word, FUTEX_WAIT, seen, &limit, NULL, 0) == 0 || errno != ETIMEDOUT;
}
static inline void kn_futex_wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }
static inline void kn_futex_wake_one(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0); }

/* Has all that sleep on `from` sleep on `to` instead; wakes nobody. */
static inline void kn_futex_requeue(uint32_t *from, uint32_t *to) {
    syscall(SYS_futex, from, FUTEX_REQUEUE, 0, (void *)(long)INT_MAX, to, 0);
}

#endif
