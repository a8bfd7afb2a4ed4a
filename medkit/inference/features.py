"""The last feature map of a bundle's network for an image, and where it lies."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from monai.data import MetaTensor
from monai.networks.utils import pixelshuffle

from medkit.errors import UsageError
from medkit.inference.native_labels import NativeLabelInferer
from medkit.inference.sliding_window import SlabInferer
from medkit.networks.blocks import to_blocks
from medkit.networks.features import feature_network

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from medkit.data.grid import Grid
    from medkit.inference.members import Members

__all__ = ["FeatureMap", "check_features", "windowed_features"]


@dataclass(frozen=True)
class FeatureMap:
    """Features of an image.

    Args:
        array: ``(F, I, J, K)``, float16.
        grid: of its places: that of the preprocessed image or, of a network on blocks, of its blocks.
    """

    array: NDArray[np.float16] = field(repr=False)
    grid: Grid


def check_features(network: nn.Module, inferer: Any, members: Members | None, where: str) -> None:
    """Check that a bundle, as it was loaded, has features to give.

    Args:
        network: of the bundle.
        inferer: of the bundle.
        members: what is averaged over.
        where: the bundle, for messages.

    Raises:
        UsageError: several networks or mirror images, whose features are not the same ones and have no mean that means
            anything; windows other than those of SlabInferer, as those of a cascade; or a network without features.
    """
    if members is not None:
        got = "several networks" if members.weights else "mirror images"
        raise UsageError(
            f"{where}: expected one network and the image alone, for features, got {got}; predict without flips and "
            "with one file of weights"
        )
    if _windows(inferer) is None:
        raise UsageError(
            f"{where}: expected SlabInferer or NativeLabelInferer as the inferer, for features of the whole image, got "
            f"{type(inferer).__name__}; predict without features, or load a bundle with one of these"
        )
    feature_network(network, where)


def _windows(inferer: Any) -> SlabInferer | None:
    windows = inferer.windows if isinstance(inferer, NativeLabelInferer) else inferer
    return windows if isinstance(windows, SlabInferer) else None


def windowed_features(
    image: Tensor, network: nn.Module, inferer: Any, on_windows: Callable[[int, int], None] | None = None
) -> Tensor:
    """Features of an image, from windows that overlap and are blended as those of its labels.

    The windows lie on whole blocks, where those of the labels may begin in the midst of one: so this is a run of the
    network of its own.

    Args:
        image: ``(C, D, H, W)``, preprocessed, where the network is.
        network: see :func:`check_features`.
        inferer: likewise.
        on_windows: called with the number of windows that are done and of all.

    Returns:
        ``(F, *ceil(sizes / block))`` on the CPU, float16: more digits would be noise, which makes files large.
    """
    source, windows = feature_network(network), copy(_windows(inferer))
    assert windows is not None
    windows.roi_size = _in_blocks(windows.roi_size, source.block)
    windows.on_windows = on_windows
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    blocks = to_blocks(plain[None], source.block)[0]
    found = torch.empty(source.feature_channels, *blocks.shape[1:], dtype=torch.float16)
    done = 0
    for slab in windows.slabs(
        blocks, lambda part: source.features(pixelshuffle(part, part.ndim - 2, source.block))
    ):
        found[:, done : done + slab.shape[1]] = slab
        done += slab.shape[1]
    return found


def _in_blocks(sides: Any, block: int) -> Any:
    """Sides of a window, in whole blocks; one that is not above 0 stays the image's."""
    if isinstance(sides, int):
        return max(sides // block, 1) if sides > 0 else sides
    return [_in_blocks(int(side), block) for side in sides]
