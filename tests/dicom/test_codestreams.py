"""What compressed pictures say of themselves, and JPEG that would end gdcm is not given to it."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

from medkit.dicom import read
from medkit.dicom.codestreams import check_jpeg, codestream_precision, codestream_signed, codestream_size
from medkit.dicom.findings import Refused
from tests.dicom_series.stacks import save
from tests.dicom_series.syntaxes import compress

PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64), dtype=np.uint8)


def jpeg(picture=PICTURE, **options):
    """By libjpeg."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_the_size_that_a_picture_says_of_itself(syntax, stack):
    dataset = stack.datasets[0]
    dataset.Rows, dataset.Columns = PICTURE.shape
    dataset.PixelData = PICTURE.astype("<u2").tobytes()
    dataset.compress(syntax, generate_instance_uid=False)
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    assert codestream_size(frame) == (48, 64)


def test_what_a_jpeg_picture_says_of_itself():
    assert codestream_size(jpeg()) == (48, 64)
    assert codestream_precision(jpeg()) == 8
    short = jpeg()[: jpeg().index(b"\xff\xc0")] + b"\xff\xc0\0\2"
    for nothing in (b"", b"\xff\xd8\xff", b"\xff\xd8" + bytes(60), short, short + bytes(9)):
        assert codestream_size(nothing) is None
        assert codestream_precision(nothing) is None


def test_only_jpeg_2000_says_its_sign():
    assert codestream_signed(b"\xff\xd8" + bytes(60)) is None
    assert codestream_signed(b"\xff\x4f\xff\x51") is None


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"comment": b"made"}, {"restart_marker_rows": 1}]
)
def test_pictures_of_other_encoders_are_sound(options):
    check_jpeg(jpeg(**options), "file", 1)
    check_jpeg(jpeg(np.stack([PICTURE] * 3, -1), **options), "file", 3)


@pytest.mark.parametrize(
    ("marker", "length"),
    [(0xFE, 14), (0xE1, 14), (0xE0, 13), (0xE0, 5)],
    ids=["a comment", "another application", "too short", "no version"],
)
def test_words_that_are_no_version_of_jfif_are_sound(marker, length, stack, tmp_path):
    path = tmp_path / "a.dcm"
    dataset = stack.datasets[0]
    dataset.Rows, dataset.Columns, dataset.RescaleIntercept = *PICTURE.shape, "0"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    words = b"JFIF\0\2".ljust(length, b"\0")[:length]
    segment = bytes([0xFF, marker, 0, length + 2]) + words
    whole = jpeg()
    dataset.PixelData = pydicom.encaps.encapsulate([whole[:2] + segment + whole[2:]])
    dataset["PixelData"].VR = "OB"
    save(path, dataset)
    (volume,) = read(path).volumes
    assert np.array_equal(volume.array[..., 0].T, np.asarray(Image.open(io.BytesIO(whole))))


def refused(data):
    with pytest.raises(Refused) as raised:
        check_jpeg(data, "file, frame 1", 1)
    assert str(raised.value).startswith("file, frame 1: expected a JPEG image of 1 sample a pixel")
    return raised.value.finding.code == "undecodable"


def test_what_ends_gdcm_is_refused():
    whole = jpeg()
    frame, tables = whole.index(b"\xff\xc0"), whole.index(b"\xff\xc4")
    faults = {
        "another version of JFIF": (whole.index(b"JFIF") + 5, 2),
        "six bits": (frame + 4, 6),
        "no component": (frame + 9, 0),
        "a marker of data": (tables + 1, 0xD2),
        "a broken segment": (tables, 0),
        "a segment of no length": (tables + 3, 0),
        "a kind of frame that nobody has": (frame + 1, 0xC9),
    }
    for about, (place, number) in faults.items():
        spoiled = bytearray(whole)
        spoiled[place] = number
        assert refused(bytes(spoiled)), about
    assert refused(jpeg(np.stack([PICTURE] * 3, -1))), "colour"
    segment = whole[frame : frame + 13]
    assert refused(whole[:frame] + segment + whole[frame:]), "two frames"
    assert refused(whole.replace(b"\xff\xc4", b"\xff\xfe")), "no tables"
    assert refused(whole[: frame + 4]), "an end within a segment"
    assert refused(b""), "nothing"


def test_a_series_with_such_a_picture_is_refused_and_the_process_goes_on(stack, tmp_path):
    path = tmp_path / "a.dcm"
    save(path, stack.datasets[0])
    compress(path, JPEGLosslessSV1)
    data = path.read_bytes()
    assert read(path).volumes
    place = data.index(b"\xff\xc3") + 9
    path.write_bytes(data[:place] + b"\2" + data[place + 1 :])
    assert [refusal.code for refusal in read(path).refused] == ["undecodable"]
