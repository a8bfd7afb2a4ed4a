"""What the operators here do not have: derivatives along a direction, computed forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.autograd import forward_ad

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["refuse_tangents"]


def refuse_tangents(operation: str, otherwise: str, *given: Tensor | None) -> None:
    """Raise where an argument carries a tangent: PyTorch would give a zero for it and say nothing.

    Args:
        operation: what is being computed, for the message.
        otherwise: what to call instead.
        given: arguments.

    Raises:
        NotImplementedError: an argument carries a tangent.
    """
    for x in given:
        if x is not None and forward_ad.unpack_dual(x).tangent is not None:  # type: ignore[no-untyped-call]
            raise NotImplementedError(
                f"expected reverse-mode differentiation of {operation}, got a tangent of forward mode; use "
                f"{otherwise}, which has it and is slower"
            )
