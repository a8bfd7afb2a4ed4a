/* Tiles of the selective scan, (steps, lanes) in single precision, out of memory and back.

   Their order of time is that of the scan: what runs in reverse is turned round here. After the end of a sequence
   they hold zeros, which move no state. */
#ifndef MEDKIT_SELECTIVE_SCAN_TILES_H
#define MEDKIT_SELECTIVE_SCAN_TILES_H

#include "selective_scan_plan.h"

INLINE size_t size_of(int64_t element) { return element == FLOAT32 ? 4 : 2; }

INLINE Vec read_as(int element, const void *from, ptrdiff_t offset) {
    if (element == FLOAT32)
        return load((const float *)from + offset);
    const uint16_t *cells = (const uint16_t *)from + offset;
    return element == BFLOAT16 ? from_bfloat16(cells) : from_float16(cells);
}

INLINE void write_as(int element, void *to, ptrdiff_t offset, Vec value) {
    if (element == FLOAT32)
        store((float *)to + offset, value);
    else if (element == BFLOAT16)
        to_bfloat16((uint16_t *)to + offset, value);
    else
        to_float16((uint16_t *)to + offset, value);
}

/* A square of LANES channels and steps, whose rows in the tile follow one another by `next` floats. */
INLINE void turn(int element, const void *from, ptrdiff_t offset, ptrdiff_t length, float *to, ptrdiff_t next) {
    Vec rows[LANES];
    for (int i = 0; i < LANES; i++)
        rows[i] = read_as(element, from, offset + i * length);
    transpose(rows);
    for (int i = 0; i < LANES; i++)
        store(to + i * next, rows[i]);
}

INLINE void turn_back(int element, void *to, ptrdiff_t offset, ptrdiff_t length, const float *from, ptrdiff_t next) {
    Vec rows[LANES];
    for (int i = 0; i < LANES; i++)
        rows[i] = load(from + i * next);
    transpose(rows);
    for (int i = 0; i < LANES; i++)
        write_as(element, to, offset + i * length, rows[i]);
}

/* Each type of element gets code of its own. */
#define FOR_ELEMENT(call)                                                                                            \
    switch (scan->element) {                                                                                         \
    case FLOAT32:                                                                                                    \
        call(FLOAT32);                                                                                               \
        break;                                                                                                       \
    case BFLOAT16:                                                                                                   \
        call(BFLOAT16);                                                                                              \
        break;                                                                                                       \
    default:                                                                                                         \
        call(FLOAT16);                                                                                               \
    }

/* A square with fewer channels or steps. */
static NOINLINE void turn_some(const Scan *scan, const void *from, ptrdiff_t offset, ptrdiff_t lanes, ptrdiff_t steps,
                               float *to, ptrdiff_t next) {
    size_t size = size_of(scan->element);
    float raw[LANES * LANES] = {0}, square[LANES * LANES];
    for (ptrdiff_t i = 0; i < lanes; i++)
        memcpy((char *)raw + i * LANES * size, (const char *)from + (offset + i * scan->length) * size, steps * size);
#define TURN(element) turn(element, raw, 0, LANES, square, LANES)
    FOR_ELEMENT(TURN)
    for (ptrdiff_t i = 0; i < steps; i++)
        store(to + i * next, load(square + i * LANES));
}

static NOINLINE void turn_some_back(const Scan *scan, void *to, ptrdiff_t offset, ptrdiff_t lanes, ptrdiff_t steps,
                                    const float *from, ptrdiff_t next) {
    size_t size = size_of(scan->element);
    float raw[LANES * LANES], square[LANES * LANES] = {0};
    for (ptrdiff_t i = 0; i < steps; i++)
        store(square + i * LANES, load(from + i * next));
#define TURN_BACK(element) turn_back(element, raw, 0, LANES, square, LANES)
    FOR_ELEMENT(TURN_BACK)
    for (ptrdiff_t i = 0; i < lanes; i++)
        memcpy((char *)to + (offset + i * scan->length) * size, (const char *)raw + i * LANES * size, steps * size);
}

/* Squares of a tile, the first `whole` steps of which are in squares with all lanes. */
INLINE void load_tile_as(int element, const Scan *scan, const void *from, ptrdiff_t offset, ptrdiff_t whole,
                         float *first, ptrdiff_t next) {
    for (ptrdiff_t l = 0; l < whole; l += LANES)
        turn(element, from, offset + l, scan->length, first + l * next, next);
}

INLINE void store_tile_as(int element, const Scan *scan, void *to, ptrdiff_t offset, ptrdiff_t whole,
                          const float *first, ptrdiff_t next) {
    for (ptrdiff_t l = 0; l < whole; l += LANES)
        turn_back(element, to, offset + l, scan->length, first + l * next, next);
}

INLINE void load_row_as(int element, const void *from, ptrdiff_t offset, const Window *window, int64_t reverse,
                        float *to) {
    ptrdiff_t steps = window->steps;
    if (steps == TILE) {
        for (ptrdiff_t l = 0; l < TILE; l += LANES)
            if (reverse)
                store(to + TILE - LANES - l, reversed(read_as(element, from, offset + l)));
            else
                store(to + l, read_as(element, from, offset + l));
        return;
    }
    float raw[TILE] = {0}, cells[TILE];
    memcpy(raw, (const char *)from + offset * size_of(element), steps * size_of(element));
    for (ptrdiff_t l = 0; l < TILE; l += LANES)
        store(cells + l, read_as(element, raw, l));
    for (ptrdiff_t l = 0; l < TILE; l++)
        to[l] = l < steps ? cells[reverse ? steps - 1 - l : l] : 0.0f;
}

