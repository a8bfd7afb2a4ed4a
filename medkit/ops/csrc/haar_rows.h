/* The transform for one type of element; haar.c includes this once for each. STORED is the type in memory, SUM the
   one to compute in, LOAD and STORE convert, NAME makes names. */

INLINE void NAME(butterflies)(SUM *values, int size, int step) {
#pragma GCC unroll 4
    for (int pair = 0; pair < size / 2; pair++) {
        const int k = pair / step * 2 * step + pair % step;
        const SUM low = values[k] + values[k + step];
        values[k + step] = values[k] - values[k + step];
        values[k] = low;
    }
}

INLINE void NAME(hadamard)(SUM *values, int size) {
    NAME(butterflies)(values, size, 1);
    NAME(butterflies)(values, size, 2);
    if (size == 8)
        NAME(butterflies)(values, size, 4);
}

/* From two columns of each row to one of each band, or back. */
INLINE void NAME(transform)(STORED *const *rows, STORED *const *bands, ptrdiff_t columns, int size, int inverse) {
    const SUM scale = size == 8 ? (SUM)0.35355339059327376220 : (SUM)0.5;
#pragma GCC ivdep
    for (ptrdiff_t i = 0; i < columns; i++) {
        SUM values[8];
#pragma GCC unroll 8
        for (int k = 0; k < size; k++)
            values[k] = LOAD(inverse ? bands[k][i] : rows[k / 2][2 * i + k % 2]);
        NAME(hadamard)(values, size);
#pragma GCC unroll 8
        for (int k = 0; k < size; k++)
            *(inverse ? &rows[k / 2][2 * i + k % 2] : &bands[k][i]) = STORE(values[k] * scale);
    }
}

/* The groups of the band rows first to last, counted over batch, channels, depth and height. */
INLINE void NAME(walk)(STORED *volume, STORED *bands, const Extent *extent, ptrdiff_t first, ptrdiff_t last,
                       int size, int inverse) {
    const ptrdiff_t height = extent->height, width = extent->width;
    const ptrdiff_t half_depth = half(extent->depth), half_height = half(height), half_width = half(width);
    const ptrdiff_t band_stride = extent->channels * half_depth * half_height * half_width;
    STORED padded[4][2 * BLOCK];

    for (ptrdiff_t row = first; row < last; row++) {
        const ptrdiff_t h = row % half_height, d = row / half_height % half_depth;
        const ptrdiff_t image = row / half_height / half_depth, sample = image / extent->channels;
        STORED *corner = volume + ((image * extent->depth + 2 * d) * height + 2 * h) * width;
        STORED *low = bands + row * half_width + sample * (size - 1) * band_stride;

        for (ptrdiff_t start = 0; start < half_width; start += BLOCK) {
            const ptrdiff_t columns = least(BLOCK, half_width - start);
            STORED *band[8], *stored[4], *rows[4];
            ptrdiff_t present[4];
            for (int k = 0; k < size; k++)
                band[k] = low + k * band_stride + start;
            for (int k = 0; k < size / 2; k++) {
                const int inside = 2 * d + k / 2 < extent->depth && 2 * h + k % 2 < height;
                present[k] = inside ? least(2 * columns, width - 2 * start) : 0;
                stored[k] = corner + 2 * start + (inside ? (k / 2 * height + k % 2) * width : 0);
                rows[k] = present[k] == 2 * columns ? stored[k] : padded[k];
                if (!inverse && rows[k] == padded[k]) {
                    memcpy(padded[k], stored[k], present[k] * sizeof(STORED));
                    memset(padded[k] + present[k], 0, (2 * columns - present[k]) * sizeof(STORED));
                }
            }
            NAME(transform)(rows, band, columns, size, inverse);
            for (int k = 0; inverse && k < size / 2; k++)
                if (rows[k] == padded[k])
                    memcpy(stored[k], padded[k], present[k] * sizeof(STORED));
        }
    }
}

MEDKIT_CLONES static void NAME(forward)(void *volume, void *bands, const Extent *extent, ptrdiff_t first,
                                        ptrdiff_t last) {
    if (extent->size == 8)
        NAME(walk)(volume, bands, extent, first, last, 8, 0);
    else
        NAME(walk)(volume, bands, extent, first, last, 4, 0);
}

MEDKIT_CLONES static void NAME(inverse)(void *volume, void *bands, const Extent *extent, ptrdiff_t first,
                                        ptrdiff_t last) {
    if (extent->size == 8)
        NAME(walk)(volume, bands, extent, first, last, 8, 1);
    else
        NAME(walk)(volume, bands, extent, first, last, 4, 1);
}

#undef STORED
#undef SUM
#undef LOAD
#undef STORE
#undef NAME
