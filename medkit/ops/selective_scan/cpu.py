"""The selective scan by the compiled kernels, ``csrc/selective_scan*``.

Each lane of a vector holds a channel, so that a tile of 16 channels by 64 steps is turned round on its way in and out
and no sum over the states crosses lanes. Forward is bound by the multiplications of the exponential and of the
recurrence, 8 of them for every update of 16 states; backward by twice as many. Every sum has an order of its own that
does not depend on the number of threads, and so have the results.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from medkit.ops import native
from medkit.ops.selective_scan.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["backward", "forward", "is_available", "states_shape"]

_TYPES = {dtype: i for i, dtype in enumerate((torch.float32, torch.bfloat16, torch.float16))}
_NUMBERS = (
    "batch", "groups", "channels", "states", "length", "element", "softplus", "reverse", "threads",
)  # fmt: skip
_POINTERS = (
    "u", "delta", "z", "B", "C", "A", "D", "delta_bias", "initial_state", "out", "last_state", "kept", "scratch",
    "grad_out", "grad_last_state", "du", "ddelta", "dz", "dB", "dC", "dA", "dD", "ddelta_bias", "dinitial_state",
)  # fmt: skip


class _Scan(ctypes.Structure):
    """``Scan`` of ``csrc/selective_scan.h``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    )


def is_available() -> bool:
    """Whether the kernels were compiled."""
    return native.library() is not None


def states_shape(u: Tensor, A: Tensor) -> tuple[int, ...]:
    """Shape of the states that :func:`forward` keeps: those before each tile, (batch, tiles, N, channels)."""
    tile = _library().medkit_selective_scan_tile()
    return u.shape[0], -(-u.shape[2] // tile), A.shape[1], A.shape[0]


def forward(
    inputs: Inputs,
    delta_softplus: bool,
    reverse: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the recurrence; all tensors contiguous, on the CPU.

    Args:
        inputs: tensors.
        delta_softplus: whether the step size is ``softplus(delta + delta_bias)``.
        reverse: whether the scan runs from the last step to the first.
        keep_states: whether the third result is wanted.

    Returns:
        The output like ``u``; the state after the last step, ``(batch, channels, N)`` in float32; and what
        :func:`backward` takes for ``states``, an empty tensor unless it is wanted.
    """
    u, A = inputs.u, inputs.A
    out, last_state = torch.empty_like(u), A.new_empty(u.shape[0], *A.shape)
    states = A.new_empty(states_shape(u, A) if keep_states else 0)
    scan = _scan(inputs, delta_softplus, reverse)
    _point(scan, out=out, last_state=last_state, kept=states if keep_states else None)
    _run(_library().medkit_selective_scan_forward, scan, A, backward=False)
    return out, last_state, states


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
        grad_out: like ``u``, contiguous.
        grad_last_state: ``(batch, channels, N)``, float32, contiguous, or ``None`` for zero.
        inputs: as given to :func:`forward`.
        states: third result of :func:`forward`.
        delta_softplus: as given to :func:`forward`.
        reverse: as given to :func:`forward`.

    Returns:
        Gradients by ``inputs``; ``None`` for what was ``None``.
    """
    gradients = Inputs._make(None if x is None else torch.empty_like(x) for x in inputs)
    scan = _scan(inputs, delta_softplus, reverse)
    _point(scan, kept=states, grad_out=grad_out, grad_last_state=grad_last_state)
    _point(scan, **{f"d{name}": x for name, x in gradients._asdict().items()})
    _run(_library().medkit_selective_scan_backward, scan, inputs.A, backward=True)
    return gradients


def _scan(inputs: Inputs, delta_softplus: bool, reverse: bool) -> _Scan:
    batch, channels, length = inputs.u.shape
    groups, states = inputs.B.shape[1:3]
    element = _TYPES[inputs.u.dtype]
    numbers = (batch, groups, channels // groups, states, length, element, delta_softplus, reverse)
    scan = _Scan(*numbers, native.thread_count())
    _point(scan, **inputs._asdict())
    return scan


def _point(scan: _Scan, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        setattr(scan, name, None if tensor is None else tensor.data_ptr())


def _run(kernel: Any, scan: _Scan, like: Tensor, *, backward: bool) -> None:
    level = _level()
    scratch = like.new_empty(_library().medkit_selective_scan_scratch(ctypes.byref(scan), level, backward))
    scan.scratch = scratch.data_ptr()
    kernel(ctypes.byref(scan), level)


def _level() -> int:
    """Which instruction set is used, as ``csrc/selective_scan.c`` counts them."""
    level: int = _library().medkit_selective_scan_level()
    return level


@cache
def _library() -> Any:
    library = native.library()
    if library is None:
        raise RuntimeError(
            "expected compiled kernels, got an installation without them; install a C compiler first"
        )
    scan, number = ctypes.POINTER(_Scan), ctypes.c_int64
    for name, arguments, result in (
        ("level", [], number),
        ("tile", [], number),
        ("scratch", [scan, number, number], number),
        ("forward", [scan, number], None),
        ("backward", [scan, number], None),
    ):
        function = getattr(library, f"medkit_selective_scan_{name}")
        function.argtypes, function.restype = arguments, result
    return library
