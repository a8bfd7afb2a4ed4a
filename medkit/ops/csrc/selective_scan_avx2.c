/* The selective scan for processors with AVX2, FMA and F16C. */
#include "selective_scan.h"
#ifdef MEDKIT_X86
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#define MEDKIT_AVX2
#define LEVEL avx2
#include "selective_scan_forward.h"

#include "selective_scan_backward.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
