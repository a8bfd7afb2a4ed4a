/* The backward pass of the selective scan, tile by tile from the end. Each tile is first run forward again from its
   kept state. The file that includes this sets the instruction set and LEVEL. */
#include "selective_scan_ahead.h"
#include "selective_scan_tiles.h"

/* What one tile is worked on with: tiles, the last three of them sums over states; rows of B and C; histories. */
typedef struct {
    float *delta, *slope, *u, *input, *grad, *by_rate, *by_input, *output;
    float *B, *C, *history, *decays;
} Bench;

/* Histories hold `count` vectors a step, and before the first step what came before. */
#define PAST(count, l, n) ((((l) + 1) * (count) + (n)) * LANES)

static Bench bench_at(const Plan *plan, float *local) {
    Bench bench;
    float **tiles[] = {&bench.delta, &bench.slope,   &bench.u,        &bench.input,
                       &bench.grad,  &bench.by_rate, &bench.by_input, &bench.output};
    for (int i = 0; i < 8; i++)
        *tiles[i] = local + i * CELLS;
    bench.history = local + 8 * CELLS;
    bench.decays = bench.history + SHARE * (CELLS + LANES);
    bench.B = bench.decays + SHARE * (CELLS + LANES);
    bench.C = bench.B + plan->scan->states * TILE;
    return bench;
}

/* Step sizes, the slope of softplus there, inputs, and the gradient before the gate. */
static void lay_out(const Scan *scan, const Strip *strip, const Window *window, const Bench *bench) {
    ptrdiff_t cells = window->padded * LANES;
    load_tile(scan, scan->delta, strip, window, bench->delta);
    load_tile(scan, scan->u, strip, window, bench->u);
    load_tile(scan, scan->grad_out, strip, window, bench->grad);
    if (scan->softplus) {
        Vec bias = scan->delta_bias ? load_some(scan->delta_bias + strip->channel, strip->lanes) : spread(0.0f);
        for (ptrdiff_t l = 0; l < cells; l += LANES)
            store(bench->slope + l, sigmoid_of(load(bench->delta + l) + bias));
    }
    step_sizes(scan, strip, window->steps, bench->delta);
    for (ptrdiff_t l = 0; l < cells; l += LANES)
        store(bench->input + l, load(bench->delta + l) * load(bench->u + l));
    if (scan->z) {
        load_tile(scan, scan->z, strip, window, bench->output);
        for (ptrdiff_t l = 0; l < cells; l += LANES) {
            Vec z = load(bench->output + l);
            store(bench->grad + l, load(bench->grad + l) * (z * sigmoid_of(z)));
        }
    }
}

/* Run `count` states through the tile again and keep them and their decays. */
INLINE void remember_share(int count, int gated, ptrdiff_t steps, const float *restrict delta,
                           const float *restrict input, const float *restrict B, const float *restrict C,
                           const float *restrict rates, float *restrict history, float *restrict decays,
                           float *restrict output, Ahead *ahead) {
    Octave table = octave();
    Vec state[SHARE], decay[SHARE];
    for (int n = 0; n < count; n++)
        state[n] = load(history + PAST(count, -1, n));
    for (ptrdiff_t l = 0; l < steps; l++) {
        Vec size = load(delta + l * LANES), pushed = load(input + l * LANES);
        fetch_some(ahead);
        for (int n = 0; n < count; n++)
            decay[n] = size * load(rates + n * LANES);
        exp2_each(decay, count, table);
        for (int n = 0; n < count; n++) {
            state[n] = fused(decay[n], state[n], pushed * spread(B[n * TILE + l]));
            store(history + PAST(count, l, n), state[n]);
            store(decays + PAST(count, l, n), decay[n]);
        }
        if (gated) {
            Vec sum = state[0] * spread(C[l]);
            for (int n = 1; n < count; n++)
                sum = fused(state[n], spread(C[n * TILE + l]), sum);
            store(output + l * LANES, load(output + l * LANES) + sum);
        }
    }
}

