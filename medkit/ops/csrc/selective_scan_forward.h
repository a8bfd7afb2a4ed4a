/* The forward pass of the selective scan. The file that includes this sets the instruction set and LEVEL. */
#include "selective_scan_ahead.h"
#include "selective_scan_tiles.h"

/* delta + delta_bias, through softplus where that is asked for. */
static void step_sizes(const Scan *scan, const Strip *strip, ptrdiff_t steps, float *delta) {
    if (!scan->delta_bias && !scan->softplus)
        return;
    Vec bias = scan->delta_bias ? load_some(scan->delta_bias + strip->channel, strip->lanes) : spread(0.0f);
    for (ptrdiff_t l = 0; l < steps; l++) {
        Vec size = load(delta + l * LANES) + bias;
        store(delta + l * LANES, scan->softplus ? softplus_of(size) : size);
    }
}

/* Move `count` states through a tile and add what they give to the output. */
INLINE void forward_share(int count, ptrdiff_t steps, const float *restrict delta, const float *restrict input,
                          const float *restrict B, const float *restrict C, const float *restrict rates,
                          float *restrict moving, float *restrict output, Ahead *ahead) {
    Octave table = octave();
    Vec state[SHARE], decay[SHARE];
    for (int n = 0; n < count; n++)
        state[n] = load(moving + n * LANES);
    for (ptrdiff_t l = 0; l < steps; l++) {
        Vec size = load(delta + l * LANES), pushed = load(input + l * LANES);
        fetch_some(ahead);
        for (int n = 0; n < count; n++)
            decay[n] = size * load(rates + n * LANES);
        exp2_each(decay, count, table);
        for (int n = 0; n < count; n++)
            state[n] = fused(decay[n], state[n], pushed * spread(B[n * TILE + l]));
        Vec sum = state[0] * spread(C[l]);
        for (int n = 1; n < count; n++)
            sum = fused(state[n], spread(C[n * TILE + l]), sum);
        store(output + l * LANES, load(output + l * LANES) + sum);
    }
    for (int n = 0; n < count; n++)
        store(moving + n * LANES, state[n]);
}

/* From u to D u, to which the states add theirs. */
static void skip(const Scan *scan, const Strip *strip, ptrdiff_t steps, float *output) {
    if (!scan->D) {
        memset(output, 0, steps * LANES * sizeof *output);
        return;
    }
    Vec factor = load_some(scan->D + strip->channel, strip->lanes);
    for (ptrdiff_t l = 0; l < steps * LANES; l += LANES)
        store(output + l, load(output + l) * factor);
}

static void gate_and_store(const Scan *scan, const Strip *strip, const Window *window, float *output, float *gate) {
    if (scan->z) {
        load_tile(scan, scan->z, strip, window, gate);
        for (ptrdiff_t l = 0; l < window->steps * LANES; l += LANES) {
            Vec z = load(gate + l);
            store(output + l, load(output + l) * (z * sigmoid_of(z)));
        }
    }
    store_tile(scan, scan->out, strip, window, output);
}

/* All shares of a strip, or where it is split the one share `part`, whose sums then go to `sums`. */
static void forward_tile(const Plan *plan, const Strip *strip, const Window *window, ptrdiff_t part, int rows,
                         const Next *next, float *local, float *sums) {
    const Scan *scan = plan->scan;
    ptrdiff_t shares = plan->parts > 1 ? 1 : plan->shares, cells = window->steps * LANES;
    float *delta = local, *input = delta + CELLS, *output = sums ? sums : input + CELLS;
    float *B = input + 2 * CELLS, *C = B + scan->states * TILE;
    const void *tensors[] = {scan->delta, scan->u, scan->z, scan->out};
    if (rows) {
        Share states = plan->parts > 1 ? share_at(scan, part) : (Share){0, scan->states};
        load_rows(scan, scan->B, strip, window, states, B);
        load_rows(scan, scan->C, strip, window, states, C);
    }
    load_tile(scan, scan->delta, strip, window, delta);
    step_sizes(scan, strip, window->steps, delta);
    load_tile(scan, scan->u, strip, window, output);
    for (ptrdiff_t l = 0; l < cells; l += LANES)
        store(input + l, load(delta + l) * load(output + l));
    if (sums)
        for (ptrdiff_t l = 0; l < cells; l += LANES)
            store(output + l, spread(-0.0f)); /* to which 0 and -0 can be added as they are */
    else
        skip(scan, strip, window->steps, output);
    Ahead ahead;
    list_ahead(scan, tensors, 4, next, &ahead);
    for (ptrdiff_t k = part; k < part + shares; k++) {
        Share share = share_at(scan, k);
        const float *rates = rates_of(plan, strip->number) + share.first * LANES;
        const float *own_B = B + share.first * TILE, *own_C = C + share.first * TILE;
        float *moving = moving_of(plan, strip->number) + share.first * LANES;
        for (ptrdiff_t n = 0; scan->kept && n < share.count; n++)
            store_some(kept_states(plan, strip, window, share.first + n), load(moving + n * LANES), strip->lanes);
        if (share.count == SHARE)
            forward_share(SHARE, window->steps, delta, input, own_B, own_C, rates, moving, output, &ahead);
        else
            forward_share(1, window->steps, delta, input, own_B, own_C, rates, moving, output, &ahead);
    }
    if (!sums)
        gate_and_store(scan, strip, window, output, delta);
}

