"""What an image must satisfy before a number is read off it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.data.grid import SAME_PLACE_VOXELS, SIDE_UNKNOWN_NOTE, voxels_apart
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import nibabel as nib
    from numpy.typing import NDArray

    from medkit.data.grid import Grid
    from medkit.data.volume import Volume

__all__ = [
    "DEFLATE_LIMIT",
    "check_claim",
    "check_nifti_header",
    "check_not_constant",
    "check_same_grid",
    "check_shape",
    "check_stored_spacing",
    "check_volume",
    "states_size",
]

# Wide enough for a scout's gaps; metres or micrometres taken for millimetres still fall outside.
SPACING_RANGE_MM = (0.01, 100.0)
DEFLATE_LIMIT = 1032  # no deflate stream grows by more than this factor
_MM, _UNKNOWN_UNIT = 2, 0
_UNITS = {1: "metres", 3: "micrometres"}


def check_volume(volume: Volume) -> Volume:
    """Return the volume if every voxel and the grid are usable.

    Raises:
        CaseError: ``affine-not-finite``, ``spacing-absurd``, ``affine-singular``, ``voxels-not-numeric`` or
            ``voxels-not-finite``, besides what :func:`check_shape` raises.
    """
    name, array = volume.name, volume.array
    check_shape(array.shape, name)
    _check_affine(volume)
    if array.dtype.kind not in "biuf":
        raise CaseError(
            "voxels-not-numeric",
            f"{name}: expected real numbers as voxels, got {array.dtype}; "
            "convert colour or complex images first",
        )
    if array.dtype.kind == "f" and (bad := _count_not_finite(array)):
        raise CaseError(
            "voxels-not-finite",
            f"{name}: expected finite voxels, got {bad} of {array.size} that are NaN or infinite; "
            "find out where they come from and replace them first",
        )
    return volume


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Check the shape ``(I, J, K)`` or ``(I, J, K, C)`` of an image.

    Raises:
        CaseError: ``empty-volume`` or ``not-3d``.
    """
    if 0 in shape:
        raise CaseError(
            "empty-volume",
            f"{name}: expected voxels, got an image of shape {tuple(shape)}; export the image again",
        )
    if len(shape) not in (3, 4) or 1 in shape[:3]:
        raise CaseError(
            "not-3d", f"{name}: expected a 3D image, got shape {tuple(shape)}; {_way_to_3d(shape)}"
        )


def _way_to_3d(shape: tuple[int, ...]) -> str:
    if len(shape) > 4:
        return "write one volume a file"
    if sum(size > 1 for size in shape[:3]) == 2:
        return "stack the slices into one volume first"
    return "that is no slice of a volume; export the image again"


def _count_not_finite(array: NDArray[Any]) -> int:
    """Count slab by slab, so that no mask of the whole volume is held."""
    slabs = np.moveaxis(array, int(np.argmax(np.abs(array.strides))), 0)
    return sum(int(slab.size - np.count_nonzero(np.isfinite(slab))) for slab in slabs)


def _check_affine(volume: Volume) -> None:
    name, affine = volume.name, volume.grid.affine
    if not np.isfinite(affine).all():
        raise CaseError(
            "affine-not-finite",
            f"{name}: expected a finite affine, got NaN or infinity in it; mend the header",
        )
    spacing = volume.grid.spacing
    low, high = SPACING_RANGE_MM
    if any(not low <= edge <= high for edge in spacing):
        shown = " x ".join(f"{edge:.4g}" for edge in spacing)
        raise CaseError(
            "spacing-absurd",
            f"{name}: expected voxel edges of {low:g} to {high:g} mm, got {shown} mm; mend the header",
        )
    unit = affine[:3, :3] / np.array(spacing)
    if abs(np.linalg.det(unit)) < 1e-3:
        raise CaseError(
            "affine-singular",
            f"{name}: expected three independent voxel axes, got an affine that cannot be inverted; "
            "mend the header",
        )


def check_not_constant(volume: Volume, names: Mapping[int, str]) -> list[str]:
    """Check that an image has something to show to a network; return remarks on channels that have not.

    (A label map may be empty with good reason, and a network may have learned to do without a channel.)

    Args:
        volume: the image.
        names: of its channels, where they have any.

    Raises:
        CaseError: ``image-constant``.
    """
    first = np.atleast_1d(volume.array[0, 0, 0])
    constant = np.ones(first.shape, dtype=bool)
    for slab in volume.array:
        constant &= (slab == volume.array[0, 0, 0]).all(axis=(0, 1))
        if not constant.any():
            return []
    if constant.all():
        values = ", ".join(f"{float(value):g}" for value in first)
        raise CaseError(
            "image-constant",
            f"{volume.name}: expected an image that shows something, got {values} in every voxel; export the image "
            "again",
        )
    return [
        f"channel {channel}{f' ({names[channel]})' if channel in names else ''} of the image shows nothing: it is "
        f"{float(first[channel]):g} in every voxel"
        for channel in np.flatnonzero(constant).tolist()
    ]


