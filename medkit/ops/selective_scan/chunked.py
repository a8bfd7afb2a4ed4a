"""The selective scan in plain PyTorch, many stretches of the sequence at a time.

This serves where there is no compiled kernel, and in float64. A segment of the sequence is cut into chunks that are
scanned side by side, first from a state of zero, which tells what each chunk adds, and, once the states between the
chunks are known, a second time. Memory is that of the states of one segment; backward, they are computed again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from medkit.ops.selective_scan.inputs import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["backward", "forward", "states_shape"]

# States that one operation works on: enough to outweigh the call, few enough for a cache.
_STATES_AT_ONCE = 1 << 17
# States of a segment, which backward holds in memory two at a time.
_STATES_OF_SEGMENT = 1 << 24


def states_shape(u: Tensor, A: Tensor) -> tuple[int, ...]:
    """Shape of the states that :func:`forward` keeps: none."""
    return (0,)


def forward(
    inputs: Inputs,
    delta_softplus: bool,
    reverse: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the recurrence.

    Args:
        inputs: tensors.
        delta_softplus: whether the step size is ``softplus(delta + delta_bias)``.
        reverse: whether the scan runs from the last step to the first.
        keep_states: without effect: :func:`backward` needs none.

    Returns:
        The output like ``u``; the state after the last step, ``(batch, channels, N)`` of the type of ``A``; and an
        empty tensor.
    """
    u, A, B, D, z = inputs.u, inputs.A, inputs.B, inputs.D, inputs.z
    state = A.new_zeros(u.shape[0], *A.shape) if inputs.initial_state is None else inputs.initial_state
    state = torch.unflatten(state, 1, (B.shape[1], -1))
    outputs = []
    for segment in _segments(inputs, delta_softplus, reverse):
        output, state = segment.run(state)
        outputs.append(output)
    y = _in_memory_order(outputs, reverse).flatten(1, 2)
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * functional.silu(z.to(A.dtype))
    return y.to(u.dtype), state.flatten(1, 2), A.new_empty(0)


def backward(
    grad_out: Tensor,
    grad_last_state: Tensor | None,
    inputs: Inputs,
    states: Tensor,
    delta_softplus: bool,
    reverse: bool,
) -> Inputs:
    """Gradients of :func:`forward`.

    Args:
        grad_out: like ``u``.
        grad_last_state: ``(batch, channels, N)`` of the type of ``A``, or ``None`` for zero.
        inputs: as given to :func:`forward`.
        states: without effect.
        delta_softplus: as given to :func:`forward`.
        reverse: as given to :func:`forward`.

    Returns:
        Gradients by ``inputs``; ``None`` for what was ``None``.
    """
    u, delta, A, B, _, D, z, delta_bias, initial_state = inputs
    groups = B.shape[1]
    zero = A.new_zeros(u.shape[0], *A.shape)
    state, carried = (
        torch.unflatten((zero if x is None else x), 1, (groups, -1)) for x in (initial_state, grad_last_state)
    )
    segments = list(_segments(inputs, delta_softplus, reverse))
    starts = []
    for segment in segments:
        starts.append(state)
        state = segment.end(state)
    grad = grad_out.to(A.dtype)
    ungated = grad if z is None else grad * functional.silu(z.to(A.dtype))
    pieces = torch.split(
        _in_time_order(torch.unflatten(ungated, 1, (groups, -1)), reverse), segments[0].length, -1
    )
    found = []
    for segment, start, piece in zip(reversed(segments), reversed(starts), reversed(pieces), strict=True):
        gradients, carried = segment.run_back(start, piece, carried)
        found.append(gradients)
    found.reverse()
    y, by_input, by_step, dB, dC = (
        _in_memory_order([x[i] for x in found], reverse) for i in range(len(found[0]) - 1)
    )
    y, by_input, by_step = (x.flatten(1, 2) for x in (y, by_input, by_step))
    dA = torch.stack([x[-1] for x in found]).sum(0).flatten(0, 1)

    step, slope = _step_sizes(delta, A.dtype, delta_bias, delta_softplus)
    ddelta = (by_step + u * by_input) * slope
    du = step * by_input
    dD = dz = None
    if D is not None:
        du = du + D[:, None] * ungated
        y = y + D[:, None] * u
        dD = (ungated * u).sum((0, 2))
    if z is not None:
        gate = z.to(A.dtype)
        opening = torch.sigmoid(gate)
        dz = (grad * y * opening * (1 + gate * (1 - opening))).to(z.dtype)
    dbias = None if delta_bias is None else ddelta.sum((0, 2))
    dinitial = None if initial_state is None else carried.flatten(1, 2)
    du, ddelta, dB, dC = (x.to(u.dtype) for x in (du, ddelta, dB, dC))
    return Inputs(du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial)


