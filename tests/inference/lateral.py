"""Bundles whose labels lie left and right, and the little that their tests need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from torch import nn

from medkit.inference.mirroring import AXES
from tests.tiny_bundle import edit_json

NAMES = {"0": "background", "1": "left thing", "2": "right thing"}


def with_names(root: Path, folder: Path, names: dict[str, str] | None = None, **metadata: Any) -> Path:
    """A copy of a bundle, in ``folder``, with other channel names and more metadata."""
    copy = shutil.copytree(root, folder / root.name)
    edit_json(copy / "configs" / "metadata.json", lambda content: rename(content, names or NAMES, metadata))
    return copy


def rename(content: dict[str, Any], names: dict[str, str], metadata: dict[str, Any]) -> None:
    content["network_data_format"]["outputs"]["pred"]["channel_def"] = names
    content.update(metadata)


def with_masks(root: Path) -> Path:
    """Turn a bundle into one of overlapping masks, in place."""
    return with_steps(root, {"sigmoid": True}, {"threshold": 0.5})


def with_steps(root: Path, activation: dict[str, Any], labels: dict[str, Any]) -> Path:
    """Give a bundle MONAI's own three steps of postprocessing, in place."""
    back = {"transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False}
    steps = {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", **activation},
            {"_target_": "Invertd", "keys": "pred", **back},
            {"_target_": "AsDiscreted", "keys": "pred", **labels},
        ],
    }
    edit_json(root / "configs" / "inference.json", lambda config: config.update(postprocessing=steps))
    return root


class Fixed(nn.Module):
    """Gives for each voxel what a function makes of the image, ``(B, 1, *spatial)`` to ``(B, K, *spatial)``."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Any) -> Any:
        return self.function(image)


def flipped(array: np.ndarray, affine: np.ndarray, axes: tuple[str, ...] = ("LR",)) -> np.ndarray:
    """``(I, J, K)`` turned round along axes of the body."""
    along = nib.orientations.io_orientation(affine)[:, 0].astype(int).tolist()
    return np.ascontiguousarray(np.flip(array, [along.index(AXES.index(axis)) for axis in axes]))


def turned(array: np.ndarray, affine: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Array and affine turned round together: the same body, stored the other way."""
    change = np.eye(4)
    change[axis, axis], change[axis, 3] = -1, array.shape[axis] - 1
    return np.ascontiguousarray(np.flip(array, axis)), affine @ change