static void forward_bundle(const Plan *plan, ptrdiff_t number, ptrdiff_t part, ptrdiff_t begin, ptrdiff_t end,
                           float *local) {
    ptrdiff_t first, strips = bundle_at(plan, number, &first);
    for (ptrdiff_t tile = begin; tile < end; tile++) {
        Window window = window_at(plan->scan, tile);
        for (ptrdiff_t i = 0; i < strips; i++) {
            Strip strip = strip_at(plan, first + i);
            int last = i + 1 == strips;
            Next next = {strip_at(plan, last ? first : first + i + 1), window_at(plan->scan, tile + last), last};
            float *sums = plan->parts > 1 ? part_sums(plan, strip.number, part, tile - begin) : NULL;
            forward_tile(plan, &strip, &window, part, i == 0, last && tile + 1 == end ? NULL : &next, local, sums);
        }
    }
}

/* Output of a split strip. */
static void join_forward(const Plan *plan, const Strip *strip, const Window *window, ptrdiff_t tile_of_span,
                         float *local) {
    const Scan *scan = plan->scan;
    load_tile(scan, scan->u, strip, window, local);
    skip(scan, strip, window->steps, local);
    for (ptrdiff_t part = 0; part < plan->parts; part++) {
        const float *sums = part_sums(plan, strip->number, part, tile_of_span);
        for (ptrdiff_t l = 0; l < window->steps * LANES; l += LANES)
            store(local + l, load(local + l) + load(sums + l));
    }
    gate_and_store(scan, strip, window, local, local + CELLS);
}

static void begin_strip(const Plan *plan, ptrdiff_t number, const float *moving) {
    const Scan *scan = plan->scan;
    Strip strip = strip_at(plan, number);
    load_states(scan, scan->A + strip.channel * scan->states, &strip, LOG2_E, rates_of(plan, number));
    load_states(scan, moving ? moving + states_offset(scan, &strip) : NULL, &strip, 1.0f, moving_of(plan, number));
}

void NAME(selective_scan_forward, LEVEL)(const Scan *scan) {
    Plan plan = make_plan(scan, 0);
#pragma omp parallel num_threads(plan.threads) if (plan.threads > 1)
    {
        float *local = local_memory(&plan);
#pragma omp for
        for (ptrdiff_t number = 0; number < plan.strips; number++)
            begin_strip(&plan, number, scan->initial_state);
        for (ptrdiff_t begin = 0; begin < plan.tiles; begin += plan.span) {
            ptrdiff_t end = least(plan.tiles, begin + plan.span);
#pragma omp for schedule(dynamic)
            for (ptrdiff_t work = 0; work < plan.bundles * plan.parts; work++)
                forward_bundle(&plan, work / plan.parts, work % plan.parts, begin, end, local);
            if (plan.parts == 1)
                continue;
#pragma omp for schedule(dynamic)
            for (ptrdiff_t work = 0; work < plan.strips * (end - begin); work++) {
                ptrdiff_t tile = work % (end - begin);
                Strip strip = strip_at(&plan, work / (end - begin));
                Window window = window_at(scan, begin + tile);
                join_forward(&plan, &strip, &window, tile, local);
            }
        }
#pragma omp for
        for (ptrdiff_t number = 0; number < plan.strips; number++) {
            Strip strip = strip_at(&plan, number);
            store_states(scan, scan->last_state + states_offset(scan, &strip), &strip, moving_of(&plan, number));
        }
    }
}
