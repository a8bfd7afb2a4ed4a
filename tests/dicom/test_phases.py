"""Slices that share their places are told apart where there is one way to do so, or refused."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from medkit.dicom import read
from tests.dicom_series.stacks import Stack


@pytest.fixture
def two(mr):
    """Two stacks at one place, 300 apart in value."""
    return mr, Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, first=10, offset=300)


def together(two):
    return [*two[0].datasets, *two[1].datasets]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("AcquisitionNumber", "acquisition"),
        ("TriggerTime", "trigger-time"),
        ("EchoNumbers", "echo"),
        ("SequenceName", "sequence-name"),
        ("TemporalPositionIdentifier", "temporal-position"),
        ("InversionTime", "inversion-time"),
        ("FlipAngle", "flip-angle"),
    ],
)
def test_one_difference_makes_two_volumes(name, key, two, written):
    for number, stack in enumerate(two, 1):
        for dataset in stack.datasets:
            setattr(dataset, name, str(number))
    volumes = read(written(together(two))).volumes
    assert [volume.facts["keys"] for volume in volumes] == [{key: "1"}, {key: "2"}]
    assert volumes[1].array.mean() - volumes[0].array.mean() > 200


def test_two_ways_that_disagree_are_refused_until_one_is_picked(two, written):
    for number, dataset in enumerate(together(two)):
        dataset.AcquisitionNumber = 1 + number // 9
        dataset.TriggerTime = str(number % 2)
    folder = written(together(two))
    (refusal,) = read(folder).refused
    assert refusal.code == "multi-phase"
    assert (
        "acquisition or trigger-time; pick a value of one of them, as --pick acquisition=1" in refusal.message
    )
    (volume,) = read(folder, picks={"acquisition": "2"}).volumes
    assert {frame.sop_instance_uid for frame in volume.frames} == {d.SOPInstanceUID for d in two[1].datasets}


def test_two_differences_together_make_four_volumes(mr, written):
    stacks = [Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, offset=200 * n) for n in range(4)]
    for number, stack in enumerate(stacks):
        for dataset in stack.datasets:
            dataset.AcquisitionNumber, dataset.TriggerTime = 1 + number // 2, str(number % 2)
    volumes = read(written([d for stack in stacks for d in stack.datasets])).volumes
    assert [tuple(v.facts["keys"].values()) for v in volumes] == [
        ("1", "0"),
        ("1", "1"),
        ("2", "0"),
        ("2", "1"),
    ]


def test_passes_in_turn_need_to_be_asked_for(two, written):
    for number in range(9):
        for turn, stack in enumerate(two):
            stack.datasets[number].AcquisitionTime = f"1011{2 * number + turn:02}"
    folder = written(together(two))
    (refusal,) = read(folder).refused
    assert refusal.code == "multi-phase"
    assert refusal.message.endswith("ask for the repair passes-by-time, which goes by their acquisition time")
    volumes = read(folder, repairs=["passes-by-time"]).volumes
    assert [volume.facts["keys"] for volume in volumes] == [{"pass": "1"}, {"pass": "2"}]
    assert all(repair.code == "passes-by-time" for volume in volumes for repair in volume.repairs)
    assert volumes[1].array.mean() - volumes[0].array.mean() > 200


def test_copies_are_used_once_with_a_note(mr, written):
    again = deepcopy(mr.datasets[2:5])
    for number, dataset in enumerate(again):
        dataset.SOPInstanceUID = f"1.2.{number}"
    (volume,) = read(written([*mr.datasets, *again])).volumes
    assert volume.array.shape[2] == 9
    assert "duplicate" in [note.code for note in volume.notes]


def test_a_copy_with_another_slope_is_no_copy(stack, written):
    again = deepcopy(stack.datasets[2])
    again.SOPInstanceUID, again.RescaleSlope, again.InstanceNumber = "1.2.3", "2", 99
    folder = written([*stack.datasets, again])
    assert [refusal.code for refusal in read(folder).refused] == ["duplicate"]
    (volume,) = read(folder, repairs=["drop-duplicates"]).volumes
    assert "1.2.3" not in [frame.sop_instance_uid for frame in volume.frames]
    assert [repair.code for repair in volume.repairs] == ["drop-duplicates"]


@pytest.mark.parametrize("first", [False, True])
def test_copies_of_one_slice_of_two_thicknesses_are_refused(first, stack, written):
    """It is the third edge of the voxels, and so may not be that of the file which comes first."""
    one, again = stack.datasets[2], deepcopy(stack.datasets[2])
    again.SOPInstanceUID, again.SliceThickness = "1.2.3", "9"
    (refusal,) = read(written([again, one] if first else [one, again])).refused
    assert refusal.code == "duplicate"
    both = f"{stack.grid.thickness:g} mm and 9 mm"
    assert f"expected one thickness of a slice that stands alone, got {both}" in refusal.message
    again.SliceThickness = one.SliceThickness
    (volume,) = read(written([one, again], "alike")).volumes
    assert volume.array.shape[2] == 1


@pytest.mark.parametrize(
    ("name", "value"), [("PixelPaddingValue", 900), ("PhotometricInterpretation", "MONOCHROME1")]
)
def test_a_copy_with_another_padding_or_shown_in_another_way_is_no_copy(name, value, stack, written):
    again = deepcopy(stack.datasets[2])
    again.SOPInstanceUID, again.InstanceNumber = "1.2.3", 99
    setattr(again, name, value)
    assert [refusal.code for refusal in read(written([*stack.datasets, again])).refused] == ["duplicate"]


def test_phases_without_any_difference_are_not_mixed_on_request_either(two, written):
    folder = written(together(two))
    (plain,) = read(folder).refused
    assert "; no pick or repair can tell them apart" in plain.message
    (refusal,) = read(folder, repairs=["drop-duplicates", "passes-by-time"]).refused
    assert refusal.code == "multi-phase"
    assert "passes-by-time and drop-duplicates cannot help here; no pick or repair" in refusal.message


def test_blank_slices_of_two_phases_are_no_copies(two, written):
    for number, stack in enumerate(two, 1):
        for dataset in stack.datasets:
            dataset.AcquisitionNumber = number
        stack.datasets[0].PixelData = bytes(len(stack.datasets[0].PixelData))
    volumes = read(written(together(two))).volumes
    assert [volume.array.shape[2] for volume in volumes] == [9, 9]
    assert all(np.count_nonzero(volume.array[..., 0]) == 0 for volume in volumes)


def test_fractions_of_a_second_tell_passes_apart(two, written):
    for number, dataset in enumerate(together(two)):
        dataset.AcquisitionTime = f"101112.{50_000 * number:06}"
    volumes = read(written(together(two))).volumes
    assert [volume.facts["keys"] for volume in volumes] == [{"pass": "1"}, {"pass": "2"}]
    assert volumes[1].array.mean() - volumes[0].array.mean() > 200


@pytest.mark.parametrize("said", ["AcquisitionDateTime", "AcquisitionDate", ""])
def test_passes_over_midnight_are_dealt_by_day_and_time(said, two, written):
    """Without a day the later slices of the first pass would come before its first."""
    for number, dataset in enumerate(together(two)):
        second = 86400 - 8 + 2 * number
        day = "20200102" if second < 86400 else "20200103"
        second %= 86400
        dataset.AcquisitionTime = f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
        del dataset.AcquisitionDate
        if said:
            setattr(dataset, said, day + (dataset.AcquisitionTime if said == "AcquisitionDateTime" else ""))
    reading = read(written(together(two)))
    if said:
        means = [volume.array.mean() for volume in reading.volumes]
        assert means[1] - means[0] > 200
    else:
        assert [refusal.code for refusal in reading.refused] == ["multi-phase"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR TM")
@pytest.mark.parametrize("time", ["1011", "103212.", "10:32:12", "996112"])
def test_a_time_that_is_none_tells_nothing(time, two, written):
    for number, dataset in enumerate(together(two)):
        dataset.AcquisitionTime = f"1011{number:02}"
    two[1].datasets[4].AcquisitionTime = time
    (refusal,) = read(written(together(two))).refused
    assert refusal.code == "multi-phase"
