/* How the selective scan divides its work. The file that includes this sets the instruction set and LEVEL.

   Each lane holds one channel. A strip is LANES channels of one group, a tile is TILE steps, a share is a few states
   that are computed side by side. A strip's tiles follow one another in time; strips are independent, and where there
   are fewer of them than threads, so are their shares, whose sums over the states are then added up afterwards. Either
   way the same sums run in the same order, so that the result does not depend on the number of threads. */
#ifndef MEDKIT_SELECTIVE_SCAN_PLAN_H
#define MEDKIT_SELECTIVE_SCAN_PLAN_H

#include "fast_exp.h"
#include "selective_scan.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#define JOIN(stem, level) stem##_##level
#define NAME(stem, level) JOIN(stem, level)

/* As many states as registers hold. */
#if LANES == 16
#define SHARE 4
#else
#define SHARE 2
#endif
#define CELLS ((ptrdiff_t)TILE * LANES)
/* Steps whose sums over lanes are begun together. */
#define QUAD 4
/* Strips that one thread moves on together, so that rows of B and C are at hand for all of them. */
#define BUNDLE 4
/* Floats of sums that the threads leave behind before they meet, about what a cache holds, and tiles at least: in the
   backward pass these take 2 N / LANES times the memory of u at 1024 steps and more. */
#define SPAN_FLOATS ((ptrdiff_t)1 << 20)
#define SPAN_TILES 16
/* Fewer updates of a state than this are done before another thread has woken up. */
#define UPDATES_PER_THREAD 100000

typedef struct {
    const Scan *scan;
    ptrdiff_t blocks, strips;        /* strips of a group; strips of all */
    ptrdiff_t bundle, bundles;       /* strips of a bundle; bundles of all */
    ptrdiff_t shares, parts;         /* shares of a strip; how many of them go to a thread of their own */
    ptrdiff_t tiles, span;           /* tiles of the sequence; tiles between two meetings of the threads */
    ptrdiff_t sums;                  /* tiles of sums over states that a share of a split strip leaves for a tile */
    ptrdiff_t local, strip, partial; /* floats of a thread, of a strip, of a strip's rows of dB and dC */
    ptrdiff_t threads;
} Plan;

typedef struct {
    ptrdiff_t number, item, group; /* item of the batch */
    ptrdiff_t channel, lanes;      /* the first channel, counted over all groups, and how many there are */
} Strip;

/* A tile in memory, and its steps with zeros after them up to a multiple of QUAD. */
typedef struct {
    ptrdiff_t number, start, steps, padded;
} Window;

typedef struct {
    ptrdiff_t first, count; /* states */
} Share;

