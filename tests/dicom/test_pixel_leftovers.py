"""What is no pixel goes out of pixel data, and no pixel changes."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames

from medkit.dicom.pixel_leftovers import blank_comments, clear_unused_bits
from tests.dicom_series.stacks import Stack

PICTURE = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)


def jpeg(comment=b"Doe^Jane", exif=b"Exif\0\0 Doe^Jane "):
    target = io.BytesIO()
    Image.fromarray(PICTURE).save(target, "JPEG", comment=comment, exif=exif)
    return target.getvalue()


def jpeg_2000(comment=b"Doe^Jane"):
    target = io.BytesIO()
    Image.fromarray(PICTURE).save(target, "JPEG2000", no_jp2=True, comment=comment)
    return target.getvalue()


@pytest.mark.parametrize("make", [jpeg, jpeg_2000])
def test_comments_are_blanked_and_pixels_stay(make):
    frames = [make(), make()]
    assert all(b"Doe^Jane" in frame for frame in frames)
    data = encapsulate(frames)
    blank = blank_comments(data)
    assert b"Doe" not in blank
    assert len(blank) == len(data)
    for before, after in zip(frames, generate_frames(blank, number_of_frames=2), strict=True):
        decoded = [np.asarray(Image.open(io.BytesIO(bytes(frame)))) for frame in (before, after)]
        np.testing.assert_array_equal(*decoded)


@pytest.mark.parametrize("end", [0, 3, 9, 30])
def test_what_is_cut_short_or_no_image_stays_as_it_is(end):
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", 200) + jpeg()[:end]
    assert len(blank_comments(item)) == len(item)
    assert blank_comments(b"Doe" * end) == b"Doe" * end
    assert blank_comments(encapsulate([b"RLE of Doe"])) == encapsulate([b"RLE of Doe"])


@pytest.mark.parametrize(
    ("stored", "high", "signed", "before", "after"),
    [
        (12, 11, 0, [0x8FFF, 0x1000, 5], [0x0FFF, 0, 5]),
        (12, 11, 1, [0x0FFF, 0x7001, 5], [0xFFFF, 1, 5]),
        (12, 15, 0, [0x123F, 0x000F, 0x50], [0x1230, 0, 0x50]),
        (16, 15, 0, [0x8FFF, 0x1000, 5], [0x8FFF, 0x1000, 5]),
        (0, 15, 0, [1, 2, 3], [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_bits_beside_the_stored_ones_are_cleared(stored, high, signed, before, after, order):
    dataset = Stack(np.random.default_rng(0)).datasets[0]
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = stored, high, signed
    dataset.set_original_encoding(False, order == "<")
    dataset.PixelData = np.array(before, f"{order}u2").tobytes()
    clear_unused_bits(dataset)
    assert np.frombuffer(dataset.PixelData, f"{order}u2").tolist() == after