@dataclass(frozen=True)
class _Segment:
    """A segment, its chunks side by side: what comes in goes (steps of a chunk, batch, groups, ..., chunks, ...).

    Args:
        step: step sizes, (steps, batch, groups, channels, chunks, 1).
        pushed: the input times the step size, likewise.
        into: B, (steps, batch, groups, 1, chunks, N).
        out_of: C, likewise.
        rates: A, (groups, channels, 1, N).
        length: steps of the segment, before zeros were added to its end.
    """

    step: Tensor
    pushed: Tensor
    into: Tensor
    out_of: Tensor
    rates: Tensor
    length: int

    def decay(self, i: int) -> Tensor:
        return torch.exp(self.step[i] * self.rates)

    def end(self, state: Tensor) -> Tensor:
        """The state after the segment, (batch, groups, channels, N)."""
        return self._states_between(state)[1]

    def run(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over the states, (batch, groups, channels, length), and the state after the segment."""
        moving, last = self._states_between(state)
        outputs = []
        for i in range(len(self.step)):
            moving = torch.addcmul(self.pushed[i] * self.into[i], self.decay(i), moving)
            outputs.append((moving * self.out_of[i]).sum(-1))
        return self._along_time(outputs), last

    def run_back(self, state: Tensor, grad: Tensor, carried: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gradients from those by the output and by the state after the segment.

        Returns:
            The sum over the states as from ``run``; the gradients by ``pushed`` and, but for its part in ``pushed``,
            by ``step``, (batch, groups, channels, length); those by B and C, (batch, groups, N, length), and that by
            A, (groups, channels, N); and the gradient by ``state``.
        """
        history, decays = [self._states_between(state)[0]], []
        for i in range(len(self.step)):
            decays.append(self.decay(i))
            history.append(torch.addcmul(self.pushed[i] * self.into[i], decays[i], history[i]))
        grad = _chunks(grad, len(self.step), self.step.shape[-2])[..., None]
        moving, carried = self._carried_between(grad, decays, carried)
        found: list[list[Tensor]] = [[] for _ in range(5)]
        by_rate = torch.zeros_like(self.rates)
        for i in reversed(range(len(self.step))):
            adjoint = torch.addcmul(moving, grad[i], self.out_of[i])
            moving = decays[i] * adjoint
            felt = moving * history[i]
            by_rate += (felt * self.step[i]).sum((0, 3), keepdim=True)[0]
            found[0].append((history[i + 1] * self.out_of[i]).sum(-1))
            found[1].append((adjoint * self.into[i]).sum(-1))
            found[2].append((felt * self.rates).sum(-1))
            found[3].append((adjoint * self.pushed[i]).sum(2).movedim(-1, -2))
            found[4].append((grad[i] * history[i + 1]).sum(2).movedim(-1, -2))
        gradients = [self._along_time(x[::-1]) for x in found]
        return (*gradients, by_rate[:, :, 0]), carried

    def _states_between(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The states before the chunks, (batch, groups, channels, chunks, N), and that after the last one."""
        added = torch.zeros_like(self.pushed[0] * self.into[0])
        for i in range(len(self.step)):
            added = torch.addcmul(self.pushed[i] * self.into[i], self.decay(i), added)
        return self._carry(state, added, range(added.shape[-2]))

    def _carried_between(self, grad: Tensor, decays: list[Tensor], carried: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients by the states after the chunks, and that by the state before the first one."""
        added = torch.zeros_like(decays[0])
        for i in reversed(range(len(decays))):
            added = decays[i] * torch.addcmul(added, grad[i], self.out_of[i])
        return self._carry(carried, added, reversed(range(added.shape[-2])))

    def _carry(self, state: Tensor, added: Tensor, chunks: range | Iterator[int]) -> tuple[Tensor, Tensor]:
        # What grows may overflow over a chunk that the state enters as zero; twice the half of it does so later.
        half = torch.exp(self.step.sum(0) * self.rates / 2).clamp_max(torch.finfo(state.dtype).max)
        met: list[Tensor] = [state] * added.shape[-2]
        for i in chunks:
            met[i] = state
            state = torch.addcmul(added[..., i, :], half[..., i, :], half[..., i, :] * state)
        return torch.stack(met, -2), state

    def _along_time(self, steps: list[Tensor]) -> Tensor:
        """From a list over the steps of (..., chunks) to (..., length)."""
        return torch.stack(steps, -1).flatten(-2)[..., : self.length]


def _segments(inputs: Inputs, delta_softplus: bool, reverse: bool) -> Iterator[_Segment]:
    """All segments in the order of time, of one length but for the last one."""
    u, A, B, C = inputs.u, inputs.A, inputs.B, inputs.C
    groups, length = B.shape[1], u.shape[2]
    rates = torch.unflatten(A, 0, (groups, -1))[:, :, None]
    states = u.shape[0] * A.numel()
    longest = min(length, max(1, _STATES_OF_SEGMENT // states))
    step = _step_sizes(inputs.delta, A.dtype, inputs.delta_bias, delta_softplus)[0]
    for begin in range(0, length, longest):
        here = (
            slice(begin, begin + longest)
            if not reverse
            else slice(max(0, length - begin - longest), length - begin)
        )
        size = min(longest, length - begin)
        chunks = min(max(1, _STATES_AT_ONCE // states), math.isqrt(size))
        steps = -(-size // chunks)
        sizes, u_here = (
            _in_time_order(torch.unflatten(x[..., here].to(A.dtype), 1, (groups, -1)), reverse)
            for x in (step, u)
        )
        into, out_of = (
            _chunks(_in_time_order(x[..., here].to(A.dtype), reverse), steps, chunks)
            .movedim(-2, -1)[:, :, :, None]
            .contiguous()
            for x in (B, C)
        )
        pushed = _chunks(sizes * u_here, steps, chunks)[..., None]
        yield _Segment(_chunks(sizes, steps, chunks)[..., None], pushed, into, out_of, rates, size)


def _chunks(x: Tensor, steps: int, chunks: int) -> Tensor:
    """From (..., length) to (steps, ..., chunks), with zeros, which move no state, at the end."""
    padded = functional.pad(x, (0, steps * chunks - x.shape[-1]))
    return torch.unflatten(padded, -1, (chunks, steps)).movedim(-1, 0).contiguous()


def _in_time_order(x: Tensor, reverse: bool) -> Tensor:
    return x.flip(-1) if reverse else x


def _in_memory_order(pieces: list[Tensor], reverse: bool) -> Tensor:
    return _in_time_order(torch.cat(pieces, -1), reverse)


def _step_sizes(
    delta: Tensor, dtype: torch.dtype, delta_bias: Tensor | None, delta_softplus: bool
) -> tuple[Tensor, Tensor | float]:
    """Step sizes, and the slope of softplus there."""
    step = delta.to(dtype)
    if delta_bias is not None:
        step = step + delta_bias[:, None]
    return (functional.softplus(step), torch.sigmoid(step)) if delta_softplus else (step, 1.0)