/* Go back through the tile. Sums over four lanes of what dB and dC add up take the place of decays and states. */
static NOINLINE void return_share(ptrdiff_t count, ptrdiff_t steps, const float *restrict delta,
                                  const float *restrict input, const float *restrict grad, const float *restrict B,
                                  const float *restrict C, const float *restrict rates, float *restrict history,
                                  float *restrict decays, float *restrict moving, float *restrict rate_gradients,
                                  float *restrict by_rate, float *restrict by_input) {
    for (ptrdiff_t first = steps - QUAD; first >= 0; first -= QUAD) {
        Vec rate_sums[QUAD], input_sums[QUAD];
        for (int i = 0; i < QUAD; i++)
            rate_sums[i] = input_sums[i] = spread(0.0f);
        for (ptrdiff_t n = 0; n < count; n++) {
            Vec carried = load(moving + n * LANES), rate_gradient = load(rate_gradients + n * LANES);
            Vec rate = load(rates + n * LANES), state = load(history + PAST(count, first + QUAD - 1, n));
            Vec for_B[QUAD], for_C[QUAD];
            for (int i = QUAD - 1; i >= 0; i--) {
                ptrdiff_t l = first + i;
                Vec before = load(history + PAST(count, l - 1, n)), now = load(grad + l * LANES);
                Vec adjoint = fused(now, spread(C[n * TILE + l]), carried);
                carried = adjoint * load(decays + PAST(count, l, n));
                for_C[i] = now * state;
                for_B[i] = adjoint * load(input + l * LANES);
                Vec felt = carried * before;
                input_sums[i] = fused(adjoint, spread(B[n * TILE + l]), input_sums[i]);
                rate_sums[i] = fused(felt, rate, rate_sums[i]);
                rate_gradient = fused(felt, load(delta + l * LANES), rate_gradient);
                state = before;
            }
            store(decays + PAST(count, first, n), sums_of_four(for_B[0], for_B[1], for_B[2], for_B[3]));
            store(history + PAST(count, first, n), sums_of_four(for_C[0], for_C[1], for_C[2], for_C[3]));
            store(moving + n * LANES, carried);
            store(rate_gradients + n * LANES, rate_gradient);
        }
        for (int i = 0; i < QUAD; i++) {
            float *rate_sum = by_rate + (first + i) * LANES, *input_sum = by_input + (first + i) * LANES;
            store(rate_sum, load(rate_sum) + rate_sums[i]);
            store(input_sum, load(input_sum) + input_sums[i]);
        }
    }
}

/* A row of dB or dC: sums over the channels of the strip. */
INLINE void sum_row(int count, ptrdiff_t steps, const float *history, ptrdiff_t n, float *row) {
    for (ptrdiff_t l = 0; l < steps; l += LANES) {
        Vec four[LANES / QUAD];
        for (int i = 0; i < LANES / QUAD; i++)
            four[i] = load(history + PAST(count, l + i * QUAD, n));
        store(row + l, sums_over_groups(four));
    }
}

INLINE void backward_share(int count, int gated, const Plan *plan, const Strip *strip, const Window *window,
                           const Bench *bench, ptrdiff_t first, ptrdiff_t tile_of_span, Ahead *ahead) {
    const float *rates = rates_of(plan, strip->number) + first * LANES;
    const float *B = bench->B + first * TILE, *C = bench->C + first * TILE;
    float *rate_gradients = rate_gradients_of(plan, strip->number) + first * LANES;
    float tile_gradients[SHARE * LANES] = {0}; /* one long sum would lose what a step adds */
    for (int n = 0; n < count; n++)
        store(bench->history + PAST(count, -1, n), load_some(kept_states(plan, strip, window, first + n), strip->lanes));
    remember_share(count, gated, window->padded, bench->delta, bench->input, B, C, rates, bench->history,
                   bench->decays, bench->output, ahead);
    return_share(count, window->padded, bench->delta, bench->input, bench->grad, B, C, rates, bench->history,
                 bench->decays, moving_of(plan, strip->number) + first * LANES, tile_gradients, bench->by_rate,
                 bench->by_input);
    for (int l = 0; l < count * LANES; l += LANES)
        store(rate_gradients + l, load(rate_gradients + l) + load(tile_gradients + l));
    for (int n = 0; n < count; n++) {
        float *dB = partial_row(plan, strip->number, 0, first + n), *dC = partial_row(plan, strip->number, 1, first + n);
        sum_row(count, window->steps, bench->decays, n, dB + tile_of_span * TILE);
        sum_row(count, window->steps, bench->history, n, dC + tile_of_span * TILE);
    }
}

static void clear_sums(const Plan *plan, const Bench *bench) {
    memset(bench->by_rate, 0, CELLS * sizeof *bench->by_rate);
    memset(bench->by_input, 0, CELLS * sizeof *bench->by_input);
    if (plan->scan->z)
        memset(bench->output, 0, CELLS * sizeof *bench->output);
}

static void finish_gate(const Scan *scan, const Strip *strip, const Window *window, const Bench *bench, Vec factor) {
    float *gate = bench->history, *grad_out = bench->decays; /* no longer needed */
    load_tile(scan, scan->z, strip, window, gate);
    load_tile(scan, scan->grad_out, strip, window, grad_out);
    for (ptrdiff_t l = 0; l < window->steps * LANES; l += LANES) {
        Vec z = load(gate + l), open = sigmoid_of(z), one = spread(1.0f);
        Vec output = fused(factor, load(bench->u + l), load(bench->output + l));
        store(gate + l, load(grad_out + l) * output * (open * fused(z, one - open, one)));
    }
    store_tile(scan, scan->dz, strip, window, gate);
}

