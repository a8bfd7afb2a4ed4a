"""What a careful reader would want to know of a volume is noted with it."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medkit.dicom import read


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


def test_facts_for_machines(stack, written):
    (volume,) = read(written(stack.datasets)).volumes
    assert volume.facts["series_number"] == 3
    assert volume.facts["unit"] == "HU"
    assert volume.facts["parameters"]["kvp"] == "120"
    assert volume.facts["transfer_syntaxes"] == ["1.2.840.10008.1.2.1"]
    assert volume.modality == "CT"
    assert volume.study_instance_uid == stack.identity.study


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
