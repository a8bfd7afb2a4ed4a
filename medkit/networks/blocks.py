"""Blocks of voxels as channels, and back, for images of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.utils import pixelshuffle, pixelunshuffle

from medkit.networks.padded import crop, pad_to_multiple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["from_blocks", "to_blocks"]


def to_blocks(image: Tensor, block: int) -> Tensor:
    """``(B, C, *sizes)`` to ``(B, C * block^n, *ceil(sizes / block))``: voxels beyond an edge are its last ones again.

    Args:
        image: with ``n`` axes of space.
        block: voxels along each axis of one.

    >>> import torch
    >>> to_blocks(torch.zeros(1, 1, 8, 5), 2).shape
    torch.Size([1, 4, 4, 3])
    """
    if block == 1:
        return image
    axes = image.ndim - 2
    blocks = pixelunshuffle(pad_to_multiple(image, (block,) * axes), axes, block)
    return crop(blocks, [-(-size // block) for size in image.shape[2:]])


def from_blocks(blocks: Tensor, block: int, sizes: Sequence[int]) -> Tensor:
    """The way back: ``(B, C * block^n, *ceil(sizes / block))`` to ``(B, C, *sizes)``."""
    if block == 1:
        return blocks
    return crop(pixelshuffle(blocks, len(sizes), block), sizes)