/* Gradients of u, delta and z from the sums over states, and what D and delta_bias get from this tile. */
static void finish_tile(const Plan *plan, const Strip *strip, const Window *window, const Bench *bench) {
    const Scan *scan = plan->scan;
    float *channel_gradients = channel_gradients_of(plan, strip->number);
    Vec factor = scan->D ? load_some(scan->D + strip->channel, strip->lanes) : spread(0.0f);
    Vec by_factor = spread(0.0f), by_bias = spread(0.0f);
    if (scan->z)
        finish_gate(scan, strip, window, bench, factor);
    for (ptrdiff_t l = (window->steps - 1) * LANES; l >= 0; l -= LANES) {
        Vec grad = load(bench->grad + l), u = load(bench->u + l), by_input = load(bench->by_input + l);
        Vec by_size = fused(load(bench->by_rate + l), spread(LN_2), u * by_input);
        if (scan->softplus)
            by_size = by_size * load(bench->slope + l);
        by_factor = fused(grad, u, by_factor);
        by_bias = by_bias + by_size;
        store(bench->by_rate + l, by_size);
        store(bench->by_input + l, fused(load(bench->delta + l), by_input, factor * grad));
    }
    store(channel_gradients, load(channel_gradients) + by_factor);
    store(channel_gradients + LANES, load(channel_gradients + LANES) + by_bias);
    store_tile(scan, scan->ddelta, strip, window, bench->by_rate);
    store_tile(scan, scan->du, strip, window, bench->by_input);
}

/* All shares of a strip, or where it is split the one share `part`. */
static void backward_tile(const Plan *plan, const Strip *strip, const Window *window, ptrdiff_t part, int rows,
                          const Next *next, ptrdiff_t tile_of_span, float *local) {
    const Scan *scan = plan->scan;
    const void *tensors[] = {scan->delta, scan->u, scan->grad_out, scan->z, scan->ddelta, scan->du, scan->dz};
    ptrdiff_t shares = plan->parts > 1 ? 1 : plan->shares;
    Bench bench = bench_at(plan, local);
    lay_out(scan, strip, window, &bench);
    if (plan->parts > 1) {
        bench.by_rate = part_sums(plan, strip->number, part, tile_of_span);
        bench.by_input = bench.by_rate + CELLS;
        bench.output = bench.by_input + CELLS;
    }
    clear_sums(plan, &bench);
    if (rows) {
        Share states = plan->parts > 1 ? share_at(scan, part) : (Share){0, scan->states};
        load_rows(scan, scan->B, strip, window, states, bench.B);
        load_rows(scan, scan->C, strip, window, states, bench.C);
    }
    Ahead ahead;
    list_ahead(scan, tensors, 7, next, &ahead);
    for (ptrdiff_t k = part; k < part + shares; k++) {
        Share share = share_at(scan, k);
        if (share.count == SHARE && scan->z)
            backward_share(SHARE, 1, plan, strip, window, &bench, share.first, tile_of_span, &ahead);
        else if (share.count == SHARE)
            backward_share(SHARE, 0, plan, strip, window, &bench, share.first, tile_of_span, &ahead);
        else
            backward_share(1, scan->z != NULL, plan, strip, window, &bench, share.first, tile_of_span, &ahead);
    }
    if (plan->parts == 1)
        finish_tile(plan, strip, window, &bench);
}

static void backward_bundle(const Plan *plan, ptrdiff_t number, ptrdiff_t part, ptrdiff_t begin, ptrdiff_t end,
                            float *local) {
    ptrdiff_t first, strips = bundle_at(plan, number, &first);
    for (ptrdiff_t tile = end - 1; tile >= begin; tile--) {
        Window window = window_at(plan->scan, tile);
        for (ptrdiff_t i = 0; i < strips; i++) {
            Strip strip = strip_at(plan, first + i);
            int last = i + 1 == strips, end_of_span = last && tile == begin;
            Next next = {strip_at(plan, last ? first : first + i + 1), window_at(plan->scan, tile - last), last};
            backward_tile(plan, &strip, &window, part, i == 0, end_of_span ? NULL : &next, tile - begin, local);
        }
    }
}

