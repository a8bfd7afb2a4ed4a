"""The selective scan step by step in plain PyTorch: the law for every faster path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["selective_scan_reference"]


def selective_scan_reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    reverse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """What :func:`medkit.ops.selective_scan.selective_scan` computes, one step after the other.

    Everything is computed in float32, or in float64 where any argument is of that type.

    Args:
        u: and all others as there.
        delta: see there.
        A: see there.
        B: see there.
        C: see there.
        D: see there.
        z: see there.
        delta_bias: see there.
        delta_softplus: see there.
        initial_state: see there.
        return_last_state: see there.
        reverse: see there.

    Returns:
        As there.
    """
    given = [x for x in (u, delta, A, B, C, D, z, delta_bias, initial_state) if x is not None]
    exact = torch.float64 if any(x.dtype == torch.float64 for x in given) else torch.float32
    length = u.shape[2]
    steps, inputs = delta.to(exact), u.to(exact)
    if delta_bias is not None:
        steps = steps + delta_bias.to(exact)[:, None]
    if delta_softplus:
        steps = functional.softplus(steps)
    rates = A.to(exact)
    into, out_of = (_for_each_channel(x.to(exact), u) for x in (B, C))
    state = inputs.new_zeros(u.shape[0], *A.shape) if initial_state is None else initial_state.to(exact)
    outputs: list[Tensor] = [state.new_empty(0)] * length
    for l in reversed(range(length)) if reverse else range(length):  # noqa: E741
        step = steps[:, :, l, None]
        state = torch.exp(step * rates) * state + step * into[..., l] * inputs[:, :, l, None]
        outputs[l] = (out_of[..., l] * state).sum(-1)
    output = torch.stack(outputs, -1)
    if D is not None:
        output = output + D.to(exact)[:, None] * inputs
    if z is not None:
        output = output * functional.silu(z.to(exact))
    output = output.to(u.dtype)
    return (output, state) if return_last_state else output


def _for_each_channel(x: Tensor, u: Tensor) -> Tensor:
    """B or C as (batch, channels, N, length)."""
    batch, channels, length = u.shape
    if x.ndim == 2:
        return x[:, :, None].expand(batch, channels, -1, length)
    if x.ndim == 3:
        x = x[:, None]
    return x.repeat_interleave(channels // x.shape[1], dim=1)
