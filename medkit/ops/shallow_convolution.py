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

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.utils.hooks import RemovableHandle

__all__ = ["give_room", "missing_room"]

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


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


def give_room(network: nn.Module) -> list[RemovableHandle]:
    """Let the convolutions of a network compute with more zeros around images that are too short for them.

    For training on a CPU, before its first step. The outputs stay the same, and the gradients become right. Such a
    layer sees so few voxels that its second computation costs little; to refuse it would rule out small patches and
    large kernels.

    Args:
        network: any module; layers that border images by something other than zeros stay as they are.

    Returns:
        Handles whose ``remove()`` leaves the network as it was.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _CONVOLUTIONS)]
    return [layer.register_forward_hook(_with_room) for layer in layers]


def _with_room(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The output, of an image with zeros behind it where it would be too short, without what they added."""
    assert isinstance(layer, _CONVOLUTIONS)
    kernel, image = layer.kernel_size, output if layer.transposed else inputs[0]
    missing = missing_room(kernel, layer.dilation, layer.stride, image.shape[-len(kernel) :])
    if layer.padding_mode != "zeros" or not any(missing):
        return output
    if layer.transposed:  # one voxel of the input is a stride of the output
        missing = [-(-voxels // stride) for voxels, stride in zip(missing, layer.stride, strict=True)]
    behind = [margin for voxels in reversed(missing) for margin in (0, voxels)]
    wide: Tensor = layer.forward(functional.pad(inputs[0], behind))
    for axis, size in enumerate(output.shape):
        wide = wide.narrow(axis, 0, size)
    return wide
