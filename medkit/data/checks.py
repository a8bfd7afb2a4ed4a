"""What an image must satisfy before a number is read off it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.errors import CaseError

if TYPE_CHECKING:
    import nibabel as nib
    from numpy.typing import NDArray

    from medkit.data.volume import Volume

__all__ = ["check_nifti_header", "check_volume"]

SPACING_RANGE_MM = (0.01, 50.0)
FORMS_TOLERANCE_VOXELS = 0.1
_MM, _UNKNOWN_UNIT = 2, 0
_UNITS = {1: "metres", 3: "micrometres"}


def check_volume(volume: Volume) -> Volume:
    """Return the volume if every voxel and the grid are usable.

    Raises:
        CaseError: ``not-3d``, ``empty-volume``, ``affine-not-finite``, ``affine-singular``,
            ``spacing-absurd``, ``voxels-not-numeric`` or ``voxels-not-finite``.
    """
    name, array = volume.name, volume.array
    if array.ndim not in (3, 4) or 1 in sorted(array.shape[:3])[:2]:
        raise CaseError(
            "not-3d",
            f"{name}: expected a 3D image, got shape {tuple(array.shape)}; stack the slices into one volume first",
        )
    if array.size == 0:
        raise CaseError("empty-volume", f"{name}: the image has no voxels (shape {tuple(array.shape)})")
    _check_affine(volume)
    if array.dtype.kind not in "biuf":
        raise CaseError(
            "voxels-not-numeric",
            f"{name}: expected real numbers as voxels, got {array.dtype}; convert colour or complex images first",
        )
    if array.dtype.kind == "f" and (bad := int(array.size - np.count_nonzero(np.isfinite(array)))):
        raise CaseError(
            "voxels-not-finite",
            f"{name}: {bad} of {array.size} voxels are NaN or infinite; find out where they come from "
            "and replace them before segmenting",
        )
    return volume


def _check_affine(volume: Volume) -> None:
    name, affine = volume.name, volume.grid.affine
    if not np.isfinite(affine).all():
        raise CaseError("affine-not-finite", f"{name}: the affine holds NaN or infinity; the header is broken")
    spacing = volume.grid.spacing
    low, high = SPACING_RANGE_MM
    if any(not low <= edge <= high for edge in spacing):
        shown = " x ".join(f"{edge:.4g}" for edge in spacing)
        raise CaseError(
            "spacing-absurd",
            f"{name}: voxel size {shown} mm; expected {low} to {high} mm along each axis; mend the header",
        )
    unit = affine[:3, :3] / np.array(spacing)
    if abs(np.linalg.det(unit)) < 1e-3:
        raise CaseError(
            "affine-singular",
            f"{name}: the affine cannot be inverted (two voxel axes point the same way); mend the header",
        )


def check_nifti_header(header: nib.Nifti1Header, name: str) -> list[str]:
    """Check what only NIfTI can get wrong; return remarks for the report.

    Raises:
        CaseError: ``units-not-mm``, or ``forms-disagree`` when qform and sform put a corner of the volume more
            than 0.1 voxels apart (single-precision quaternions alone reach some hundredths).
    """
    unit = int(header["xyzt_units"]) & 0x07
    if unit not in (_MM, _UNKNOWN_UNIT):
        raise CaseError(
            "units-not-mm",
            f"{name}: the header gives its lengths in {_UNITS.get(unit, f'unit code {unit}')}, expected millimetres; "
            "scale the affine and set xyzt_units to mm",
        )
    qform, qcode = header.get_qform(coded=True)
    sform, scode = header.get_sform(coded=True)
    if qcode and scode and np.isfinite(sform).all():
        _check_forms_agree(qform, sform, header.get_data_shape()[:3], name)
    notes = []
    if unit == _UNKNOWN_UNIT:
        notes.append("the header states no unit of length; taken as millimetres")
    if not (qcode or scode):
        notes.append("qform and sform are both unset: orientation and side are unknown")
    return notes


def _check_forms_agree(qform: NDArray[Any], sform: NDArray[Any], shape: tuple[int, ...], name: str) -> None:
    corners = np.array(np.meshgrid(*[(0, max(n - 1, 1)) for n in shape], [1])).reshape(len(shape) + 1, -1)
    apart = np.linalg.norm(((qform - sform) @ corners)[:3], axis=0).max()
    edges = np.linalg.norm(sform[:3, :3], axis=0)
    if apart > FORMS_TOLERANCE_VOXELS * edges[edges > 0].min(initial=np.inf):
        raise CaseError(
            "forms-disagree",
            f"{name}: qform and sform place the same voxel up to {apart:.3g} mm apart, expected agreement; "
            "decide which is right and copy it over the other (or set its code to 0)",
        )
