"""What the Triton kernels of the selective scan share: tiles of time, held by the threads of a warp.

A tile is ``lanes * items`` steps of a block of ``rows * warps`` channels. Its numbers are tuples of ``items``
tensors of shape ``(rows * warps * lanes,)``: item ``j`` at ``c * lanes + s`` is step ``s * items + j`` of the
tile, in the order of the scan, for channel ``c`` of the block. A thread thus owns some steps in a row, of a few
channels, and walks through them without asking another thread; between the lanes of a channel there are
``log2(lanes)`` exchanges per tile. The order of the scan is that of the memory, or the opposite one: only offsets
and the order within tuples differ, so that a reverse scan does the very arithmetic of a forward scan of the flipped
sequence.

The tensors have one axis because the compiler then has one way to give them to threads; with more, its versions
differ, and a wrong choice moves every number through shared memory.
"""

# Triton compiles its functions from their source and has types of its own.
# ruff: noqa: ANN001, ANN201, ANN202, RUF005
# mypy: ignore-errors
from __future__ import annotations

from dataclasses import dataclass, fields

import triton
import triton.language as tl

__all__ = [
    "LOG2_E",
    "Tiling",
    "block_channels",
    "carried",
    "known_multiple",
    "lane_starts",
    "load_group_items",
    "load_items",
    "load_slopes",
    "load_steps",
    "products",
    "scan_lanes",
    "sigmoid",
    "store_group_sum",
    "store_items",
    "store_lane",
    "store_sum",
    "store_summary",
    "sum_of_items",
    "sum_of_other_lanes",
    "tiles_of_program",
    "zeros",
]

LOG2_E = tl.constexpr(1.4426950408889634)


@dataclass(frozen=True)
class Tiling:
    """What is fixed when a kernel is compiled.

    Args:
        lanes: lanes of a tile, a power of two up to 32: the threads of a warp.
        items: steps of a lane, 4 or 8.
        rows: channels that a warp works on at a time.
        warps: warps of a program; a channel block has ``rows * warps`` channels.
        vector: elements read by one access, 4 or 8, at most ``items``.
        aligned: whether the length is a multiple of ``vector``.
        states: length of the state, N.
        softplus: whether softplus makes step sizes of delta.
        reverse: whether the scan begins at the end of the memory.
        sequential: whether one program goes through all tiles of a channel block.
    """

    lanes: int
    items: int
    rows: int
    warps: int
    vector: int
    aligned: bool
    states: int
    softplus: bool
    reverse: bool
    sequential: bool

    def __post_init__(self) -> None:
        # Only so does a kernel take them for constants wherever it uses them.
        for field in fields(self):
            object.__setattr__(self, field.name, tl.constexpr(getattr(self, field.name)))


@triton.jit
def tiles_of_program(program, tiles, T: tl.constexpr):
    """Batch of a program, the first tile it works on and the one it stops before."""
    if T.sequential:
        batch, first, stop = program, program * 0, tiles
    else:
        batch, first, stop = program // tiles, program % tiles, program % tiles + 1
    return batch.to(tl.int64), first, stop


@triton.jit
def block_channels(block, group_blocks, group_size, T: tl.constexpr):
    """Group of a channel block, its channels for each thread and row, and which of them there are."""
    group = block // group_blocks
    within = block % group_blocks * (T.rows * T.warps) + tl.arange(0, T.rows * T.warps * T.lanes) // T.lanes
    return group, group * group_size + within, within < group_size


@triton.jit
def known_multiple(length, T: tl.constexpr):
    """The length again, such that the compiler can see what ``aligned`` says of it."""
    return length // T.vector * T.vector if T.aligned else length


@triton.jit
def lane_starts(tile, length, THREADS: tl.constexpr, T: tl.constexpr):
    """Offset in memory of the lowest item of each thread; outside the row where it has none."""
    start = tile * (T.lanes * T.items) + tl.arange(0, THREADS) % T.lanes * T.items
    return length - T.items - start if T.reverse else start


@triton.jit
def _inside(j: tl.constexpr, tile, length, T: tl.constexpr):
    """Whether item ``j`` of each thread lies before the end of the scan."""
    lane = tl.arange(0, T.rows * T.warps * T.lanes) % T.lanes
    return tile * (T.lanes * T.items) + lane * T.items + j < length


