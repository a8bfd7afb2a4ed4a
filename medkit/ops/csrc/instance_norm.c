/* Instance norm of channels-last images: each channel of each sample less its mean, over its standard deviation, times
   a weight, plus a bias. One pass sums, another scales.

   Voxels are summed in parts, and the parts in their order, whatever the number of threads: it changes no bit. */
#include "fresh_memory.h" /* first: it says which system calls there are */

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "half_types.h"
#include "kernels.h"

/* Fewer elements than this are done before another thread has woken up. */
#define ELEMENTS_PER_THREAD 32768

INLINE ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

#define STORED float
#define LOAD(value) (value)
#define STORE(value) (value)
#define NAME(stem) stem##_float32
#include "instance_norm_channels.h"

INLINE uint16_t rounded(float value) { return value == value ? to_bfloat16(value) : 0x7fc0; }

#define STORED uint16_t
#define LOAD(value) from_bfloat16(value)
#define STORE(value) rounded(value)
#define NAME(stem) stem##_bfloat16
#include "instance_norm_channels.h"

typedef void Sum(const void *image, ptrdiff_t channels, ptrdiff_t first, ptrdiff_t last, double *sums);
typedef void Scale(const void *image, void *result, ptrdiff_t channels, ptrdiff_t first, ptrdiff_t last,
                   const float *means, const float *factors, const float *biases);

/* By type, in the order of instance_norm.py. */
static Sum *const SUM[2] = {sum_float32, sum_bfloat16};
static Scale *const SCALE[2] = {scale_float32, scale_bfloat16};

/* From the sums of all parts of a sample to its means and factors. */
static void finish(const double *sums, ptrdiff_t parts, ptrdiff_t channels, ptrdiff_t voxels, double epsilon,
                   const float *weights, float *means, float *factors) {
    for (ptrdiff_t c = 0; c < channels; c++) {
        double total = 0, squares = 0;
        for (ptrdiff_t part = 0; part < parts; part++) {
            total += sums[2 * part * channels + c];
            squares += sums[(2 * part + 1) * channels + c];
        }
        const double mean = total / voxels, variance = squares / voxels - mean * mean;
        means[c] = mean;
        factors[c] = weights[c] / sqrt((variance < 0 ? 0 : variance) + epsilon); /* NaN stays NaN */
    }
}

/* Of a contiguous image (batch, voxels, channels) the result, of the same shape and type. Scratch: sums
   (batch, parts, 2, channels), and moments (batch, 2, channels). */
MEDKIT_EXPORT void medkit_instance_norm(const void *image, void *result, int32_t type, const float *weights,
                                        const float *biases, double epsilon, int64_t batch, int64_t voxels,
                                        int64_t channels, int64_t parts, double *sums, float *moments,
                                        int32_t threads) {
    const ptrdiff_t all = batch * parts, elements = batch * voxels * channels;
    const ptrdiff_t bytes = elements * (type ? sizeof(uint16_t) : sizeof(float));
    const ptrdiff_t team = least(least(threads, all), 1 + elements / ELEMENTS_PER_THREAD);
    prefer_huge_pages(result, bytes);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (ptrdiff_t i = 0; i < all; i++) {
        const ptrdiff_t sample = i / parts, part = i % parts, start = sample * voxels;
        SUM[type](image, channels, start + voxels * part / parts, start + voxels * (part + 1) / parts,
                  sums + 2 * i * channels);
    }
    for (ptrdiff_t sample = 0; sample < batch; sample++)
        finish(sums + 2 * sample * parts * channels, parts, channels, voxels, epsilon, weights,
               moments + 2 * sample * channels, moments + (2 * sample + 1) * channels);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (ptrdiff_t i = 0; i < all; i++) {
        const ptrdiff_t sample = i / parts, part = i % parts, start = sample * voxels;
        const float *means = moments + 2 * sample * channels;
        SCALE[type](image, result, channels, start + voxels * part / parts, start + voxels * (part + 1) / parts,
                    means, means + channels, biases);
    }
}
