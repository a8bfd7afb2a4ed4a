"""The reader and the writer that bundles name in their configs, so that plain MONAI is as strict as medkit.

MONAI's own reader looks at the affine alone and its writer makes a fresh header: a qform is lost, units and
codes change, and a NaN goes unnoticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data import ImageReader, ImageWriter, MetaTensor
from monai.utils import MetaKeys, SpaceKeys

from medkit.data.grid import SAME_PLACE_VOXELS, Grid, voxels_apart
from medkit.data.reading import file_suffix, read_channels
from medkit.data.side_words import tells_sides
from medkit.data.volume import Volume
from medkit.data.writing import write_labels
from medkit.errors import CaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "GRID_KEY",
    "HandedReader",
    "LabelWriter",
    "VolumeReader",
    "grid_of_metadata",
    "knows_its_place",
    "volume_metadata",
]

GRID_KEY = "medkit_grid"


def volume_metadata(volume: Volume) -> dict[str, Any]:
    """MONAI metadata of a volume, with the exact grid as a string under ``medkit_grid``."""
    return {
        MetaKeys.AFFINE: volume.grid.affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: volume.grid.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.array(volume.grid.shape),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if volume.array.ndim == 4 else float("nan"),
        GRID_KEY: volume.grid.to_json(),
    }


def grid_of_metadata(metadata: Mapping[str, Any], shape: tuple[int, int, int]) -> Grid:
    """The exact grid under ``medkit_grid``, or what MONAI's metadata tell where another reader made them."""
    if GRID_KEY in metadata:
        return Grid.from_json(metadata[GRID_KEY])
    return Grid(shape, np.asarray(metadata[MetaKeys.AFFINE], dtype=np.float64))


def knows_its_place(image: Any) -> bool:
    """Whether an image of MONAI still has the metadata of the volume that it was made from."""
    return isinstance(image, MetaTensor) and GRID_KEY in image.meta


class VolumeReader(ImageReader):
    """MONAI image reader over :func:`medkit.data.read_volume`.

    ``LoadImage`` takes a failing ``read`` as a reason to try its next reader, which would let in what medkit
    refuses; so the file is read in ``get_data``, whose errors it lets through.

    Args:
        arrays: see :func:`medkit.data.read_volume`.

    Raises:
        CaseError: from ``get_data``, for every image that medkit refuses.
    """

    def __init__(self, arrays: Sequence[str] = ()) -> None:
        super().__init__()
        self.arrays = tuple(arrays)

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Whether every file has a suffix that medkit reads."""
        return all(file_suffix(path) for path in _as_paths(filename))

    def read(self, data: Sequence[str] | str, **_: Any) -> tuple[Path, ...]:
        """The path of one file, or of one file per channel."""
        return _as_paths(data)

    def get_data(self, img: tuple[Path, ...]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Array ``(I, J, K)`` or ``(I, J, K, C)`` and its metadata."""
        volume = read_channels(img, self.arrays)
        return volume.array, volume_metadata(volume)


class HandedReader(VolumeReader):
    """Hands out a copy of a volume that is in memory already, whatever the file is called.

    Args:
        volume: with or without channels.
        channel_axis: where its channels go. Without ``EnsureChannelFirst`` a bundle counts on MONAI stacking
            several files along the first axis.
    """

    def __init__(self, volume: Volume, channel_axis: int) -> None:
        super().__init__()
        self.volume, self.channel_axis = volume, channel_axis

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Any name will do."""
        return True

    def get_data(self, img: tuple[Path, ...]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Array ``(I, J, K)``, or one with its channels on ``channel_axis``, and its metadata."""
        array, metadata = self.volume.array, volume_metadata(self.volume)
        if array.ndim == 4:
            array = np.moveaxis(array, -1, self.channel_axis)
            metadata[MetaKeys.ORIGINAL_CHANNEL_DIM] = self.channel_axis
        # MONAI's transforms may work in place, and the caller's array is not theirs.
        return np.array(array, order="C"), metadata


class LabelWriter(ImageWriter):
    """MONAI image writer for label maps: native header geometry, smallest integer type, label names.

    Args:
        names: label value to name.
        options: what ``SaveImage`` hands every writer (output type, scale); a label map needs neither.
    """

    def __init__(self, names: Mapping[Any, str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.names = {int(value): name for value, name in (names or {}).items()}
        self.grid: Grid | None = None
        self.labels: NDArray[Any] | None = None

    def set_data_array(self, data_array: Any, channel_dim: int | None = 0, **_: Any) -> None:
        """Take a label map ``(1, I, J, K)``, or ``(I, J, K)`` with ``channel_dim=None``.

        Raises:
            UsageError: it has several channels.
        """
        array = np.asarray(data_array.detach().cpu() if hasattr(data_array, "detach") else data_array)
        if channel_dim is not None:
            if array.shape[channel_dim] != 1:
                raise UsageError(
                    f"expected a label map of one channel, got shape {array.shape}; "
                    "turn class scores into labels first (AsDiscreted with argmax)"
                )
            array = np.squeeze(array, axis=channel_dim)
        self.labels = array

    def set_metadata(self, meta_dict: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Take the grid from MONAI metadata; ``set_data_array`` comes before.

        Raises:
            UsageError: no affine is given, or the labels do not lie on the grid of the file they came from.
            CaseError: ``side-unknown``: the names tell left from right, and the grid does not.
        """
        meta = dict(meta_dict or {})
        if self.labels is None:
            raise RuntimeError("set_data_array comes before set_metadata")
        if MetaKeys.AFFINE not in meta:
            raise UsageError(
                "expected metadata with the affine of the label map, got none; save a MetaTensor"
            )
        shape, affine = self.labels.shape, np.asarray(meta[MetaKeys.AFFINE], dtype=np.float64)
        self.grid = grid_of_metadata(meta, shape)
        apart = voxels_apart(shape, self.grid.affine, affine)
        if shape != self.grid.shape or not apart <= SAME_PLACE_VOXELS:
            raise UsageError(
                f"expected a label map on the grid of its image (shape {self.grid.shape}), got shape {shape} "
                f"and voxels {apart:.3g} edges away; invert the preprocessing first (Invertd, nearest_interp)"
            )

        if not self.grid.side_known and tells_sides(self.names.values()):
            raise CaseError(
                "side-unknown",
                "expected an image that states its left and right, for labels that are named by their side, got one "
                "that does not; write it as NIfTI with its true orientation",
            )

    def write(self, filename: str | Path, **_: Any) -> None:
        """Write the label map, whole or not at all; see :func:`medkit.data.write_labels`."""
        if self.labels is None or self.grid is None:
            raise RuntimeError("set_data_array and set_metadata come before write")
        write_labels(Path(filename), self.labels, self.grid, self.names)


def _as_paths(names: Sequence[str] | str) -> tuple[Path, ...]:
    return (Path(names),) if isinstance(names, (str, Path)) else tuple(Path(name) for name in names)
