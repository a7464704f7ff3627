/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), the checksum of every frame, operation and page.
 * Uses the SSE4.2 or ARMv8 instruction where the processor has it, else a table made at first use. */
#ifndef KENNEL_CRC32C_H
#define KENNEL_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t kn_crc_table[256];

static inline uint32_t kn_crc32c_table(uint32_t crc, const uint8_t *data, size_t size) {
    if (kn_crc_table[255] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++) value = value & 1 ? value >> 1 ^ 0x82F63B78u : value >> 1;
            kn_crc_table[i] = value;
        }
    while (size--) crc = crc >> 8 ^ kn_crc_table[(crc ^ *data++) & 255];
    return crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) static uint32_t kn_crc32c_hardware(uint32_t crc, const uint8_t *data, size_t size) {
    uint64_t wide = crc, word;
    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    while (size--) crc = _mm_crc32_u8(crc, *data++);
    return crc;
}
static inline int kn_crc_has_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
static uint32_t kn_crc32c_hardware(uint32_t crc, const uint8_t *data, size_t size) {
    uint64_t word;
    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        crc = __crc32cd(crc, word);
    }
    while (size--) crc = __crc32cb(crc, *data++);
    return crc;
}
static inline int kn_crc_has_hardware(void) { return 1; }
#else
static inline uint32_t kn_crc32c_hardware(uint32_t crc, const uint8_t *data, size_t size) {
    return kn_crc32c_table(crc, data, size);
}
static inline int kn_crc_has_hardware(void) { return 0; }
#endif

static inline uint32_t kn_crc32c(uint32_t seed, const void *data, size_t size) {
    uint32_t crc = ~seed;
    crc = kn_crc_has_hardware() ? kn_crc32c_hardware(crc, data, size) : kn_crc32c_table(crc, data, size);
    return ~crc;
}

#endif
