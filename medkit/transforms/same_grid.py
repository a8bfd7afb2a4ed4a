"""Refuse to learn from a label map, or to score by one, that does not lie where its image does.

MONAI's dictionary transforms take what lies at one index for one place, whatever the affines say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.transforms import Transform
from monai.utils import MetaKeys

from medkit.data.checks import check_same_grid
from medkit.data.monai_io import grid_of_metadata

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.data import MetaTensor

    from medkit.data.grid import Grid

__all__ = ["SameGridd"]


class SameGridd(Transform):
    """Check that the files of two items have one grid; the data are passed on as they are.

    Args:
        key: of the label map, as :class:`medkit.data.VolumeReader` read it.
        reference_key: of the image, read so too, and perhaps moved since.
    """

    def __init__(self, key: Hashable, reference_key: Hashable) -> None:
        self.key, self.reference_key = key, reference_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Mapping[Hashable, Any]:
        """The item itself.

        Raises:
            CaseError: ``grids-differ``.
        """
        check_same_grid(*_in_file(data[self.key]), *_in_file(data[self.reference_key]))
        return data


def _in_file(image: MetaTensor) -> tuple[Grid, str]:
    a, b, c = (int(size) for size in image.meta[MetaKeys.SPATIAL_SHAPE][:3])
    return grid_of_metadata(image.meta, (a, b, c)), str(image.meta["filename_or_obj"])
