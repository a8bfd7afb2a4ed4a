"""What the steps of synthesis hand on: one head, its labels and what has been made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Sample", "Size"]

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Sample:
    """One head on a grid of 1 mm, axes to the right, to the front and up (RAS).

    One, not a batch: a volume of 160^3 keeps a device busy on its own, and each sample has its own number of slices.

    Args:
        labels: ``(D, H, W)``, int32, values of a :class:`~medkit.transforms.synthesis.label_scheme.LabelScheme`.
        image: ``(D, H, W)``, float32, not below 0; absent until a step has made it. While it is acquired it has
            fewer voxels than the labels.
        real: ``(D, H, W)``, float32, a real scan of this head, if there is one.
        lesions: ``(D, H, W)``, float32, the part of each voxel that is lesion, 0 to 1, if there are any.
    """

    labels: Tensor
    image: Tensor | None = None
    real: Tensor | None = None
    lesions: Tensor | None = None

    @property
    def needed_image(self) -> Tensor:
        """The image.

        Raises:
            UsageError: no step has made one yet.
        """
        if self.image is None:
            raise UsageError(
                "expected an image, got labels alone; put Intensities before the steps that change it"
            )
        return self.image

    def with_image(self, image: Tensor) -> Sample:
        """The same but for the image."""
        return replace(self, image=image)

    def within(self, kept: Tensor) -> Sample:
        """Image, labels and lesions where a mask ``(D, H, W)`` says so, and 0 elsewhere.

        Raises:
            UsageError: there is no image.
        """
        return replace(
            self,
            labels=self.labels * kept,
            image=self.needed_image * kept,
            lesions=None if self.lesions is None else self.lesions * kept,
        )
