"""JPEG with loss, of 8 and 12 bits, sequential and progressive, is read as DCMTK decodes it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

from medkit.dicom import read

# Options of dcmcjpeg: processes 2 and 4, 6 and 8, 10 and 12.
PROCESSES = {"+ee": "51", "+es": "53", "+ep": "55"}


@pytest.fixture
def changed(picture):
    """The same with another header."""

    def make(**values):
        path = picture()
        dataset = pydicom.dcmread(path)
        for name, value in values.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
        return path

    return make


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("option", PROCESSES)
def test_numbers_are_those_that_dcmtk_decodes(option, bits, picture, tool, tmp_path, capfd):
    path = picture(option, bits)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == f"1.2.840.10008.1.2.4.{PROCESSES[option]}"
    subprocess.run([tool("dcmdjpeg"), path, tmp_path / "unpacked.dcm"], check=True)
    capfd.readouterr()
    (volume,) = read(path).volumes
    assert capfd.readouterr().err == "", "the decoder complains of nothing"
    (expected,) = read(tmp_path / "unpacked.dcm").volumes
    assert np.array_equal(volume.array, expected.array)
    assert volume.array.dtype == expected.array.dtype
    assert "lossy" in [note.code for note in volume.notes]
    (native,) = read(tmp_path / "native.dcm").volumes
    difference = np.abs(volume.array.astype(float) - native.array)
    assert 0 < difference.max() < 0.1 * 2**bits


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"PixelRepresentation": 1}, "PixelRepresentation 1"),
        ({"HighBit": 15}, "HighBit 15 of 12 stored"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "got 12 in 8"),
        ({"BitsAllocated": 32}, "got 12 in 32"),
        ({"BitsStored": 10, "HighBit": 9}, "expected numbers of 10 bits as BitsStored says"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(values, word, changed):
    (refusal,) = read(changed(**values)).refused
    assert refusal.code == "bad-pixels"
    assert word in refusal.message


def test_more_bits_in_a_header_than_in_the_picture_are_none_of_its_numbers(changed):
    path = changed(BitsStored=16, HighBit=15)
    (sixteen,) = read(path).volumes
    dataset = pydicom.dcmread(path)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.save_as(path)
    (twelve,) = read(path).volumes
    assert np.array_equal(sixteen.array, twelve.array)


def test_a_picture_that_cannot_be_decoded_is_refused(picture):
    path = picture()
    dataset = pydicom.dcmread(path)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    start = frame.index(b"\xff\xc4") + 4
    dataset.PixelData = encapsulate([frame[:start] + bytes([0x77]) + frame[start + 1 :]])
    dataset.save_as(path)
    assert [refusal.code for refusal in read(path).refused] == ["undecodable"]


def test_without_gdcm_it_is_refused(picture, monkeypatch):
    path = picture()
    monkeypatch.setitem(sys.modules, "gdcm", None)
    (refusal,) = read(path).refused
    assert refusal.code == "undecodable"
    assert "gdcm" in refusal.message
