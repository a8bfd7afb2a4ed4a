/* Memory that the selective scan needs next, fetched while it computes.

   The rows of a tile lie far apart, more of them than a processor foresees by itself, and it waits for no more than
   about 20 cache lines at once. So the rows of the next tile are listed, and every step of this one asks for a few of
   their lines. */
#ifndef MEDKIT_SELECTIVE_SCAN_AHEAD_H
#define MEDKIT_SELECTIVE_SCAN_AHEAD_H

#include "selective_scan_tiles.h"

#define LINE_BYTES 64
#define ROWS_AHEAD 256 /* those above come when they are read */
#define LINES_PER_STEP 2

typedef struct {
    Strip strip;
    Window window;
    int rows; /* whether rows of B and C come anew */
} Next;

typedef struct {
    ptrdiff_t count, deep; /* rows; lines of each */
    ptrdiff_t row, line;   /* what is fetched next */
    const char *rows[ROWS_AHEAD];
} Ahead;

static void list_rows(const Scan *scan, const void *from, ptrdiff_t first, ptrdiff_t rows, const Window *window,
                      Ahead *ahead) {
    ptrdiff_t size = size_of(scan->element), end = from ? least(first + rows, first + ROWS_AHEAD - ahead->count) : first;
    for (ptrdiff_t row = first; row < end; row++)
        ahead->rows[ahead->count++] = (const char *)from + (row * scan->length + window->start) * size;
}

/* What `next` reads or writes of `count` tensors like u and, where they come anew, of B and C. */
static void list_ahead(const Scan *scan, const void *const *tensors, int count, const Next *next, Ahead *ahead) {
    ahead->count = ahead->deep = ahead->row = ahead->line = 0;
    if (!next)
        return;
    ahead->deep = ceiling(next->window.steps * (ptrdiff_t)size_of(scan->element), LINE_BYTES) + 1; /* rows begin within one */
    const Strip *strip = &next->strip;
    ptrdiff_t channel = strip->item * scan->groups * scan->channels + strip->channel;
    for (int i = 0; i < count; i++)
        list_rows(scan, tensors[i], channel, strip->lanes, &next->window, ahead);
    if (next->rows) {
        ptrdiff_t row = (strip->item * scan->groups + strip->group) * scan->states;
        list_rows(scan, scan->B, row, scan->states, &next->window, ahead);
        list_rows(scan, scan->C, row, scan->states, &next->window, ahead);
    }
}

INLINE void fetch_some(Ahead *ahead) {
    for (int i = 0; i < LINES_PER_STEP && ahead->row < ahead->count; i++) {
        __builtin_prefetch(ahead->rows[ahead->row] + ahead->line * LINE_BYTES, 0, 2);
        if (++ahead->line == ahead->deep) {
            ahead->line = 0;
            ahead->row++;
        }
    }
}

#endif
