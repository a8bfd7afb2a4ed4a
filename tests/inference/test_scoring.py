"""Reading label maps and comparing grids."""

from __future__ import annotations

import hashlib

import nibabel as nib
import numpy as np
import pytest

from medkit.errors import CaseError
from medkit.inference.scoring import Scoring, read_label_map


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_any_type_of_whole_numbers_is_a_label_map(tmp_path, dtype):
    array = np.zeros((4, 5, 6), dtype)
    array[1:3, 1:3, 1:3] = 200
    volume = read_label_map(save(tmp_path / "case.nii.gz", array))
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize(
    ("value", "got"),
    [(0.5, "fractions, such as 0.5"), (-1.0, "values from -1 to 0"), (1e12, "values from 0 to 1e[+]12")],
)
def test_other_numbers_are_refused(tmp_path, value, got):
    array = np.zeros((4, 5, 6), np.float64)
    array[2, 2, 2] = value
    message = rf"case\.nii\.gz: expected whole numbers from 0 as labels, got {got};"
    with pytest.raises(CaseError, match=message) as caught:
        read_label_map(save(tmp_path / "case.nii.gz", array))
    assert caught.value.code == "labels-not-integer"


def test_stacked_masks_are_refused(tmp_path):
    with pytest.raises(CaseError, match=r"\(4, 5, 6, 2\)") as caught:
        read_label_map(save(tmp_path / "case.nii.gz", np.zeros((4, 5, 6, 2), np.uint8)))
    assert caught.value.code == "labels-not-3d"


def test_hashes_cover_label_maps_in_two_files(tmp_path):
    array = np.zeros((4, 5, 6), np.uint8)
    array[:2, 1:3, 1:3] = 1
    found = []
    for labels in (array, array[::-1].copy()):
        nib.save(nib.Nifti1Pair(labels, np.eye(4)), tmp_path / "case.img")
        scoring = Scoring({1: "one"}, 1.0, {"predictions": {}})
        truth = save(tmp_path / "truth.nii", array)
        scoring.add_case("case", truth, {"predictions": tmp_path / "case.hdr"})
        assert scoring.failures == []
        found.append(scoring.hashes["case"])
    assert found[0]["predictions"] != found[1]["predictions"]
    assert found[0]["truth"] == found[1]["truth"] == hashlib.sha256(truth.read_bytes()).hexdigest()
