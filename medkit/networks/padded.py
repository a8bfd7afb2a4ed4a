"""Any input size for networks that halve theirs a fixed number of times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["Padded", "crop", "pad_to_multiple"]


def pad_to_multiple(image: Tensor, multiple: Sequence[int]) -> Tensor:
    """Repeat the last voxels of each axis until its size is a multiple.

    Where all axes would then shrink to a single voxel, of which no normalisation can make anything, the last one is
    made twice as long.

    Args:
        image: ``(B, C, *sizes)`` with one to three axes of space.
        multiple: a number for each axis of space.

    >>> import torch
    >>> pad_to_multiple(torch.zeros(1, 1, 5, 8), (4, 4)).shape
    torch.Size([1, 1, 8, 8])
    """
    sizes = image.shape[2:]
    padded = [math.ceil(size / step) * step for size, step in zip(sizes, multiple, strict=True)]
    if padded == list(multiple):
        padded[-1] *= 2
    added = [new - size for new, size in zip(padded, sizes, strict=True)]
    if not any(added):
        return image
    return functional.pad(image, [n for extra in reversed(added) for n in (0, extra)], mode="replicate")


def crop(padded: Tensor, sizes: Sequence[int]) -> Tensor:
    """What :func:`pad_to_multiple` began with, ``(..., *sizes)``: the last axes are those of space."""
    for axis, size in enumerate(sizes, -len(sizes)):
        padded = padded.narrow(axis, 0, size)
    return padded


class Padded(nn.Module):
    """A network on images of any size: padded by :func:`pad_to_multiple`, and its output cut back.

    Args:
        network: from ``(B, C, *sizes)`` to ``(..., *sizes)``, or to several such, of which some may be on grids that are
            a whole number of times as coarse.
        multiple: what it needs each size to be a multiple of, for each axis of space.
    """

    def __init__(self, network: nn.Module, multiple: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.multiple = tuple(multiple)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``(B, C, *sizes)`` images to the network's logits, ``(B, K, *sizes)`` by themselves.

        With deep supervision, in training mode, what MONAI's classes give: ``DynUNet`` a stack ``(B, L, K, *sizes)``,
        ``MedNeXt`` a tuple of levels, each half as fine as the one before, whose last voxels may reach over the edge of
        the image.
        """
        padded = pad_to_multiple(image, self.multiple)
        output = self.network(padded)
        if isinstance(output, tuple):
            return tuple(_crop_level(level, padded, image) for level in output)
        return crop(output, image.shape[2:])


def _crop_level(level: Tensor, padded: Tensor, image: Tensor) -> Tensor:
    """What of a level, as fine as the padded image or coarser, shows the image."""
    steps = [fine // coarse for fine, coarse in zip(padded.shape[2:], level.shape[2:], strict=True)]
    return crop(level, [math.ceil(size / step) for size, step in zip(image.shape[2:], steps, strict=True)])
