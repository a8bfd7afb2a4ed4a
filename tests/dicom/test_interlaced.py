"""Slices of two kinds that take turns along a row are neither one volume nor two without a word."""

from __future__ import annotations

import pytest

from medkit.dicom import read
from tests.dicom_series.stacks import Stack


def between(stack: Stack, part: float = 0.5) -> Stack:
    """Other slices, a part of a step from those of a stack."""
    positions = [position + part * stack.grid.step for position in stack.positions]
    return Stack(
        stack.rng,
        stack.grid,
        positions=positions,
        modality=stack.modality,
        identity=stack.identity,
        first=20,
        offset=300,
    )


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"FlipAngle": ("90", "89.5")}, "flip-angle"),
        ({"EchoTime": ("11", "90", "30")}, "echo-time"),
        ({"ImageOrientationPatient": ([1, 0, 0, 0, 1, 0], [1, 3e-4, 0, -3e-4, 1, 0])}, "the direction"),
        ({"PixelSpacing": ([0.7, 0.7], [0.71, 0.71])}, "the spacing"),
    ],
)
@pytest.mark.parametrize("count", [4, 9])
def test_settings_that_alternate_refuse_the_series(changes, key, count, mr, written):
    for number, dataset in enumerate(mr.datasets):
        for name, values in changes.items():
            setattr(dataset, name, values[number % len(values)])
    reading = read(written(mr.datasets[:count]))
    assert not reading.volumes
    few = (count, key) == (4, "echo-time")  # of one echo there are two slices, and one of each of the others
    assert reading.refused[0].code == ("mixed-parameters" if few else "interlaced")
    assert key in reading.refused[0].message


def test_settings_that_alternate_in_each_of_two_phases(mr, written):
    later = Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, first=20, offset=300)
    for number, dataset in enumerate([*mr.datasets, *later.datasets]):
        dataset.AcquisitionNumber, dataset.FlipAngle = 1 + number // 9, ("90", "89.5")[number % 9 % 2]
    (refusal,) = read(written([*mr.datasets, *later.datasets])).refused
    assert refusal.code == "interlaced"


def test_blocks_of_two_settings_are_two_volumes(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.FlipAngle = "90" if number < 5 else "60"
    assert [volume.array.shape[2] for volume in read(written(mr.datasets)).volumes] == [5, 4]


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_acquisitions_before_and_after_contrast_are_not_one_volume(modality, stack, mr, written):
    one = {"CT": stack, "MR": mr}[modality]
    two = between(one)
    for dataset in two.datasets:
        dataset.AcquisitionNumber, dataset.ContrastBolusAgent = 2, "Agent"
    folder = written([*one.datasets, *two.datasets])
    (refusal,) = read(folder).refused
    assert refusal.code == "interlaced"
    assert "Agent" not in refusal.message
    (volume,) = read(folder, picks={"acquisition": "2"}).volumes
    assert {frame.sop_instance_uid for frame in volume.frames} == {d.SOPInstanceUID for d in two.datasets}


def test_two_packages_of_one_volume_are_one_with_a_note(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.AcquisitionNumber = 1 + number % 2
    (volume,) = read(written(mr.datasets)).volumes
    assert volume.array.shape[2] == 9
    assert [note.code for note in volume.notes] == ["in-turn"]


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("AcquisitionNumber", (1, 2), "slices of acquisition=1 and acquisition=2 lie side by side"),
        (
            "RepetitionTime",
            ("500", "4000"),
            "slices of repetition-time=500 and repetition-time=4000 lie side by side",
        ),
        (
            "ContrastBolusAgent",
            ("", "Agent of Smith"),
            "slices of several values of contrast lie side by side",
        ),
    ],
)
@pytest.mark.parametrize("first", [range(5), range(8), (0, 1, 2, 3, 5, 6, 7, 8)])
def test_blocks_that_differ_in_a_setting_are_one_volume_with_a_note(first, name, values, shown, mr, written):
    for number, dataset in enumerate(mr.datasets):
        setattr(dataset, name, values[number not in first])
    (volume,) = read(written(mr.datasets)).volumes
    assert volume.array.shape[2] == 9
    if name == "AcquisitionNumber" and 8 in first:
        assert volume.notes == (), "of three blocks no two are two scans"
        return
    (note,) = volume.notes
    assert note.code == "side-by-side"
    assert note.message.startswith(shown)


