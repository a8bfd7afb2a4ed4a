/* The class of the greatest interpolated score in a plane between two planes of scores.

   A row of the result is interpolated between four rows of scores, then along itself. Where the greatest class is the
   same at all eight corners it is that of any weighted mean of them too, and nothing is computed. */
#include <stdlib.h>

#include "kernels.h"

typedef struct {
    const float *scores[2];   /* of two planes, (classes, height, width) */
    const uint8_t *labels[2]; /* the greatest class of each voxel of a plane */
    float weight;             /* of the second plane */
    ptrdiff_t classes, height, width;
} Planes;

/* Sample i lies between voxels low[i] and high[i], weight[i] of the way. */
typedef struct {
    const int32_t *low, *high;
    const float *weight;
    ptrdiff_t size;
} Places;

/* What a thread computes a row with. */
typedef struct {
    float *scores;           /* of one class, as wide as the planes */
    uint8_t *least, *most;   /* class at the four corners of a voxel there */
    float *best;             /* greatest score so far, as wide as the result */
    int32_t *label;          /* its class */
} Row;

INLINE uint8_t smaller(uint8_t a, uint8_t b) { return a < b ? a : b; }
INLINE uint8_t larger(uint8_t a, uint8_t b) { return a > b ? a : b; }

INLINE void range_of_corners(const Planes *planes, ptrdiff_t low, ptrdiff_t high, Row *row) {
    const ptrdiff_t width = planes->width;
    const uint8_t *a = planes->labels[0] + low * width, *b = planes->labels[0] + high * width;
    const uint8_t *c = planes->labels[1] + low * width, *d = planes->labels[1] + high * width;
    for (ptrdiff_t x = 0; x < width; x++) {
        row->least[x] = smaller(smaller(a[x], b[x]), smaller(c[x], d[x]));
        row->most[x] = larger(larger(a[x], b[x]), larger(c[x], d[x]));
    }
}

/* Writes the class where all corners agree; between *begin and *end lie those where they do not. */
INLINE void agreed(const Row *row, const Places *columns, uint8_t *result, ptrdiff_t *begin, ptrdiff_t *end) {
    *begin = columns->size, *end = 0;
    for (ptrdiff_t x = 0; x < columns->size; x++) {
        const int32_t low = columns->low[x], high = columns->high[x];
        const uint8_t least = smaller(row->least[low], row->least[high]);
        result[x] = least;
        if (least != larger(row->most[low], row->most[high])) {
            *begin = x < *begin ? x : *begin;
            *end = x + 1;
        }
    }
}

INLINE void scores_of_class(const Planes *planes, ptrdiff_t class, ptrdiff_t low, ptrdiff_t high, float weight,
                            ptrdiff_t first, ptrdiff_t last, float *scores) {
    const ptrdiff_t width = planes->width, skip = class * planes->height * width;
    const float *a = planes->scores[0] + skip + low * width, *b = planes->scores[0] + skip + high * width;
    const float *c = planes->scores[1] + skip + low * width, *d = planes->scores[1] + skip + high * width;
    for (ptrdiff_t x = first; x < last; x++) {
        const float one = a[x] + weight * (b[x] - a[x]), two = c[x] + weight * (d[x] - c[x]);
        scores[x] = one + planes->weight * (two - one);
    }
}

INLINE void keep_greatest(const Row *row, const Places *columns, int32_t class, ptrdiff_t begin, ptrdiff_t end) {
    for (ptrdiff_t x = begin; x < end; x++) {
        const float low = row->scores[columns->low[x]], high = row->scores[columns->high[x]];
        const float score = low + columns->weight[x] * (high - low);
        const int greater = class == 0 || score > row->best[x];
        row->best[x] = greater ? score : row->best[x];
        row->label[x] = greater ? class : row->label[x];
    }
}

MEDKIT_CLONES static void compute_row(const Planes *planes, const Places *rows, const Places *columns, ptrdiff_t y,
                                      Row *row, uint8_t *result) {
    ptrdiff_t begin, end, first = planes->width, last = 0;
    range_of_corners(planes, rows->low[y], rows->high[y], row);
    agreed(row, columns, result, &begin, &end);
    if (begin >= end)
        return;
    for (ptrdiff_t x = begin; x < end; x++) { /* the part of the planes that they reach; samples may run backwards */
        first = columns->low[x] < first ? columns->low[x] : first;
        last = columns->high[x] >= last ? columns->high[x] + 1 : last;
    }
    for (ptrdiff_t class = 0; class < planes->classes; class++) {
        scores_of_class(planes, class, rows->low[y], rows->high[y], rows->weight[y], first, last, row->scores);
        keep_greatest(row, columns, class, begin, end);
    }
    for (ptrdiff_t x = begin; x < end; x++) {
        const uint8_t most = larger(row->most[columns->low[x]], row->most[columns->high[x]]);
        result[x] = result[x] == most ? most : row->label[x];
    }
}

/* From two planes of scores (classes, height, width) to labels (rows, columns); 1 where memory ran out. */
MEDKIT_EXPORT int32_t medkit_interpolated_argmax(const float *one, const float *two, const uint8_t *labels_one,
                                                 const uint8_t *labels_two, float weight, int64_t classes,
                                                 int64_t height, int64_t width, const int32_t *row_low,
                                                 const int32_t *row_high, const float *row_weight, int64_t rows,
                                                 const int32_t *column_low, const int32_t *column_high,
                                                 const float *column_weight, int64_t columns, uint8_t *result,
                                                 int32_t threads) {
    const Planes planes = {{one, two}, {labels_one, labels_two}, weight, classes, height, width};
    const Places along_rows = {row_low, row_high, row_weight, rows};
    const Places along_columns = {column_low, column_high, column_weight, columns};
    const size_t bytes = width * (sizeof(float) + 2) + columns * (sizeof(float) + sizeof(int32_t));
    const ptrdiff_t parts = threads < rows ? threads : rows;
    int32_t failed = 0;
#pragma omp parallel for num_threads(parts) if (parts > 1) schedule(static) reduction(| : failed)
    for (ptrdiff_t part = 0; part < parts; part++) {
        float *memory = malloc(bytes);
        if (!memory) {
            failed = 1;
            continue;
        }
        float *best = memory + width;
        int32_t *label = (int32_t *)(best + columns);
        uint8_t *least = (uint8_t *)(label + columns);
        Row row = {memory, least, least + width, best, label};
        for (ptrdiff_t y = rows * part / parts; y < rows * (part + 1) / parts; y++)
            compute_row(&planes, &along_rows, &along_columns, y, &row, result + y * columns);
        free(memory);
    }
    return failed;
}
