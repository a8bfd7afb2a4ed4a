"""Which convolutions PyTorch gets wrong on a CPU: those whose kernel is longer than the image.

With AVX512-BF16, oneDNN's gradient of the weight in bfloat16 (in torch 2.13; that of the bias too, and with dilation
the output) then reads memory that nobody wrote, or damages the heap. In float32 it does so with a kernel of 7 and a
stride of 2, even if that kernel just fits. Among thousands of random convolutions over uninitialised memory full of NaN
(2D and 3D, dense, grouped, depthwise, transposed, strided, dilated, padded; channels last and contiguous) none was
wrong that has room for its kernel and another step along every axis; of the others some were, in either layout. More
zeros around the image are thus a cure that changes no number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["missing_room"]


def missing_room(
    kernel: Sequence[int], dilation: Sequence[int], stride: Sequence[int], sizes: Sequence[int]
) -> list[int]:
    """Voxels that an image lacks along each axis to have room for a kernel, and with a stride for another step.

    Args:
        kernel: length along each axis.
        dilation: distance of its taps.
        stride: from one place of the kernel to the next.
        sizes: of the image; for a transposed convolution of its output, the image of the convolution that it inverts.

    >>> missing_room((3, 3, 3), (1, 1, 2), (1, 2, 1), (2, 40, 3))
    [1, 0, 2]
    """
    each = zip(kernel, dilation, stride, sizes, strict=True)
    return [max(apart * (length - 1) + step - size, 0) for length, apart, step, size in each]
