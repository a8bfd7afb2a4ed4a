"""Selective scan by Triton kernels (S6, Gu & Dao 2023, https://arxiv.org/abs/2312.00752).

Importing this needs Triton. The length is cut into tiles of 256 steps. Where the channels alone do not fill the
machine, three kernels run: what each tile adds to the state (a weighted sum, no scan), a small scan over the tiles,
and the scan of all tiles at once from the right states. Where they do, or where there are hardly any tiles, the
last kernel alone goes through the tiles in order. A program works on 4 or 8 channels, which share what it reads of
``B`` and ``C``; backward the same, with the scan running the other way.

How a tile is scanned follows from a Hopper multiprocessor's rates: 4 schedulers issue one instruction of 32 threads
per clock each, and 16 exponentials finish per clock, so that one for each thread of a warp takes a scheduler 8
clocks. An element is one step of one state of one channel, and needs one exponential and four other instructions.

- One thread per channel and stretch of time, with its states in registers, issues just these 5 and is bound by the 8
  clocks of the exponential. But it has to know the state before its stretch, which costs all exponentials once
  more, 16 in all; its neighbours read far from each other; and with 128 channels, 4096 steps and stretches of 128
  there are 4096 threads, not even one warp for each of 132 multiprocessors.
- An associative scan along the time leaves pairs of numbers in each thread, 4 steps at a time in float32 as they are
  read, and exchanges two numbers five times for every 4 of them: about 17 instructions.
- Here a thread owns 8 steps in a row, and lanes exchange once per 8. The decay over the 8 is one more exponential, not
  7 products. The loop compiled for sm_90 has 11.9 instructions and 1.125 exponentials (9 clocks) an element, that of
  the weighted sums 6.8 and 1 (8 clocks), backward 33 to 35 and 1.125. What is done once for all 16 states of a step
  (softplus, gate, reading and writing) adds about 2.7, 2 and 4.

For 96 channels and 262144 steps with 16 states, 403 million elements, forward is thus 25 clocks of 528 schedulers an
element of each of 32 threads: 0.34 ms at 1.75 GHz, where the bytes (436 MB, if all are moved once) take 0.13 ms at
3.35 TB/s. These are counts, not measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch

from medkit.ops.selective_scan.gpu_backward import adjoint_scan, summarise_adjoints
from medkit.ops.selective_scan.gpu_carry import carry_over
from medkit.ops.selective_scan.gpu_forward import scan, summarise_states
from medkit.ops.selective_scan.gpu_tiles import Tiling
from medkit.ops.selective_scan.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["backward", "forward", "states_shape"]

_LANES = 32
_ITEMS = 8
# What a scheduler needs to hide latency: 128 registers leave a multiprocessor 4 programs of 4 warps, 2 of 8.
_REGISTERS = 128
_RESIDENT = 4
# Up to so many tiles, one after the other takes less time than two more kernels.
_FEW_TILES = 2
# Tiles and states that a program of the scan over the tiles takes at a time.
_CARRY_TILES = 32
_CARRY_STATES = 32


@dataclass(frozen=True)
class _Work:
    """Sizes of one call.

    Args:
        batch: sequences.
        channels: channels of each.
        groups: groups of channels with a ``B`` and ``C`` of their own.
        states: length of the state, N.
        length: steps.
        vector: elements that one access of 16 bytes reads, or 8 bytes where rows begin at odd places.
        processors: multiprocessors of the device.
    """

    batch: int
    channels: int
    groups: int
    states: int
    length: int
    vector: int
    processors: int

    @classmethod
    def of(cls, u: Tensor, B: Tensor) -> _Work:
        wide = u.element_size() == 2 and u.shape[2] % 8 == 0 and _ITEMS == 8
        return cls(
            u.shape[0], u.shape[1], B.shape[1], B.shape[2], u.shape[2], 8 if wide else 4, _processors(u)
        )

    @property
    def tiles(self) -> int:
        return -(-self.length // (_LANES * _ITEMS))

    def sizes(self, group_blocks: int) -> tuple[int, ...]:
        """Arguments of every kernel."""
        return self.length, self.channels, self.groups, self.tiles, group_blocks

    def group_blocks(self, block: int) -> int:
        """Channel blocks of a group."""
        return -(-(self.channels // self.groups) // block)

    def fills(self, programs: int) -> bool:
        """Whether so many programs per group leave no multiprocessor with room for another."""
        return programs * self.batch * self.groups >= _RESIDENT * self.processors

    def shares(self, group_blocks: int, tiles: int) -> int:
        """Into how many programs the channel blocks of a group are divided that add up one sum."""
        programs = self.batch * self.groups * group_blocks * tiles
        blocks = max(1, min(group_blocks, programs // (2 * _RESIDENT * self.processors)))
        return -(-group_blocks // blocks)

    def tiling(self, rows: int, warps: int, sequential: bool, delta_softplus: bool, reverse: bool) -> Tiling:
        access = self.vector, self.length % self.vector == 0
        return _tiling(_LANES, _ITEMS, rows, warps, *access, self.states, delta_softplus, reverse, sequential)


_tiling = cache(Tiling)  # made anew it would take longer than a kernel's launch


def _tiles(length: int) -> int:
    return -(-length // (_LANES * _ITEMS))


def _processors(x: Tensor) -> int:
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 1


def states_shape(u: Tensor, A: Tensor) -> tuple[int, ...]:
    """What :func:`forward` keeps for ``u`` ``(batch, channels, length)`` and ``A`` ``(channels, N)``.

    The state before each tile: ``(batch, tiles, channels, N)``, in float32.
    """
    return (u.shape[0], _tiles(u.shape[2]), *A.shape)


def forward(
    inputs: Inputs,
    delta_softplus: bool,
    reverse: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the recurrence; all tensors contiguous, on one device.

    Args:
        inputs: tensors.
        delta_softplus: whether the step size is ``softplus(delta + delta_bias)``.
        reverse: whether the scan runs from the last step to the first.
        keep_states: whether the third result is wanted.

    Returns:
        The output like ``u``; the state after the last step, ``(batch, channels, N)`` in float32; and what
        :func:`backward` takes for ``states``, an empty tensor unless it is wanted.
    """
    u, delta, A, B, C, D, z, delta_bias, initial_state = inputs
    work = _Work.of(u, B)
    rows = 2 if work.fills(work.group_blocks(8) * work.tiles) else 1
    group_blocks = work.group_blocks(4 * rows)
    sequential = work.tiles <= _FEW_TILES or work.fills(group_blocks)
    tiling = work.tiling(rows, 4, sequential, delta_softplus, reverse)
    sizes = work.sizes(group_blocks)
    programs = work.batch * work.groups * group_blocks
    out = torch.empty_like(u)
    last_state = A.new_empty((work.batch, *A.shape))
    states = A.new_empty(states_shape(u, A))
    with torch.cuda.device_of(u):  # type: ignore[no-untyped-call]
        if not sequential:
            spans = A.new_empty((work.batch, work.tiles, work.channels))
            summarise_states[(programs * (work.tiles - 1),)](
                u, delta, A, B, delta_bias, states, spans, *sizes, T=tiling, num_warps=4, maxnreg=_REGISTERS
            )
            _carry(states, initial_state, spans, A, down=False)
        scan[(programs if sequential else programs * work.tiles,)](
            u, delta, A, B, C, D, z, delta_bias, initial_state, states, last_state, out, *sizes,
            T=tiling, num_warps=4, maxnreg=_REGISTERS,
        )  # fmt: skip
    return out, last_state, states if keep_states else A.new_empty(0)


