/* Group norm of channels-last images: each group of channels of each sample less its mean, over its standard deviation,
   times a weight for each channel, plus a bias. One pass sums, another scales. So do those of its gradient, which takes the
   mean and the deviation anew from the image, by sums in the same pass.

   Voxels are summed in parts, and the parts in their order, whatever the number of threads: it changes no bit. No huge
   pages are asked for, as for wavelets: among the images of a network, which come and go, the system took longer to
   find them than all else took. */
#include <math.h>

#include "half_types.h"

#define STORED float
#define LOAD(value) (value)
#define STORE(value) (value)
#define NAME(stem) stem##_float32
#include "group_norm_channels.h"

#define STORED uint16_t
#define LOAD(value) from_bfloat16(value)
#define STORE(value) to_bfloat16(value)
#define NAME(stem) stem##_bfloat16
#include "group_norm_channels.h"

typedef void Sum(const void *image, ptrdiff_t first, ptrdiff_t last, ptrdiff_t width, double *sums);
typedef void Scale(const void *image, void *result, ptrdiff_t first, ptrdiff_t last, ptrdiff_t width,
                   const float *means, const float *factors, const float *biases);

typedef void SumBoth(const void *image, const void *gradient, ptrdiff_t first, ptrdiff_t last, ptrdiff_t width,
                     double *sums);
typedef void ScaleBoth(const void *image, const void *gradient, void *result, ptrdiff_t first, ptrdiff_t last,
                       ptrdiff_t width, const float *means, const float *factors, const float *slopes,
                       const float *biases);

/* By type, in the order of group_norm.py. */
static Sum *const SUM[2] = {sum_float32, sum_bfloat16};
static Scale *const SCALE[2] = {scale_float32, scale_bfloat16};
static SumBoth *const SUM_BOTH[2] = {sum_both_float32, sum_both_bfloat16};
static ScaleBoth *const SCALE_BOTH[2] = {scale_both_float32, scale_both_bfloat16};

/* All channels of a sample, as often as there are voxels in a run: a loop over few channels alone is a slow one. */
typedef struct {
    ptrdiff_t channels, groups, voxels, parts, width;
} Layout;

/* From the sums of all parts of a sample to what each element of a run is scaled by. */
static void finish(const double *sums, const Layout *layout, double epsilon, const float *weights,
                   const float *biases, float *table) {
    const ptrdiff_t channels = layout->channels, width = layout->width, size = channels / layout->groups;
    const double elements = (double)layout->voxels * size;
    for (ptrdiff_t group = 0; group < layout->groups; group++) {
        double total = 0, squares = 0;
        for (ptrdiff_t part = 0; part < layout->parts; part++)
            for (ptrdiff_t voxel = 0; voxel < width; voxel += channels)
                for (ptrdiff_t c = group * size; c < (group + 1) * size; c++) {
                    total += sums[2 * part * width + voxel + c];
                    squares += sums[(2 * part + 1) * width + voxel + c];
                }
        const double mean = total / elements, variance = squares / elements - mean * mean;
        const double deviation = sqrt((variance < 0 ? 0 : variance) + epsilon); /* NaN stays NaN */
        for (ptrdiff_t voxel = 0; voxel < width; voxel += channels)
            for (ptrdiff_t c = group * size; c < (group + 1) * size; c++) {
                table[voxel + c] = mean;
                table[width + voxel + c] = weights[c] / deviation;
                table[2 * width + voxel + c] = biases[c];
            }
    }
}

/* Of a contiguous image (batch, voxels, channels) the result, of the same shape and type. The width is a multiple of the
   channels. Scratch: sums (batch, parts, 2, width), tables (batch, 3, width). */
MEDKIT_EXPORT void medkit_group_norm(const void *image, void *result, int32_t type, const float *weights,
                                     const float *biases, double epsilon, int64_t batch, int64_t voxels,
                                     int64_t channels, int64_t groups, int64_t parts, int64_t width, double *sums,
                                     float *tables, int32_t threads) {
    const Layout layout = {channels, groups, voxels, parts, width};
    const ptrdiff_t all = batch * parts, elements = batch * voxels * channels;
    const ptrdiff_t team = least(least(threads, all), 1 + elements / ELEMENTS_PER_THREAD);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (ptrdiff_t i = 0; i < all; i++) {
        const ptrdiff_t start = i / parts * voxels, part = i % parts;
        SUM[type](image, (start + voxels * part / parts) * channels, (start + voxels * (part + 1) / parts) * channels,
                  width, sums + 2 * i * width);
    }
    for (ptrdiff_t sample = 0; sample < batch; sample++)
        finish(sums + 2 * sample * parts * width, &layout, epsilon, weights, biases, tables + 3 * sample * width);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (ptrdiff_t i = 0; i < all; i++) {
        const ptrdiff_t start = i / parts * voxels, part = i % parts;
        const float *table = tables + 3 * (i / parts) * width;
        SCALE[type](image, result, (start + voxels * part / parts) * channels,
                    (start + voxels * (part + 1) / parts) * channels, width, table, table + width, table + 2 * width);
    }
}