INLINE ptrdiff_t most(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
INLINE ptrdiff_t ceiling(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

/* A share costs about 4 for its states and 3 for bringing the tile in. */
static int worth_splitting(ptrdiff_t strips, ptrdiff_t shares, ptrdiff_t threads) {
    return strips < threads && ceiling(strips * shares, threads) * 7 < ceiling(strips, threads) * (4 * shares + 3);
}

static Plan make_plan(const Scan *scan, int backward) {
    Plan plan = {.scan = scan};
    ptrdiff_t states = scan->states;
    double updates = (double)scan->batch * scan->groups * scan->channels * states * scan->length;
    plan.blocks = ceiling(scan->channels, LANES);
    plan.strips = scan->batch * scan->groups * plan.blocks;
    plan.shares = states / SHARE + states % SHARE;
    plan.threads = (ptrdiff_t)(updates / UPDATES_PER_THREAD) + 1;
    plan.threads = least(plan.threads, scan->threads);
    plan.parts = worth_splitting(plan.strips, plan.shares, plan.threads) ? plan.shares : 1;
    plan.threads = least(plan.threads, plan.strips * plan.parts);
    plan.bundle = most(1, least(BUNDLE, plan.strips / plan.threads));
    plan.bundles = scan->batch * scan->groups * ceiling(plan.blocks, plan.bundle);
    plan.tiles = ceiling(scan->length, TILE);
    plan.sums = !backward ? 1 : scan->z ? 3 : 2;

    ptrdiff_t split = plan.parts > 1 ? plan.parts * plan.sums * CELLS : 0;
    ptrdiff_t rows = backward ? 2 * states * TILE : 0;
    plan.span = plan.tiles;
    if (split + rows)
        plan.span = least(plan.tiles, most(SPAN_TILES, SPAN_FLOATS / (plan.strips * (split + rows))));
    plan.partial = plan.span * rows;
    plan.local = (backward ? 8 * CELLS + 2 * SHARE * (CELLS + LANES) : 3 * CELLS) + 2 * states * TILE;
    plan.strip = (3 * states + 2) * LANES + plan.partial + plan.span * split;
    return plan;
}

ptrdiff_t NAME(selective_scan_scratch, LEVEL)(const Scan *scan, int backward) {
    Plan plan = make_plan(scan, backward);
    return plan.threads * plan.local + plan.strips * plan.strip;
}

INLINE float *local_memory(const Plan *plan) {
#ifdef _OPENMP
    return plan->scan->scratch + omp_get_thread_num() * plan->local;
#else
    return plan->scan->scratch;
#endif
}

INLINE float *strip_memory(const Plan *plan, ptrdiff_t strip) {
    return plan->scan->scratch + plan->threads * plan->local + strip * plan->strip;
}

/* Rows of A, in powers of two: (states, lanes). */
INLINE float *rates_of(const Plan *plan, ptrdiff_t strip) { return strip_memory(plan, strip); }

/* What moves from tile to tile, the state or, in the backward pass, its gradient: (states, lanes). */
INLINE float *moving_of(const Plan *plan, ptrdiff_t strip) {
    return strip_memory(plan, strip) + plan->scan->states * LANES;
}

INLINE float *rate_gradients_of(const Plan *plan, ptrdiff_t strip) {
    return strip_memory(plan, strip) + 2 * plan->scan->states * LANES;
}

/* Of D, then of delta_bias. */
INLINE float *channel_gradients_of(const Plan *plan, ptrdiff_t strip) {
    return strip_memory(plan, strip) + 3 * plan->scan->states * LANES;
}

/* A strip's part in a row of dB (which = 0) or dC (1) over a span. */
INLINE float *partial_row(const Plan *plan, ptrdiff_t strip, ptrdiff_t which, ptrdiff_t state) {
    ptrdiff_t states = plan->scan->states;
    return strip_memory(plan, strip) + (3 * states + 2) * LANES + (which * states + state) * plan->span * TILE;
}

/* Sums over the states of a share, for one tile of the span. */
INLINE float *part_sums(const Plan *plan, ptrdiff_t strip, ptrdiff_t part, ptrdiff_t tile_of_span) {
    float *first = strip_memory(plan, strip) + (3 * plan->scan->states + 2) * LANES + plan->partial;
    return first + (tile_of_span * plan->parts + part) * plan->sums * CELLS;
}

static Strip strip_at(const Plan *plan, ptrdiff_t number) {
    const Scan *scan = plan->scan;
    ptrdiff_t block = number % plan->blocks, group = number / plan->blocks % scan->groups;
    return (Strip){
        .number = number,
        .item = number / (plan->blocks * scan->groups),
        .group = group,
        .channel = group * scan->channels + block * LANES,
        .lanes = least(LANES, scan->channels - block * LANES),
    };
}

/* How many strips a bundle has, and the first of them. */
static ptrdiff_t bundle_at(const Plan *plan, ptrdiff_t number, ptrdiff_t *first) {
    ptrdiff_t in_group = ceiling(plan->blocks, plan->bundle), begin = number % in_group * plan->bundle;
    *first = number / in_group * plan->blocks + begin;
    return least(plan->bundle, plan->blocks - begin);
}

static Window window_at(const Scan *scan, ptrdiff_t tile) {
    ptrdiff_t begin = tile * TILE, steps = least(TILE, scan->length - begin);
    ptrdiff_t start = scan->reverse ? scan->length - begin - steps : begin;
    return (Window){tile, start, steps, ceiling(steps, QUAD) * QUAD};
}

static Share share_at(const Scan *scan, ptrdiff_t number) {
    ptrdiff_t whole = scan->states / SHARE;
    return number < whole ? (Share){number * SHARE, SHARE} : (Share){whole * SHARE + number - whole, 1};
}

#endif
