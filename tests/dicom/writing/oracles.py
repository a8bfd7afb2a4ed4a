"""What others make of the objects that are written: dcmqi and highdicom decode them, dciodvfy vets them."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import dcmqi
import highdicom
import nibabel as nib
import numpy as np
from pydicom import dcmread

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def errors(path: Path) -> list[str]:
    """What dciodvfy calls errors."""
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    found = [line for line in said.stderr.splitlines() if line.startswith("Error")]
    assert bool(found) == bool(said.returncode), said.stderr
    return found


def by_dcmqi(path: Path, tool: str = "segimage2itkimage") -> list[tuple[np.ndarray, np.ndarray]]:
    """Array and affine (to RAS) of each segment, in the order of their numbers; or of a map."""
    program = Path(dcmqi.__file__).parent / "bin" / tool
    with tempfile.TemporaryDirectory() as folder:
        call = [program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nii"]
        subprocess.run(list(map(str, call)), capture_output=True, check=True)
        images = [nib.load(file) for file in sorted(Path(folder).glob("*.nii.gz"), key=_number)]
        return [(np.asarray(image.dataobj), image.affine) for image in images]


def _number(path: Path) -> int:
    digits = "".join(filter(str.isdigit, path.name))
    return int(digits or 0)


def by_highdicom(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Segment numbers and their affine (to RAS), from the whole object."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True, skip_overlap_checks=False)
    return volume.array, FLIP @ volume.affine


def seen_on(affine: np.ndarray, shape: tuple[int, ...], mask: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A mask on the grid of another affine, by where its voxels lie, each within a hundredth of a voxel edge."""
    points = nib.affines.apply_affine(np.linalg.inv(affine) @ place, np.argwhere(mask))
    indices = np.round(points).astype(int)
    assert np.abs(points - indices).max(initial=0) < 0.01
    seen = np.zeros(shape, bool)
    seen[tuple(indices.T)] = True
    assert seen.sum() == np.count_nonzero(mask)
    return seen


def read_back(path: Path):
    """The object, and a preamble that is nothing but zeros."""
    assert path.read_bytes()[:132] == bytes(128) + b"DICM"
    return dcmread(path)
