"""What never differs within a volume splits a series; digits of one setting do not."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from pydicom.uid import RLELossless

import medkit.dicom.grouping
from medkit.dicom import Limits, read
from tests.dicom_series.stacks import Stack


def test_settings_that_differ_in_their_last_digits_are_one(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.EchoTime = f"{98.0 + 0.01 * (number % 3)}"
    (volume,) = read(written(mr.datasets)).volumes
    assert volume.array.shape[2] == 9


@pytest.mark.parametrize("times", [("98.0", "98.1"), ("30", "30.01"), ("30", "90")])
def test_near_settings_at_the_same_places_are_two_volumes(times, mr, written):
    other = Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, offset=300)
    for time, stack in zip(times, (mr, other), strict=True):
        for dataset in stack.datasets:
            dataset.EchoTime = time
    volumes = read(written([*mr.datasets, *other.datasets])).volumes
    assert len(volumes) == 2
    assert len({volume.name for volume in volumes}) == 2


def test_kernels_in_turn_are_two_volumes_and_not_one(stack, written):
    for number, dataset in enumerate(stack.datasets):
        dataset.ConvolutionKernel = ("B30f", "B70f")[number % 2]
    reading = read(written(stack.datasets))
    assert [volume.array.shape[2] for volume in reading.volumes] == [5, 4]
    assert [note.code for note in reading.series[0].notes] == ["unequal-slices"]
    assert [volume.name for volume in reading.volumes] == ["003_kernel-B30f", "003_kernel-B70f"]


def test_more_kinds_of_slices_than_the_limit_are_refused(stack, written):
    for number, dataset in enumerate(stack.datasets):
        dataset.ConvolutionKernel = f"B{number % 3}f"
    folder = written(stack.datasets)
    assert len(read(folder, limits=Limits(volumes=3)).volumes) == 3
    (refusal,) = read(folder, limits=Limits(volumes=2)).refused
    assert refusal.code == "too-large"
    assert "at most 2 volumes in a series, got 3 kinds" in refusal.message
    assert len(read(folder, limits=Limits(volumes=2), picks={"kernel": "B0f"}).volumes) == 1


def test_more_directions_than_the_limit_are_refused_before_each_is_compared_with_each(
    stack, written, monkeypatch
):
    for number, dataset in enumerate(stack.datasets):
        turn = np.pi * number / 9
        dataset.ImageOrientationPatient = [
            *(f"{v:.6f}" for v in (np.cos(turn), np.sin(turn), 0)),
            "0",
            "0",
            "-1",
        ]
    folder = written(stack.datasets)
    assert "got 9 directions" in read(folder, limits=Limits(directions=9)).refused[0].message
    monkeypatch.setattr(medkit.dicom.grouping, "turned_alike", None)
    (refusal,) = read(folder, limits=Limits(directions=8)).refused
    assert refusal.code == "mixed-orientation"
    assert "more than 8 directions" in refusal.message


def test_a_localizer_is_left_out_on_request(stack, written):
    scout = deepcopy(stack.datasets[0])
    scout.SOPInstanceUID, scout.ImageType = "1.2", ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    folder = written([*stack.datasets, scout])
    assert [volume.array.shape[2] for volume in read(folder).volumes] == [9, 1]
    (volume,) = read(folder, repairs=["drop-localizer"]).volumes
    assert [repair.code for repair in volume.repairs] == ["drop-localizer"]
    assert read(written(stack.datasets, "other"), repairs=["drop-localizer"]).volumes[0].repairs == ()


def test_an_object_that_came_twice_is_used_once(stack, written):
    (volume,) = read(written([*stack.datasets, *stack.datasets])).volumes
    assert volume.array.shape[2] == 9
    assert "duplicate" in [note.code for note in volume.notes]


def test_an_object_that_came_again_in_another_transfer_syntax_is_used_once(stack, written):
    again = deepcopy(stack.datasets[4])
    again.compress(RLELossless, generate_instance_uid=False)
    again.RescaleSlope = "1.00"
    (volume,) = read(written([*stack.datasets, again])).volumes
    assert "duplicate" in [note.code for note in volume.notes]


def check_refused_again(datasets, name, value, first, written):
    """That the fifth object is refused where it came again with another value."""
    again = deepcopy(datasets[4])
    setattr(again, name, value)
    reading = read(written([again, *datasets] if first else [*datasets, again]))
    assert reading.volumes == ()
    assert [refusal.code for refusal in reading.refused] == ["duplicate"]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RescaleIntercept", "-1000"),
        ("PhotometricInterpretation", "MONOCHROME1"),
        ("ImageOrientationPatient", ["-1", "0", "0", "0", "-1", "0"]),
        ("PixelSpacing", ["1.5", "1.5"]),
    ],
)
def test_an_object_that_came_again_with_another_meaning_is_refused(name, value, first, stack, written):
    check_refused_again(stack.datasets, name, value, first, written)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AcquisitionNumber", 2),
        ("TriggerTime", "40"),
        ("EchoNumbers", 2),
        ("AcquisitionDate", "20200103"),
        ("InstanceNumber", 1),
        ("SliceThickness", "9"),
    ],
)
def test_an_object_that_came_again_and_may_belong_elsewhere_is_refused(name, value, first, mr, written):
    check_refused_again(mr.datasets, name, value, first, written)


def test_a_row_of_slices_with_settings_of_their_own_is_refused(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.TemporalPositionIdentifier = number + 1
    reading = read(written(mr.datasets))
    assert [refusal.code for refusal in reading.refused] == ["mixed-parameters"]
    assert "temporal-position" in reading.refused[0].message


def test_frames_at_one_place_are_volumes_of_one_slice(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.TemporalPositionIdentifier = number + 1
        dataset.ImagePositionPatient = mr.datasets[0].ImagePositionPatient
    assert len(read(written(mr.datasets)).volumes) == 9
