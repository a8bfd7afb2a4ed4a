"""A volume from memory as a NIfTI file would hold it, without the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medkit.data.checks import check_volume
from medkit.data.reading import volume_from_nibabel
from medkit.data.writing import nifti_image

if TYPE_CHECKING:
    from medkit.data.volume import Volume

__all__ = ["in_nifti_form"]


def in_nifti_form(volume: Volume) -> Volume:
    """What reading a NIfTI file of a volume gives: its voxels, and its place in single precision.

    A result for an image that never was a file is thereby the same, voxel for voxel, as one for the file: resampling is
    sensitive to the ninth digit of an affine, and a convolution to the order in which voxels lie in memory.

    Args:
        volume: ``(I, J, K)`` or ``(I, J, K, C)``. Its voxels are not copied where they lie in NIfTI's order already.

    Raises:
        CaseError: see :func:`medkit.data.checks.check_volume` and :func:`medkit.data.checks.check_nifti_header`.
    """
    written = nifti_image(np.asfortranarray(volume.array), volume.grid)
    image = type(written)(written.dataobj, written.header.get_best_affine(), written.header)
    return check_volume(volume_from_nibabel(image, volume.name))
