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
    """What :func:`pad_to_multiple` began with, ``(B, C, *sizes)``."""
    for axis, size in enumerate(sizes, 2):
        padded = padded.narrow(axis, 0, size)
    return padded


class Padded(nn.Module):
    """A network on images of any size: padded by :func:`pad_to_multiple`, and its output cut back.

    Args:
        network: from ``(B, C, *sizes)`` to ``(B, K, *sizes)``.
        multiple: what it needs each size to be a multiple of, for each axis of space.
    """

    def __init__(self, network: nn.Module, multiple: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.multiple = tuple(multiple)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, K, *sizes)`` logits."""
        return crop(self.network(pad_to_multiple(image, self.multiple)), image.shape[2:])
