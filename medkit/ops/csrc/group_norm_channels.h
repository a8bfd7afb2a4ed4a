/* The passes of group_norm.c for one type of element, which includes this once for each. STORED is the type in
   memory, LOAD and STORE convert, NAME makes names. */

/* Sums over some elements, then of their squares: of the first of each run of `width`, of the second... In float64, where
   squares of float32 are exact. */
MEDKIT_CLONES static void NAME(sum)(const void *image, ptrdiff_t first, ptrdiff_t last, ptrdiff_t width,
                                    double *sums) {
    double *restrict total = sums, *restrict squares = sums + width;
    memset(sums, 0, 2 * width * sizeof *sums);
    for (ptrdiff_t start = first; start < last; start += width) {
        const STORED *run = (const STORED *)image + start;
        const ptrdiff_t size = least(width, last - start);
        for (ptrdiff_t i = 0; i < size; i++) {
            const double value = LOAD(run[i]);
            total[i] += value;
            squares[i] += value * value;
        }
    }
}

/* As above, of an image and of the gradient of its norm: sums over the image, over its squares, over the gradient, and over
   the products of both. */
MEDKIT_CLONES static void NAME(sum_both)(const void *image, const void *gradient, ptrdiff_t first, ptrdiff_t last,
                                         ptrdiff_t width, double *sums) {
    double *restrict total = sums, *restrict squares = sums + width;
    double *restrict slopes = sums + 2 * width, *restrict products = sums + 3 * width;
    memset(sums, 0, 4 * width * sizeof *sums);
    for (ptrdiff_t start = first; start < last; start += width) {
        const STORED *values = (const STORED *)image + start, *run = (const STORED *)gradient + start;
        const ptrdiff_t size = least(width, last - start);
        for (ptrdiff_t i = 0; i < size; i++) {
            const double value = LOAD(values[i]), slope = LOAD(run[i]);
            total[i] += value;
            squares[i] += value * value;
            slopes[i] += slope;
            products[i] += value * slope;
        }
    }
}

MEDKIT_CLONES static void NAME(scale)(const void *image, void *result, ptrdiff_t first, ptrdiff_t last, ptrdiff_t width,
                                      const float *means, const float *factors, const float *biases) {
    for (ptrdiff_t start = first; start < last; start += width) {
        const STORED *restrict from = (const STORED *)image + start;
        STORED *restrict to = (STORED *)result + start;
        const ptrdiff_t size = least(width, last - start);
        for (ptrdiff_t i = 0; i < size; i++)
            to[i] = STORE((LOAD(from[i]) - means[i]) * factors[i] + biases[i]);
    }
}

MEDKIT_CLONES static void NAME(scale_both)(const void *image, const void *gradient, void *result, ptrdiff_t first,
                                           ptrdiff_t last, ptrdiff_t width, const float *means, const float *factors,
                                           const float *slopes, const float *biases) {
    for (ptrdiff_t start = first; start < last; start += width) {
        const STORED *restrict from = (const STORED *)image + start, *restrict along = (const STORED *)gradient + start;
        STORED *restrict to = (STORED *)result + start;
        const ptrdiff_t size = least(width, last - start);
        for (ptrdiff_t i = 0; i < size; i++)
            to[i] = STORE(LOAD(along[i]) * factors[i] + ((LOAD(from[i]) - means[i]) * slopes[i] + biases[i]));
    }
}

#undef STORED
#undef LOAD
#undef STORE
#undef NAME
