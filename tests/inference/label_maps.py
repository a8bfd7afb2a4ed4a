"""Label maps of two structures on one grid, moved or incomplete."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from medkit.data import Grid, write_labels

NAMES = {0: "background", 1: "front", 2: "back"}
SHAPE = (16, 18, 14)
GRID = Grid(SHAPE, nib.affines.from_matvec(np.diag([1.0, 1.5, 2.0]), (5, 6, 7)))


def labels(shift: int = 0, without: tuple[int, ...] = ()) -> np.ndarray:
    """Two boxes side by side, moved along the first axis; uint8."""
    array = np.zeros(SHAPE, np.uint8)
    array[4:10, 3:8, 4:9] = 1
    array[4:10, 8:13, 4:9] = 2
    array[np.isin(array, without)] = 0
    return np.roll(array, shift, axis=0)


def write(folder: Path, **arrays: np.ndarray) -> Path:
    """Write label maps by name of the case; return the folder."""
    for name, array in arrays.items():
        write_labels(folder / f"{name}.nii.gz", array, GRID, NAMES)
    return folder
