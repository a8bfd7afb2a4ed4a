/* The selective scan (Gu and Dao 2023, S6), forward and backward: the way in, which picks the instruction set. */
#include "selective_scan.h"

#include "kernels.h"

enum { GENERIC, AVX2, AVX512 };

/* The widest instruction set of this processor for which there is a kernel. */
MEDKIT_EXPORT int64_t medkit_selective_scan_level(void) {
#ifdef MEDKIT_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
        return AVX2;
#endif
    return GENERIC;
}

MEDKIT_EXPORT int64_t medkit_selective_scan_tile(void) { return TILE; }

#ifdef MEDKIT_X86
#define AT_LEVEL(name, ...)                                                                                          \
    (level == AVX512 ? name##_avx512(__VA_ARGS__)                                                                    \
     : level == AVX2 ? name##_avx2(__VA_ARGS__)                                                                      \
                     : name##_generic(__VA_ARGS__))
#else
#define AT_LEVEL(name, ...) ((void)level, name##_generic(__VA_ARGS__))
#endif

/* Floats of scratch that a call needs. */
MEDKIT_EXPORT int64_t medkit_selective_scan_scratch(const Scan *scan, int64_t level, int64_t backward) {
    return AT_LEVEL(selective_scan_scratch, scan, backward != 0);
}

MEDKIT_EXPORT void medkit_selective_scan_forward(const Scan *scan, int64_t level) {
    AT_LEVEL(selective_scan_forward, scan);
}

MEDKIT_EXPORT void medkit_selective_scan_backward(const Scan *scan, int64_t level) {
    AT_LEVEL(selective_scan_backward, scan);
}
