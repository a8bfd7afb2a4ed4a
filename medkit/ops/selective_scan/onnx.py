"""The selective scan as ONNX has it: one ``Scan`` node, whose length may stay open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch._higher_order_ops.scan import scan_op
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from medkit.ops.selective_scan.inputs import Inputs

__all__ = ["selective_scan_onnx"]


def selective_scan_onnx(
    inputs: Inputs,
    delta_softplus: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """The recurrence by operations that ``torch.onnx.export(..., dynamo=True)`` knows.

    Args:
        inputs: tensors.
        delta_softplus: whether the step size is ``softplus(delta + delta_bias)``.
        reverse: whether the scan runs from the last step to the first.

    Returns:
        The output like ``u``, and the state after the last step, ``(batch, channels, N)`` of the type of ``A``.
    """
    # PyTorch would add what a gradient needs to the outputs of the loop, sizes among them, and then fail on them.
    u, delta, A, B, C, D, z, delta_bias, initial_state = inputs.detach()
    groups = B.shape[1]
    step, u_wide = delta.to(A.dtype), u.to(A.dtype)
    if delta_bias is not None:
        step = step + delta_bias[:, None]
    if delta_softplus:
        step = functional.softplus(step)
    rates = torch.unflatten(A, 0, (groups, -1))
    state = A.new_zeros(u.shape[0], *A.shape) if initial_state is None else initial_state

    def move(
        state: Tensor, step: Tensor, push: Tensor, into: Tensor, out_of: Tensor, rates: Tensor
    ) -> tuple[Tensor, Tensor]:
        # Axes of one element are made here: those that come from outside may be taken for axes of any length.
        state = torch.exp(step[..., None] * rates) * state + push[..., None] * into[:, :, None]
        return state, (state * out_of[:, :, None]).sum(-1)

    along_time = [
        *(torch.unflatten(x, 1, (groups, -1)).movedim(-1, 0) for x in (step, step * u_wide)),
        *(x.to(A.dtype).movedim(-1, 0) for x in (B, C)),
    ]
    if reverse:
        along_time = [x.flip(0) for x in along_time]
    # Not `scan`, which sends the loop through a cache that gives the next export the sizes of this one.
    state, outputs = scan_op(move, [torch.unflatten(state, 1, (groups, -1))], along_time, (rates,))
    outputs = outputs.flip(0) if reverse else outputs
    y = outputs.movedim(0, -1).flatten(1, 2)
    if D is not None:
        y = y + D[:, None] * u_wide
    if z is not None:
        y = y * functional.silu(z.to(A.dtype))
    return y.to(u.dtype), state.flatten(1, 2)
