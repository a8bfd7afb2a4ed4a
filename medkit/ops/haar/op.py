"""The Haar transform as PyTorch operators: the choice of a kernel, shapes, and gradients.

Both operators are linear, and each is the adjoint of the other, at odd sizes too: cutting is the adjoint of padding
with zeros. So each is the other's gradient, of any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medkit.ops import triton_kernels
from medkit.ops.forward_mode import refuse_tangents
from medkit.ops.haar import cpu, reference

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["haar_dwt", "haar_idwt"]

_REFERENCE = "its namesake in medkit.ops.haar.reference"
_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def haar_dwt(x: Tensor) -> Tensor:
    """One level of the orthonormal Haar wavelet transform.

    Along an axis, neighbours ``a`` (even index) and ``b`` become ``(a + b) / sqrt(2)``, low, and
    ``(a - b) / sqrt(2)``, high (Haar 1910, https://doi.org/10.1007/BF01456326; one axis after the other as in Mallat
    1989, https://doi.org/10.1109/34.192463, section IV). The signs are those of PyWavelets.

    The sub-bands lie along the channels, all channels of one before those of the next, so that
    ``bands.unflatten(1, (-1, C))`` is ``(B, 8, C, ...)``. Their order is LLL, LLH, LHL, LHH, HLL, HLH, HHL, HHH, in 2D
    LL, LH, HL, HH, with a letter for each axis in the order of the axes: LLH is high along W only. Wavelet diffusion
    (WDM, https://arxiv.org/abs/2402.19043) has the same order and signs, and divides LLL by 3 besides.

    An axis of odd length is padded with a zero at its end. So the energy, the sum of squares, is that of ``x`` at every
    size, and :func:`haar_idwt` is inverse and adjoint at once. The price is a last element of the low band that is
    smaller by ``sqrt(2)``. Who wants it otherwise pads ``x`` before.

    Args:
        x: ``(B, C, H, W)``, transformed over H and W, or ``(B, C, D, H, W)``, over D, H and W; float32, float64,
            bfloat16 or float16 in any memory format. ``B`` and ``C`` may be 0. Half types are computed in float32 and
            rounded once.

    Returns:
        ``(B, 4 C, ceil(H / 2), ceil(W / 2))`` or ``(B, 8 C, ceil(D / 2), ceil(H / 2), ceil(W / 2))``, contiguous, of
        the type of ``x``.

    Raises:
        ValueError: another number of axes, or H, W or D is 0.
        TypeError: another type of element.
        NotImplementedError: forward-mode differentiation.

    >>> haar_dwt(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).flatten()
    tensor([ 5., -1., -2.,  0.])
    """
    if torch.onnx.is_in_onnx_export():  # ONNX knows slices and sums
        _check_volume(x)
        return reference.haar_dwt(x)
    refuse_tangents("a Haar transform", _REFERENCE, x)
    bands: Tensor = _dwt(x)
    return bands


def haar_idwt(bands: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """The volume of which :func:`haar_dwt` makes these sub-bands.

    Args:
        bands: ``(B, 4 C, H', W')`` or ``(B, 8 C, D', H', W')``, in the order of :func:`haar_dwt`.
        size: ``(H, W)`` or ``(D, H, W)`` of the volume, each twice that of the bands or one less; twice when left out.

    Returns:
        ``(B, C, *size)``, contiguous, of the type of ``bands``.

    Raises:
        ValueError: another number of axes, an empty axis, channels that are no multiple of 4 or 8, or a size that does
            not belong to these bands.
        TypeError: another type of element.
        NotImplementedError: forward-mode differentiation.

    >>> x = torch.rand(1, 2, 5, 6, 7)
    >>> bool((haar_idwt(haar_dwt(x), size=x.shape[2:]) - x).abs().max() < 1e-6)
    True
    """
    if torch.onnx.is_in_onnx_export():
        size = _given_or_twice(size, bands)
        _check_bands(bands, size)
        return reference.haar_idwt(bands, size)
    refuse_tangents("a Haar transform", _REFERENCE, bands)
    if size is not None and any(
        isinstance(n, Tensor) for n in size
    ):  # in a trace; operators take no such sizes
        whole: Tensor = _idwt(bands, None)
        return whole[:, :, *map(slice, size)].contiguous()
    volume: Tensor = _idwt(bands, size)
    return volume


@torch.library.custom_op("medkit::haar_dwt", mutates_args=())
def _dwt(x: Tensor) -> Tensor:
    _check_volume(x)
    transform = _kernel(x)
    if transform is None:
        return reference.haar_dwt(x)
    bands = _empty_bands(x)
    transform(x.contiguous(), bands, inverse=False)
    return bands


@torch.library.custom_op("medkit::haar_idwt", mutates_args=())
def _idwt(bands: Tensor, size: Sequence[int] | None) -> Tensor:
    size = _given_or_twice(size, bands)
    _check_bands(bands, size)
    transform = _kernel(bands)
    if transform is None:
        return reference.haar_idwt(bands, size)
    volume = _empty_volume(bands, size)
    transform(volume, bands.contiguous(), inverse=True)
    return volume


@_dwt.register_fake
def _dwt_fake(x: Tensor) -> Tensor:
    _check_volume(x)
    return _empty_bands(x)


@_idwt.register_fake
def _idwt_fake(bands: Tensor, size: Sequence[int] | None) -> Tensor:
    size = _given_or_twice(size, bands)
    _check_bands(bands, size)
    return _empty_volume(bands, size)


def _given_or_twice(size: Sequence[int] | None, bands: Tensor) -> Sequence[int]:
    return [2 * half for half in bands.shape[2:]] if size is None else size


def _empty_bands(volume: Tensor) -> Tensor:
    batch, channels, *sizes = volume.shape
    return volume.new_empty((batch, channels << len(sizes), *((size + 1) // 2 for size in sizes)))


def _empty_volume(bands: Tensor, size: Sequence[int]) -> Tensor:
    batch, channels, *halves = bands.shape
    return bands.new_empty((batch, channels >> len(halves), *size))


def _kernel(x: Tensor) -> Callable[..., None] | None:
    """What computes on the device of ``x``; ``None``: the reference has to."""
    if not x.numel():
        return None
    if x.device.type == "cpu" and cpu.is_available():
        return cpu.transform
    if triton_kernels.serve(x):
        from medkit.ops.haar import gpu  # Triton is an optional package

        return gpu.transform
    return None


def _keep_size(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.size = inputs[0].shape[2:]


def _dwt_backward(ctx: Any, gradient: Tensor) -> Tensor:
    return haar_idwt(gradient, ctx.size)


def _idwt_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return haar_dwt(gradient), None


_dwt.register_autograd(_dwt_backward, setup_context=_keep_size)
_idwt.register_autograd(_idwt_backward)


def _check_volume(x: Tensor) -> None:
    if x.ndim not in (4, 5):
        raise ValueError(
            f"expected (B, C, H, W) or (B, C, D, H, W), got a tensor of shape {tuple(x.shape)}; add or merge axes"
        )
    if 0 in x.shape[2:]:
        raise ValueError(f"expected elements along every axis after B and C, got shape {tuple(x.shape)}")
    if x.dtype not in _TYPES:
        raise TypeError(f"expected {', '.join(map(str, _TYPES))}, got {x.dtype}; convert the tensor first")


def _check_bands(bands: Tensor, size: Sequence[int]) -> None:
    _check_volume(bands)
    halves = bands.shape[2:]
    count = 1 << len(halves)
    if bands.shape[1] % count:
        raise ValueError(
            f"expected {count} sub-bands of C channels each, got {bands.shape[1]} channels, no multiple of {count}"
        )
    if len(size) != len(halves) or any((n + 1) // 2 != half for n, half in zip(size, halves, strict=True)):
        raise ValueError(
            f"expected a size of which {tuple(halves)} is the half, rounded up, got {tuple(size)}; "
            "give the spatial shape of the volume that was transformed"
        )
