/* One level of the orthonormal Haar transform over the last two or three axes of a contiguous tensor, and its
   inverse, in one pass over memory.

   A group is the 2 x 2 or 2 x 2 x 2 neighbours that become one element of each sub-band. Both are numbered by the
   same bits, 4 d + 2 h + w: where the neighbour lies, and along which axes the band is high. What turns one into the
   other is a Walsh-Hadamard transform, its own inverse up to the scale. Its sums run in the order of the plain
   PyTorch form, so that both round alike. Past the end of an axis of odd length there are zeros. */
#define _DEFAULT_SOURCE /* madvise */
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "half_types.h"

/* Columns of a band that are computed at a time; rows that end early are padded in buffers of that length. */
#define BLOCK 512
#define HUGE_PAGE ((uintptr_t)1 << 21)

typedef struct {
    ptrdiff_t channels, depth, height, width; /* of the volume; depth is 1 in 2D */
    int size;                                 /* of a group: 4 or 8 */
} Extent;

INLINE ptrdiff_t half(ptrdiff_t size) { return size / 2 + size % 2; }

#define STORED float
#define SUM float
#define LOAD(value) (value)
#define STORE(value) (value)
#define NAME(stem) stem##_float32
#include "haar_rows.h"

#define STORED double
#define SUM double
#define LOAD(value) (value)
#define STORE(value) (value)
#define NAME(stem) stem##_float64
#include "haar_rows.h"

#define STORED uint16_t
#define SUM float
#define LOAD(value) from_bfloat16(value)
#define STORE(value) to_bfloat16(value)
#define NAME(stem) stem##_bfloat16
#include "haar_rows.h"

#define STORED uint16_t
#define SUM float
#define LOAD(value) from_float16(value)
#define STORE(value) to_float16(value)
#define NAME(stem) stem##_float16
#include "haar_rows.h"

typedef void Kernel(void *volume, void *bands, const Extent *extent, ptrdiff_t first, ptrdiff_t last);

/* By type, in the order of cpu.py; forward, then inverse. */
static Kernel *const KERNELS[4][2] = {
    {forward_float32, inverse_float32},
    {forward_float64, inverse_float64},
    {forward_bfloat16, inverse_bfloat16},
    {forward_float16, inverse_float16},
};

/* Fresh memory costs a page fault for each page, which with small pages is more time than the transform itself. */
static void prefer_huge_pages(void *memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
    uintptr_t begin = ((uintptr_t)memory + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    uintptr_t end = ((uintptr_t)memory + bytes) & ~(HUGE_PAGE - 1);
    if (end > begin)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* advice: it may fail */
#else
    (void)memory, (void)bytes;
#endif
}

/* From volume (batch, channels, [depth,] height, width) to bands (batch, bands, channels, ...), or back; bytes is
   the size of the one that is written. */
MEDKIT_EXPORT void medkit_haar(void *volume, void *bands, int32_t inverse, int32_t type, int64_t bytes, int64_t batch,
                               int64_t channels, int64_t depth, int64_t height, int64_t width, int32_t axes,
                               int32_t threads) {
    const Extent extent = {channels, depth, height, width, 1 << axes};
    const ptrdiff_t rows = batch * channels * half(depth) * half(height);
    const ptrdiff_t parts = least(threads, 1 + rows * half(width) * extent.size / ELEMENTS_PER_THREAD);
    prefer_huge_pages(inverse ? volume : bands, bytes);
#pragma omp parallel for num_threads(parts) if (parts > 1) schedule(static)
    for (ptrdiff_t part = 0; part < parts; part++)
        KERNELS[type][inverse](volume, bands, &extent, rows * part / parts, rows * (part + 1) / parts);
}
