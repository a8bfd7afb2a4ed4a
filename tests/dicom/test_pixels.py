"""Pixels are decoded exactly, or refused."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medkit.dicom import read
from tests.dicom_series import make
from tests.dicom_series.stacks import save


@pytest.fixture
def large(stack):
    """A slice of noise, as large as JPEG 2000 needs it for its resolutions."""
    dataset = stack.datasets[0]
    dataset.Rows, dataset.Columns = 48, 64
    dataset.PixelData = np.random.default_rng(0).integers(0, 4096, (48, 64)).astype("<u2").tobytes()
    return dataset


def one(path):
    (volume,) = read(path).volumes
    return volume.array[..., 0]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (16, False), (16, True)])
def test_what_was_compressed_comes_back(syntax, bits, signed, large, tmp_path):
    dataset = large
    rng = np.random.default_rng(bits)
    low = -(2 ** (bits - 1)) if signed else 0
    dtype = f"<{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    pixels = rng.integers(low, low + 2**bits, (48, 64)).astype(dtype)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData, dataset.RescaleIntercept = pixels.tobytes(), "0"
    dataset.compress(syntax, generate_instance_uid=False)
    save(tmp_path / "a", dataset)
    assert np.array_equal(one(tmp_path / "a"), pixels.T)


def test_a_frame_in_many_fragments(tmp_path, large):
    dataset = large
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(48, 64)
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = pydicom.encaps.encapsulate([frame], fragments_per_frame=3)
    save(tmp_path / "a", dataset)
    assert np.array_equal(one(tmp_path / "a") + 1024, pixels.T)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_file_cut_at_any_place_is_refused(syntax, large, tmp_path):
    dataset = large
    dataset.compress(syntax, generate_instance_uid=False)
    save(tmp_path / "whole", dataset)
    data = (tmp_path / "whole").read_bytes()
    assert read(tmp_path / "whole").volumes
    for cut in range(len(data) - len(dataset.PixelData) + 20, len(data) - 1, 299):
        (tmp_path / "cut").write_bytes(data[:cut])
        reading = read(tmp_path / "cut")
        assert not reading.volumes
        assert reading.refused[0].code in ("truncated", "undecodable")


def test_words_of_two_pixels_in_big_endian(stack, tmp_path):
    dataset = stack.datasets[0]
    pixels = np.arange(12 * 14, dtype=np.uint8).reshape(12, 14)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.RescaleIntercept = 7, "0"
    for vr, data in (("OB", pixels.tobytes()), ("OW", pixels.reshape(-1, 2)[:, ::-1].tobytes())):
        dataset["PixelData"] = pydicom.DataElement("PixelData", vr, data)
        save(tmp_path / vr, dataset)
        assert np.array_equal(one(tmp_path / vr), pixels.T), vr


def test_uncompressed_bytes_under_a_compressed_syntax(stack, tmp_path):
    save(tmp_path / "a", stack.datasets[0])
    data = (tmp_path / "a").read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1)
    (tmp_path / "a").write_bytes(data)
    assert [refusal.code for refusal in read(tmp_path / "a").refused] == ["undecodable"]


@pytest.mark.parametrize("header", [0, 1])
@pytest.mark.parametrize("signed", [False, True])
def test_a_codestream_of_another_sign_than_its_header_is_noted(signed, header, large, tmp_path):
    dataset = large
    pixels = np.random.default_rng(1).integers(0, 2000, (48, 64)).astype("<i2" if signed else "<u2")
    dataset.PixelRepresentation, dataset.PixelData = int(signed), pixels.tobytes()
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.PixelRepresentation = header
    save(tmp_path / "a", dataset)
    (volume,) = read(tmp_path / "a").volumes
    assert np.array_equal(volume.array[..., 0] + 1024, pixels.T)
    assert ("sign-mismatch" in [note.code for note in volume.notes]) == (signed != header)


def test_negative_numbers_under_an_unsigned_header_are_refused_or_read_on_request(large, tmp_path):
    dataset = large
    pixels = np.random.default_rng(1).integers(-1000, 1000, (48, 64)).astype("<i2")
    dataset.PixelRepresentation, dataset.PixelData = 1, pixels.tobytes()
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.PixelRepresentation = 0
    save(tmp_path / "a", dataset)
    (refusal,) = read(tmp_path / "a").refused
    assert refusal.code == "sign-mismatch"
    assert refusal.message.endswith("export it again, or ask for the repair sign-of-stream")
    (volume,) = read(tmp_path / "a", repairs=["sign-of-stream"]).volumes
    assert np.array_equal(volume.array[..., 0] + 1024, pixels.T)
    assert [repair.code for repair in volume.repairs] == ["sign-of-stream"]
    assert "1 frame is read as signed" in volume.repairs[0].message
    assert "sign-mismatch" not in [note.code for note in volume.notes]


@pytest.mark.parametrize(("last", "read_too"), [(4095, False), (2047, True)])
def test_frames_of_two_signs_are_not_read_as_the_first_says(last, read_too, large, tmp_path):
    make("enhanced-mr", tmp_path / "in")
    (path,) = (tmp_path / "in").iterdir()
    dataset = pydicom.dcmread(path)
    signed = np.random.default_rng(1).integers(-1000, 1000, (48, 64)).astype("<i2")
    others = np.full((48, 64), last, "<u2")
    frames = [compressed(large, signed), *[compressed(large, others)] * (int(dataset.NumberOfFrames) - 1)]
    dataset.Rows, dataset.Columns, dataset.PixelRepresentation = 48, 64, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = pydicom.encaps.encapsulate(frames)
    dataset["PixelData"].is_undefined_length, dataset["PixelData"].VR = True, "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(path)
    reading = read(tmp_path / "in", repairs=["sign-of-stream"])
    assert [refusal.code for refusal in reading.refused] == ([] if read_too else ["sign-mismatch"])
    assert bool(reading.volumes) == read_too
    for volume in reading.volumes:
        assert "sign-mismatch" not in [note.code for note in volume.notes]


def compressed(dataset, pixels):
    """A JPEG 2000 image that says whether it has a sign."""
    dataset = deepcopy(dataset)
    dataset.PixelRepresentation, dataset.PixelData = int(pixels.dtype.kind == "i"), pixels.tobytes()
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    return frame


def test_high_numbers_of_an_encoder_without_signs_are_read_as_the_header_says(large, tmp_path):
    pixels = np.random.default_rng(1).integers(-1000, 1000, (48, 64)).astype("<i2")
    frame = compressed(large, pixels.view("<u2") & 0xFFF)
    large.PixelRepresentation, large.PixelData = 1, pydicom.encaps.encapsulate([frame])
    large["PixelData"].is_undefined_length, large["PixelData"].VR = True, "OB"
    large.file_meta.TransferSyntaxUID = JPEG2000Lossless
    save(tmp_path / "a", large)
    (volume,) = read(tmp_path / "a").volumes
    assert np.array_equal(volume.array[..., 0] + 1024, pixels.T)
    assert "sign-mismatch" in [note.code for note in volume.notes]


def test_the_repair_of_a_sign_changes_nothing_else(large, tmp_path):
    save(tmp_path / "native", large)
    assert (
        one(tmp_path / "native").dtype
        == read(tmp_path / "native", repairs=["sign-of-stream"]).volumes[0].array.dtype
    )
    large.compress(JPEG2000Lossless, generate_instance_uid=False)
    save(tmp_path / "a", large)
    (volume,) = read(tmp_path / "a", repairs=["sign-of-stream"]).volumes
    assert volume.repairs == ()
    assert np.array_equal(volume.array[..., 0], one(tmp_path / "a"))
