"""The reader and the writer that bundles name in their configs, so that plain MONAI is as strict as medkit.

MONAI's own reader looks at the affine alone and its writer makes a fresh header: a qform is lost, units and
codes change, and a NaN goes unnoticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data import ImageReader, ImageWriter
from monai.utils import MetaKeys, SpaceKeys

from medkit.data.grid import Grid
from medkit.data.reading import file_suffix, read_channels
from medkit.data.volume import Volume
from medkit.data.writing import write_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["GRID_KEY", "HandedReader", "LabelWriter", "VolumeReader", "volume_metadata"]

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


class VolumeReader(ImageReader):
    """MONAI image reader over :func:`medkit.data.read_volume`.

    Raises:
        CaseError: from ``read``, for every image that medkit refuses.
    """

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Whether every file has a suffix that medkit reads."""
        return all(file_suffix(Path(name)) for name in _as_tuple(filename))

    def read(self, data: Sequence[str] | str, **_: Any) -> Volume:
        """Read one file, or one file per channel."""
        return read_channels([Path(name) for name in _as_tuple(data)])

    def get_data(self, img: Volume) -> tuple[NDArray[Any], dict[str, Any]]:
        """Array ``(I, J, K)`` or ``(I, J, K, C)`` and its metadata."""
        return np.ascontiguousarray(img.array), volume_metadata(img)


class HandedReader(VolumeReader):
    """Hands out a volume that is in memory already, whatever the file is called."""

    def __init__(self, volume: Volume) -> None:
        super().__init__()
        self.volume = volume

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:  # noqa: ARG002
        """Any name will do."""
        return True

    def read(self, data: Sequence[str] | str, **_: Any) -> Volume:  # noqa: ARG002
        """The volume in memory."""
        return self.volume


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
        """Take a label map ``(1, I, J, K)``."""
        array = np.asarray(data_array.cpu() if hasattr(data_array, "cpu") else data_array)
        self.labels = np.squeeze(array, axis=channel_dim) if channel_dim is not None else array

    def set_metadata(self, meta_dict: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Take the grid from MONAI metadata."""
        meta = dict(meta_dict or {})
        if GRID_KEY in meta:
            self.grid = Grid.from_json(meta[GRID_KEY])
        else:
            shape = tuple(self.labels.shape) if self.labels is not None else (0, 0, 0)
            self.grid = Grid(shape, np.asarray(meta[MetaKeys.AFFINE], dtype=np.float64))

    def write(self, filename: str | Path, **_: Any) -> None:
        """Write the label map, whole or not at all."""
        if self.labels is None or self.grid is None:
            raise RuntimeError("set_data_array and set_metadata come before write")
        write_labels(Path(filename), np.rint(self.labels).astype(np.int64), self.grid, self.names)


def _as_tuple(names: Sequence[str] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, (str, Path)) else tuple(names)
