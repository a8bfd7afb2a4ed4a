"""What would take more than it may is refused before it is inflated, parsed or decoded."""

from __future__ import annotations

import tracemalloc
from copy import deepcopy
from dataclasses import replace

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from medkit.dicom.findings import Refused
from medkit.dicom.limits import Limits
from medkit.dicom.network import bounds
from medkit.dicom.network.bounds import check_inflated, check_length, check_pixels
from medkit.dicom.network.content import content_hash, same_content
from medkit.dicom.writing import save
from tests.dicom.network.test_content import image, in_syntax

LIMITS = Limits()


def two(folder, dataset: Dataset):
    """Two files that say the same with other bytes."""
    one, other = folder / "one.dcm", folder / "other.dcm"
    dataset.save_as(one, enforce_file_format=True)
    padded = deepcopy(dataset)
    padded.DataSetTrailingPadding = bytes(2)
    padded.save_as(other, enforce_file_format=True)
    return one, other


def bomb(size: int) -> Dataset:
    dataset = in_syntax(image(), DeflatedExplicitVRLittleEndian)
    dataset.private_block(0x0029, "MAKER", create=True).add_new(1, "OB", bytes(size))
    return dataset


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]
)
def test_what_a_device_writes_is_compared(tmp_path, syntax):
    dataset = image()
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    else:
        dataset = in_syntax(dataset, syntax)
    one, other = two(tmp_path, dataset)
    assert one.read_bytes() != other.read_bytes()
    assert same_content(one, other)


def test_blank_frames_that_shrink_to_little_are_compared(tmp_path):
    dataset = image()
    dataset.Rows = dataset.Columns = 2048
    dataset.PixelData = bytes(2048 * 2048 * 2)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    one, other = two(tmp_path, dataset)
    assert one.stat().st_size < 10_000
    assert same_content(one, other)


def test_a_deflated_file_that_grows_too_far_is_not_inflated(tmp_path):
    one, other = two(tmp_path, bomb(400 << 20))
    assert one.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        assert not same_content(one, other)
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(Refused, match="deflated bytes that become at most") as caught:
        check_inflated(one.read_bytes(), LIMITS)
    assert caught.value.finding.code == "too-large"


def test_pixels_that_the_bytes_cannot_hold_are_not_decoded(tmp_path, monkeypatch):
    dataset = image()
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.Rows = dataset.Columns = 8000
    one, other = two(tmp_path, dataset)
    decoded = []
    monkeypatch.setattr("medkit.dicom.network.content._frames", lambda *_: decoded.append(1) or iter(()))
    assert not same_content(one, other)
    assert not decoded
    most = LIMITS.pixel_bytes(one.stat().st_size, RLELossless)
    said = rf"at most {most} bytes of pixels in a file of \d+ bytes, got 128000000, in 1 x 8000 x 8000 x 1 of 16 bits"
    with pytest.raises(Refused, match=said) as caught:
        check_pixels(pydicom.dcmread(one), one.stat().st_size, LIMITS)
    assert caught.value.finding.code == "too-large"


@pytest.mark.parametrize("values", [{"Rows": 20_000, "Columns": 20_000}, {"NumberOfFrames": 100_000}])
def test_what_a_header_claims_is_believed_no_further_than_the_limits(values):
    dataset = image()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    with pytest.raises(Refused, match="nothing is decoded"):
        check_pixels(dataset, 10_000, LIMITS)
    check_pixels(image(), 10_000, LIMITS)


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    one, other = two(tmp_path, image())
    assert same_content(one, other)
    limits = replace(LIMITS, series_bytes=1000)
    assert not same_content(one, other, limits)
    with pytest.raises(Refused, match="a file of at most 1000 bytes"):
        check_length(one, limits)


def test_more_items_than_any_device_writes_are_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "_MOST_ITEMS", 10)
    dataset = image()
    dataset.AnatomicRegionSequence = [Dataset() for _ in range(11)]
    for syntax in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        one, other = two(tmp_path, in_syntax(dataset, syntax))
        with pytest.raises(Refused, match="at most 10 items of sequences, got 11"):
            check_inflated(one.read_bytes(), LIMITS)
        assert not same_content(one, other)


def test_medkits_own_results_are_hashed_without_a_limit(tmp_path):
    """They are hashed where they were made, in a worker whose memory is bounded."""
    dataset = bomb(80 << 20)
    save(dataset, tmp_path / "made.dcm")
    with pytest.raises(Refused):
        check_inflated((tmp_path / "made.dcm").read_bytes(), replace(LIMITS, growth_free_bytes=1 << 20))
    assert content_hash(tmp_path / "made.dcm") == content_hash(dataset)
