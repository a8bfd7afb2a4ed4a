"""Where the voxels of an image lie, kept exactly enough to be written back digit for digit."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Grid", "flip_lps_ras"]

_HEADERS = {"nifti1": nib.Nifti1Header, "nifti2": nib.Nifti2Header}


def flip_lps_ras(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn an affine of LPS millimetres into one of RAS millimetres, or back (4x4 in, 4x4 out)."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@dataclass(frozen=True)
class Grid:
    """Shape and position of a volume.

    Args:
        shape: number of voxels along the three array axes.
        affine: 4x4, voxel index to RAS millimetres.
        suffix: ending of files that hold this geometry without loss (``.nii.gz``, ``.nrrd``, ``.mha``).
        nifti: class name and raw bytes of the NIfTI header that the geometry came from, if it did.
        itk: origin, spacing and direction (row-major) in LPS, if the geometry came from ITK.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    suffix: str = ".nii.gz"
    nifti: tuple[str, bytes] | None = None
    itk: dict[str, tuple[float, ...]] | None = field(default=None)

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths in millimetres, along the array axes."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel in millilitres, from the determinant (right under shear too)."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def nifti_header(self) -> nib.Nifti1Header:
        """A NIfTI header with this geometry: the source's own fields where it was NIfTI."""
        if self.nifti is not None:
            kind, raw = self.nifti
            return _HEADERS[kind].from_fileobj(_as_file(raw), check=False)
        header = nib.Nifti1Header()
        header.set_data_shape(self.shape)
        header.set_sform(self.affine, code="scanner")
        header.set_qform(self.affine, code="scanner", strip_shears=True)
        header.set_xyzt_units("mm")
        return header

    def to_json(self) -> str:
        """The grid as a string, so that it travels through MONAI's metadata and collation."""
        payload: dict[str, Any] = {
            "shape": self.shape,
            "affine": self.affine.tolist(),
            "suffix": self.suffix,
            "nifti": self.nifti and (self.nifti[0], base64.b64encode(self.nifti[1]).decode()),
            "itk": self.itk,
        }
        return json.dumps(payload)

    @classmethod
    def from_json(cls, text: str) -> Grid:
        """Read back what :meth:`to_json` wrote."""
        payload = json.loads(text)
        nifti = payload["nifti"] and (payload["nifti"][0], base64.b64decode(payload["nifti"][1]))
        itk = payload["itk"] and {key: tuple(value) for key, value in payload["itk"].items()}
        return cls(tuple(payload["shape"]), np.array(payload["affine"]), payload["suffix"], nifti, itk)


def _as_file(raw: bytes) -> Any:
    import io

    return io.BytesIO(raw)
