/* The selective scan for processors with AVX-512. */
#include "selective_scan.h"
#ifdef MEDKIT_X86
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
#define MEDKIT_AVX512
#define LEVEL avx512
#include "selective_scan_forward.h"

#include "selective_scan_backward.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
