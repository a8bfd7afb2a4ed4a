"""A compressed frame is decoded whole, or not at all."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1

from medkit.dicom import read
from medkit.dicom.decoding import decoded_frame
from medkit.dicom.format import PixelFormat
from tests.dicom.test_codestreams import jpeg
from tests.dicom_series.stacks import save
from tests.dicom_series.syntaxes import compress

LAST = 80  # bytes of a block of noise, and some
# Of each a little more than the last block or the last few numbers.
CUTS = [0.02, 0.1, 0.5, 0.9, 0.99]


def data_of_scan(frame):
    """Where the data of a picture's one scan begin and end."""
    start = frame.index(b"\xff\xda") + 2
    return start + struct.unpack(">H", frame[start : start + 2])[0], frame.rindex(b"\xff\xd9")


def check_cuts(path):
    dataset = pydicom.dcmread(path)
    (whole,) = generate_frames(dataset.PixelData, number_of_frames=1)
    start, end = data_of_scan(whole)
    assert end - start > 10 * LAST
    for part in CUTS:
        cut = whole[: start + int((end - LAST - start) * part)].removesuffix(b"\xff") + b"\xff\xd9"
        dataset.PixelData = encapsulate([cut])
        dataset.save_as(path)
        assert [refusal.code for refusal in read(path).refused] == ["undecodable"], part


@pytest.mark.parametrize(("option", "bits"), [("+eb", 8), ("+ee", 8), ("+ee", 12)])
def test_a_picture_with_loss_whose_data_were_cut_is_refused(option, bits, picture):
    path = picture(option, bits)
    assert read(path).volumes
    check_cuts(path)


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_picture_without_loss_whose_data_were_cut_is_refused(bits, syntax, stack, tmp_path):
    dataset, path = stack.datasets[0], tmp_path / "a.dcm"
    pixels = np.random.default_rng(bits).integers(0, 2**bits, (48, 64)).astype("<u1" if bits == 8 else "<u2")
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.RescaleIntercept, dataset.PixelData = "0", pixels.tobytes()
    save(path, dataset)
    compress(path, syntax)
    (volume,) = read(path).volumes
    assert np.array_equal(volume.array[..., 0].T, pixels)
    check_cuts(path)


@pytest.mark.parametrize(
    "options",
    [{}, {"optimize": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}, {"quality": 100}],
    ids=lambda options: "-".join(options) or "plain",
)
@pytest.mark.parametrize("grey", ["flat", "noise"])
def test_whole_pictures_of_libjpeg_are_decoded_without_a_word(grey, options, capfd):
    pixels = np.random.default_rng(1).integers(0, 255, (41, 67), dtype=np.uint8)
    frame = jpeg(pixels if grey == "noise" else np.full_like(pixels, 100), **options)
    expected = np.asarray(Image.open(io.BytesIO(frame)))
    found = PixelFormat(41, 67, 1, 8, 8, 0, False, "MONOCHROME2")
    for filled in (frame, re.sub(rb"\xff\xd9$", b"\xff\xff\xff\xd9\0", frame)):
        assert np.array_equal(decoded_frame(filled, JPEGBaseline8Bit, found, "a frame"), expected)
    assert capfd.readouterr().err == ""