INLINE void store_row_as(int element, void *to, ptrdiff_t offset, const Window *window, int64_t reverse,
                         const float *from) {
    ptrdiff_t steps = window->steps;
    if (steps == TILE) {
        for (ptrdiff_t l = 0; l < TILE; l += LANES)
            if (reverse)
                write_as(element, to, offset + l, reversed(load(from + TILE - LANES - l)));
            else
                write_as(element, to, offset + l, load(from + l));
        return;
    }
    float raw[TILE], cells[TILE] = {0};
    for (ptrdiff_t l = 0; l < steps; l++)
        cells[l] = from[reverse ? steps - 1 - l : l];
    for (ptrdiff_t l = 0; l < TILE; l += LANES)
        write_as(element, raw, l, load(cells + l));
    memcpy((char *)to + offset * size_of(element), raw, steps * size_of(element));
}

INLINE ptrdiff_t tile_offset(const Scan *scan, const Strip *strip, const Window *window) {
    return (strip->item * scan->groups * scan->channels + strip->channel) * scan->length + window->start;
}

/* Steps of a tile that are in squares with all lanes. */
INLINE ptrdiff_t whole_squares(const Strip *strip, const Window *window) {
    return strip->lanes == LANES ? window->steps / LANES * LANES : 0;
}

static void load_tile(const Scan *scan, const void *from, const Strip *strip, const Window *window, float *to) {
    ptrdiff_t offset = tile_offset(scan, strip, window), steps = window->steps, whole = whole_squares(strip, window);
    ptrdiff_t next = scan->reverse ? -LANES : LANES;
    float *first = scan->reverse ? to + (steps - 1) * LANES : to;
#define LOAD(element) load_tile_as(element, scan, from, offset, whole, first, next)
    FOR_ELEMENT(LOAD)
    for (ptrdiff_t l = whole; l < steps; l += LANES)
        turn_some(scan, from, offset + l, strip->lanes, least(LANES, steps - l), first + l * next, next);
    memset(to + steps * LANES, 0, (window->padded - steps) * LANES * sizeof *to);
}

static void store_tile(const Scan *scan, void *to, const Strip *strip, const Window *window, const float *from) {
    ptrdiff_t offset = tile_offset(scan, strip, window), steps = window->steps, whole = whole_squares(strip, window);
    ptrdiff_t next = scan->reverse ? -LANES : LANES;
    const float *first = scan->reverse ? from + (steps - 1) * LANES : from;
#define STORE(element) store_tile_as(element, scan, to, offset, whole, first, next)
    FOR_ELEMENT(STORE)
    for (ptrdiff_t l = whole; l < steps; l += LANES)
        turn_some_back(scan, to, offset + l, strip->lanes, least(LANES, steps - l), first + l * next, next);
}

/* Rows of B or C: (states, TILE). */
static void load_rows(const Scan *scan, const void *from, const Strip *strip, const Window *window, Share states,
                      float *to) {
    ptrdiff_t row = (strip->item * scan->groups + strip->group) * scan->states;
    for (ptrdiff_t n = states.first; n < states.first + states.count; n++) {
        ptrdiff_t offset = (row + n) * scan->length + window->start;
#define LOAD_ROW(element) load_row_as(element, from, offset, window, scan->reverse, to + n * TILE)
        FOR_ELEMENT(LOAD_ROW)
    }
}

/* The tile's part of a row of dB or dC. */
static void store_row(const Scan *scan, void *to, ptrdiff_t row, const Window *window, const float *from) {
    ptrdiff_t offset = row * scan->length + window->start;
#define STORE_ROW(element) store_row_as(element, to, offset, window, scan->reverse, from)
    FOR_ELEMENT(STORE_ROW)
}

/* Where a strip begins in a (batch, channels, states) tensor. */
INLINE ptrdiff_t states_offset(const Scan *scan, const Strip *strip) {
    return (strip->item * scan->groups * scan->channels + strip->channel) * scan->states;
}

/* From (channels, states) to (states, lanes), times a factor; zero where there is nothing. */
static void load_states(const Scan *scan, const float *from, const Strip *strip, float factor, float *to) {
    for (ptrdiff_t n = 0; n < scan->states; n++)
        for (ptrdiff_t i = 0; i < LANES; i++)
            to[n * LANES + i] = from && i < strip->lanes ? from[i * scan->states + n] * factor : 0.0f;
}

static void store_states(const Scan *scan, float *to, const Strip *strip, const float *from) {
    for (ptrdiff_t i = 0; i < strip->lanes; i++)
        for (ptrdiff_t n = 0; n < scan->states; n++)
            to[i * scan->states + n] = from[n * LANES + i];
}

/* Kept states of a strip before a tile, those of the next state further on by all channels. */
INLINE float *kept_states(const Plan *plan, const Strip *strip, const Window *window, ptrdiff_t state) {
    const Scan *scan = plan->scan;
    ptrdiff_t row = (strip->item * plan->tiles + window->number) * scan->states + state;
    return scan->kept + row * scan->groups * scan->channels + strip->channel;
}

#endif
