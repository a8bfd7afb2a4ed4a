"""Read a volume from a file, or refuse it with one line that says why."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from medkit.data.checks import check_nifti_header, check_volume
from medkit.data.grid import Grid, flip_lps_ras
from medkit.data.volume import Volume
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "READABLE_SUFFIXES",
    "file_suffix",
    "read_channels",
    "read_volume",
    "volume_from_itk",
    "volume_from_nibabel",
]

_NIBABEL_SUFFIXES = (".nii.gz", ".nii", ".img.gz", ".img", ".hdr", ".mgz", ".mgh")
_ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz")
READABLE_SUFFIXES = _NIBABEL_SUFFIXES + _ITK_SUFFIXES
# A label map is one file whatever the image was: the detached forms become their single-file kin.
_LABEL_SUFFIX = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}


def file_suffix(path: Path) -> str | None:
    """The image suffix of a file name, ``.nii.gz`` counted as one; ``None`` if it is not an image's."""
    name = path.name.lower()
    return next((suffix for suffix in READABLE_SUFFIXES if name.endswith(suffix)), None)


def read_volume(path: Path) -> Volume:
    """Read a NIfTI, FreeSurfer or ITK image file.

    Raises:
        CaseError: ``file-missing``, ``format-unknown``, ``file-unreadable``, or one of the codes of
            :func:`medkit.data.checks.check_volume` and :func:`medkit.data.checks.check_nifti_header`.
    """
    path = Path(path)
    if not path.is_file():
        raise CaseError("file-missing", f"{path}: no such file")
    suffix = file_suffix(path)
    if suffix is None:
        raise CaseError(
            "format-unknown",
            f"{path}: expected one of {', '.join(READABLE_SUFFIXES)}; convert the image to NIfTI first",
        )
    read = _read_nibabel if suffix in _NIBABEL_SUFFIXES else _read_itk
    return check_volume(read(path))


def read_channels(paths: Sequence[Path]) -> Volume:
    """Read one volume from one file, or from one file per channel on one grid.

    Raises:
        CaseError: ``channels-on-different-grids`` besides what :func:`read_volume` raises.
    """
    volumes = [read_volume(path) for path in paths]
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for volume in volumes:
        same = volume.array.shape == first.array.shape and np.allclose(
            volume.grid.affine, first.grid.affine, atol=1e-3
        )
        if volume.array.ndim != 3 or not same:
            raise CaseError(
                "channels-on-different-grids",
                f"{volume.name}: expected one channel on the grid of {first.name} (shape {first.array.shape}), "
                f"got shape {volume.array.shape}; resample the channels onto one grid first",
            )
    stacked = np.stack([volume.array for volume in volumes], axis=-1)
    return Volume(stacked, first.grid, first.name, tuple(note for volume in volumes for note in volume.notes))


def _read_nibabel(path: Path) -> Volume:
    try:
        return volume_from_nibabel(nib.load(path), name=str(path))
    except (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        MemoryError,
        struct.error,
        zlib.error,
    ) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> CaseError:
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return CaseError(
        "file-unreadable", f"{path}: cannot be read ({reason}); the file is damaged or not what its name says"
    )


def volume_from_nibabel(image: Any, name: str | None = None) -> Volume:
    """Take a nibabel image; scaled voxels become float32 as MONAI's own reader would make them.

    Raises:
        CaseError: see :func:`medkit.data.checks.check_nifti_header`.
    """
    name = name or image.get_filename() or "<nibabel image>"
    header, notes, nifti = image.header, [], None
    if isinstance(header, nib.Nifti1Header):
        notes = check_nifti_header(header, name)
        kind = "nifti2" if isinstance(header, nib.Nifti2Header) else "nifti1"
        nifti = (kind, _single_file_header(header, kind).binaryblock)
    array = np.asanyarray(image.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 5 and array.shape[3] == 1:
        array = array[:, :, :, 0, :]
    shape = tuple(array.shape[:3])
    return Volume(array, Grid(shape, np.array(image.affine, np.float64), nifti=nifti), name, tuple(notes))


def _single_file_header(header: Any, kind: str) -> Any:
    """Headers of ``.hdr``/``.img`` pairs in the form that a single file needs."""
    single = nib.Nifti2Header if kind == "nifti2" else nib.Nifti1Header
    return single.from_header(header, check=False)


def _read_itk(path: Path) -> Volume:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    suffix = _LABEL_SUFFIX.get(file_suffix(path) or "", ".nii.gz")
    return volume_from_itk(image, name=str(path), suffix=suffix)


def volume_from_itk(image: Any, name: str = "<SimpleITK image>", suffix: str = ".nii.gz") -> Volume:
    """Take a SimpleITK image.

    Raises:
        CaseError: ``not-3d`` when the image has another number of dimensions.
    """
    import SimpleITK as sitk

    if image.GetDimension() != 3:
        raise CaseError("not-3d", f"{name}: expected a 3D image, got {image.GetDimension()} dimensions")
    array = sitk.GetArrayFromImage(image)
    axes = (2, 1, 0, 3) if array.ndim == 4 else (2, 1, 0)
    array = array.transpose(axes)
    itk = {
        "origin": tuple(image.GetOrigin()),
        "spacing": tuple(image.GetSpacing()),
        "direction": tuple(image.GetDirection()),
    }
    lps = np.eye(4)
    lps[:3, :3] = np.array(itk["direction"]).reshape(3, 3) * np.array(itk["spacing"])
    lps[:3, 3] = itk["origin"]
    grid = Grid(tuple(array.shape[:3]), flip_lps_ras(lps), suffix=suffix, itk=itk)
    return Volume(array, grid, name)
