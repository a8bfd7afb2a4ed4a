"""A bundle copied away from the project gives plain MONAI and ``medkit predict`` the same files."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import medkit
from medkit.data import find_cases
from medkit.data.label_names import label_table
from medkit.inference.run import predict_cases
from tests.phantoms import OBLIQUE, PLACE_FIELDS, hippocampus, nifti
from tests.tiny_bundle import make_tiny_bundle

GRIDS = {
    "oblique.nii.gz": ((13, 11, 9), OBLIQUE),
    "one_millimetre.nii.gz": ((20, 24, 18), np.diag([1.0, 1, 1, 1])),
    "left_to_right.nii.gz": ((20, 24, 18), np.diag([-1.0, 1, 1, 1])),
    "deeper/thick_slices.nii": ((40, 44, 8), np.diag([0.5, 0.5, 4.0, 1])),
    "deeper/fine.nii.gz": ((41, 37, 33), np.diag([0.7, -0.7, 0.9, 1])),
    "permuted.nii.gz": ((18, 12, 22), np.diag([1.1, 2.0, 1.3, 1])[:, [2, 0, 1, 3]]),
    "larger_than_the_window.nii.gz": ((70, 90, 60), np.diag([1.0, 1, 1, 1])),
}


def write_images(folder):
    for number, (name, (shape, affine)) in enumerate(GRIDS.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nifti(hippocampus(shape, affine, seed=number)[0], affine), folder / name)
    image = nib.Nifti1Image(hippocampus()[0], None)
    image.set_sform(OBLIQUE, code="talairach")
    nib.save(image, folder / "sform_only.nii.gz")
    image = nib.Nifti2Image(hippocampus()[0].astype(np.float32), None)
    image.set_qform(OBLIQUE, code="aligned")
    nib.save(image, folder / "qform_only.nii")
    sitk.WriteImage(sitk.ReadImage(folder / "oblique.nii.gz"), folder / "itk.nrrd")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images and the label maps that both ways give of them."""
    folder = tmp_path_factory.mktemp("away from home")
    bundle = make_tiny_bundle(folder)
    write_images(folder / "images")
    (folder / "elsewhere").mkdir()
    subprocess.run(
        [
            *(sys.executable, "-m", "monai.bundle", "run"),
            *("--config_file", str(bundle / "configs" / "inference.json"), "--bundle_root", str(bundle)),
            *("--dataset_dir", str(folder / "images"), "--output_dir", str(folder / "monai")),
        ],
        cwd=folder / "elsewhere",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    outcomes = predict_cases(medkit.load(bundle), find_cases([folder / "images"]), folder / "medkit")
    assert {outcome.status for outcome in outcomes} == {"done"}
    return folder


def test_same_files(folder):
    names = {p.relative_to(folder / "monai").as_posix() for p in (folder / "monai").rglob("*.nii.gz")}
    assert names == {
        f"{name.split('.')[0]}.nii.gz" for name in (*GRIDS, "sform_only.x", "qform_only.x", "itk.x")
    }
    assert list((folder / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", [*GRIDS, "sform_only.nii.gz", "qform_only.nii"])
def test_same_bytes_on_the_grid_of_the_image(folder, name):
    stem = name.split(".")[0]
    ours = folder / "medkit" / "labels" / f"{stem}.nii.gz"
    theirs = folder / "monai" / f"{stem}.nii.gz"
    assert gzip.decompress(ours.read_bytes()) == gzip.decompress(theirs.read_bytes())
    labels, image = nib.load(ours), nib.load(folder / "images" / name)
    assert len(np.unique(labels.dataobj)) > 1, "a map of one value shows nothing"
    assert labels.shape == image.shape
    for field in PLACE_FIELDS:
        assert labels.header[field].tobytes() == image.header[field].tobytes(), field
    assert labels.header["pixdim"][:4].tobytes() == image.header["pixdim"][:4].tobytes()
    assert labels.get_data_dtype() == np.uint8
    assert label_table(ours) == {1: "anterior hippocampus", 2: "posterior hippocampus"}


def test_same_voxels_of_an_nrrd(folder):
    ours = sitk.ReadImage(folder / "medkit" / "labels" / "itk.nrrd")
    theirs = nib.load(folder / "monai" / "itk.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours).T, np.asarray(theirs.dataobj))
    image = sitk.ReadImage(folder / "images" / "itk.nrrd")
    assert ours.GetOrigin() == image.GetOrigin()
    assert ours.GetSpacing() == image.GetSpacing()
    assert ours.GetDirection() == image.GetDirection()
