"""UIDs are read off any data set, or it is refused; a file is put together without loss."""

from __future__ import annotations

import io
import tracemalloc
from contextlib import suppress

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom.dsutils import encode

from medkit.dicom.network.encoded import (
    Identity,
    Unidentified,
    as_file,
    deflated_from,
    identify,
    identify_file,
)

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
]


def encoded(dataset: Dataset, syntax=ExplicitVRLittleEndian) -> bytes:
    return encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)


def instance() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = MRImageStorage, "1.2.3", "1.2"
    nested = Dataset()
    nested.StudyInstanceUID = nested.SOPInstanceUID = "9.9"
    dataset.ReferencedStudySequence = [nested]
    dataset.PatientComments = "x" * 1000
    dataset.PixelData = bytes(5000)
    dataset["PixelData"].VR = "OW"
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_uids_are_read_in_every_encoding(syntax):
    data = io.BytesIO(encoded(instance(), syntax))
    assert identify(data, syntax) == Identity(MRImageStorage, "1.2.3", "1.2")
    assert data.tell() == 0


def test_nothing_behind_them_is_looked_at():
    data = encoded(instance())
    assert identify(io.BytesIO(data[:-4900]), ExplicitVRLittleEndian).study == "1.2"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_of_what_is_cut_anywhere_no_other_uid_is_read(syntax):
    dataset = instance()
    del dataset.PatientComments, dataset.PixelData
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.30", "1.2.30.4"
    data, known = encoded(dataset, syntax), []
    for length in range(len(data) + 1):
        with suppress(Unidentified):
            known.append(identify(io.BytesIO(data[:length]), syntax, cut=True))
    assert set(known) == {Identity(MRImageStorage, "1.2.3", "1.2.30")}


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "1.2\\1.3", "../x", "1" * 65])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:.*maximum length")
def test_a_uid_that_is_missing_or_none_is_refused(keyword, value):
    dataset = instance()
    if value is None:
        del dataset[keyword]
    else:
        setattr(dataset, keyword, value)
    with pytest.raises(Unidentified, match=keyword) as caught:
        identify(io.BytesIO(encoded(dataset)), ExplicitVRLittleEndian)
    assert caught.value.dicom_status == 0xC000


@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_rubbish_is_refused(data, syntax):
    with pytest.raises(Unidentified):
        identify(io.BytesIO(data), syntax)


def test_nesting_without_end_is_refused():
    item = b"\x40\x00\x75\xa3SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(Unidentified):
        identify(io.BytesIO(b"\x08\x00\x05\x00" + item[4:] + item * 50_000), ExplicitVRLittleEndian)


@given(st.binary(max_size=50), st.binary(max_size=50), st.lists(st.integers(1, 40), max_size=20))
def test_a_file_is_head_and_data_however_it_is_read(meta, data, sizes):
    file = as_file(meta, io.BytesIO(data))
    pieces = [file.read(size) for size in sizes]
    assert b"".join([*pieces, file.read()]) == bytes(128) + b"DICM" + meta + data
    assert file.read() == b""


def test_data_are_taken_from_where_they_stand():
    data = io.BytesIO(b"skipped, taken")
    data.seek(9)
    assert as_file(b"", data).read() == bytes(128) + b"DICM" + b"taken"
    with pytest.raises(pydicom.errors.InvalidDicomError):
        pydicom.dcmread(io.BytesIO(b"no file"))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_uids_of_a_file_are_read_in_every_encoding(syntax):
    dataset = instance()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    assert identify_file(file) == Identity(MRImageStorage, "1.2.3", "1.2")
    assert file.tell() == 0
    assert (deflated_from(file) is not None) == syntax.is_deflated


def test_of_a_deflated_file_no_more_is_inflated_than_stands_near_its_beginning():
    dataset = instance()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new(0x00290010, "LO", "MAKER")
    dataset.add_new(0x00291001, "OB", bytes(200 << 20))
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    del dataset
    tracemalloc.start()
    try:
        assert identify_file(file).study == "1.2"
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"no file", bytes(128) + b"DICM"])
def test_a_file_that_is_none_is_refused(content):
    with pytest.raises(Unidentified):
        identify_file(io.BytesIO(content))
