"""Group normalisation of channels-last images on a CPU, by the compiled kernels of ``csrc/group_norm.c``."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from medkit.ops import native

__all__ = ["group_norm", "is_served"]

_TYPES = {dtype: i for i, dtype in enumerate((torch.float32, torch.bfloat16))}
# Each part has its own sums, which take time to clear and to add up; there are enough for all cores at any size.
_VOXELS_OF_A_PART, _MOST_PARTS = 256, 64
_LEAST_WIDTH = 64  # elements that the kernels take at a time, unless channels are more


def is_served(x: Tensor) -> bool:
    """Whether :func:`group_norm` takes ``x``, which PyTorch would copy to contiguous memory and leave there.

    Outside of ``torch.compile``, exports, transforms of functions and forward-mode differentiation: to those PyTorch's
    own operator is known. A single voxel is left to PyTorch as well, which refuses it.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return False
    if x.ndim not in (4, 5) or x.device.type != "cpu" or x.dtype not in _TYPES or _is_transformed(x):
        return False
    in_last = x.is_contiguous(memory_format=_last(x)) and not x.is_contiguous()
    several = x.numel() > x.shape[0] * x.shape[1]
    return in_last and several and native.library() is not None


def _is_transformed(x: Tensor) -> bool:
    tangent = forward_ad.unpack_dual(x).tangent  # type: ignore[no-untyped-call]
    return tangent is not None or torch._C._functorch.is_functorch_wrapped_tensor(x)


def group_norm(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Each group of channels of each sample less its mean, over its standard deviation (Wu & He, arXiv:1803.08494).

    A group for each channel makes it an instance norm. It can be differentiated as often as is asked for, from the
    second time on by PyTorch and slower.

    Sums are in float64, the rest in float32, rounded once.

    Args:
        x: ``(B, C, H, W)`` or ``(B, C, D, H, W)``, channels-last, float32 or bfloat16; see :func:`is_served`.
        groups: of C / groups channels each.
        weight: ``(C,)`` to multiply by, or ``None``.
        bias: ``(C,)`` to add, or ``None``.
        eps: added to the variance.

    Returns:
        Like ``x``, channels-last.
    """
    channels = x.shape[1]
    weight = torch.ones(channels) if weight is None else weight
    bias = torch.zeros(channels) if bias is None else bias
    result: Tensor = _group_norm(x, groups, weight, bias, eps)
    return result


@torch.library.custom_op("medkit::group_norm_channels_last", mutates_args=())
def _group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    x = x.contiguous(memory_format=_last(x))
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    result = torch.empty_like(x)
    batch, voxels, channels, parts, width = _layout(x)
    sums = torch.empty(batch, parts, 2, width, dtype=torch.float64)
    tables = torch.empty(batch, 3, width)
    _kernel()(
        x.data_ptr(), result.data_ptr(), _TYPES[x.dtype], weight.data_ptr(), bias.data_ptr(), eps, batch,
        voxels, channels, groups, parts, width, sums.data_ptr(), tables.data_ptr(), native.thread_count(),
    )  # fmt: skip
    return result


@_group_norm.register_fake
def _fake(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x, memory_format=_last(x))


@torch.library.custom_op("medkit::group_norm_channels_last_backward", mutates_args=())
def _backward(
    x: Tensor, gradient: Tensor, groups: int, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of image, weights and biases; the latter two in float64."""
    x, gradient = (one.contiguous(memory_format=_last(x)) for one in (x, gradient))
    weight = weight.float().contiguous()
    result = torch.empty_like(x)
    batch, voxels, channels, parts, width = _layout(x)
    of_weight, of_bias = (torch.zeros(channels, dtype=torch.float64) for _ in range(2))
    sums = torch.empty(batch, parts, 4, width, dtype=torch.float64)
    tables = torch.empty(batch, 4, width)
    _backward_kernel()(
        x.data_ptr(), gradient.data_ptr(), result.data_ptr(), _TYPES[x.dtype], weight.data_ptr(), eps, batch, voxels,
        channels, groups, parts, width, of_weight.data_ptr(), of_bias.data_ptr(), sums.data_ptr(), tables.data_ptr(),
        native.thread_count(),
    )  # fmt: skip
    return result, of_weight, of_bias


@_backward.register_fake
def _backward_fake(
    x: Tensor, gradient: Tensor, groups: int, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    of_weight, of_bias = (x.new_empty(x.shape[1], dtype=torch.float64) for _ in range(2))
    return torch.empty_like(x, memory_format=_last(x)), of_weight, of_bias


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.groups, weight, bias, ctx.eps = inputs
    ctx.types = weight.dtype, bias.dtype
    ctx.save_for_backward(x, weight)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    # With grad enabled somebody is to differentiate what comes out.
    compute = _differentiable if torch.is_grad_enabled() else _backward
    image, of_weight, of_bias = compute(x, gradient, ctx.groups, weight, ctx.eps)
    return image, None, of_weight.to(ctx.types[0]), of_bias.to(ctx.types[1]), None


_group_norm.register_autograd(_gradients, setup_context=_keep)


def _differentiable(
    x: Tensor, gradient: Tensor, groups: int, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`_backward` gives, by operators that can be differentiated themselves."""
    batch, channels = x.shape[:2]

    def grouped(one: Tensor) -> Tensor:
        return one.double().reshape(batch, groups, channels // groups, -1)

    values, slopes = grouped(x), grouped(gradient)
    variance, mean = torch.var_mean(values, (2, 3), correction=0, keepdim=True)
    deviation = (variance + eps).sqrt()
    normal = (values - mean) / deviation
    weighted = slopes * weight.double().view(1, groups, -1, 1)
    along, across = weighted.mean((2, 3), keepdim=True), (weighted * normal).mean((2, 3), keepdim=True)
    image = ((weighted - along - normal * across) / deviation).view(x.shape).to(x.dtype)
    return image, (slopes * normal).sum((0, 3)).flatten(), slopes.sum((0, 3)).flatten()


def _layout(x: Tensor) -> tuple[int, int, int, int, int]:
    """Samples, voxels and channels, into how many parts sums are divided, and how many elements are a run."""
    batch, channels = x.shape[:2]
    voxels = x[0, 0].numel()
    parts = min(_MOST_PARTS, 1 + voxels // _VOXELS_OF_A_PART)
    return batch, voxels, channels, parts, channels * max(1, _LEAST_WIDTH // channels)


def _last(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.ndim == 4 else torch.channels_last_3d


@cache
def _kernel() -> Any:
    kernel = native.library().medkit_group_norm  # type: ignore[union-attr]
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    kernel.argtypes = [
        pointer, pointer, number, pointer, pointer, ctypes.c_double, *[size] * 6, pointer, pointer, number,
    ]  # fmt: skip
    kernel.restype = None
    return kernel


@cache
def _backward_kernel() -> Any:
    kernel = native.library().medkit_group_norm_backward  # type: ignore[union-attr]
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    kernel.argtypes = [
        pointer, pointer, pointer, number, pointer, ctypes.c_double, *[size] * 6, *[pointer] * 4, number,
    ]  # fmt: skip
    kernel.restype = None
    return kernel
