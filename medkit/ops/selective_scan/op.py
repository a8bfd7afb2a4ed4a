"""The selective scan as a PyTorch operator: what it takes, the choice of a kernel, and gradients."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import torch
from torch import Tensor

from medkit.ops import triton_kernels
from medkit.ops.forward_mode import refuse_tangents
from medkit.ops.selective_scan import chunked, cpu
from medkit.ops.selective_scan.inputs import Inputs

__all__ = ["selective_scan", "selective_scan_fn"]

_REFERENCE = "medkit.ops.selective_scan.selective_scan_reference"
_NEEDED = ("u", "delta", "A", "B", "C")
_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@overload
def selective_scan(
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
    return_last_state: Literal[False] = False,
    reverse: bool = False,
) -> Tensor: ...


@overload
def selective_scan(
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
    return_last_state: Literal[True],
    reverse: bool = False,
) -> tuple[Tensor, Tensor]: ...


@overload
def selective_scan(
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
    return_last_state: bool,
    reverse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]: ...


def selective_scan(
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
    """The recurrence of selective state spaces (S6; Gu & Dao 2023, https://arxiv.org/abs/2312.00752, algorithm 2).

    With a step size ``dt`` for each channel and step, ``delta + delta_bias``, through softplus if that is asked for,
    the state ``h`` of a channel moves from step to step by

    ``h[l] = exp(dt[l] A) h[l - 1] + dt[l] B[l] u[l]``  and  ``y[l] = sum(C[l] h[l]) + D u[l]``,

    where A is discretised by zero-order hold and B by Euler's rule. With ``z`` the result is ``y silu(z)``.

    The state is held and added up in float32 whatever the types, in float64 if any argument is of that type. Of
    ``u``, ``delta``, ``B``, ``C`` and ``z`` the others take the widest type; the result has that of ``u``, and a
    gradient that of its argument. The same call gives the same bits on the same machine, with any number of threads.
    The kernels are for float32, bfloat16 and float16; float64 is computed by PyTorch and some 20 times slower.

    It works under ``torch.compile``; ``torch.export`` (to load such a program, import ``medkit.ops.selective_scan``
    first); and with ``torch.onnx.export(..., dynamo=True)``, where it becomes a ``Scan`` and batch and length may be
    dynamic.

    Args:
        u: ``(batch, channels, length)``, float32, float64, bfloat16 or float16, any strides.
        delta: like ``u``; not negative after bias and softplus, where the recurrence is to decay.
        A: ``(channels, N)``, real; negative, where it is to decay. A state that grows (``dt A`` above 0) by more than
            float32 holds within some hundred steps may come out infinite or NaN on a GPU.
        B: ``(batch, N, length)``, or ``(batch, groups, N, length)`` with ``channels`` a multiple of ``groups``, or
            ``(channels, N)``, the same at every step, which takes N times the memory of ``u``.
        C: like ``B``, or another of its three forms.
        D: ``(channels,)``, or ``None`` for no skip.
        z: like ``u``, or ``None`` for no gate.
        delta_bias: ``(channels,)``, or ``None`` for zero.
        delta_softplus: whether the step size goes through softplus.
        initial_state: ``h`` before the first step, ``(batch, channels, N)``, or ``None`` for zero.
        return_last_state: whether ``h`` after the last step comes as a second result.
        reverse: whether the scan runs from the last step to the first, without a copy, and just as if all arguments
            and the result were flipped; the last state is then that after step 0.

    Returns:
        ``(batch, channels, length)`` of the type of ``u``, contiguous, and if asked for the last state,
        ``(batch, channels, N)`` in float32 or float64. Gradients flow through both, once: there is no second
        derivative.

    Raises:
        ValueError: shapes that do not fit, an empty tensor, or more than one device.
        TypeError: complex or integer arguments, or no tensors.
        NotImplementedError: a second derivative, or forward-mode differentiation. (The transforms of ``torch.func``
            are not there either; the reference has them.)

    >>> u, A = torch.ones(1, 1, 3), torch.zeros(1, 1)
    >>> selective_scan(u, torch.ones(1, 1, 3), A, torch.ones(1, 1, 3), torch.ones(1, 1, 3))
    tensor([[[1., 2., 3.]]])
    """
    _check(u, delta, A, B, C, D, z, delta_bias, initial_state)
    widest = _widest(u, delta, B, C, z)
    exact = _widest(u, delta, A, B, C, D, z, delta_bias, initial_state, at_least=torch.float32)
    widest = exact if exact == torch.float64 else widest
    refuse_tangents("a selective scan", _REFERENCE, u, delta, A, B, C, D, z, delta_bias, initial_state)
    B, C = _with_groups(B, C, u)
    given, wide = Inputs(u, delta, A, B, C, D, z, delta_bias, initial_state), ("u", "delta", "B", "C", "z")
    inputs = Inputs._make(_as(x, widest if name in wide else exact) for name, x in given._asdict().items())
    if torch.onnx.is_in_onnx_export():
        from medkit.ops.selective_scan.onnx import selective_scan_onnx  # slow to import

        out, last_state = selective_scan_onnx(inputs, delta_softplus, reverse)
    else:
        # A program is not made for one kind of run; without the states the backward pass computes them again.
        program = torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        keep = torch.is_grad_enabled() and not program
        keep = keep and any(x is not None and x.requires_grad for x in inputs)
        out, last_state, _ = _scan(*inputs, delta_softplus, reverse, keep)
    out = out if out.dtype == u.dtype else out.to(u.dtype)
    return (out, last_state) if return_last_state else out


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """:func:`selective_scan` by the name and order of arguments of the ``mamba-ssm`` package, in whose place it fits.

    ``from medkit.ops.selective_scan import selective_scan_fn`` takes the place of its import from
    ``mamba_ssm.ops.selective_scan_interface``. What it does not have is complex ``A``.

    Args:
        u: see there.
        delta: see there.
        A: see there.
        B: see there.
        C: see there.
        D: see there.
        z: see there.
        delta_bias: see there.
        delta_softplus: see there.
        return_last_state: see there.

    Returns:
        As there.

    Raises:
        ValueError: as there.
        TypeError: as there.
    """
    return selective_scan(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state=return_last_state
    )


@torch.library.custom_op("medkit::selective_scan", mutates_args=())
def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = Inputs(u, delta, A, B, C, D, z, delta_bias, initial_state)
    out, last_state, states = _kernels(u).forward(inputs, delta_softplus, reverse, keep_states)
    return out, last_state, states.flatten()


@torch.library.custom_op("medkit::selective_scan_backward", mutates_args=())
def _scan_backward(
    grad_out: Tensor,
    grad_last_state: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    states: Tensor,
    delta_softplus: bool,
    reverse: bool,
) -> list[Tensor]:
    """Gradients by ``u`` to ``initial_state``; operators have no optional results: empty for what was not given."""
    kernels, inputs = _kernels(u), Inputs(u, delta, A, B, C, D, z, delta_bias, initial_state)
    shape = kernels.states_shape(u, A)
    if states.numel() != math.prod(shape):
        states = kernels.forward(inputs, delta_softplus, reverse, True)[2]
    gradients = kernels.backward(
        grad_out, grad_last_state, inputs, states.view(shape), delta_softplus, reverse
    )
    return [A.new_empty(0) if x is None else x for x in gradients]


@_scan.register_fake
def _scan_fake(u: Tensor, delta: Tensor, A: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    *_, keep_states = others
    states = A.new_empty(math.prod(_kernels(u).states_shape(u, A)) if keep_states else 0)
    return torch.empty_like(u), A.new_empty((u.shape[0], *A.shape)), states


@_scan_backward.register_fake
def _scan_backward_fake(grad_out: Tensor, grad_last_state: Tensor | None, *others: Any) -> list[Tensor]:
    inputs = Inputs(*others[: len(Inputs._fields)])
    return [inputs.A.new_empty(0) if x is None else torch.empty_like(x) for x in inputs]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.delta_softplus, ctx.reverse, _ = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_out: Tensor | None, grad_last_state: Tensor | None, _: None) -> tuple[Any, ...]:
    *tensors, states = ctx.saved_tensors
    if grad_out is None:
        grad_out = torch.zeros_like(tensors[0])
    if grad_last_state is not None:
        grad_last_state = grad_last_state.contiguous()
    gradients = _scan_backward(
        grad_out.contiguous(), grad_last_state, *tensors, states, ctx.delta_softplus, ctx.reverse
    )
    wanted = zip(gradients, tensors, ctx.needs_input_grad, strict=False)
    return (*(x if given is not None and needed else None for x, given, needed in wanted), None, None, None)


def _backward_of_backward(ctx: Any, *gradients: Any) -> None:
    raise NotImplementedError(
        "expected one derivative of a selective scan, got a request for the second; differentiate once, or use "
        f"{_REFERENCE}, which has all derivatives and is slow"
    )


_scan.register_autograd(_backward, setup_context=_keep)
_scan_backward.register_autograd(_backward_of_backward)


def _kernels(u: Tensor) -> Any:
    """The module that computes on the device of ``u`` and in its type."""
    if u.dtype != torch.float64:
        if u.device.type == "cpu" and cpu.is_available():
            return cpu
        if triton_kernels.serve(u):
            from medkit.ops.selective_scan import gpu  # Triton is an optional package

            return gpu
    return chunked


def _widest(*given: Tensor | None, at_least: torch.dtype | None = None) -> torch.dtype:
    """The type that holds all of these; float32 where half types meet."""
    types = {x.dtype for x in given if x is not None} | ({at_least} if at_least else set())
    if len(types) == 1:
        return types.pop()
    return torch.float64 if torch.float64 in types else torch.float32


def _as(x: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if x is None:
        return None
    return (x if x.dtype == dtype else x.to(dtype)).contiguous()


def _with_groups(B: Tensor, C: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """B and C as (batch, groups, N, length), of the same groups."""
    B, C = (
        x[:, :, None].expand(u.shape[0], -1, -1, u.shape[2])
        if x.ndim == 2
        else x[:, None]
        if x.ndim == 3
        else x
        for x in (B, C)
    )
    groups = math.lcm(B.shape[1], C.shape[1])
    B, C = (x if x.shape[1] == groups else x.repeat_interleave(groups // x.shape[1], dim=1) for x in (B, C))
    return B, C


def _check(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
) -> None:
    given = Inputs(u, delta, A, B, C, D, z, delta_bias, initial_state)._asdict()
    for name, x in given.items():
        if not isinstance(x, Tensor) and (x is not None or name in _NEEDED):
            raise TypeError(f"expected {name} as a tensor, got {type(x).__name__}; convert it first")
    if u.ndim != 3 or 0 in u.shape:
        raise ValueError(f"expected u of (batch, channels, length), none of them 0, got {tuple(u.shape)}")
    batch, channels, length = u.shape
    if A.ndim != 2 or A.shape[0] != channels or A.shape[1] == 0:
        raise ValueError(
            f"expected A of ({channels}, N), since u is (batch, channels, length) = {tuple(u.shape)}, got "
            f"{tuple(A.shape)}; of u and of B and C the length comes last"
        )
    states = A.shape[1]
    expected = {
        "delta": (delta, (batch, channels, length)),
        "z": (z, (batch, channels, length)),
        "D": (D, (channels,)),
        "delta_bias": (delta_bias, (channels,)),
        "initial_state": (initial_state, (batch, channels, states)),
    }
    for name, (x, shape) in expected.items():
        if x is not None and x.shape != shape:
            raise ValueError(f"expected {name} of {shape}, as u and A are, got {tuple(x.shape)}")
    for name, x in (("B", B), ("C", C)):
        groups = x.shape[1] if x.ndim == 4 else 1
        fits = groups > 0 and channels % groups == 0
        shape = (channels, states) if x.ndim == 2 else (batch, *x.shape[1:-2], states, length)
        if x.ndim not in (2, 3, 4) or not fits or x.shape != shape:
            turned = x.ndim in (3, 4) and x.shape[-2:] == (length, states)
            raise ValueError(
                f"expected {name} of ({batch}, N, {length}), ({batch}, groups, N, {length}) or ({channels}, N) with N "
                f"= {states} and groups a divisor of {channels}, as u and A are, got {tuple(x.shape)}"
                + (f"; the length comes last: pass {name}.mT" if turned else "")
            )
    for name, x in given.items():
        if x is None:
            continue
        if x.dtype not in _TYPES:
            raise TypeError(
                f"expected {name} as one of {', '.join(map(str, _TYPES))}, got {x.dtype}; convert it first, unless "
                "it is complex: complex state spaces are not computed here"
            )
        if x.device != u.device:
            raise ValueError(f"expected {name} on {u.device}, as u is, got {x.device}; move one of them")
