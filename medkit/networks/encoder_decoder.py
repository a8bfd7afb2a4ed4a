"""Any encoder that makes the image smaller stage by stage, made a segmenter by a plain decoder of MONAI's blocks; and
the convolutions that such an encoder begins with."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from monai.networks.blocks.convolutions import Convolution
from monai.networks.blocks.dynunet_block import UnetOutBlock, UnetResBlock, UnetUpBlock
from torch import nn

from medkit.networks.features import FeatureNetwork
from medkit.networks.instance_norm import NORM
from medkit.networks.padded import through_padded
from medkit.networks.strides import between_stages, total

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ["EncoderDecoder", "halve", "stage_beginnings"]


class EncoderDecoder(FeatureNetwork):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        stages: of the encoder. The first keeps the size of the image.
        filters: channels that each stage gives.
        strides: from each stage to the next, one for all axes or one for each.
        out_channels: classes, background included.

    Raises:
        ValueError: see :func:`medkit.networks.strides.between_stages`.
    """

    def __init__(
        self,
        spatial_dims: int,
        stages: Sequence[nn.Module],
        filters: Sequence[int],
        strides: Sequence[int | Sequence[int]],
        out_channels: int,
    ) -> None:
        steps = between_stages(filters, strides, spatial_dims)
        super().__init__(spatial_dims, filters[0])
        self.multiple = total(steps)
        self.stages = nn.ModuleList(stages)
        self.ups = nn.ModuleList(
            UnetUpBlock(spatial_dims, below, above, 3, 1, step, NORM)
            for below, above, step in reversed(list(zip(filters[1:], filters[:-1], steps, strict=True)))
        )
        self.head = UnetOutBlock(spatial_dims, filters[0], out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, K, *sizes)`` logits."""
        return through_padded(self._decoded, image, self.multiple, self.parameters())

    def features(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, filters[0], *sizes)``, of which the head makes logits."""
        return through_padded(self._features, image, self.multiple, self.parameters())

    def _decoded(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self._features(x))
        return logits

    def _features(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        for up, skip in zip(self.ups, reversed(skips[:-1]), strict=True):
            x = up(x, skip)
        return x


def stage_beginnings(
    spatial_dims: int,
    in_channels: int,
    filters: Sequence[int],
    halvings: int,
    merge: Callable[[int, int, int], nn.Module],
) -> tuple[list[nn.Module], list[int]]:
    """What the stages of an encoder begin with: one at the image's size, for the decoder, and what halves it.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        filters: channels of each stage that is to have layers; in the stem each stage gives half of the next.
        halvings: of the image's size before the first of those, by convolutions.
        merge: what halves the size between two of them, from ``spatial_dims`` and the channels before and after.

    Returns:
        The stages, ``halvings`` more than filters, and the channels that each gives.

    Raises:
        ValueError: channels that cannot be halved that often, none in a stage, or fewer than no halvings.
    """
    if halvings < 0 or min(filters, default=0) < 1:
        raise ValueError(
            f"expected halvings of 0 or more and filters of 1 or more, got {halvings} and {tuple(filters)}"
        )
    if filters[0] % 2**halvings:
        raise ValueError(f"expected filters[0] to be a multiple of {2**halvings}, got {filters[0]}")
    stem = [filters[0] >> left for left in range(halvings, -1, -1)]
    stages: list[nn.Module] = [UnetResBlock(spatial_dims, in_channels, stem[0], 3, 1, NORM)]
    stages += [halve(spatial_dims, before, after) for before, after in pairwise(stem)]
    stages += [merge(spatial_dims, before, after) for before, after in pairwise(filters)]
    return stages, [*stem, *filters[1:]]


def halve(spatial_dims: int, before: int, after: int) -> nn.Module:
    """A convolution that halves the size, with a norm and a ReLU.

    Args:
        spatial_dims: axes of space, 2 or 3.
        before: channels of its input.
        after: channels of its output.
    """
    convolution: nn.Module = Convolution(
        spatial_dims, before, after, strides=2, adn_ordering="NA", act="relu", norm=NORM, bias=False
    )
    return convolution