@triton.jit
def load_items(rows, exists, start, length, T: tl.constexpr):
    """Items of each thread as float32, from rows that begin at the pointers ``rows``; 0 where there is none."""
    items = ()
    for first in tl.static_range(0, T.items, T.vector):
        offsets, inside = _vectors(start, first, length, T)
        loaded = tl.load(rows[:, None] + offsets, mask=exists[:, None] & inside, other=0.0)
        part = _unpacked(loaded.to(tl.float32))
        items = _flipped(part) + items if T.reverse else items + part
    return items


@triton.jit
def store_items(rows, exists, items, start, length, T: tl.constexpr):
    """Write items to where :func:`load_items` reads them, in the type of the rows."""
    ordered = _flipped(items) if T.reverse else items
    for first in tl.static_range(0, T.items, T.vector):
        offsets, inside = _vectors(start, first, length, T)
        packed = _packed(ordered, first, T.vector).to(rows.dtype.element_ty)
        tl.store(rows[:, None] + offsets, packed, mask=exists[:, None] & inside)


@triton.jit
def _vectors(start, first: tl.constexpr, length, T: tl.constexpr):
    """Offsets ``(threads, vector)`` of one access of each thread, and which of them lie in the row."""
    offsets = start[:, None] + (first + tl.arange(0, T.vector))[None, :]
    tested = offsets
    if T.aligned:
        # One test for all of a vector: only then is it one instruction.
        tested = tl.broadcast_to((start + first)[:, None], offsets.shape)
    return offsets, (tested >= 0) & (tested < length)


@triton.jit
def load_group_items(x, row, tile, length, T: tl.constexpr):
    """Items of one row of ``B`` or ``C`` for all channels: each warp reads them once, and waits for no other."""
    threads: tl.constexpr = T.warps * T.lanes
    rows = x + row * length + tl.zeros([threads], tl.int32)
    start = lane_starts(tile, length, threads, T)
    items = load_items(rows, tl.full([threads], True, tl.int1), start, length, T)
    wide = ()
    for j in tl.static_range(T.items):
        item = tl.broadcast_to(items[j][None, :], [T.rows, threads])
        wide = wide + (tl.reshape(item, [T.rows * threads]),)
    return wide


@triton.jit
def _unpacked(x):
    """The last axis of ``(threads, 4 or 8)`` as a tuple; no number leaves its thread."""
    if x.shape[1] == 4:
        even, odd = tl.split(tl.reshape(x, [x.shape[0], 2, 2]))
        x0, x2 = tl.split(even)
        x1, x3 = tl.split(odd)
        items = (x0, x1, x2, x3)
    else:
        even, odd = tl.split(tl.reshape(x, [x.shape[0], 2, 2, 2]))
        x04, x26 = tl.split(even)
        x15, x37 = tl.split(odd)
        x0, x4 = tl.split(x04)
        x1, x5 = tl.split(x15)
        x2, x6 = tl.split(x26)
        x3, x7 = tl.split(x37)
        items = (x0, x1, x2, x3, x4, x5, x6, x7)
    return items


@triton.jit
def _packed(x, o: tl.constexpr, COUNT: tl.constexpr):
    """The opposite of :func:`_unpacked` for ``COUNT`` items from ``o`` on."""
    if COUNT == 4:
        even, odd = tl.join(x[o], x[o + 2]), tl.join(x[o + 1], x[o + 3])
    else:
        even = tl.join(tl.join(x[o], x[o + 4]), tl.join(x[o + 2], x[o + 6]))
        odd = tl.join(tl.join(x[o + 1], x[o + 5]), tl.join(x[o + 3], x[o + 7]))
    return tl.reshape(tl.join(even, odd), [x[0].shape[0], COUNT])


@triton.jit
def _flipped(items):
    flipped = ()
    for j in tl.static_range(len(items)):
        flipped = (items[j],) + flipped
    return flipped


@triton.jit
def store_lane(place, x, LANE: tl.constexpr, exists, T: tl.constexpr):
    """Write what one lane of each channel holds to its pointer."""
    lane = tl.arange(0, x.shape[0]) % T.lanes
    tl.store(place, x, mask=exists & (lane == LANE))


