"""Announced images that are not there refuse a series."""

from __future__ import annotations

import pytest

from medkit.dicom import read


@pytest.mark.parametrize(("expected", "right"), [(9, True), (10, False), (8, False)])
def test_the_archive_s_count(expected, right, stack, written):
    folder = written(stack.datasets)
    reading = read(folder, expected={stack.identity.series: expected})
    assert bool(reading.volumes) == right
    if not right:
        assert [refusal.code for refusal in reading.refused] == ["count-mismatch"]
        assert f"expected {expected} images as the archive says, got 9" in reading.refused[0].message


def test_a_series_of_the_archive_that_is_not_there(stack, written):
    reading = read(written(stack.datasets), expected={stack.identity.series: 9, "1.2.3": 4})
    assert len(reading.volumes) == 1
    assert [refusal.code for refusal in reading.refused] == ["count-mismatch"]


def test_an_object_that_came_twice_counts_once(stack, written):
    folder = written([*stack.datasets, stack.datasets[0]])
    assert read(folder, expected={stack.identity.series: 9}).volumes


@pytest.mark.parametrize(("said", "right"), [(9, True), (5, True), (10, False)])
def test_images_in_acquisition(said, right, stack, written):
    for dataset in stack.datasets:
        dataset.ImagesInAcquisition = said
    folder = written(stack.datasets)
    assert bool(read(folder).volumes) == right
    if not right:
        (volume,) = read(folder, repairs=["accept-count"]).volumes
        assert [repair.code for repair in volume.repairs] == ["accept-count"]


def test_number_of_slices_of_a_positron_scan(mr, written):
    for dataset in mr.datasets:
        dataset.Modality, dataset.NumberOfSlices, dataset.NumberOfTimeSlices = "PT", 5, 2
    assert [refusal.code for refusal in read(written(mr.datasets)).refused] == ["count-mismatch"]
