"""Any input size for networks that halve theirs a fixed number of times.

All of this is arithmetic on sizes, without a choice by their value: so a network that was traced, or exported with
dynamic sizes, is right at sizes that pad differently.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Padded", "crop", "pad_to_multiple", "through_padded"]

Output = TypeVar("Output", Tensor, tuple[Tensor, ...])


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
    added = [-size % step for size, step in zip(sizes, multiple, strict=True)]
    cells = math.prod(
        (size + extra) // step for size, extra, step in zip(sizes, added, multiple, strict=True)
    )
    added[-1] += multiple[-1] * (1 // cells)  # without an if, which a trace would decide once for all sizes
    if all(isinstance(extra, int) for extra in added) and not any(added):
        return image
    return functional.pad(image, [n for extra in reversed(added) for n in (0, extra)], mode="replicate")


def crop(padded: Tensor, sizes: Sequence[int]) -> Tensor:
    """What :func:`pad_to_multiple` began with, ``(..., *sizes)``: the last axes are those of space."""
    for axis, size in enumerate(sizes, -len(sizes)):
        whole = padded.shape[axis]
        # Of an axis that stays whole the gradient would be copied into zeros all the same. In a trace sizes are unknown.
        if not (isinstance(size, int) and isinstance(whole, int) and size == whole):
            padded = padded.narrow(axis, 0, size)
    return padded


class Padded(nn.Module):
    """A network on images of any size.

    Args:
        network: see :func:`through_padded`.
        multiple: see :func:`through_padded`.
        traced_for_one_size: whether a trace of the network holds for its own padded size only; it then refuses others.
    """

    def __init__(
        self, network: nn.Module, multiple: Sequence[int], *, traced_for_one_size: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.multiple = tuple(multiple)
        self.traced_for_one_size = traced_for_one_size

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``(B, C, *sizes)`` images to the network's logits, ``(B, K, *sizes)`` by themselves.

        With deep supervision, in training mode, what MONAI's classes give: ``DynUNet`` a stack ``(B, L, K, *sizes)``,
        ``MedNeXt`` a tuple of levels, each half as fine as the one before, whose last voxels may reach over the edge of
        the image.
        """
        traced = isinstance(image.shape[-1], Tensor)
        network = self._of_one_size if traced and self.traced_for_one_size else self.network
        logits: Tensor | tuple[Tensor, ...] = through_padded(network, image, self.multiple, self.parameters())
        return logits

    def _of_one_size(self, padded: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Joined to nothing of the same size, with which images of another size cannot be joined."""
        nothing = padded.new_empty(0, *map(int, padded.shape[1:]))
        logits: Tensor | tuple[Tensor, ...] = self.network(torch.cat([padded, nothing]))
        return logits


def through_padded(
    network: Callable[[Tensor], Output],
    image: Tensor,
    multiple: Sequence[int],
    weights: Iterable[Tensor] = (),
) -> Output:
    """What a network makes of an image padded by :func:`pad_to_multiple`, cut back to the image.

    Args:
        network: from ``(B, C, *sizes)`` to ``(..., *sizes)``, or to a tuple of such, of which some may be on grids that
            are a whole number of times as coarse.
        image: ``(B, C, *sizes)``, of a floating-point type.
        multiple: what the network needs each size to be a multiple of, for each axis of space.
        weights: of the network, which the image must be of the type of, save under autocast.

    Raises:
        ValueError: an image of another number of axes, or without a voxel.
        TypeError: an image of whole numbers, or of another type than the weights.
    """
    _check(image, len(multiple))
    _check_type(image, weights)
    padded = pad_to_multiple(image, multiple)
    output = network(padded)
    if isinstance(output, tuple):
        return tuple(_crop_level(level, padded, image) for level in output)
    return crop(output, image.shape[2:])


def _check(image: Tensor, spatial_dims: int) -> None:
    """Refuse what no network can be given; where sizes are not known yet, as in a trace, nothing depends on them."""
    if image.ndim != spatial_dims + 2:
        raise ValueError(
            f"expected an image (batch, channels, and {spatial_dims} axes of space), got {tuple(image.shape)}; "
            "image[None] adds an axis in front; a network for images of other axes has another spatial_dims"
        )
    if 0 in [size for size in image.shape if isinstance(size, int)]:
        raise ValueError(
            f"expected an image with no axis of length 0, got {tuple(image.shape)}; leave it out"
        )
    if not image.is_floating_point():
        raise TypeError(
            f"expected an image of a floating-point type, got {image.dtype}; image.float() is one"
        )


def _check_type(image: Tensor, weights: Iterable[Tensor]) -> None:
    """Refuse a type that the weights have not, unless autocast brings both to one, which it does but for doubles."""
    types = dict.fromkeys(weight.dtype for weight in weights)
    cast = torch.is_autocast_enabled(image.device.type) and image.dtype != torch.float64
    if types and image.dtype not in types and not cast:
        first = next(iter(types))
        raise TypeError(
            f"expected an image of the type of the network's weights, {first}, got {image.dtype}; image.to({first}) is "
            "one"
        )


def _crop_level(level: Tensor, padded: Tensor, image: Tensor) -> Tensor:
    """What of a level, as fine as the padded image or coarser, shows the image."""
    steps = [fine // coarse for fine, coarse in zip(padded.shape[2:], level.shape[2:], strict=True)]
    return crop(level, [math.ceil(size / step) for size, step in zip(image.shape[2:], steps, strict=True)])