def backward(
    grad_out: Tensor,
    grad_last_state: Tensor | None,
    inputs: Inputs,
    states: Tensor,
    delta_softplus: bool,
    reverse: bool,
) -> Inputs:
    """Gradients of :func:`forward`, the same bits for the same call on the same device.

    Args:
        grad_out: like ``u``, contiguous.
        grad_last_state: ``(batch, channels, N)``, float32, or ``None`` for zero.
        inputs: as given to :func:`forward`.
        states: third result of :func:`forward`.
        delta_softplus: as given to :func:`forward`.
        reverse: as given to :func:`forward`.

    Returns:
        Gradients by ``inputs``; ``None`` for what was ``None``.
    """
    u, delta, A, B, C, D, z, delta_bias, initial_state = inputs
    work = _Work.of(u, B)
    group_blocks = work.group_blocks(8)
    sequential = work.tiles == 1 or work.fills(group_blocks)
    adjoints = torch.empty_like(states)
    if not sequential:
        with torch.cuda.device_of(u):  # type: ignore[no-untyped-call]
            spans = A.new_empty((work.batch, work.tiles, work.channels))
            summarise_adjoints[(work.batch * work.groups * group_blocks * (work.tiles - 1),)](
                grad_out, delta, A, C, z, delta_bias, adjoints, spans, *work.sizes(group_blocks),
                T=work.tiling(2, 4, sequential, delta_softplus, reverse), num_warps=4, maxnreg=_REGISTERS,
            )  # fmt: skip
            _carry(adjoints, grad_last_state, spans, A, down=True)

    at_once = 1 if sequential else work.tiles
    # A program that goes on to the next channel block saves a set of partial sums, while there are enough programs.
    shares = work.shares(group_blocks, at_once)
    ready = shares == 1 and (B.dtype == torch.float32 or group_blocks == 1)
    dB, dC = (B.new_empty((shares, *B.shape), dtype=B.dtype if ready else torch.float32) for _ in range(2))
    du, ddelta = torch.empty_like(u), torch.empty_like(u)
    dz = None if z is None else torch.empty_like(z)
    per_tile = work.batch, work.tiles
    dA = A.new_empty((*per_tile, *A.shape))
    dD, dbias = (None if x is None else A.new_empty((*per_tile, work.channels)) for x in (D, delta_bias))
    dinitial = None if initial_state is None else torch.empty_like(initial_state)
    with torch.cuda.device_of(u):  # type: ignore[no-untyped-call]
        adjoint_scan[(work.batch * work.groups * shares * at_once,)](
            grad_out, grad_last_state, u, delta, A, B, C, D, z, delta_bias, initial_state, states, adjoints,
            du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial, work.batch, shares, *work.sizes(group_blocks),
            T=work.tiling(1, 8, sequential, delta_softplus, reverse), num_warps=8, maxnreg=_REGISTERS,
        )  # fmt: skip
    dB, dC = (x[0] if ready else x.sum(0).to(B.dtype) for x in (dB, dC))
    dD, dbias = (None if x is None else x.sum((0, 1)) for x in (dD, dbias))
    return Inputs(du, ddelta, dA.sum((0, 1)), dB, dC, dD, dz, dbias, dinitial)


def _carry(states: Tensor, outer: Tensor | None, spans: Tensor, A: Tensor, *, down: bool) -> None:
    """Turn what each tile adds into what enters each tile, in place."""
    carry_over[(states.shape[0] * -(-A.numel() // _CARRY_STATES),)](
        states, outer, spans, A, states.shape[1], *A.shape,
        DOWN=down, TILES=_CARRY_TILES, STATES=_CARRY_STATES, num_warps=4,
    )  # fmt: skip
