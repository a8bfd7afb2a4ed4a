"""The selective scan over images and volumes, in raster order and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from medkit.ops.selective_scan import selective_scan

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["bidirectional_scan"]


def bidirectional_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """The mean of two selective scans of an image: from its first voxel to its last in the order of memory, and back.

    So each voxel receives from all others. Both scans read the same memory; nothing is flipped or, if the arguments
    are contiguous, copied. (Vision Mamba scans both ways and adds, Zhu et al. 2024, https://arxiv.org/abs/2401.09417,
    algorithm 1, with weights of its own for each way; here they are shared. For weights of its own each way, call
    :func:`medkit.ops.selective_scan.selective_scan` twice.)

    Args:
        u: ``(batch, channels, *sizes)`` with any number of axes of space, ``(B, C, D, H, W)`` for a volume.
        delta: like ``u``.
        A: ``(channels, N)``.
        B: ``(batch, N, *sizes)``, or ``(batch, groups, N, *sizes)``, or ``(channels, N)``, the same at every voxel.
        C: like ``B``, or another of its three forms.
        D: ``(channels,)``, or ``None`` for no skip.
        z: like ``u``, or ``None`` for no gate.
        delta_bias: ``(channels,)``, or ``None`` for zero.
        delta_softplus: whether the step size goes through softplus.

    Returns:
        ``(batch, channels, *sizes)`` of the type of ``u``.

    Raises:
        ValueError: shapes that do not fit, an empty tensor, or more than one device.
        TypeError: complex or integer arguments.

    >>> one = torch.ones(1, 1, 2, 2)
    >>> bidirectional_scan(one, one, torch.zeros(1, 1), one, one).flatten()
    tensor([2.5000, 2.5000, 2.5000, 2.5000])
    """
    if u.ndim < 3 or 0 in u.shape:
        raise ValueError(
            f"expected u of (batch, channels, ...) with an axis of space or more, none of them 0, got {tuple(u.shape)}"
        )
    sizes = u.shape[2:]
    gate = None if z is None else _as_sequence("z", z, sizes)
    inputs, steps, into, out_of = (
        _as_sequence(name, x, sizes) for name, x in (("u", u), ("delta", delta), ("B", B), ("C", C))
    )
    rest = (D, gate, delta_bias, delta_softplus)
    one_way, other_way = (
        selective_scan(inputs, steps, A, into, out_of, *rest, reverse=reverse) for reverse in (False, True)
    )
    return torch.add(one_way / 2, other_way, alpha=0.5).view(u.shape)  # a half type would overflow in the sum


def _as_sequence(name: str, x: Tensor, sizes: torch.Size) -> Tensor:
    if x.ndim == 2:
        return x
    if x.shape[-len(sizes) :] != sizes:
        raise ValueError(f"expected {name} of the sizes {tuple(sizes)}, as u has, got {tuple(x.shape)}")
    return x.flatten(-len(sizes))
