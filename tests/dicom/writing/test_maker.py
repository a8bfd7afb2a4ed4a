"""What made a result, from a bundle's metadata."""

from __future__ import annotations

import copy

import pytest

from medkit.bundle.store import list_bundles
from medkit.dicom.writing.maker import Maker
from medkit.errors import UsageError
from tests.dicom.writing.sources import DIGEST, MAKER


@pytest.mark.parametrize("bundle", list_bundles(), ids=lambda bundle: bundle.name)
def test_every_bundle_can_make_objects(bundle):
    maker = Maker.from_metadata(bundle.name, bundle.metadata, bundle.digest())
    assert maker.label_names
    assert 0 not in maker.label_names
    maker.check_codes()
    for value in maker.label_names:
        assert maker.codes_of(value).type.meaning
    for text in maker.equipment().values():
        assert all(0 < len(part) <= 64 for part in ([text] if isinstance(text, str) else text))


def test_metadata_without_names_or_with_wrong_codes():
    metadata = {"network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "x"}}}}}
    maker = Maker.from_metadata("x", metadata, DIGEST)
    assert maker.label_names == {1: "x"}
    for ask in (lambda: maker.codes_of(1), maker.check_codes):
        with pytest.raises(UsageError, match=r"x: expected codes for label 1 \(x\), got none"):
            ask()
    with pytest.raises(UsageError, match=r"x/configs/metadata\.json: segment_codes: "):
        Maker.from_metadata("x", {**metadata, "segment_codes": {"1": {}}}, DIGEST)
    broken = copy.deepcopy(metadata)
    del broken["network_data_format"]["outputs"]["pred"]["channel_def"]
    with pytest.raises(UsageError, match=r"x/configs/metadata\.json: expected the names of the labels"):
        Maker.from_metadata("x", broken, DIGEST)


def test_a_first_channel_that_is_no_background_is_a_label():
    metadata = {
        "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "whole tumour", "1": "core"}}}}
    }
    assert Maker.from_metadata("x", metadata, DIGEST).label_names == {0: "whole tumour", 1: "core"}


def test_the_digest_is_part_of_the_equipment():
    assert MAKER.equipment()["device_serial_number"] == DIGEST
