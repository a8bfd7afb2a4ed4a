"""Triton kernels of the selective scan's backward pass.

With ``g_l`` the gradient of the loss by the state ``h_l``, ``gy = grad_out silu(z)`` and ``a_l = exp(dt_l A)``
the recurrence runs the other way, ``g_l = C_l gy_l + a_{l+1} g_{l+1}``, and per state

- ``dB_l = sum_d g_l dt_l u_l`` and ``dC_l = sum_d gy_l h_l``, sums over the channels of a group;
- ``dA = sum_l g_l dt_l a_l h_{l-1}``;
- ``ddt_l = u_l sum_n g_l B_l + sum_n A g_l a_l h_{l-1}`` and ``du_l = dt_l sum_n g_l B_l + D gy_l``.

The states are computed again from those before each tile. No sum is left to the order in which programs run:
what a program cannot add up itself it writes to a place of its own.
"""

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
    load_slopes,
    load_steps,
    products,
    scan_lanes,
    sigmoid,
    store_group_sum,
    store_items,
    store_lane,
    store_sum,
    store_summary,
    sum_of_items,
    sum_of_other_lanes,
    tiles_of_program,
    zeros,
)

__all__ = ["adjoint_scan", "summarise_adjoints"]


@triton.jit
def summarise_adjoints(
    grad_out, delta, A, C, z, delta_bias, adjoints, spans,
    length, channels, groups, tiles, group_blocks, T: tl.constexpr,
):  # fmt: skip
    """What each tile but the first would hand back if the gradient by the state were zero behind it.

    One program per batch, tile and channel block. It writes ``adjoints`` ``(batch, tiles, channels, N)`` of the
    tile that comes before, and ``spans`` ``(batch, tiles, channels)``, the sums of the step sizes.
    """
    blocks = groups * group_blocks
    program = tl.program_id(0)
    tile = program // blocks % (tiles - 1) + 1
    batch = (program // blocks // (tiles - 1)).to(tl.int64)
    group, channel, exists = block_channels(program % blocks, group_blocks, channels // groups, T)
    length = known_multiple(length, T)
    row = (batch * channels + channel) * length
    start = lane_starts(tile, length, row.shape[0], T)
    step = load_steps(delta, delta_bias, row, channel, exists, tile, length, T)
    grad_y = _grad_y(grad_out + row, z, row, exists, start, length, T)
    span = sum_of_other_lanes(sum_of_items(step, T), False, T)
    spans_to = ()
    for j in tl.static_range(T.items):
        span += step[j]
        spans_to = spans_to + (span,)
    place = (batch * tiles + tile) * channels + channel
    store_sum(spans + place, sum_of_items(step, T), exists, T)
    summary = adjoints + (place - channels) * T.states
    first_row = (batch * groups + group) * T.states
    store_summary(summary, spans_to, grad_y, A, C, first_row, channel, exists, tile, length, T)


@triton.jit
def _grad_y(grad_out_row, z, row, exists, start, length, T: tl.constexpr):
    """Items of the gradient by the output before the gate."""
    grad = load_items(grad_out_row, exists, start, length, T)
    if z is not None:
        gate = load_items(z + row, exists, start, length, T)
        gated = ()
        for j in tl.static_range(T.items):
            gated = gated + (grad[j] * (gate[j] * sigmoid(gate[j])),)
        grad = gated
    return grad


@triton.jit
def adjoint_scan(
    grad_out, grad_last_state, u, delta, A, B, C, D, z, delta_bias, initial_state, states, adjoints,
    du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state,
    batches, shares, length, channels, groups, tiles, group_blocks, T: tl.constexpr,
):  # fmt: skip
    """Gradients of everything.

    The channel blocks of a group are divided into ``shares``, and a program goes through those of one share:
    ``dB`` and ``dC`` are ``(shares, batch, groups, N, length)``. ``dA`` ``(batch, tiles, channels, N)``, ``dD``
    and ``ddelta_bias`` ``(batch, tiles, channels)`` are sums over one tile. ``adjoints``
    ``(batch, tiles, channels, N)`` is the gradient by the state that each tile but the last hands on: ready, or
    written with a sequential tiling, where a program goes through all tiles of a block as well.
    """
    program = tl.program_id(0)
    share = program % shares
    group = program // shares % groups
    batch, low, high = tiles_of_program(program // shares // groups, tiles, T)
    length = known_multiple(length, T)
    share_blocks = tl.cdiv(group_blocks, shares)
    first_row = (batch * groups + group) * T.states
    sums_row = share * (batches * groups * T.states) + first_row
    block = share * share_blocks
    while block < tl.minimum((share + 1) * share_blocks, group_blocks):
        _, channel, exists = block_channels(group * group_blocks + block, group_blocks, channels // groups, T)
        row = (batch * channels + channel) * length
        tile = high - 1
        while tile >= low:
            start = lane_starts(tile, length, row.shape[0], T)
            step = load_steps(delta, delta_bias, row, channel, exists, tile, length, T)
            drive = products(step, load_items(u + row, exists, start, length, T), T)
            grad_y = _grad_y(grad_out + row, z, row, exists, start, length, T)
            by_B, by_decay, y = _adjoints(
                step, drive, grad_y, A, B, C, initial_state, grad_last_state, states, adjoints,
                dA, dB, dC, dinitial_state, z is not None, block > share * share_blocks,
                batch, tile, tiles, channels, channel, exists, first_row, sums_row, length, T,
            )  # fmt: skip
            _store_gradients(
                by_B, by_decay, y, step, grad_y, grad_out, u, delta, D, z, delta_bias,
                du, ddelta, dD, dz, ddelta_bias, row, (batch * tiles + tile) * channels + channel,
                tile, channel, exists, start, length, T,
            )  # fmt: skip
            # Every lane reads the gradient by the state that the first one has written, and the sums so far.
            tl.debug_barrier()
            tile -= 1
        block += 1


@triton.jit
def _adjoints(
    step, drive, grad_y, A, B, C, initial_state, grad_last_state, states, adjoints,
    dA, dB, dC, dinitial_state, OUTPUTS: tl.constexpr, add,
    batch, tile, tiles, channels, channel, exists, first_row, sums_row, length, T: tl.constexpr,
):  # fmt: skip
    """Items of ``sum_n g_n B_n``, of ``sum_n A_n g_n a_n h_n`` with the state before the step, and of ``y``.

    Writes what belongs to a state on the way; to ``dB`` and ``dC`` it is added where ``add`` says so. ``y`` is
    that without skip and gate, and stays zero unless ``OUTPUTS``.
    """
    span = sum_of_items(step, T)
    place = ((batch * tiles + tile) * channels + channel) * T.states
    outer_place = (batch * channels + channel) * T.states
    by_B, by_decay, y = zeros(T), zeros(T), zeros(T)
    for n in range(T.states):
        slope = tl.load(A + channel * T.states + n, mask=exists, other=0.0)
        b = load_group_items(B, first_row + n, tile, length, T)
        c = load_group_items(C, first_row + n, tile, length, T)
        decay = ()
        alone = tl.zeros(span.shape, tl.float32)
        for j in tl.static_range(T.items):
            decay = decay + (tl.exp2(slope * LOG2_E * step[j]),)
            alone = decay[j] * alone + drive[j] * b[j]
        carry = carried(states + place + n, initial_state, outer_place + n, tile == 0, exists)
        tile_decay = tl.exp2(slope * LOG2_E * span)
        h, _ = scan_lanes(tile_decay, alone, carry, False, T)
        kept = ()
        by_C = ()
        outputs = ()
        for j in tl.static_range(T.items):
            kept = kept + (decay[j] * h,)
            h = kept[j] + drive[j] * b[j]
            by_C = by_C + (grad_y[j] * h,)
            outputs = outputs + (y[j] + c[j] * h if OUTPUTS else y[j],)
        y = outputs
        store_group_sum(dC, sums_row + n, by_C, add, tile, length, T)

        alone = tl.zeros(span.shape, tl.float32)
        for j in tl.static_range(T.items - 1, -1, -1):
            alone = decay[j] * (c[j] * grad_y[j] + alone)
        carry = carried(adjoints + place + n, grad_last_state, outer_place + n, tile == tiles - 1, exists)
        back, front = scan_lanes(tile_decay, alone, carry, True, T)
        if dinitial_state is not None:
            store_lane(dinitial_state + outer_place + n, front, 0, exists & (tile == 0), T)
        if T.sequential:
            earlier = adjoints + place - channels * T.states + n
            store_lane(earlier, front, 0, exists & (tile > 0), T)
        by_A = tl.zeros(span.shape, tl.float32)
        new_by_B = ()
        new_by_decay = ()
        by_drive = ()
        for j in tl.static_range(T.items - 1, -1, -1):
            g = c[j] * grad_y[j] + back
            back = decay[j] * g
            by_A += step[j] * (g * kept[j])
            new_by_decay = (by_decay[j] + slope * (g * kept[j]),) + new_by_decay
            new_by_B = (by_B[j] + g * b[j],) + new_by_B
            by_drive = (g * drive[j],) + by_drive
        by_B, by_decay = new_by_B, new_by_decay
        store_sum(dA + place + n, by_A, exists, T)
        store_group_sum(dB, sums_row + n, by_drive, add, tile, length, T)
    return by_B, by_decay, y


@triton.jit
def _store_gradients(
    by_B, by_decay, y, step, grad_y, grad_out, u, delta, D, z, delta_bias,
    du, ddelta, dD, dz, ddelta_bias, row, sums_place,
    tile, channel, exists, start, length, T: tl.constexpr,
):  # fmt: skip
    """Gradients by what has a number per channel and step; inputs are read again rather than kept."""
    x = load_items(u + row, exists, start, length, T)
    slopes = load_slopes(delta, delta_bias, row, channel, exists, tile, length, T)
    skip = tl.zeros(x[0].shape, tl.float32)
    if D is not None:
        skip += tl.load(D + channel, mask=exists, other=0.0)
        store_sum(dD + sums_place, sum_of_items(products(grad_y, x, T), T), exists, T)
    by_x = ()
    by_delta = ()
    for j in tl.static_range(T.items):
        by_x = by_x + (step[j] * by_B[j] + skip * grad_y[j],)
        by_delta = by_delta + ((x[j] * by_B[j] + by_decay[j]) * slopes[j],)
    store_items(du + row, exists, by_x, start, length, T)
    store_items(ddelta + row, exists, by_delta, start, length, T)
    if delta_bias is not None:
        store_sum(ddelta_bias + sums_place, sum_of_items(by_delta, T), exists, T)
    if z is not None:
        grad = load_items(grad_out + row, exists, start, length, T)
        gate = load_items(z + row, exists, start, length, T)
        by_z = ()
        for j in tl.static_range(T.items):
            s = sigmoid(gate[j])
            by_z = by_z + (grad[j] * (y[j] + skip * x[j]) * (s * (1.0 + gate[j] * (1.0 - s))),)
        store_items(dz + row, exists, by_z, start, length, T)
