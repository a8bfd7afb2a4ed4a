"""Probabilities that are right as often as they say, where a segmentation is unsure: at the boundaries that it draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["at_boundary", "soften_boundaries"]


def soften_boundaries(logits: Tensor, temperature: float) -> Tensor:
    """Divide the logits of boundary voxels by a temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    A segmenter is overconfident where it draws a boundary and nowhere else, so one temperature for all voxels makes the
    many that are certainly background unsure, and the sum of a structure's probabilities too large. (A temperature that
    varies over the image: Ding et al. 2021, https://arxiv.org/abs/2008.05105; here it has two values.) The likeliest
    label of each voxel stays as it is.

    Args:
        logits: ``(K, *sizes)`` of classes that exclude each other, 2D or 3D.
        temperature: above 1 to make them less sure.

    Returns:
        New logits like these.
    """
    unsure = at_boundary(logits.argmax(0))
    return torch.where(unsure, logits / temperature, logits)


def at_boundary(labels: Tensor) -> Tensor:
    """Voxels with another label among their neighbours, diagonal ones included; ``(*sizes)`` to a mask like it.

    >>> at_boundary(torch.tensor([[0, 0, 0, 1], [0, 0, 0, 1]]))
    tensor([[False, False,  True,  True],
            [False, False,  True,  True]])
    """
    pool = functional.max_pool3d if labels.ndim == 3 else functional.max_pool2d
    values = labels[None, None].to(torch.float32)
    highest, lowest = (pool(x, kernel_size=3, stride=1, padding=1) for x in (values, -values))
    return (highest != -lowest)[0, 0]
