"""Image files of the phantom, whole or with a few bytes changed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from medkit.data.reading import file_suffix
from tests.phantoms import OBLIQUE, hippocampus, nifti, patched

IMAGE, LABELS = hippocampus()


def itk_image(array=IMAGE, affine=OBLIQUE):
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(edges.tolist())
    image.SetDirection((lps[:3, :3] / edges).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def write_image(path: Path) -> Path:
    """The image in the format of the suffix; its own path."""
    suffix = file_suffix(path)
    if suffix in (".nrrd", ".nhdr", ".mha", ".mhd"):
        sitk.WriteImage(itk_image(), path)
    elif suffix.startswith((".img", ".hdr")):
        nib.save(nifti(IMAGE, kind=nib.Nifti1Pair), path)
    elif suffix in (".mgz", ".mgh"):
        nib.save(nib.MGHImage(IMAGE, OBLIQUE), path)
    else:
        nib.save(nifti(IMAGE), path)
    return path


def save(path: Path, array, affine=OBLIQUE) -> Path:
    nib.save(nifti(np.asarray(array), affine), path)
    return path


def header(**fields):
    """A maker of a NIfTI file with header fields overwritten."""
    return lambda folder: patched(write_image(folder / "a.nii"), **fields)


def changed(name: str, change):
    """A maker of a good image file, its bytes changed."""

    def make(folder: Path) -> Path:
        path = write_image(folder / name)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def edited(name: str, old: bytes, new: bytes):
    return changed(name, lambda content: content.replace(old, new))
