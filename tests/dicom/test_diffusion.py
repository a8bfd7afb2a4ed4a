"""b-values of the standard and of vendors."""

from __future__ import annotations

import pytest

from medkit.dicom import read
from medkit.dicom.elements import PRIVATE
from tests.dicom_series.stacks import Stack

OWNERS = {"SiemensBValue": "1", "GEBValue": "1", "PhilipsBValue": "1", "UIHBValue": "1"}


def mark(dataset, name, value):
    if name == "DiffusionBValue":
        dataset.DiffusionBValue = value
        return
    tag, vr, creator = PRIVATE[name]
    dataset.add_new((tag & 0xFFFF0000) | ((tag & 0xFFFF) >> 8), "LO", creator)
    dataset.add_new(
        tag, vr, [int(value), 8, 0, 0] if name == "GEBValue" else int(value) if vr == "IS" else value
    )


@pytest.mark.parametrize("name", ["DiffusionBValue", *OWNERS])
def test_two_b_values_are_two_volumes(name, mr, written):
    other = Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, first=10, offset=300)
    for dataset in mr.datasets:
        mark(dataset, name, 0.0)
    for dataset in other.datasets:
        mark(dataset, name, 1_000_000_800.0 if name == "GEBValue" else 800.0)
    volumes = read(written([*mr.datasets, *other.datasets])).volumes
    assert [volume.facts["keys"]["b-value"] for volume in volumes] == ["0", "800"]
    assert [volume.name for volume in volumes] == ["003_b-value-0", "003_b-value-800"]
    assert volumes[1].array.mean() > volumes[0].array.mean() + 200
