"""What a careful reader would want to know of a volume is noted with it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from pydicom.dataset import Dataset

import medkit.dicom.pixels
from medkit.dicom import read
from tests.dicom_series import make


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
