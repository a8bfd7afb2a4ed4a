"""Impossible pixels are refused before a byte is decoded."""

from __future__ import annotations

import pytest

from medkit.dicom import Limits, read
from medkit.dicom.findings import Refused
from medkit.dicom.format import pixel_format
from medkit.dicom.instance import read_instance
from medkit.dicom.sources import SourceFile
from tests.dicom_series.stacks import save


def checked(dataset, path, limits=None):
    save(path, dataset)
    source = SourceFile(path, path.name, path.stat().st_size)
    return pixel_format(read_instance(source, Limits()), limits or Limits())


def test_what_is_right(stack, tmp_path):
    found = checked(stack.datasets[0], tmp_path / "a")
    assert (found.rows, found.columns, found.frames) == (12, 14, 1)
    assert (found.allocated, found.stored, found.shift, found.signed) == (16, 12, 0, False)
    assert found.bounds == (0, 4095)
    assert found.frame_bytes == 14 * 12 * 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Rows": 0}, "bad-pixels"),
        ({"BitsAllocated": 12}, "bad-pixels"),
        ({"BitsStored": 17}, "bad-pixels"),
        ({"HighBit": 10}, "bad-pixels"),
        ({"HighBit": 16}, "bad-pixels"),
        ({"PixelRepresentation": 2}, "bad-pixels"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"Rows": 60000, "Columns": 60000}, "too-large"),
        ({"NumberOfFrames": 10_000_000}, "too-large"),
    ],
)
def test_what_is_impossible(changes, code, stack, tmp_path):
    dataset = stack.datasets[0]
    for name, value in changes.items():
        setattr(dataset, name, value)
    with pytest.raises(Refused) as refused:
        checked(dataset, tmp_path / "a")
    assert refused.value.finding.code == code


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"Rows": 60000, "Columns": 60000},
            "expected at most 134217728 pixels a frame, got 60000 x 60000, in 1 frame;",
        ),
        (
            {"NumberOfFrames": 10_000_000},
            "expected at most 67108864 bytes of pixels in a file of {size} bytes, got 3360000000, in 10000000 frames;",
        ),
    ],
)
def test_the_limit_that_is_passed_is_told(changes, said, stack, tmp_path):
    for name, value in changes.items():
        setattr(stack.datasets[0], name, value)
    with pytest.raises(Refused) as refused:
        checked(stack.datasets[0], tmp_path / "a")
    size = (tmp_path / "a").stat().st_size
    assert refused.value.finding.message.startswith(f"a: {said.format(size=size)}")


def test_limits_can_be_changed(stack, tmp_path, written):
    with pytest.raises(Refused, match="at most 100 pixels"):
        checked(stack.datasets[0], tmp_path / "a", Limits(frame_pixels=100))
    folder = written(stack.datasets)
    assert read(folder).volumes
    (refusal,) = read(folder, limits=Limits(series_bytes=2000)).refused
    assert refusal.code == "too-large"


def test_no_pixels(stack, tmp_path):
    del stack.datasets[0].PixelData
    with pytest.raises(Refused) as refused:
        checked(stack.datasets[0], tmp_path / "a")
    assert refused.value.finding.code == "no-pixels"