/* Gradients of a split strip. */
static void join_backward(const Plan *plan, ptrdiff_t number, ptrdiff_t begin, ptrdiff_t end, float *local) {
    Bench bench = bench_at(plan, local);
    float *joined[] = {bench.by_rate, bench.by_input, bench.output};
    Strip strip = strip_at(plan, number);
    for (ptrdiff_t tile = end - 1; tile >= begin; tile--) {
        Window window = window_at(plan->scan, tile);
        lay_out(plan->scan, &strip, &window, &bench);
        clear_sums(plan, &bench);
        for (ptrdiff_t part = 0; part < plan->parts; part++)
            for (ptrdiff_t k = 0; k < plan->sums; k++) {
                const float *sums = part_sums(plan, number, part, tile - begin) + k * CELLS;
                for (ptrdiff_t l = 0; l < window.steps * LANES; l += LANES)
                    store(joined[k] + l, load(joined[k] + l) + load(sums + l));
            }
        finish_tile(plan, &strip, &window, &bench);
    }
}

/* A row of dB or dC over a span: the sum over the strips of its group, the first one first. */
static void join_row(const Plan *plan, ptrdiff_t which, ptrdiff_t row, ptrdiff_t begin, ptrdiff_t end) {
    const Scan *scan = plan->scan;
    ptrdiff_t state = row % scan->states, first = row / scan->states * plan->blocks;
    for (ptrdiff_t tile = begin; tile < end; tile++) {
        Window window = window_at(scan, tile);
        float sums[TILE];
        for (ptrdiff_t l = 0; l < window.steps; l += LANES) {
            Vec sum = load(partial_row(plan, first, which, state) + (tile - begin) * TILE + l);
            for (ptrdiff_t strip = first + 1; strip < first + plan->blocks; strip++)
                sum = sum + load(partial_row(plan, strip, which, state) + (tile - begin) * TILE + l);
            store(sums + l, sum);
        }
        store_row(scan, which ? scan->dC : scan->dB, row, &window, sums);
    }
}

static void begin_backward(const Plan *plan, ptrdiff_t number) {
    begin_strip(plan, number, plan->scan->grad_last_state);
    memset(rate_gradients_of(plan, number), 0, (plan->scan->states + 2) * LANES * sizeof(float));
}

/* The sum over the batch of what lies `offset` floats into the memory of a strip, the first item first. */
static float sum_of_items(const Plan *plan, ptrdiff_t strip, ptrdiff_t offset) {
    float sum = 0.0f;
    for (ptrdiff_t number = strip; number < plan->strips; number += plan->blocks * plan->scan->groups)
        sum += strip_memory(plan, number)[offset];
    return sum;
}

/* Gradients of A, D and delta_bias for the channels of a strip. */
static void join_items(const Plan *plan, const Strip *strip) {
    const Scan *scan = plan->scan;
    ptrdiff_t rates = rate_gradients_of(plan, 0) - strip_memory(plan, 0);
    ptrdiff_t channels = channel_gradients_of(plan, 0) - strip_memory(plan, 0);
    for (ptrdiff_t i = 0; i < strip->lanes; i++) {
        for (ptrdiff_t n = 0; n < scan->states; n++)
            scan->dA[(strip->channel + i) * scan->states + n] = sum_of_items(plan, strip->number, rates + n * LANES + i);
        if (scan->dD)
            scan->dD[strip->channel + i] = sum_of_items(plan, strip->number, channels + i);
        if (scan->ddelta_bias)
            scan->ddelta_bias[strip->channel + i] = sum_of_items(plan, strip->number, channels + LANES + i);
    }
}

static void end_backward(const Plan *plan, ptrdiff_t number) {
    const Scan *scan = plan->scan;
    Strip strip = strip_at(plan, number);
    if (scan->dinitial_state)
        store_states(scan, scan->dinitial_state + states_offset(scan, &strip), &strip, moving_of(plan, number));
    if (strip.item == 0)
        join_items(plan, &strip);
}

void NAME(selective_scan_backward, LEVEL)(const Scan *scan) {
    Plan plan = make_plan(scan, 1);
#pragma omp parallel num_threads(plan.threads) if (plan.threads > 1)
    {
        float *local = local_memory(&plan);
#pragma omp for
        for (ptrdiff_t number = 0; number < plan.strips; number++)
            begin_backward(&plan, number);
        for (ptrdiff_t end = plan.tiles; end > 0; end -= plan.span) {
            ptrdiff_t begin = most(0, end - plan.span);
#pragma omp for schedule(dynamic)
            for (ptrdiff_t work = 0; work < plan.bundles * plan.parts; work++)
                backward_bundle(&plan, work / plan.parts, work % plan.parts, begin, end, local);
            if (plan.parts > 1) {
#pragma omp for schedule(dynamic)
                for (ptrdiff_t number = 0; number < plan.strips; number++)
                    join_backward(&plan, number, begin, end, local);
            }
#pragma omp for schedule(dynamic)
            for (ptrdiff_t work = 0; work < 2 * scan->batch * scan->groups * scan->states; work++)
                join_row(&plan, work % 2, work / 2, begin, end);
        }
#pragma omp for
        for (ptrdiff_t number = 0; number < plan.strips; number++)
            end_backward(&plan, number);
    }
}
