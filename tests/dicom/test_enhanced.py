"""What a frame says itself goes before what all share; doses have their unit and their places."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pydicom
import pytest

from medkit.dicom import read
from tests.dicom_series import make

RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"


def enhanced(tmp_path):
    make("enhanced-shuffled", tmp_path / "made")
    (path,) = (tmp_path / "made").iterdir()
    return path, pydicom.dcmread(path)


def test_a_frame_s_own_slope_goes_before_that_of_all(tmp_path):
    path, dataset = enhanced(tmp_path)
    (before,) = read(path).volumes
    own = pydicom.Dataset()
    own.RescaleSlope, own.RescaleIntercept, own.RescaleType = "2", "5", "US"
    dataset.PerFrameFunctionalGroupsSequence[4].PixelValueTransformationSequence = [own]
    dataset.save_as(path)
    (after,) = read(path).volumes
    (number,) = [number for number, frame in enumerate(after.frames) if frame.frame == 5]
    changed = [
        k
        for k in range(after.array.shape[2])
        if not np.array_equal(before.array[..., k], after.array[..., k])
    ]
    assert changed == [number]
    raw = pydicom.dcmread(path).pixel_array[4].T
    np.testing.assert_allclose(after.array[..., number], raw * 2.0 + 5)
    assert after.array.dtype == np.float32


@pytest.mark.parametrize(
    "name", ["PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation"]
)
def test_two_items_where_one_is_allowed_are_refused(name, tmp_path):
    name = f"{name}Sequence"
    path, dataset = enhanced(tmp_path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    groups = shared if name in shared else dataset.PerFrameFunctionalGroupsSequence[4]
    groups[name].value.append(deepcopy(groups[name].value[0]))
    dataset.save_as(path)
    (refusal,) = read(path).refused
    assert refusal.code == "bad-value"
    assert f"expected one item of {name}, got 2" in refusal.message


def test_frames_are_named_in_the_order_of_the_volume(tmp_path):
    path, dataset = enhanced(tmp_path)
    (volume,) = read(path).volumes
    groups = dataset.PerFrameFunctionalGroupsSequence
    for number, frame in enumerate(volume.frames):
        position = groups[frame.frame - 1].PlanePositionSequence[0].ImagePositionPatient
        got = volume.affine @ [0, 0, number, 1]
        np.testing.assert_allclose(got[:3] * [-1, -1, 1], position, atol=1e-3)
    assert sorted(frame.frame for frame in volume.frames) == list(range(1, len(groups) + 1))


def dose(stack, path, **changes):
    dataset = stack.datasets[0]
    frames = 4
    dataset.SOPClassUID = RT_DOSE
    dataset.Modality = "RTDOSE"
    dataset.ImagePositionPatient = [1, 2, 30]
    dataset.NumberOfFrames = frames
    dataset.FrameIncrementPointer = 0x3004000C
    dataset.GridFrameOffsetVector = [0, 2.5, 5, 7.5]
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit = 31
    dataset.DoseGridScaling, dataset.DoseUnits, dataset.DoseType = "1.5e-5", "GY", "PHYSICAL"
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType
    dataset.PixelData = np.arange(frames * 12 * 14, dtype="<u4").tobytes()
    for name, value in changes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return read(path)


def test_a_dose_is_scaled_and_has_its_unit(stack, tmp_path):
    (volume,) = dose(stack, tmp_path / "dose").volumes
    expected = np.arange(4 * 12 * 14).reshape(4, 12, 14).transpose(2, 1, 0) * 1.5e-5
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)
    assert volume.facts["unit"] == "GY"
    assert "dose" in [note.code for note in volume.notes]
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 0, 2.5])
    np.testing.assert_allclose(volume.affine[:3, 3], [-1, -2, 30])


def test_offsets_of_a_dose_may_be_coordinates(stack, tmp_path):
    (volume,) = dose(stack, tmp_path / "dose", GridFrameOffsetVector=[30, 32.5, 35, 37.5]).volumes
    np.testing.assert_allclose(volume.affine[:3, 2:], [[0, -1], [0, -2], [2.5, 30]])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"GridFrameOffsetVector": [5, 7.5, 10, 12.5]}, "no-geometry"),
        ({"GridFrameOffsetVector": [0, 2.5, 5]}, "no-geometry"),
        ({"DoseGridScaling": None}, "bad-rescale"),
        ({"DoseGridScaling": "0"}, "bad-rescale"),
        ({"RescaleSlope": "2"}, "bad-rescale"),
    ],
)
def test_a_dose_without_place_or_scale_is_refused(changes, code, stack, tmp_path):
    assert [refusal.code for refusal in dose(stack, tmp_path / "dose", **changes).refused] == [code]
