"""What a careful reader would want to know of a volume is noted with it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

import medkit.dicom.pixels
from medkit.dicom import read
from tests.dicom_series import judge, make


def codes(folder):
    (volume,) = read(folder).volumes
    return {note.code for note in volume.notes}


def test_nothing_to_note(stack, written):
    assert codes(written(stack.datasets)) == set()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "monochrome1"),
        ({"LossyImageCompression": "01"}, "lossy"),
        (
            {"Modality": "MR", "Manufacturer": "Philips Medical Systems", "RescaleSlope": "1.5"},
            "philips-scale",
        ),
        ({"RealWorldValueMappingSequence": [Dataset()]}, "real-world-values"),
    ],
)
def test_what_all_slices_say(changes, code, stack, written):
    (before,) = read(written(stack.datasets, "before")).volumes
    for dataset in stack.datasets:
        for name, value in changes.items():
            setattr(dataset, name, value)
    folder = written(stack.datasets, "after")
    assert codes(folder) == {code}
    (after,) = read(folder).volumes
    scale = 1.5 if "RescaleSlope" in changes else 1
    np.testing.assert_allclose(after.array, (before.array + 1024.0) * scale - 1024, rtol=1e-6)


def test_bits_above_the_lowest_ones_are_shifted_down(stack, written):
    (before,) = read(written(stack.datasets, "before")).volumes
    for dataset in stack.datasets:
        dataset.HighBit = 15
        dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") << 4).tobytes()
    folder = written(stack.datasets, "after")
    (after,) = read(folder).volumes
    assert np.array_equal(before.array, after.array)
    assert codes(folder) == {"high-bit"}


def test_signed_and_unsigned_slices(stack, written):
    (before,) = read(written(stack.datasets, "before")).volumes
    for dataset in stack.datasets[::2]:
        stored = np.frombuffer(dataset.PixelData, "<u2").astype(np.int32) - 1024
        dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.PixelData = stored.astype("<i2").tobytes()
    folder = written(stack.datasets, "after")
    (after,) = read(folder).volumes
    assert np.array_equal(before.array, after.array)
    assert codes(folder) == {"mixed-sign"}


def test_every_second_number_is_missing(stack, written):
    for number, dataset in enumerate(stack.datasets):
        dataset.InstanceNumber = 2 * number + 1
    assert codes(written(stack.datasets)) == {"instance-numbers"}


@pytest.mark.parametrize(
    ("kept", "said", "noted"),
    [
        ((0, 7), True, True),
        ((0, 2), True, True),
        ((0, 1), True, False),
        ((0, 7), False, False),
        ((0, 2, 4), True, False),
    ],
)
def test_two_slices_far_apart(kept, said, noted, stack, written):
    for dataset in stack.datasets:
        if not said:
            del dataset.SliceThickness
    for number, dataset in enumerate(stack.datasets[place] for place in kept):
        dataset.InstanceNumber = number + 1
    assert codes(written([stack.datasets[place] for place in kept])) == ({"far-apart"} if noted else set())


def test_facts_for_machines(stack, written):
    (volume,) = read(written(stack.datasets)).volumes
    assert volume.facts["series_number"] == 3
    assert volume.facts["unit"] == "HU"
    assert volume.facts["parameters"]["kvp"] == "120"
    assert volume.facts["transfer_syntaxes"] == ["1.2.840.10008.1.2.1"]
    assert volume.modality == "CT"
    assert volume.study_instance_uid == stack.identity.study


@pytest.mark.parametrize(
    ("kind", "repairs"),
    [
        ("padding-tilted", ["deshear"]),
        ("padding-gap", ["resample"]),
        ("padding-gap-tilted", ["deshear", "resample"]),
    ],
)
def test_what_touches_padding_is_padding_after_a_repair_too(kind, repairs, tmp_path):
    """No value between tissue and padding is left unmarked, and nothing far from padding is marked."""
    truth = make(kind, tmp_path)
    (volume,) = read(tmp_path, repairs=repairs).volumes
    (true,) = truth.repaired[0]
    index = np.moveaxis(np.indices(volume.array.shape), 0, -1)
    places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    inverse = np.linalg.inv(true.affine)
    where = places @ inverse[:3, :3].T + inverse[:3, 3]
    measured = ~volume.padding
    error = np.abs(volume.array - true.values(places))
    assert error[measured].max() <= true.tolerance
    middle = ((where >= 4) & (where <= np.array([9, 8, 8]))).all(-1)
    assert middle.sum() > 50
    assert measured[middle].all()
    assert volume.array[~measured].max() <= volume.array[measured].min()
    assert volume.facts["padding_voxels"] == (~measured).sum()
    assert "padding" in [note.code for note in volume.notes]


@pytest.mark.parametrize("group", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_a_real_world_mapping_in_functional_groups_is_noted(group, tmp_path):
    truth = make("enhanced-mr", tmp_path)
    (path,) = tmp_path.iterdir()
    dataset = dcmread(path)
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, 3.0
    for item in getattr(dataset, group):
        item.RealWorldValueMappingSequence = [mapping]
    dataset.save_as(path)
    reading = read(tmp_path)
    assert "real-world-values" in {note.code for note in reading.volumes[0].notes}
    assert judge(truth, [(volume.array, volume.affine) for volume in reading.volumes]).outcome == "right"


def test_a_parametric_map_has_its_unit_and_no_note(tmp_path):
    make("parametric-map-whole", tmp_path)
    (volume,) = read(tmp_path).volumes
    assert volume.facts["unit"] == "um2/ms"
    assert "real-world-values" not in {note.code for note in volume.notes}


RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType")


def test_ct_without_a_slope_is_noted_and_mr_is_not(stack, mr, written):
    for dataset in stack.datasets:
        for name in RESCALE:
            delattr(dataset, name)
    assert codes(written(stack.datasets)) == {"no-rescale"}
    assert codes(written(mr.datasets, "mr")) == set()


@pytest.mark.parametrize("number", [0, 4])
def test_a_slope_in_some_slices_alone_is_refused(number, stack, written):
    for dataset in stack.datasets:
        del dataset.RescaleType
    for name in RESCALE[:2]:
        delattr(stack.datasets[number], name)
    (refusal,) = read(written(stack.datasets)).refused
    assert refusal.code == "bad-rescale"
    assert f"{number:03}.dcm: expected RescaleSlope" in refusal.message


@pytest.mark.parametrize("value", [1e39, -1e39, 3e38])
def test_values_beyond_float32_are_refused(value, stack, written):
    for dataset in stack.datasets:
        dataset.DoubleFloatPixelData = np.full((12, 14), value, "<f8").tobytes()
        dataset.BitsAllocated = 64
        for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation", *RESCALE):
            delattr(dataset, name)
    reading = read(written(stack.datasets))
    if abs(value) > 3.5e38:
        assert [refusal.code for refusal in reading.refused] == ["not-finite"]
    else:
        assert np.isclose(reading.volumes[0].array, value).all()


def test_a_deflated_object_that_came_twice_is_inflated_once_for_each_use(tmp_path, monkeypatch):
    make("enhanced-deflated", tmp_path)
    (path,) = tmp_path.iterdir()
    shutil.copy(path, tmp_path / "again.dcm")
    inflated, calls = medkit.dicom.pixels.inflated, []

    def counted(*arguments):
        calls.append(arguments)
        return inflated(*arguments)

    monkeypatch.setattr(medkit.dicom.pixels, "inflated", counted)
    (volume,) = read(tmp_path).volumes
    assert "duplicate" in {note.code for note in volume.notes}
    assert volume.array.shape[2] > 3
    assert len(calls) == 3, "a digest of either, and the volume"


def test_a_lone_slice_beside_a_gap_is_said_to_be_one(stack, written):
    del stack.datasets[1]
    for dataset in stack.datasets:
        dataset.SliceThickness = None
    (refusal,) = read(written(stack.datasets), repairs=["split-gaps"]).refused
    assert refusal.code == "no-geometry"
    assert refusal.message.endswith(
        "split-gaps leaves it alone beside missing slices: ask for resample instead"
    )


def test_what_is_said_of_announced_images_and_of_colours(stack, written):
    for dataset in stack.datasets:
        dataset.ImagesInAcquisition, dataset.AcquisitionNumber = 30, None
    (refusal,) = read(written(stack.datasets, "announced")).refused
    assert "expected 30 images as ImagesInAcquisition says" in refusal.message
    for dataset in stack.datasets:
        dataset.ImagesInAcquisition, dataset.PhotometricInterpretation = None, "PALETTE COLOR"
    assert "got PALETTE COLOR; colour" in read(written(stack.datasets, "palette")).refused[0].message
