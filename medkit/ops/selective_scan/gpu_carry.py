"""Triton kernel that turns what each tile adds to the state into the state that enters each tile."""

# Triton compiles its functions from their source and has types of its own.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

from medkit.ops.selective_scan.gpu_tiles import LOG2_E

__all__ = ["carry_over"]


@triton.jit
def carry_over(
    states, outer, spans, A, tiles, channels, state_size,
    DOWN: tl.constexpr, TILES: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Scan over the tiles, ``TILES`` at a time, in place; one program for ``STATES`` of the states.

    ``states`` ``(batch, tiles, channels, N)`` has what a tile's neighbour, zero before, would hand it, and
    becomes what it does hand it: from the first tile on, or with ``DOWN`` from the last one. ``outer``
    ``(batch, channels, N)``, or ``None`` for zero, enters the sequence. ``spans`` ``(batch, tiles, channels)``
    is the sum of each tile's step sizes.
    """
    size = channels * state_size
    parts = tl.cdiv(size, STATES)
    batch = (tl.program_id(0) // parts).to(tl.int64)
    state = tl.program_id(0) % parts * STATES + tl.arange(0, STATES)
    exists = state < size
    rate = tl.load(A + state, mask=exists, other=0.0)[None, :] * LOG2_E
    carry = tl.zeros([STATES], tl.float32)
    if outer is not None:
        carry += tl.load(outer + batch * size + state, mask=exists, other=0.0)
    count = tl.arange(0, TILES)
    done = tl.zeros_like(tiles)
    while done < tiles - 1:
        crossed = done + count
        inside = (crossed < tiles - 1)[:, None] & exists[None, :]
        # A tile is crossed, and its far side is where the state enters the next one.
        crossed = tiles - 1 - crossed if DOWN else crossed
        entered = crossed - 1 if DOWN else crossed + 1
        span = tl.load(
            spans + (batch * tiles + crossed)[:, None] * channels + state[None, :] // state_size,
            mask=inside,
            other=0.0,
        )
        place = states + (batch * tiles + entered)[:, None] * size + state[None, :]
        alone = tl.load(place, mask=inside, other=0.0)
        decay = tl.exp2(rate * span)
        alone = tl.where(count[:, None] == 0, decay * carry[None, :] + alone, alone)
        _, entering = tl.associative_scan((decay, alone), 0, _in_a_row)
        tl.store(place, entering, mask=inside)
        carry = tl.sum(tl.where(count[:, None] == TILES - 1, entering, 0.0), axis=0)
        done += TILES


@triton.jit
def _in_a_row(first_decay, first_state, second_decay, second_state):
    return first_decay * second_decay, second_decay * first_state + second_state
