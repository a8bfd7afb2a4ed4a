"""Where the voxels of an image lie, kept exactly enough to be written back digit for digit."""

from __future__ import annotations

import base64
import io
import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "COMMENT_EXTENSION",
    "SAME_PLACE_VOXELS",
    "SIDE_UNKNOWN",
    "SIDE_UNKNOWN_NOTE",
    "SIZE_UNKNOWN",
    "SIZE_UNKNOWN_NOTE",
    "Grid",
    "copy_geometry",
    "flip_lps_ras",
    "voxels_apart",
]

# Affines that went through single precision and back differ by some hundredths of a voxel.
SAME_PLACE_VOXELS = 0.1
COMMENT_EXTENSION = 6  # NIfTI's code for a remark in plain text
SIZE_UNKNOWN = b"medkit: voxel size unknown"
SIDE_UNKNOWN = b"medkit: side unknown"
SIZE_UNKNOWN_NOTE = "the voxel size is unknown: volumes and distances are unknown too"
SIDE_UNKNOWN_NOTE = "orientation and side are unknown"
_HEADERS = {"nifti1": nib.Nifti1Header, "nifti2": nib.Nifti2Header}
_FORM_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def flip_lps_ras(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn an affine of LPS millimetres into one of RAS millimetres, or back (4x4 in, 4x4 out)."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def voxels_apart(shape: tuple[int, ...], affine: NDArray[Any], other: NDArray[Any]) -> float:
    """Largest distance between where two affines put one voxel of a volume, in its shortest voxel edges.

    Args:
        shape: number of voxels along the three array axes (and of channels).
        affine: 4x4 to millimetres, not singular; its voxel edges are the unit.
        other: 4x4 to millimetres.
    """
    ends = [(0, n - 1) for n in shape[:3]]
    corners = np.array(list(itertools.product(*ends, [1]))).T
    distance = np.linalg.norm(((affine - other) @ corners)[:3], axis=0).max()
    return float(distance / np.linalg.norm(affine[:3, :3], axis=0).min())


def copy_geometry(source: nib.Nifti1Header, target: nib.Nifti1Header) -> None:
    """Copy the raw fields of qform, sform and units, so that not a digit is computed anew."""
    edges = target["pixdim"].copy()
    edges[:4] = source["pixdim"][:4]
    target["pixdim"] = edges
    for name in _FORM_FIELDS:
        target[name] = source[name]


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and position of a volume.

    Two grids are equal when they are to the last digit, the fields of the source file included.

    Args:
        shape: number of voxels along the three array axes.
        affine: 4x4, voxel index to RAS millimetres.
        suffix: ending of files that keep this geometry best (``.nii.gz``, ``.nrrd``, ``.mha``).
        nifti: class name and raw bytes of a header with the geometry of the NIfTI file it came from,
            if it did.
        itk: origin, spacing and direction (row-major) in LPS, if the geometry came from ITK.
        nrrd: header lines with the geometry of the NRRD file it came from, if it did.
        size_known: whether the voxel size is. Where it is not, the affine tells the axes alone, and its edges
            stand for lengths that nobody knows.
        side_known: whether it is known where the patient's left is, and front and top. Where it is not, the affine's
            directions are those that a file of its kind usually has.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    suffix: str = ".nii.gz"
    nifti: tuple[str, bytes] | None = None
    itk: dict[str, tuple[float, ...]] | None = None
    nrrd: tuple[str, ...] | None = None
    size_known: bool = True
    side_known: bool = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths along the array axes: millimetres, or mere numbers where the size is unknown."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Voxel edge lengths in millimetres; ``None`` where the size is unknown."""
        return self.spacing if self.size_known else None

    @property
    def voxel_volume_ml(self) -> float | None:
        """Volume of a voxel in millilitres, from the determinant (right under shear too).

        ``None`` where the size is unknown.
        """
        if not self.size_known:
            return None
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def of_blocks(self, block: int) -> Grid:
        """The grid of blocks of voxels, each of which lies in the middle of its voxels.

        Blocks begin with the first voxel; the last one along an axis may reach over the edge of this grid.

        Args:
            block: voxels along each axis of one.

        >>> Grid((5, 4, 2), np.eye(4)).of_blocks(2).affine[:3, 3]
        array([0.5, 0.5, 0.5])
        """
        if block == 1:
            return self
        to_voxels = np.diag([block, block, block, 1.0])
        to_voxels[:3, 3] = (block - 1) / 2
        i, j, k = (-(-size // block) for size in self.shape)
        affine = self.affine @ to_voxels
        return Grid((i, j, k), affine, size_known=self.size_known, side_known=self.side_known)

    def nifti_header(self) -> nib.Nifti1Header:
        """A NIfTI header with this geometry: the source's own fields where it was NIfTI."""
        if self.nifti is not None:
            kind, raw = self.nifti
            return _HEADERS[kind].from_fileobj(io.BytesIO(raw), check=False)
        header = nib.Nifti1Header()
        header.set_data_shape(self.shape)
        if not self.size_known:  # aligned to the axes of its image, in a unit that is not stated
            header.set_sform(self.affine, code="aligned")
            return header
        header.set_xyzt_units("mm")
        if not self.side_known:
            header.set_sform(self.affine, code="aligned")
            return header
        header.set_sform(self.affine, code="scanner")
        header.set_qform(self.affine, code="scanner", strip_shears=True)
        if voxels_apart(self.shape, self.affine, header.get_qform()) > SAME_PLACE_VOXELS:
            header["qform_code"] = 0  # a quaternion cannot hold shear, nor every turn exactly
        return header

    @staticmethod
    def nifti_fields(header: nib.Nifti1Header) -> tuple[str, bytes]:
        """What :attr:`nifti` keeps of a header, be it of a pair, NIfTI-2 or big-endian."""
        kind = "nifti2" if isinstance(header, nib.Nifti2Header) else "nifti1"
        kept = _HEADERS[kind]()
        copy_geometry(header, kept)
        return kind, kept.binaryblock

    def to_json(self) -> str:
        """The grid as a string, so that it travels through MONAI's metadata and collation."""
        payload: dict[str, Any] = {
            "shape": [int(n) for n in self.shape],
            "affine": self.affine.tolist(),
            "suffix": self.suffix,
            "nifti": self.nifti and (self.nifti[0], base64.b64encode(self.nifti[1]).decode()),
            "itk": self.itk,
            "nrrd": self.nrrd,
            "size_known": self.size_known,
            "side_known": self.side_known,
        }
        return json.dumps(payload)

    @classmethod
    def from_json(cls, text: str) -> Grid:
        """Read back what :meth:`to_json` wrote."""
        payload = json.loads(text)
        nifti = payload["nifti"] and (payload["nifti"][0], base64.b64decode(payload["nifti"][1]))
        itk = payload["itk"] and {key: tuple(value) for key, value in payload["itk"].items()}
        nrrd = payload["nrrd"] and tuple(payload["nrrd"])
        affine, known = np.array(payload["affine"]), (payload["size_known"], payload["side_known"])
        return cls(tuple(payload["shape"]), affine, payload["suffix"], nifti, itk, nrrd, *known)
