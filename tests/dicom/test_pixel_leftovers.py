"""What is no pixel goes out of pixel data, and no pixel changes."""

from __future__ import annotations

import io
import struct

import jpeg_ls as charls
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLSLossless, RLELossless

from medkit.dicom.pixel_leftovers import blank_leftovers, clear_unused_bits
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


def segment(marker, words=b"Doe^Jane "):
    return b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(words)) + words


def jpeg_ls():
    dataset = Stack(np.random.default_rng(0)).datasets[0]
    dataset.Rows = dataset.Columns = 64
    dataset.PixelData = np.arange(64 * 64, dtype="<u2").tobytes()
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    return frame[:2] + segment(0xE8) + frame[2:]


def in_a_tile(frame):
    tile = frame.index(b"\xff\x90")
    (length,) = struct.unpack_from(">I", frame, tile + 6)
    words = segment(0x64, b"\0\1Doe^Jane")
    length = length + len(words) if length else 0
    return (
        frame[: tile + 6]
        + struct.pack(">I", length)
        + frame[tile + 10 : tile + 12]
        + words
        + frame[tile + 12 :]
    )


def without_length(frame):
    tile = frame.index(b"\xff\x90")
    return frame[: tile + 6] + bytes(4) + frame[tile + 10 :]


def thumbnail(frame):
    """In the JFIF segment, three bytes a pixel."""
    assert frame[2:4] == b"\xff\xe0"
    return frame[:4] + struct.pack(">H", 16 + 9) + frame[6:18] + b"\1\3Doe^Jane " + frame[20:]


FRAMES = {
    "JPEG": jpeg(),
    "JPEG 2000": jpeg_2000(),
    "JPEG-LS": jpeg_ls(),
    "thumbnail": thumbnail(jpeg()),
    "behind the scan": jpeg()[:-2] + segment(0xFE) + b"\xff\xd9",
    "behind JPEG": jpeg() + b"Doe^Jane",
    "behind JPEG 2000": jpeg_2000() + b"Doe^Jane",
    "in a tile": in_a_tile(jpeg_2000()),
    "in the last tile": in_a_tile(without_length(jpeg_2000())),
    **{f"{marker:x}": jpeg()[:2] + segment(marker) + jpeg()[2:] for marker in (*range(0xE0, 0xF0), 0xFE)},
}


def decoded(frame):
    if b"\xff\xf7" in frame[:100]:
        return charls.decode(np.frombuffer(bytes(frame), np.uint8))
    return np.asarray(Image.open(io.BytesIO(bytes(frame))))


@pytest.mark.parametrize("name", FRAMES)
def test_what_decoding_does_not_need_is_blanked_and_pixels_stay(name):
    frames = [FRAMES[name], FRAMES[name]]
    assert all(b"Doe^Jane" in frame for frame in frames)
    data = encapsulate(frames)
    blank = blank_leftovers(data, 2, 64 * 64)
    assert b"Doe" not in blank
    assert len(blank) == len(data)
    for before, after in zip(frames, generate_frames(blank, number_of_frames=2), strict=True):
        np.testing.assert_array_equal(decoded(before), decoded(after))


@pytest.mark.parametrize("cut", range(10, 60, 7))
def test_a_segment_that_goes_on_in_another_fragment(cut):
    frame = jpeg()
    pieces = (frame[:cut], frame[cut : cut + 40], frame[cut + 40 :])
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(piece)) + piece for piece in (b"", *pieces))
    blank = blank_leftovers(items, 1, 64 * 64)
    assert b"Doe^Jane" in frame
    (after,) = generate_frames(blank, number_of_frames=1)
    assert b"Doe" not in after
    np.testing.assert_array_equal(decoded(after), decoded(frame))


def run_lengths():
    dataset = Stack(np.random.default_rng(0)).datasets[0]
    dataset.compress(RLELossless, generate_instance_uid=False)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    return dataset, bytes(frame)


def test_run_lengths_with_words_behind_and_in_their_header():
    dataset, frame = run_lengths()
    pixels = dataset.Rows * dataset.Columns
    assert blank_leftovers(encapsulate([frame]), 1, pixels) == encapsulate([frame])
    marked = frame[:52] + b"Doe^Jane" + frame[60:] + b"Doe^Jane"
    blank = blank_leftovers(encapsulate([marked]), 1, pixels)
    assert blank == encapsulate([frame + bytes(8)])


@pytest.mark.parametrize("make", [jpeg, jpeg_2000, lambda: run_lengths()[1]])
def test_what_is_cut_short_is_refused(make):
    frame = make()
    for end in (2, 4, 10, 30, 70, len(frame) // 4 * 2):
        with pytest.raises(ValueError, match=r"image|segment|marker|early|frames"):
            blank_leftovers(encapsulate([frame[:end]]), 1, 12 * 14)


@pytest.mark.parametrize(
    "frame",
    [
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"Doe^Jane" * 20,
        b"\0\0\0\1\x06\x05\x10" + b"Doe^Jane!" * 20,
        b"\xff\x0a" + b"Doe^Jane" * 20,
        b"Doe^Jane" * 20,
    ],
)
def test_images_of_other_kinds_are_refused(frame):
    with pytest.raises(ValueError, match="no image of a known kind"):
        blank_leftovers(encapsulate([frame]), 1, 64 * 64)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Doe",
        encapsulate([FRAMES["JPEG"]]) + b"Doe^Jane",
        encapsulate([FRAMES["JPEG"]] * 2),
        b"\xfe\xff\0\xe0\x08\0\0\0Doe^Jane" + encapsulate([FRAMES["JPEG"]])[12:],
    ],
)
def test_other_items_than_the_frames_are_refused(data):
    with pytest.raises(ValueError, match=r"items|frames"):
        blank_leftovers(data, 1, 64 * 64)


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
