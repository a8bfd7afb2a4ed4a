"""Bring the intensities of a structure to a level that a network knows.

Mean and deviation of a crop depend on what else it shows: with more air or bone in it, the same tissue gets a higher
number. A structure whose place is known already says better what the numbers mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

__all__ = ["LevelIntensityd"]


class LevelIntensityd(MapTransform):
    """Add one number to all voxels, so that the median within a mask is as asked.

    MONAI's ``ShiftIntensity`` takes a number that is known beforehand.

    Args:
        keys: of images ``(C, *sizes)``; each channel is brought to the level.
        within: key of a mask ``(1, *sizes)``: what is above 0.
        level: of the median.
        allow_missing_keys: pass over keys that are not there.
    """

    def __init__(
        self, keys: KeysCollection, within: str, level: float, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.within, self.level = within, level

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item.

        Raises:
            UsageError: there is no such mask, or it is empty, or of other sizes than the image.
        """
        item = dict(data)
        given = item.get(self.within)
        mask = None if given is None else convert_to_tensor(given, track_meta=False) > 0
        for key in self.key_iterator(item):
            image = convert_to_tensor(item[key], track_meta=isinstance(item[key], MetaTensor))
            sizes = (1, *image.shape[1:])
            if mask is None or mask.shape != sizes or not bool(mask.any()):
                got = "none" if mask is None else f"{int(mask.sum())} voxels of {tuple(mask.shape)}"
                raise UsageError(
                    f"LevelIntensityd: expected a mask of {sizes} with voxels at {self.within!r}, got {got}; pass the "
                    "mask with the image"
                )
            medians = convert_to_tensor(image, track_meta=False)[:, mask[0]].median(dim=1).values
            item[key] = image + (self.level - medians).view(-1, *[1] * (image.ndim - 1))
        return item
