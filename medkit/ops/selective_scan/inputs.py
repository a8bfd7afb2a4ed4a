"""What every way to compute the selective scan takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Inputs"]


class Inputs(NamedTuple):
    """Tensors of one call, contiguous, on one device; or the gradients by them, each of the type of its tensor.

    Args:
        u: ``(batch, channels, length)``.
        delta: like ``u``.
        A: ``(channels, N)``, float32, or float64, in which then everything is computed.
        B: ``(batch, groups, N, length)``, of the type of ``u``.
        C: like ``B``.
        D: ``(channels,)``, of the type of ``A``, or ``None`` for no skip.
        z: like ``u``, or ``None`` for no gate.
        delta_bias: ``(channels,)``, of the type of ``A``, or ``None`` for zero.
        initial_state: ``(batch, channels, N)``, of the type of ``A``, or ``None`` for zero.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    delta_bias: Tensor | None = None
    initial_state: Tensor | None = None

    def detach(self) -> Inputs:
        """The same tensors, for which no gradients are computed."""
        return Inputs._make(None if x is None else x.detach() for x in self)
