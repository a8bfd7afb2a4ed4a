/* What Python hands to the selective scan; medkit/ops/selective_scan/cpu.py declares the same. All tensors are
   contiguous; pointers to what was not given are null. */
#ifndef MEDKIT_SELECTIVE_SCAN_H
#define MEDKIT_SELECTIVE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define MEDKIT_X86
#endif

enum { FLOAT32, BFLOAT16, FLOAT16 };

/* Steps between kept states. */
#define TILE 64

typedef struct {
    int64_t batch, groups, channels, states, length; /* channels of one group */
    int64_t element;                                 /* type of u, delta, z, B, C, out and their gradients */
    int64_t softplus, reverse, threads;
    const void *u, *delta, *z, *B, *C;
    const float *A, *D, *delta_bias, *initial_state;
    void *out;
    float *last_state;
    float *kept;    /* (batch, tiles, states, groups * channels): the state before each tile */
    float *scratch; /* as many floats as the kernel asked for */
    const void *grad_out;
    const float *grad_last_state;
    void *du, *ddelta, *dz, *dB, *dC;
    float *dA, *dD, *ddelta_bias, *dinitial_state;
} Scan;

/* One set of functions for each instruction set. */
#define DECLARE_SCAN(level)                                                                                          \
    ptrdiff_t selective_scan_scratch_##level(const Scan *scan, int backward);                                       \
    void selective_scan_forward_##level(const Scan *scan);                                                          \
    void selective_scan_backward_##level(const Scan *scan);

DECLARE_SCAN(generic)
#ifdef MEDKIT_X86
DECLARE_SCAN(avx2)
DECLARE_SCAN(avx512)
#endif

#endif
