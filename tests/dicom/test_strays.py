"""Slices that belong to a row but for a difference are never left out unasked."""

from __future__ import annotations

import numpy as np
import pytest

from medkit.dicom import read

CHANGES = {
    "mixed-matrix": {"Rows": 6, "Columns": 28},
    "mixed-spacing": {"PixelSpacing": [1.5, 1.5]},
    "mixed-orientation": {"ImageOrientationPatient": [0, 1, 0, -1, 0, 0]},
    "mixed-parameters": {"KVP": "80"},
    "mixed-frame-of-reference": {"FrameOfReferenceUID": "1.2.3"},
}


@pytest.mark.parametrize("place", [0, 4, 8])
@pytest.mark.parametrize("code", CHANGES)
def test_one_slice_that_differs_refuses_the_series(code, place, stack, written):
    for name, value in CHANGES[code].items():
        setattr(stack.datasets[place], name, value)
    folder = written(stack.datasets)
    reading = read(folder)
    assert not reading.volumes
    assert [refusal.code for refusal in reading.refused] == [code]
    assert f"{place:03}.dcm" in reading.refused[0].message
    if code == "mixed-frame-of-reference":  # no stray: its place cannot be compared
        repaired = read(folder, repairs=["split-frames", "split-gaps"])
        assert sorted(volume.array.shape[2] for volume in repaired.volumes) == (
            [1, 4, 4] if place == 4 else [1, 8]
        )
        return
    repaired = read(folder, repairs=["drop-stray"])
    if place == 4:  # what is left has a gap
        assert [refusal.code for refusal in repaired.refused] == ["gap"]
    else:
        (volume,) = repaired.volumes
        assert volume.array.shape[2] == 8
        assert [repair.code for repair in volume.repairs] == ["drop-stray"]


@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
def test_a_slice_that_was_stored_from_another_end_is_turned_round(flips, stack, written):
    (before,) = read(written(stack.datasets, "before")).volumes
    dataset = stack.datasets[4]
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(12, 14)
    cosines = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    position = np.array(dataset.ImagePositionPatient, float)
    edges = np.array([13 * dataset.PixelSpacing[1], 11 * dataset.PixelSpacing[0]])
    for axis in (0, 1):
        if flips[axis]:
            position = position + cosines[axis] * edges[axis]
            cosines[axis] *= -1
            pixels = np.flip(pixels, 1 - axis)
    dataset.PixelData = pixels.tobytes()
    dataset.ImageOrientationPatient = [float(f"{number:.6f}") for number in cosines.ravel()]
    dataset.ImagePositionPatient = [float(f"{number:.6f}") for number in position]
    (after,) = read(written(stack.datasets, "after")).volumes
    assert np.array_equal(before.array, after.array)
    np.testing.assert_allclose(before.affine, after.affine, atol=1e-5)
    assert "flipped-slice" in [note.code for note in after.notes]


def test_three_directions_are_three_volumes(stack, written):
    datasets = stack.datasets[:3]
    for dataset, cosines in zip(
        datasets, ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]), strict=True
    ):
        dataset.ImageOrientationPatient = cosines
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    names = [volume.name for volume in read(written(datasets)).volumes]
    assert names == ["003_plane-axial", "003_plane-coronal", "003_plane-sagittal"]
