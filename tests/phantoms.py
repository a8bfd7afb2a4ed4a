"""Small generated volumes whose truth is known in world coordinates."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (13, 11, 9)
# Oblique, anisotropic, with axes permuted and one flipped: nothing is right by luck.
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.4, 0.2)[:, [2, 0, 1]] @ np.diag([1.2, -0.9, 1.7]), [-31.25, 17.5, 44.0]
)
# On a grid that is resampled, MONAI's Spacing takes other samples when the affine differs in its ninth digit.
PLAIN = np.array([[0.0, -1, 0, 30], [1, 0, 0, -20], [0, 0, 1, 10], [0, 0, 0, 1]])
NAMES = {0: "background", 1: "Anterior", 2: "Posterior"}
# Of a NIfTI header, what says where an image lies.
PLACE_FIELDS = (
    *(
        "qform_code",
        "sform_code",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "qoffset_x",
        "qoffset_y",
        "qoffset_z",
    ),
    *("srow_x", "srow_y", "srow_z", "xyzt_units"),
)


def world(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Millimetres of every voxel, (I, J, K, 3)."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    return nib.affines.apply_affine(affine, index)


def paint(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """A long ellipsoid in world coordinates about the middle of the grid: 1 in front, 2 behind; uint8."""
    place = world(shape, affine)
    centre = nib.affines.apply_affine(affine, (np.array(shape) - 1) / 2)
    extent = np.abs(affine[:3, :3]) @ np.array(shape)
    from_centre = (place - centre) / extent
    inside = np.linalg.norm(from_centre / [0.25, 0.35, 0.25], axis=-1) < 1
    return np.where(inside, np.where(from_centre[..., 1] > 0.02, 1, 2), 0).astype(np.uint8)


def hippocampus(
    shape: tuple[int, int, int] = SHAPE, affine: np.ndarray = OBLIQUE, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A noisy int16 image with a bright ellipsoid in it, and its label map."""
    labels = paint(shape, affine)
    noise = np.random.default_rng(seed).normal(0, 40, shape)
    return (400 + 300 * (labels > 0) + noise).astype(np.int16), labels


def nifti(array: np.ndarray, affine: np.ndarray = OBLIQUE, kind: type = nib.Nifti1Image) -> nib.Nifti1Image:
    """A NIfTI image with both forms set and lengths in mm."""
    image = kind(array, affine, dtype=array.dtype)
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    return image


def patched(path: Path, **fields: object) -> Path:
    """Overwrite header fields of an uncompressed NIfTI-1 file, whatever they may then mean."""
    raw = bytearray(path.read_bytes())
    header = np.ndarray((), nib.nifti1.header_dtype, buffer=raw)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(raw)
    return path


def write_hippocampus(path: Path, affine: np.ndarray = OBLIQUE, seed: int = 0) -> np.ndarray:
    """Write the image to a NIfTI file and return its label map."""
    image, labels = hippocampus(affine=affine, seed=seed)
    nib.save(nifti(image, affine), path)
    return labels


def write_glioma(
    path: Path, shape: tuple[int, int, int] = (6, 20, 16), seed: int = 0
) -> dict[str, np.ndarray]:
    """Pack a case as numpy does, three contrasts and a mask (slices, rows, columns) in uint8; return the arrays."""
    random = np.random.default_rng(seed)
    slices, rows, columns = np.indices(shape)
    place = np.stack([slices / shape[0] - 0.4, rows / shape[1] - 0.6, columns / shape[2] - 0.3])
    mask = np.linalg.norm(place, axis=0) < 0.25
    contrasts = {
        name: np.clip(60 + change * mask + random.normal(0, 8, shape), 0, 255).astype(np.uint8)
        for name, change in (("pre", -20), ("flair", 120), ("post", 40))
    }
    arrays = {**contrasts, "mask": mask.astype(np.uint8)}
    np.savez_compressed(path, **arrays)
    return arrays
