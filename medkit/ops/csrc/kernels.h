/* What all kernels share. Python hands over raw pointers to memory that it keeps alive; nothing is allocated
   that outlives a call, nothing is printed, no state is kept. */
#ifndef MEDKIT_KERNELS_H
#define MEDKIT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define MEDKIT_EXPORT __attribute__((visibility("default")))

/* One body compiled for several instruction sets; the loader picks the best that the processor has. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define MEDKIT_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MEDKIT_CLONES
#endif

/* Fewer elements than this are done before another thread has woken up. */
#define ELEMENTS_PER_THREAD 32768

INLINE ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

#endif
