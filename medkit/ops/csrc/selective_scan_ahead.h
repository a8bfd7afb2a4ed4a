/* Memory that the selective scan needs next, fetched while it computes.

   The rows of a tile lie far apart, more of them than a processor foresees by itself, and it waits for no more than
   about 20 cache lines at once. So the lines of the next tile are listed, and every step of this one asks for a few. */
#ifndef MEDKIT_SELECTIVE_SCAN_AHEAD_H
#define MEDKIT_SELECTIVE_SCAN_AHEAD_H

#include "selective_scan_tiles.h"

#define LINE_BYTES 64
#define LINES 1024 /* those above come when they are read */
#define LINES_PER_STEP 2

typedef struct {
    Strip strip;
    Window window;
    int rows; /* whether rows of B and C come anew */
} Next;

typedef struct {
    ptrdiff_t count, fetched;
    const char *lines[LINES];
} Ahead;

static void list_rows(const Scan *scan, const void *from, ptrdiff_t row, ptrdiff_t rows, const Window *window,
                      Ahead *ahead) {
    ptrdiff_t size = size_of(scan->element), bytes = window->steps * size;
    for (ptrdiff_t i = row; from && i < row + rows; i++) {
        const char *first = (const char *)from + (i * scan->length + window->start) * size, *end = first + bytes;
        first -= (uintptr_t)first % LINE_BYTES;
        for (const char *line = first; line < end && ahead->count < LINES; line += LINE_BYTES)
            ahead->lines[ahead->count++] = line;
    }
}

/* What `next` reads or writes of `count` tensors like u and, where they come anew, of B and C. */
static void list_lines(const Scan *scan, const void *const *tensors, int count, const Next *next, Ahead *ahead) {
    ahead->count = ahead->fetched = 0;
    if (!next)
        return;
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
    for (int i = 0; i < LINES_PER_STEP; i++)
        if (ahead->fetched < ahead->count)
            __builtin_prefetch(ahead->lines[ahead->fetched++], 0, 2);
}

#endif