def check_same_grid(grid: Grid, name: str, reference: Grid, reference_name: str) -> None:
    """Check that two volumes have their voxels in the same places, not just the same number of them.

    Args:
        grid: of a volume.
        name: of it.
        reference: the grid that it should have.
        reference_name: of what has that.

    Raises:
        CaseError: ``grids-differ``.
    """
    if grid.shape != reference.shape:
        got = f"shape {grid.shape} instead of {reference.shape}"
    else:
        apart = voxels_apart(grid.shape, reference.affine, grid.affine)
        if apart <= SAME_PLACE_VOXELS:
            return
        got = f"voxels up to {apart:.3g} voxel edges away"
    raise CaseError(
        "grids-differ",
        f"{name}: expected the grid of {reference_name}, got {got}; "
        "resample one onto the other (label maps with nearest neighbours)",
    )


def check_claim(
    path: Path, shape: Sequence[int], voxel_bytes: int, growth: int = DEFLATE_LIMIT, header_bytes: int = 0
) -> None:
    """Refuse, before memory is asked for, a header that claims more voxels than its file can hold.

    Args:
        path: the file with the voxels.
        shape: as its header says.
        voxel_bytes: of one voxel.
        growth: by how much the voxels may grow when they are unpacked.
        header_bytes: that come before the voxels.

    Raises:
        CaseError: ``file-truncated``.
    """
    shape = tuple(map(int, shape))  # numpy's integers overflow
    claimed, size = header_bytes + math.prod(shape) * voxel_bytes, path.stat().st_size
    if claimed > size * growth:
        raise CaseError(
            "file-truncated",
            f"{path}: expected {claimed} bytes for the shape {shape} in its header, got a file of "
            f"{size} bytes; it was cut short or its header is broken: copy or export it again",
        )


def check_stored_spacing(header: nib.analyze.AnalyzeHeader, name: str) -> None:
    """Check the voxel edges of an Analyze or NIfTI header as they are stored.

    nibabel takes 0 for 1 and drops signs as it loads. Edges that nothing is read off (a lone sform) may be anything.

    Raises:
        CaseError: ``spacing-absurd``.
    """
    codes = [int(header[key]) if key in header else 0 for key in ("qform_code", "sform_code")]
    edges = header["pixdim"][1:4]
    if codes[0] == 0 < codes[1] or not (edges <= 0).any():
        return
    raise CaseError(
        "spacing-absurd",
        f"{name}: expected voxel edges above 0 mm, got {' x '.join(f'{edge:.4g}' for edge in edges)} mm (pixdim); "
        "mend the header",
    )


def check_nifti_header(header: nib.Nifti1Header, name: str) -> list[str]:
    """Check what only NIfTI can get wrong; return remarks for the report.

    Raises:
        CaseError: ``units-not-mm``, or ``forms-disagree`` when qform and sform put a corner of the
            volume more than 0.1 voxels apart, besides rounding.
    """
    unit = int(header["xyzt_units"]) & 0x07
    if unit not in (_MM, _UNKNOWN_UNIT):
        raise CaseError(
            "units-not-mm",
            f"{name}: expected lengths in millimetres, got a header in "
            f"{_UNITS.get(unit, f'unknown unit {unit}')}; scale the affine and set xyzt_units to mm",
        )
    qform, qcode = header.get_qform(coded=True)
    sform, scode = header.get_sform(coded=True)
    if qcode and scode and np.isfinite(sform).all() and sform[:3, :3].any(axis=0).all():
        _check_forms_agree(header, qform, sform, name)
    notes = []
    if unit == _UNKNOWN_UNIT:
        notes.append("the header states no unit of length; taken as millimetres")
    if not (qcode or scode):
        notes.append(f"qform and sform are both unset: {SIDE_UNKNOWN_NOTE}")
    return notes


def states_size(header: nib.Nifti1Header) -> bool:
    """Whether a header says how large voxels are; where nobody told it, it has 1 for each edge, no unit and no place."""
    unit = int(header["xyzt_units"]) & 0x07
    placed = bool(header["qform_code"] or header["sform_code"])
    return placed or unit != _UNKNOWN_UNIT or not bool((header["pixdim"][1:4] == 1).all())


def _check_forms_agree(header: nib.Nifti1Header, qform: NDArray[Any], sform: NDArray[Any], name: str) -> None:
    apart = voxels_apart(header.get_data_shape(), sform, qform)
    if not apart <= SAME_PLACE_VOXELS + _quaternion_rounding(header, sform):  # NaN counts as disagreement
        raise CaseError(
            "forms-disagree",
            f"{name}: expected qform and sform to agree, got one voxel in places {apart:.3g} voxel edges "
            "apart; decide which is right and copy it over the other (or set the other's code to 0)",
        )


def _quaternion_rounding(header: nib.Nifti1Header, sform: NDArray[Any]) -> float:
    """How far rounding may move the farthest corner of a volume, in its shortest voxel edges.

    The first part of the quaternion is not stored but follows from the other three. Near half a turn, as in
    every volume stored in LPS order, single precision leaves its angle open by 0.09 degrees.
    """
    stored = np.array([header["quatern_b"], header["quatern_c"], header["quatern_d"]], np.float64)
    # The three are rounded as they are stored, and nibabel sums their squares in their own precision.
    lost = 5 * float(np.finfo(header["quatern_b"].dtype).eps)
    angle = 2 * lost / math.sqrt(max(1 - float(stored @ stored), lost))
    edges = np.linalg.norm(sform[:3, :3], axis=0)
    return float(angle * np.linalg.norm(edges * header.get_data_shape()[:3]) / edges.min())
