"""Depthwise convolutions that mix a position with its neighbours before a scan: causal along a sequence, centred in an
image. In plain PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

from medkit.ops.shallow_convolution import missing_room

if TYPE_CHECKING:
    from torch import Tensor

    Activation = Literal["silu"] | None

__all__ = ["causal_conv1d", "depthwise_conv"]


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Activation = None,
    reverse: bool = False,
) -> Tensor:
    """A convolution of each channel with a filter of its own that looks back only, as in front of a Mamba scan.

    ``y[l] = activation(bias + sum(weight[k] x[l - (width - 1) + k] for k in range(width)))``, with zeros before the
    first step (Gu & Dao 2023, https://arxiv.org/abs/2312.00752, section 3.4). ``weight``, ``bias`` and ``activation``
    are those of the ``causal-conv1d`` package, which says "swish" for "silu" as well. Half types are computed in float32
    and rounded once, under autocast too.

    Args:
        x: ``(batch, channels, length)``, floating point.
        weight: ``(channels, width)``; the last column is for the step itself.
        bias: ``(channels,)``, or ``None`` for zero.
        activation: ``"silu"``, or ``None``.
        reverse: whether it looks ahead instead, just as if ``x`` and the result were flipped.

    Returns:
        ``(batch, channels, length)`` of the type of ``x``.

    Raises:
        ValueError: shapes that do not fit, or an unknown activation.
        TypeError: complex or integer arguments.

    >>> causal_conv1d(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[10.0, 1.0]]))
    tensor([[[ 1., 12., 23.]]])
    """
    _check(x, weight, bias, activation, axes=1)
    computed_in, last = torch.promote_types(x.dtype, torch.float32), weight.shape[1] - 1
    padded = functional.pad(x.to(computed_in), (0, last) if reverse else (last, 0))
    weight = weight.to(computed_in)
    # Sums of shifted slices: PyTorch's own convolution by groups falls to a fraction of its speed at some lengths.
    shifts = range(last, -1, -1) if reverse else range(last + 1)
    seen = [padded[..., first : first + x.shape[2]] for first in shifts]
    start = x.new_zeros(1, dtype=computed_in) if bias is None else bias.to(computed_in)[:, None]
    y = torch.addcmul(start, weight[:, :1], seen[0])
    for k in range(1, last + 1):
        y.addcmul_(weight[:, k, None], seen[k])
    return _activated(y, activation).to(x.dtype)


def depthwise_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: Activation = None
) -> Tensor:
    """A convolution of each channel with a filter of its own, centred on the voxel, with zeros around the image.

    It takes the place of :func:`causal_conv1d` where a scan runs over an image in both directions, so that no side of
    a voxel comes before the other (in 2D: Liu et al. 2024, https://arxiv.org/abs/2401.10166, section 4.3).

    Args:
        x: ``(B, C, D, H, W)``, ``(B, C, H, W)`` or ``(B, C, L)``, floating point.
        weight: ``(C, ...)`` with a size for each axis of space, all odd.
        bias: ``(C,)``, or ``None`` for zero.
        activation: ``"silu"``, or ``None``.

    Returns:
        Like ``x``.

    Raises:
        ValueError: shapes that do not fit, an even filter, or an unknown activation.
        TypeError: complex or integer arguments.

    >>> depthwise_conv(torch.ones(1, 1, 1, 1, 3), torch.ones(1, 1, 1, 3)).flatten()
    tensor([2., 3., 2.])
    """
    if x.ndim > 5:
        raise ValueError(f"expected x of batch, channels and 1 to 3 further axes, got {tuple(x.shape)}")
    _check(x, weight, bias, activation, axes=max(x.ndim - 2, 1))
    sizes = weight.shape[1:]
    if any(size % 2 == 0 for size in sizes):
        raise ValueError(f"expected a weight of odd sizes, which has a middle, got {tuple(weight.shape)}")
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(sizes) - 1]
    taps, start = weight[:, None].to(x.dtype), None if bias is None else bias.to(x.dtype)
    margins, ones = [size // 2 for size in sizes], [1] * len(sizes)
    if _in_bfloat16_on_cpu(x) and any(missing_room(sizes, ones, ones, x.shape[2:])):
        room = [margin for margin in reversed(margins) for _ in range(2)]
        y = convolve(functional.pad(x, room), taps, start, groups=x.shape[1])
    else:
        y = convolve(x, taps, start, padding=margins, groups=x.shape[1])
    return _activated(y, activation).to(x.dtype)


def _in_bfloat16_on_cpu(x: Tensor) -> bool:
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return x.device.type == "cpu" and kind == torch.bfloat16


def _activated(y: Tensor, activation: Activation) -> Tensor:
    return functional.silu(y) if activation == "silu" else y


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation, axes: int) -> None:
    if x.ndim != axes + 2 or 0 in x.shape:
        raise ValueError(
            f"expected x of batch, channels and {axes} further axes, none of them 0, got {tuple(x.shape)}"
        )
    channels = x.shape[1]
    if weight.ndim != axes + 1 or weight.shape[0] != channels or 0 in weight.shape:
        raise ValueError(
            f"expected a weight of {channels} channels, as x has, and {axes} further axes, none of them 0, got "
            f"{tuple(weight.shape)} (that of torch.nn.Conv has one axis more: weight.squeeze(1))"
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"expected a bias of ({channels},), as x has channels, got {tuple(bias.shape)}")
    if activation not in (None, "silu"):
        raise ValueError(f"expected the activation 'silu' or None, got {activation!r}")
    for name, tensor in {"x": x, "weight": weight, "bias": bias}.items():
        if tensor is not None and not tensor.is_floating_point():
            raise TypeError(f"expected {name} of a floating-point type, got {tensor.dtype}; convert it first")
