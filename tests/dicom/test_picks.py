"""A pick finds something, or says what there is."""

from __future__ import annotations

import pytest

from medkit.dicom import read
from medkit.errors import UsageError
from tests.dicom_series import make
from tests.dicom_series.stacks import Stack


@pytest.fixture
def folder(mr, written):
    other = Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity.another_series(mr.rng))
    late = Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, offset=300)
    for dataset in late.datasets:
        dataset.EchoTime = "80.0"
    return written([*mr.datasets, *late.datasets, *other.datasets])


@pytest.mark.parametrize(
    ("picks", "names"),
    [
        ({}, ["003_echo-time-11", "003_echo-time-80", "004"]),
        ({"series": "4"}, ["004"]),
        ({"echo-time": "80"}, ["003_echo-time-80"]),
        ({"echo-time": "11.0"}, ["003_echo-time-11", "004"]),
        ({"volume": "003_echo-time-80"}, ["003_echo-time-80"]),
        ({"series": "3", "echo-time": "11"}, ["003_echo-time-11"]),
        ({"matrix": "14x12", "series": "4"}, ["004"]),
    ],
)
def test_what_was_picked_is_read(picks, names, folder):
    assert [volume.name for volume in read(folder, picks=picks).volumes] == names


@pytest.mark.parametrize(
    ("picks", "there"),
    [
        ({"series": "7"}, "there are 3, 4"),
        ({"echo-time": "30"}, "there are 11, 80"),
        ({"b-value": "0"}, "nothing here has it; keys are"),
        ({"volume": "x"}, "003_echo-time-80"),
    ],
)
def test_a_pick_that_nothing_has_is_refused(picks, there, folder):
    with pytest.raises(UsageError, match=r"expected a value that is there") as raised:
        read(folder, picks=picks)
    assert there in str(raised.value)


def test_numbers_are_found_however_they_are_written_and_text_as_it_is(mr, written):
    for one, name in enumerate(("1", "01", "B")):
        for dataset in mr.datasets[3 * one : 3 * one + 3]:
            dataset.StackID = name
    folder = written(mr.datasets)
    assert [volume.array.shape[2] for volume in read(folder, picks={"stack": "1"}).volumes] == [3]
    with pytest.raises(UsageError, match="there are 01, 1, B"):
        read(folder, picks={"stack": "C"})


def test_a_setting_that_jitters_is_picked_with_the_whole_volume(mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.EchoTime = "11" if number < 6 else "11.01"
    folder = written(mr.datasets)
    (volume,) = read(folder, picks={"echo-time": "11"}).volumes
    assert volume.array.shape[2] == 9
    assert "part-picked" not in [note.code for note in volume.notes]


@pytest.mark.parametrize("first", [1, 6, 8])
def test_a_pick_of_a_part_is_noted(first, mr, written):
    for number, dataset in enumerate(mr.datasets):
        dataset.AcquisitionNumber = 1 if number < first else 2
    (volume,) = read(written(mr.datasets), picks={"acquisition": "2"}).volumes
    assert volume.array.shape[2] == 9 - first
    assert "part-picked" in [note.code for note in volume.notes]


def test_a_pick_of_one_of_two_at_a_place_is_not(folder):
    (volume,) = read(folder, picks={"echo-time": "80"}).volumes
    assert not volume.notes


def test_series_without_what_was_picked_are_not_listed(folder):
    make("gap-one", folder / "refused")
    assert [series.number for series in read(folder, picks={"echo-time": "80"}).series] == [3]
    found = read(folder, picks={"volume": "004"})
    assert [series.number for series in found.series] == [4]
    assert not found.refused


def test_a_refused_series_may_have_what_is_not_found(folder):
    make("gap-one", folder / "refused")
    with pytest.raises(UsageError, match=r"1 series are refused and may hold it: between .* every"):
        read(folder, picks={"volume": "005"})


def test_a_key_or_a_repair_that_is_nearly_right(folder):
    with pytest.raises(UsageError, match=r"^pick echotime=80: .*did you mean echo-time\?$"):
        read(folder, picks={"echotime": "80"})
    with pytest.raises(UsageError, match=r"got 'resampel'; did you mean resample\?$"):
        read(folder, repairs=["resampel"])