@triton.jit
def store_sum(place, x, exists, T: tl.constexpr):
    """Write the sum over the lanes of each channel."""
    lanes = tl.reshape(x, [x.shape[0] // T.lanes, T.lanes])
    total = tl.broadcast_to(tl.sum(lanes, axis=1, keep_dims=True), lanes.shape)
    store_lane(place, tl.reshape(total, x.shape), 0, exists, T)


@triton.jit
def store_group_sum(sums, row, items, add, tile, length, T: tl.constexpr):
    """Write the sum of items over the channels of a block to a row, or add it to what is there."""
    tl.static_assert(T.rows == 1)
    total = _sum_of_warps(_packed(_flipped(items) if T.reverse else items, 0, T.items), T)
    offsets = lane_starts(tile, length, T.lanes, T)[:, None] + tl.arange(0, T.items)[None, :]
    inside = (offsets >= 0) & (offsets < length)
    place = sums + row * length + offsets
    total += tl.load(place, mask=inside & add, other=0.0).to(tl.float32)
    tl.store(place, total.to(sums.dtype.element_ty), mask=inside)


@triton.jit
def _sum_of_warps(x, T: tl.constexpr):
    """Sum of ``(8 * lanes, items)`` over the 8 warps.

    A split makes each thread hold what it adds: one exchange, where a reduction takes three.
    """
    tl.static_assert(T.warps == 8)
    x = tl.permute(tl.reshape(x, [8, T.lanes, T.items]), (1, 2, 0))
    a, b = tl.split(tl.reshape(x, [T.lanes, T.items, 2, 2, 2]))
    a0, a1 = tl.split(a)
    b0, b1 = tl.split(b)
    a00, a01 = tl.split(a0)
    a10, a11 = tl.split(a1)
    b00, b01 = tl.split(b0)
    b10, b11 = tl.split(b1)
    return ((a00 + b00) + (a10 + b10)) + ((a01 + b01) + (a11 + b11))


@triton.jit
def sigmoid(x):
    """``1 / (1 + exp(-x))``; 0 and 1 far out, never NaN. A root costs less than a quotient."""
    root = tl.rsqrt(1.0 + tl.exp2(-x * LOG2_E))
    return root * root


@triton.jit
def _softplus(x):
    """``log(1 + exp(x))``, with a relative error below 1e-6 from -10 on.

    With ``w = exp(-|x|)`` it is ``max(x, 0) + log(1 + w)``. The logarithm of a number near 1 is poor on a GPU,
    and the small step sizes of a trained network lie just there, so that it is taken as
    ``2 atanh(r), r = w / (2 + w)``, with ``atanh(r) / r`` a polynomial in ``r * r`` that is fitted up to
    ``r = 1/3`` with a relative error below 4e-9. Above 20 the second part is lost in the first, which is where
    the reference drops it.
    """
    w = tl.exp2(-tl.abs(x) * LOG2_E)
    root = tl.rsqrt(2.0 + w)
    r = w * (root * root)
    s = r * r
    series = (((0.1408916765 * s + 0.1398030138) * s + 0.2001245514) * s + 0.3333315734) * s + 1.0
    return tl.maximum(x, 0.0) + 2.0 * r * series


@triton.jit
def zeros(T: tl.constexpr):
    """Items to add to."""
    items = ()
    for _ in tl.static_range(T.items):
        items = items + (tl.zeros([T.rows * T.warps * T.lanes], tl.float32),)
    return items


@triton.jit
def products(x, y, T: tl.constexpr):
    """Products of items."""
    items = ()
    for j in tl.static_range(T.items):
        items = items + (x[j] * y[j],)
    return items


@triton.jit
def sum_of_items(items, T: tl.constexpr):
    """Sum of each lane's items."""
    total = items[0]
    for j in tl.static_range(1, T.items):
        total += items[j]
    return total


@triton.jit
def sum_of_other_lanes(x, BACKWARD: tl.constexpr, T: tl.constexpr):
    """Sum over the lanes before each lane, or behind it."""
    return scan_lanes(tl.full(x.shape, 1.0, tl.float32), x, tl.zeros_like(x), BACKWARD, T)[0]


@triton.jit
def scan_lanes(decay, state, carry, BACKWARD: tl.constexpr, T: tl.constexpr):
    """State before and after each lane, from what its items make of a state of zero.

    Inclusive scan of the maps ``h -> decay * h + state`` over the lanes by doubling (Hillis & Steele 1986,
    https://doi.org/10.1145/7902.7903). The first lane takes the carry into its state and has a decay of 0 from
    then on, and with it every lane that has reached the first: what it is handed once more is multiplied by 0.

    Args:
        decay: product of the decays of a lane's items.
        state: state after a lane's items when it was zero before.
        carry: state before the first lane, known to every lane.
        BACKWARD: whether the scan begins at the last lane.
        T: the tiling.
    """
    STEP: tl.constexpr = 1 if BACKWARD else -1
    first = tl.arange(0, state.shape[0]) % T.lanes == (T.lanes - 1 if BACKWARD else 0)
    state = tl.where(first, decay * carry + state, state)
    decay = tl.where(first, 0.0, decay)
    for k in tl.static_range(5):
        if 1 << k < T.lanes:
            state = decay * _other_lane(state, STEP * (1 << k), T) + state
            decay = decay * _other_lane(decay, STEP * (1 << k), T)
    return tl.where(first, carry, _other_lane(state, STEP, T)), state


@triton.jit
def _other_lane(x, distance: tl.constexpr, T: tl.constexpr):
    """What the lane ``distance`` further on holds; beyond the first and the last lane, what these hold."""
    lanes = tl.reshape(x, [x.shape[0] // T.lanes, T.lanes])
    other = tl.minimum(tl.maximum(tl.arange(0, T.lanes) + distance, 0), T.lanes - 1)
    return tl.reshape(tl.gather(lanes, tl.broadcast_to(other[None, :], lanes.shape), 1), x.shape)


@triton.jit
def load_steps(delta, delta_bias, row, channel, exists, tile, length, T: tl.constexpr):
    """Step sizes of a tile; 0 past the end, where a step has to leave the state as it is."""
    biased = _load_biased(delta, delta_bias, row, channel, exists, tile, length, T)
    steps = ()
    for j in tl.static_range(T.items):
        step = _softplus(biased[j]) if T.softplus else biased[j]
        steps = steps + (tl.where(_inside(j, tile, length, T), step, 0.0),)
    return steps


@triton.jit
def load_slopes(delta, delta_bias, row, channel, exists, tile, length, T: tl.constexpr):
    """Derivatives of the step sizes by delta; 0 past the end."""
    biased = _load_biased(delta, delta_bias, row, channel, exists, tile, length, T)
    slopes = ()
    for j in tl.static_range(T.items):
        slope = sigmoid(biased[j]) if T.softplus else tl.full(biased[j].shape, 1.0, tl.float32)
        slopes = slopes + (tl.where(_inside(j, tile, length, T), slope, 0.0),)
    return slopes


@triton.jit
def _load_biased(delta, delta_bias, row, channel, exists, tile, length, T: tl.constexpr):
    start = lane_starts(tile, length, row.shape[0], T)
    items = load_items(delta + row, exists, start, length, T)
    if delta_bias is not None:
        bias = tl.load(delta_bias + channel, mask=exists, other=0.0)
        biased = ()
        for j in tl.static_range(T.items):
            biased = biased + (items[j] + bias,)
        items = biased
    return items


@triton.jit
def carried(states, outer, outer_place, at_end, exists):
    """State that enters a tile, known to every lane.

    At the end of the sequence it is ``outer`` at ``outer_place``, or zero when that is ``None``; else what the
    neighbouring tile has left at the pointers ``states``.
    """
    state = tl.load(states, mask=exists & (at_end == 0), other=0.0)
    if outer is not None:
        state += tl.load(outer + outer_place, mask=exists & at_end, other=0.0)
    return state


@triton.jit
def store_summary(
    summary, spans, factors, A, projection, first_row, channel, exists, tile, length, T: tl.constexpr
):
    """Write what a tile alone adds to the state at one of its ends: no scan, but a weighted sum.

    For each state ``n`` it is the sum over the steps of ``exp(A_n * span) * factor * projection_n``, with the
    span the sum of the step sizes from a step to that end. ``projection`` is ``B`` or ``C``, whose row
    ``first_row`` belongs to the first state; ``summary`` are the pointers to the first state of each channel.
    """
    for n in tl.range(0, T.states, loop_unroll_factor=2):
        rate = tl.load(A + channel * T.states + n, mask=exists, other=0.0) * LOG2_E
        p = load_group_items(projection, first_row + n, tile, length, T)
        total = tl.exp2(rate * spans[0]) * (factors[0] * p[0])
        for j in tl.static_range(1, T.items):
            total += tl.exp2(rate * spans[j]) * (factors[j] * p[j])
        store_sum(summary + n, total, exists, T)