/* Of one sample the sums over its parts and runs: for each channel that many. */
static double channel_sum(const double *sums, const Layout *layout, ptrdiff_t rows, ptrdiff_t row, ptrdiff_t channel) {
    double total = 0;
    for (ptrdiff_t part = 0; part < layout->parts; part++)
        for (ptrdiff_t voxel = 0; voxel < layout->width; voxel += layout->channels)
            total += sums[(rows * part + row) * layout->width + voxel + channel];
    return total;
}

/* From the sums of a sample to what each element of a run is scaled by, and its share in the gradients of weights and
   biases. With the normalised values y of a group of n elements and the gradient g of w y + b, that of the image is
   (w g - mean(w g) - y mean(w g y)) / deviation. */
static void finish_both(const double *sums, const Layout *layout, double epsilon, const float *weights,
                        double *of_weights, double *of_biases, float *table) {
    const ptrdiff_t channels = layout->channels, width = layout->width, size = channels / layout->groups;
    const double elements = (double)layout->voxels * size;
    for (ptrdiff_t group = 0; group < layout->groups; group++) {
        const ptrdiff_t first = group * size, last = first + size;
        double total = 0, squares = 0, along = 0, across = 0;
        for (ptrdiff_t c = first; c < last; c++) {
            total += channel_sum(sums, layout, 4, 0, c);
            squares += channel_sum(sums, layout, 4, 1, c);
        }
        const double mean = total / elements, variance = squares / elements - mean * mean;
        const double deviation = sqrt((variance < 0 ? 0 : variance) + epsilon);
        for (ptrdiff_t c = first; c < last; c++) {
            const double slope = channel_sum(sums, layout, 4, 2, c);
            const double product = (channel_sum(sums, layout, 4, 3, c) - mean * slope) / deviation;
            of_weights[c] += product;
            of_biases[c] += slope;
            along += weights[c] * slope;
            across += weights[c] * product;
        }
        for (ptrdiff_t voxel = 0; voxel < width; voxel += channels)
            for (ptrdiff_t c = first; c < last; c++) {
                table[voxel + c] = mean;
                table[width + voxel + c] = weights[c] / deviation;
                table[2 * width + voxel + c] = -across / (elements * deviation * deviation);
                table[3 * width + voxel + c] = -along / (elements * deviation);
            }
    }
}

/* Of an image and the gradient of its norm, both as above, the gradients of the image, the weights and the biases. Those
   of the latter (channels each) are added to. Scratch: sums (batch, parts, 4, width), tables (batch, 4, width). */
MEDKIT_EXPORT void medkit_group_norm_backward(const void *image, const void *gradient, void *result, int32_t type,
                                              const float *weights, double epsilon, int64_t batch, int64_t voxels,
                                              int64_t channels, int64_t groups, int64_t parts, int64_t width,
                                              double *of_weights, double *of_biases, double *sums, float *tables,
                                              int32_t threads) {
    const Layout layout = {channels, groups, voxels, parts, width};
    const ptrdiff_t all = batch * parts, elements = batch * voxels * channels;
    const ptrdiff_t team = least(least(threads, all), 1 + elements / ELEMENTS_PER_THREAD);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (ptrdiff_t i = 0; i < all; i++) {
        const ptrdiff_t start = i / parts * voxels, part = i % parts;
        SUM_BOTH[type](image, gradient, (start + voxels * part / parts) * channels,
                       (start + voxels * (part + 1) / parts) * channels, width, sums + 4 * i * width);
    }
    for (ptrdiff_t sample = 0; sample < batch; sample++)
        finish_both(sums + 4 * sample * parts * width, &layout, epsilon, weights, of_weights, of_biases,
                    tables + 4 * sample * width);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
    for (ptrdiff_t i = 0; i < all; i++) {
        const ptrdiff_t start = i / parts * voxels, part = i % parts;
        const float *table = tables + 4 * (i / parts) * width;
        SCALE_BOTH[type](image, gradient, result, (start + voxels * part / parts) * channels,
                         (start + voxels * (part + 1) / parts) * channels, width, table, table + width,
                         table + 2 * width, table + 3 * width);
    }
}
