"""Triton kernels of the selective scan's forward pass: what each tile adds to the state, and the scan."""

# Triton compiles its functions from their source and has types of its own.
# ruff: noqa: ANN001, ANN201, ANN202, RUF005
# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

from medkit.ops.selective_scan.gpu_tiles import (
    LOG2_E,
    block_channels,
    carried,
    known_multiple,
    lane_starts,
    load_group_items,
    load_items,
    load_steps,
    products,
    scan_lanes,
    sigmoid,
    store_items,
    store_lane,
    store_sum,
    store_summary,
    sum_of_items,
    sum_of_other_lanes,
    tiles_of_program,
    zeros,
)

__all__ = ["scan", "summarise_states"]


@triton.jit
def summarise_states(
    u, delta, A, B, delta_bias, states, spans,
    length, channels, groups, tiles, group_blocks, T: tl.constexpr,
):  # fmt: skip
    """What each tile but the last would leave behind if the state were zero before it.

    One program per batch, tile and channel block. It writes ``states`` ``(batch, tiles, channels, N)`` of the
    tile that follows, and ``spans`` ``(batch, tiles, channels)``, the sums of the step sizes: the tile's decay
    is ``exp(A * span)``.
    """
    blocks = groups * group_blocks
    program = tl.program_id(0)
    tile = program // blocks % (tiles - 1)
    batch = (program // blocks // (tiles - 1)).to(tl.int64)
    group, channel, exists = block_channels(program % blocks, group_blocks, channels // groups, T)
    length = known_multiple(length, T)
    row = (batch * channels + channel) * length
    start = lane_starts(tile, length, row.shape[0], T)
    step = load_steps(delta, delta_bias, row, channel, exists, tile, length, T)
    drive = products(step, load_items(u + row, exists, start, length, T), T)
    # Added up from the end of the tile: a difference of running sums would lose what follows a large step.
    after = sum_of_other_lanes(sum_of_items(step, T), True, T)
    spans_after = ()
    for j in tl.static_range(T.items - 1, -1, -1):
        spans_after = (after,) + spans_after
        after += step[j]
    place = (batch * tiles + tile) * channels + channel
    store_sum(spans + place, sum_of_items(step, T), exists, T)
    summary = states + (place + channels) * T.states
    first_row = (batch * groups + group) * T.states
    store_summary(summary, spans_after, drive, A, B, first_row, channel, exists, tile, length, T)


@triton.jit
def scan(
    u, delta, A, B, C, D, z, delta_bias, initial_state, states, last_state, out,
    length, channels, groups, tiles, group_blocks, T: tl.constexpr,
):  # fmt: skip
    """Outputs and last state.

    ``states`` ``(batch, tiles, channels, N)`` has the state before each tile but the first, in the order of the
    scan. With a sequential tiling there is one program per batch and channel block, which hands the state on
    from tile to tile through ``states``; else there is one per tile as well, and ``states`` is ready.
    """
    blocks = groups * group_blocks
    program = tl.program_id(0)
    group, channel, exists = block_channels(program % blocks, group_blocks, channels // groups, T)
    length = known_multiple(length, T)
    batch, tile, stop = tiles_of_program(program // blocks, tiles, T)
    first_row = (batch * groups + group) * T.states
    row = (batch * channels + channel) * length
    while tile < stop:
        start = lane_starts(tile, length, row.shape[0], T)
        step = load_steps(delta, delta_bias, row, channel, exists, tile, length, T)
        drive = products(step, load_items(u + row, exists, start, length, T), T)
        y = _outputs(
            step, drive, A, B, C, initial_state, states, last_state,
            batch, tile, tiles, channels, channel, exists, first_row, length, T,
        )  # fmt: skip
        y = _skipped_and_gated(y, u, D, z, row, channel, exists, start, length, T)
        store_items(out + row, exists, y, start, length, T)
        # Every lane reads the state that the last one has written.
        tl.debug_barrier()
        tile += 1


@triton.jit
def _outputs(
    step, drive, A, B, C, initial_state, states, last_state,
    batch, tile, tiles, channels, channel, exists, first_row, length, T: tl.constexpr,
):  # fmt: skip
    """Items of ``sum_n C_n h_n``; the state after the tile goes to ``last_state`` or ``states``."""
    span = sum_of_items(step, T)
    place = ((batch * tiles + tile) * channels + channel) * T.states
    outer_place = (batch * channels + channel) * T.states
    y = zeros(T)
    for n in tl.range(0, T.states, loop_unroll_factor=2):
        rate = tl.load(A + channel * T.states + n, mask=exists, other=0.0) * LOG2_E
        carry = carried(states + place + n, initial_state, outer_place + n, tile == 0, exists)
        b = load_group_items(B, first_row + n, tile, length, T)
        c = load_group_items(C, first_row + n, tile, length, T)
        decay = ()
        added = products(drive, b, T)
        alone = tl.zeros(span.shape, tl.float32)
        for j in tl.static_range(T.items):
            decay = decay + (tl.exp2(rate * step[j]),)
            alone = decay[j] * alone + added[j]
        h, after = scan_lanes(tl.exp2(rate * span), alone, carry, False, T)
        store_lane(last_state + outer_place + n, after, T.lanes - 1, exists & (tile == tiles - 1), T)
        if T.sequential:
            following = states + place + channels * T.states + n
            store_lane(following, after, T.lanes - 1, exists & (tile < tiles - 1), T)
        summed = ()
        for j in tl.static_range(T.items):
            h = decay[j] * h + added[j]
            summed = summed + (y[j] + c[j] * h,)
        y = summed
    return y


@triton.jit
def _skipped_and_gated(y, u, D, z, row, channel, exists, start, length, T: tl.constexpr):
    """``(y + D u) silu(z)``, each where there is one; ``u`` is read again rather than kept in registers."""
    if D is not None:
        skip = tl.load(D + channel, mask=exists, other=0.0)
        x = load_items(u + row, exists, start, length, T)
        skipped = ()
        for j in tl.static_range(T.items):
            skipped = skipped + (y[j] + skip * x[j],)
        y = skipped
    if z is not None:
        gate = load_items(z + row, exists, start, length, T)
        gated = ()
        for j in tl.static_range(T.items):
            gated = gated + (y[j] * (gate[j] * sigmoid(gate[j])),)
        y = gated
    return y
