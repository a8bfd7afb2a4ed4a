/* The passes of instance_norm.c for one type of element, which includes this once for each. STORED is the type in
   memory, LOAD and STORE convert, NAME makes names. */

/* Sums of each channel, then of its squares, over some voxels. In float64, where squares of float32 are exact. */
MEDKIT_CLONES static void NAME(sum)(const void *image, ptrdiff_t channels, ptrdiff_t first, ptrdiff_t last,
                                    double *sums) {
    double *restrict total = sums, *restrict squares = sums + channels;
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (ptrdiff_t v = first; v < last; v++) {
        const STORED *voxel = (const STORED *)image + v * channels;
        for (ptrdiff_t c = 0; c < channels; c++) {
            const double value = LOAD(voxel[c]);
            total[c] += value;
            squares[c] += value * value;
        }
    }
}

MEDKIT_CLONES static void NAME(scale)(const void *image, void *result, ptrdiff_t channels, ptrdiff_t first,
                                      ptrdiff_t last, const float *means, const float *factors, const float *biases) {
    for (ptrdiff_t v = first; v < last; v++) {
        const STORED *restrict from = (const STORED *)image + v * channels;
        STORED *restrict to = (STORED *)result + v * channels;
        for (ptrdiff_t c = 0; c < channels; c++)
            to[c] = STORE((LOAD(from[c]) - means[c]) * factors[c] + biases[c]);
    }
}

#undef STORED
#undef LOAD
#undef STORE
#undef NAME