def test_a_repetition_time_of_each_heartbeat_needs_no_note(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.RepetitionTime = str(800 + number % 4 * 7)
    (volume,) = read(written(mr.datasets[:6])).volumes
    assert volume.notes == ()


@pytest.mark.parametrize(
    ("name", "values"), [("ScanningSequence", ("SE", "GR")), ("PatientPosition", ("HFS", "FFS"))]
)
def test_no_volume_has_two_sequences_or_two_positions_of_the_patient(name, values, mr, written, tmp_path):
    for number, dataset in enumerate(mr.datasets):
        setattr(dataset, name, values[number > 4])
    reading = read(written(mr.datasets))
    key = {"ScanningSequence": "scanning-sequence", "PatientPosition": "patient-position"}[name]
    assert [volume.array.shape[2] for volume in reading.volumes] == [5, 4]
    assert [volume.name for volume in reading.volumes] == [f"003_{key}-{value}" for value in values]
    for volume, value in zip(reading.volumes, values, strict=True):
        assert volume.facts["keys"] == {key: value}
        assert volume.facts["parameters"][key] == value
        (picked,) = read(tmp_path / "series", picks={key: value}).volumes
        assert picked.frames_sha256 == volume.frames_sha256
        assert picked.name == volume.name
    for number, dataset in enumerate(mr.datasets):
        setattr(dataset, name, values[number == 4])
    assert [refusal.code for refusal in read(written(mr.datasets, "one")).refused] == ["mixed-parameters"]
    for number, dataset in enumerate(mr.datasets):
        setattr(dataset, name, values[number % 2])
    assert [refusal.code for refusal in read(written(mr.datasets, "turn")).refused] == ["interlaced"]


LACKING = {
    "one": {4},
    "every second": {1, 3, 5, 7},
    "the first four": {0, 1, 2, 3},
    "all but one": {*range(8)},
}


@pytest.mark.parametrize("name", ["ScanningSequence", "PatientPosition"])
@pytest.mark.parametrize("lacking", LACKING.values(), ids=LACKING)
def test_slices_that_lack_such_a_word_are_not_parted(lacking, name, mr, written):
    for number, dataset in enumerate(mr.datasets):
        setattr(dataset, name, {"ScanningSequence": ["SE", "IR"], "PatientPosition": "HFS"}[name])
        if number in lacking:
            delattr(dataset, name)
    (volume,) = read(written(mr.datasets)).volumes
    assert volume.array.shape[2] == 9
    assert volume.notes == ()
    assert volume.name == "003"


def test_a_slice_that_lacks_a_word_of_which_there_are_two_is_of_neither(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.PatientPosition = ("HFS", "FFS")[number > 4]
    del mr.datasets[2].PatientPosition
    (refusal,) = read(written(mr.datasets)).refused
    assert refusal.code == "mixed-parameters"


def test_two_words_are_parted_though_slices_of_both_lack_another(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.ScanningSequence = ("SE", "GR")[number > 4]
        if number % 2:
            del dataset.PatientPosition
    assert [volume.array.shape[2] for volume in read(written(mr.datasets)).volumes] == [5, 4]


def test_words_of_a_scanning_sequence_come_in_any_order(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.ScanningSequence = (["SE", "IR"], ["IR", "SE"])[number % 2]
    (volume,) = read(written(mr.datasets)).volumes
    assert volume.array.shape[2] == 9


def test_acquisitions_in_blocks_need_no_note(stack, written):
    for number, dataset in enumerate(stack.datasets):
        dataset.AcquisitionNumber = 1 + number // 3
    (volume,) = read(written(stack.datasets)).volumes
    assert not volume.notes


def test_two_acquisitions_that_are_nearly_at_one_place_are_picked(mr, written):
    two = between(mr, 0.02 / mr.grid.thickness)
    for dataset in two.datasets:
        dataset.AcquisitionNumber = 2
    folder = written([*mr.datasets, *two.datasets])
    (refusal,) = read(folder).refused
    assert refusal.code == "nonuniform"
    assert "acquisition=1 and acquisition=2" in refusal.message
    assert "resample" not in refusal.message
    (volume,) = read(folder, picks={"acquisition": "1"}).volumes
    assert {frame.sop_instance_uid for frame in volume.frames} == {d.SOPInstanceUID for d in mr.datasets}
