"""MONAI's own transforms from a file to another grid and back into a file, with medkit's reader and writer."""

from __future__ import annotations

import functools
from pathlib import Path

from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    SaveImaged,
    Spacingd,
)

from medkit.data import LabelWriter, VolumeReader
from tests.phantoms import NAMES


def there_and_back(spacing: float, folder: Path, suffix: str) -> tuple[Compose, Compose]:
    """From the file of ``image`` to an RAS grid of cubes, in mm; from ``pred`` there to a label map in a folder."""
    there = Compose(
        [
            LoadImaged("image", reader=VolumeReader()),
            EnsureChannelFirstd("image"),
            Orientationd("image", "RAS", labels=None),
            Spacingd("image", (spacing,) * 3),
        ]
    )
    back = Compose(
        [
            Invertd("pred", there, "image", nearest_interp=True),
            SaveImaged(
                "pred",
                output_dir=folder,
                output_ext=suffix,
                writer=functools.partial(LabelWriter, names=NAMES),
                separate_folder=False,
                print_log=False,
            ),
        ]
    )
    return there, back
