"""An image in memory, and the forms in which a caller may hand one in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.data.grid import SIDE_UNKNOWN_NOTE, SIZE_UNKNOWN_NOTE, Grid, flip_lps_ras
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Volume", "as_volume"]


@dataclass(frozen=True)
class Volume:
    """An image with its grid.

    Args:
        array: ``(I, J, K)`` or, with channels, ``(I, J, K, C)``; the axes are those of ``grid.affine``.
        grid: shape and position.
        name: how messages call it; a file's path, or ``<array>`` and the like.
        notes: remarks for the report, such as a geometry that had to be taken on trust.
    """

    array: NDArray[Any]
    grid: Grid
    name: str = "<array>"
    notes: tuple[str, ...] = ()

    def sha256(self) -> str:
        """Hash of voxels and affine, for volumes that came from memory."""
        digest = hashlib.sha256(f"{self.array.dtype.str}{self.array.shape}".encode())
        for slab in self.array:  # one at a time: the whole may lie in another order and need a copy
            digest.update(np.ascontiguousarray(slab).data)
        digest.update(np.ascontiguousarray(self.grid.affine).data)
        return digest.hexdigest()


def as_volume(image: Any, affine: Any = None, arrays: Sequence[str] = ()) -> Volume:
    """Take an image in any of the forms that Python callers have at hand.

    Args:
        image: a path, a list of paths (one per channel), a nibabel image, a SimpleITK image, a MONAI
            ``MetaTensor`` (channel first), a :class:`Volume`, or an array or tensor ``(I, J, K)`` or
            ``(I, J, K, C)``.
        affine: 4x4 to RAS millimetres; needed with a bare array, refused with anything else.
        arrays: of a ``.npz``, see :func:`medkit.data.read_volume`.

    Raises:
        UsageError: an array without affine, an affine with anything else, one that is not 4x4 with the last
            row 0 0 0 1, or a type that is none of these.
        CaseError: the image itself is unfit (see :func:`medkit.data.checks.check_volume`).
    """
    convert = _converter(image, arrays)
    if convert is None and hasattr(image, "__array__"):
        if affine is None:
            raise UsageError("an array says nothing of space: pass its affine (4x4, to RAS mm) as well")
        return _checked(_from_array(image, affine))
    if convert is None:
        raise UsageError(
            f"cannot take an image of type {type(image).__name__}: expected a path, a list of paths, a "
            "nibabel or SimpleITK image, a MetaTensor, or an array with its affine"
        )
    if affine is not None:
        raise UsageError(f"an image of type {type(image).__name__} has its own affine: do not pass another")
    return _checked(convert(image))


def _checked(volume: Volume) -> Volume:
    """Check what files cannot get wrong as well."""
    from medkit.data.checks import check_volume

    check_volume(volume)
    last = volume.grid.affine[3]
    if not np.allclose(last, [0, 0, 0, 1], atol=1e-6):  # as rounding may leave it
        got = " ".join(f"{number:.4g}" for number in last)
        raise UsageError(f"expected an affine whose last row is 0 0 0 1, got {got}; transpose it, or mend it")
    return volume


def _converter(image: Any, arrays: Sequence[str]) -> Callable[[Any], Volume] | None:
    import SimpleITK as sitk
    from monai.data import MetaTensor
    from nibabel.spatialimages import SpatialImage

    from medkit.data.reading import read_channels, volume_from_itk, volume_from_nibabel

    if isinstance(image, Volume):
        return lambda volume: volume
    if isinstance(image, (str, Path)):
        return lambda path: read_channels([Path(path)], arrays)
    if isinstance(image, (list, tuple)) and all(isinstance(path, (str, Path)) for path in image):
        return lambda paths: read_channels([Path(path) for path in paths], arrays)
    if isinstance(image, SpatialImage):
        return volume_from_nibabel
    if isinstance(image, sitk.Image):
        return volume_from_itk
    if isinstance(image, MetaTensor):
        return _from_metatensor
    return None


def _from_array(array: Any, affine: Any) -> Volume:
    array = _to_numpy(array)
    try:
        affine = np.array(_to_numpy(affine), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected an affine of 4x4 numbers, got {affine!r}") from error
    if affine.shape != (4, 4):
        raise UsageError(f"expected an affine of shape (4, 4), got {affine.shape}")
    return Volume(array, Grid(tuple(array.shape[:3]), affine))


def _to_numpy(array: Any) -> NDArray[Any]:
    """The numbers of an array or list, or of a tensor on any device, in a type that numpy has."""
    if not hasattr(array, "detach"):
        return np.asarray(array)
    import torch

    tensor = array.detach().cpu()
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())


def _from_metatensor(tensor: Any) -> Volume:
    from medkit.data.monai_io import GRID_KEY

    if tensor.ndim != 4:
        raise UsageError(
            f"expected a MetaTensor (C, I, J, K), got shape {tuple(tensor.shape)}; add its channel axis"
        )
    array, affine = _to_numpy(tensor), _to_numpy(tensor.affine).astype(np.float64)
    if tensor.meta.get("space") in ("LPS", "SpaceKeys.LPS"):
        affine = flip_lps_ras(affine)
    array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    grid = Grid(tuple(array.shape[:3]), affine)
    if GRID_KEY in tensor.meta:
        source = Grid.from_json(tensor.meta[GRID_KEY])
        grid = replace(grid, size_known=source.size_known, side_known=source.side_known)
    known = {SIZE_UNKNOWN_NOTE: grid.size_known, SIDE_UNKNOWN_NOTE: grid.side_known}
    return Volume(array, grid, "<MetaTensor>", tuple(note for note, there in known.items() if not there))
