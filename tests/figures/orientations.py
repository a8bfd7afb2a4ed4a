"""One array as volumes of every orientation would keep it."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np

SPACING = (1.0, 2.0, 3.0)
ALL_ORIENTATIONS = [
    tuple(ends[flip] for ends, flip in zip(axes, flips, strict=True))
    for axes in permutations(("RL", "AP", "SI"))
    for flips in product((0, 1), repeat=3)
]


def stored_as(array, axcodes):
    """An RAS array of 1 x 2 x 3 mm as a volume with other axes would keep it, with its affine."""
    affine = nib.affines.from_matvec(np.diag(SPACING), (-10, -20, -30))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axcodes)
    )
    stored = nib.orientations.apply_orientation(array, turn)
    return stored, affine @ nib.orientations.inv_ornt_aff(turn, array.shape)
