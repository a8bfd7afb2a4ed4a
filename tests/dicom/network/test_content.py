"""A hash that stands for what an object says: the same in any encoding without loss, another after any change."""

from __future__ import annotations

import hashlib
import subprocess
from copy import deepcopy
from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from medkit.dicom.findings import Refused
from medkit.dicom.network.content import LEFT_ASIDE, content_hash, note_content, same_content
from medkit.dicom.writing import make_parametric_map, make_segmentation, open_source, save
from tests.dicom.writing.sources import MAKER, geometry, some_labels, write_series
from tests.dicom_series.syntaxes import compress

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
LOSSLESS = [RLELossless, JPEGLSLossless, JPEG2000Lossless]


def image(samples: int = 1, seed: int = 0) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientComments = "Müller^Jörg", " one\\two"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PixelSpacing, dataset.SeriesNumber, dataset.AccessionNumber = ["1.50", "2"], "7", ""
    item = Dataset()
    item.CodeValue, item.CodeMeaning, item.RadiationAtomicNumber = "1", "größer", 5
    dataset.AnatomicRegionSequence = [item, deepcopy(item)]
    dataset.FrameIncrementPointer = 0x00181063
    dataset.private_block(0x0009, "MAKER", create=True).add_new(1, "LO", "odd")
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 32, 48, samples
    dataset.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples == 3:
        dataset.PlanarConfiguration = 0
    bits = 16 if samples == 1 else 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
        bits,
        bits,
        bits - 1,
        0,
    )
    dataset.SmallestImagePixelValue = 0
    dataset["SmallestImagePixelValue"].VR = "US"
    values = np.random.default_rng(seed).integers(0, 2 ** (bits - 3), (32, 48, samples))
    dataset.PixelData = values.astype(f"<u{bits // 8}").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def stored(dataset: Dataset) -> Dataset:
    """An object as it is read from a file of its own transfer syntax."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return pydicom.dcmread(BytesIO(file.getvalue()))


def in_syntax(dataset: Dataset, syntax: str) -> Dataset:
    other = deepcopy(dataset)
    if syntax == ExplicitVRBigEndian:
        pixels = np.frombuffer(other.PixelData, "<u2")
        other.PixelData = pixels.astype(">u2").tobytes()
    other.file_meta.TransferSyntaxUID = syntax
    return stored(other)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
def test_the_encoding_is_no_content(syntax):
    assert content_hash(in_syntax(image(), syntax)) == content_hash(image())


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_compression_without_loss_is_no_content(syntax, samples):
    packed = image(samples)
    packed.compress(syntax, generate_instance_uid=False)
    assert content_hash(stored(packed)) == content_hash(image(samples))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_compressed_frames_are_decoded_in_the_way_in_which_images_are_read(syntax, monkeypatch):
    expected, packed = content_hash(image(3)), image(3)
    packed.compress(syntax, generate_instance_uid=False)
    monkeypatch.setattr("medkit.dicom.network.content.iter_pixels", None)
    assert content_hash(stored(packed)) == expected


def test_compressed_frames_of_impossible_bits_are_refused():
    packed = image()
    packed.compress(RLELossless, generate_instance_uid=False)
    packed.HighBit = packed.BitsAllocated
    with pytest.raises(Refused, match="an object: expected 8, 16, 32 bits with HighBit above"):
        content_hash(stored(packed))


def test_compression_with_loss_is_another_content():
    packed = image()
    packed.compress(JPEGLSNearLossless, jls_error=9, generate_instance_uid=False)
    assert content_hash(stored(packed)) != content_hash(image())


def test_a_jpeg_image_that_would_end_the_decoder_is_refused(tmp_path):
    path = tmp_path / "a.dcm"
    image().save_as(path, enforce_file_format=True)
    compress(path, JPEGLosslessSV1)
    dataset = pydicom.dcmread(path)
    assert content_hash(dataset) == content_hash(image())
    place = dataset.PixelData.index(b"\xff\xc3") + 9  # the number of its components
    dataset.PixelData = dataset.PixelData[:place] + b"\0" + dataset.PixelData[place + 1 :]
    with pytest.raises(Refused, match="expected a JPEG image of 1 sample a pixel"):
        content_hash(dataset)


@pytest.mark.parametrize(
    ("option", "bits"),
    [("+eb", 8), *((option, bits) for option in ("+ee", "+es", "+ep") for bits in (8, 12))],
)
def test_jpeg_with_loss_is_compared_by_its_pixels(option, bits, picture, tool, tmp_path):
    path, again, unpacked = picture(option, bits), tmp_path / "again.dcm", tmp_path / "unpacked.dcm"
    resent = pydicom.dcmread(path)
    resent.RetrieveAETitle, resent.file_meta.ImplementationVersionName = "PACS", "ANOTHER"
    resent.save_as(again)
    assert same_content(path, again)
    subprocess.run([tool("dcmdjpeg"), path, unpacked], check=True)
    assert same_content(path, unpacked), "as dcmtk decodes it"
    changed = pydicom.dcmread(unpacked)
    changed.PixelData = bytes([changed.PixelData[0] ^ 1]) + changed.PixelData[1:]
    changed.save_as(again)
    assert not same_content(path, again)


def test_a_jpeg_image_larger_than_its_object_says_is_not_decoded(picture):
    dataset = pydicom.dcmread(picture("+ee"))
    place = dataset.PixelData.index(b"\xff\xc1") + 5  # its rows and columns
    dataset.PixelData = dataset.PixelData[:place] + b"\xff\xff\xff\xff" + dataset.PixelData[place + 4 :]
    with pytest.raises(Refused, match="expected 48 x 64 pixels, got an image of 65535 x 65535"):
        content_hash(dataset)


def test_what_another_program_converts_is_the_same(tmp_path, tool):
    path, implicit, jpeg = (tmp_path / name for name in ("a.dcm", "b.dcm", "c.dcm"))
    image().save_as(path, enforce_file_format=True)
    subprocess.run([tool("dcmconv"), "+ti", "+g", path, implicit], check=True)
    subprocess.run([tool("dcmcjpeg"), path, jpeg], check=True)  # lossless, process 14
    assert {content_hash(path), content_hash(implicit)} == {content_hash(image())}
    compressed = pydicom.dcmread(jpeg)
    assert compressed.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assert content_hash(compressed) != content_hash(image()), "it says in the object that it was derived"
    del compressed.DerivationDescription
    assert content_hash(compressed) == content_hash(image())


def test_colours_by_plane_are_the_same():
    by_plane = image(3)
    pixels = np.frombuffer(by_plane.PixelData, np.uint8).reshape(32, 48, 3)
    by_plane.PlanarConfiguration, by_plane.PixelData = 1, pixels.transpose(2, 0, 1).tobytes()
    assert content_hash(by_plane) == content_hash(image(3))


def test_another_character_set_with_the_same_letters_is_the_same():
    other = stored(image())
    texts = [other.PatientName, [item.CodeMeaning for item in other.AnatomicRegionSequence]]
    assert texts[1] == ["größer"] * 2
    other.decode()
    other.SpecificCharacterSet = "ISO_IR 192"
    assert content_hash(stored(other)) == content_hash(image())


def test_where_an_archive_keeps_an_object_is_no_content():
    other = image()
    other.RetrieveAETitle, other.InstanceAvailability, other.RetrieveURL = "PACS", "ONLINE", "http://pacs/1"
    other.add_new(0x00080000, "UL", 4711)
    other.DataSetTrailingPadding = bytes(64)
    assert {"RetrieveAETitle", "InstanceAvailability", "RetrieveURL", "DataSetTrailingPadding"} <= set(
        LEFT_ASIDE
    )
    other.file_meta.ImplementationVersionName = "ANOTHER"
    assert content_hash(stored(other)) == content_hash(image())


def change(name, value):
    return lambda dataset: setattr(dataset, name, value)


CHANGES = {
    "a name": change("PatientName", "Müller^Jorg"),
    "a number's digits": change("PixelSpacing", ["1.5", "2"]),
    "an order of values": change("ImageType", ["SECONDARY", "DERIVED"]),
    "a value less": change("ImageType", ["DERIVED"]),
    "a space before a text": change("PatientComments", "one\\two"),
    "an element more": change("PatientID", ""),
    "an element less": lambda dataset: dataset.pop("AccessionNumber"),
    "an item less": lambda dataset: dataset.AnatomicRegionSequence.pop(),
    "a letter in an item": lambda dataset: setattr(
        dataset.AnatomicRegionSequence[1], "CodeMeaning", "grösser"
    ),
    "an element of an item beside it": lambda dataset: setattr(
        dataset.AnatomicRegionSequence[0], "CodeValue", "2"
    ),
    "a private value": lambda dataset: setattr(dataset[0x00091001], "value", "even"),
    "a tag": change("FrameIncrementPointer", 0x00181064),
    "one pixel": lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:-1] + b"\x7f"),
    "rows and columns": lambda dataset: (change("Rows", 48)(dataset), change("Columns", 32)(dataset)),
    "a photometric interpretation": change("PhotometricInterpretation", "MONOCHROME1"),
    "its UID": change("SOPInstanceUID", "1.2.3.5"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_any_change_is_another_content(name):
    other = image()
    CHANGES[name](other)
    assert content_hash(other) != content_hash(image())
    assert content_hash(stored(other)) != content_hash(image())


@given(st.text(st.characters(codec="utf-8", exclude_characters="\\^=\0", exclude_categories=["Cc", "Cs"])))
def test_texts_in_any_letters_survive_and_count(text):
    one, other = image(), image()
    one.SpecificCharacterSet = other.SpecificCharacterSet = "ISO_IR 192"
    one.SeriesDescription, other.SeriesDescription = text, text + "x"
    assert content_hash(in_syntax(one, ImplicitVRLittleEndian)) == content_hash(stored(one))
    assert content_hash(stored(other)) != content_hash(stored(one))


def private(vr: str, value, character_set: str | None = None) -> Dataset:
    dataset = image()
    if character_set is not None:
        dataset.SpecificCharacterSet = character_set
    dataset.private_block(0x0011, "SOME MAKER", create=True).add_new(1, vr, value)
    return dataset


@pytest.mark.parametrize(
    ("vr", "one", "other"),
    [
        ("US", 1, 0x2001),
        ("US", 0, 0x20),
        ("US", 5, [5, 0, 0]),
        ("SL", 0, 0x20),
        ("SL", 0, None),
        ("FD", [1.0], [1.0, 0.0]),
        ("OB", b"\1\2", b"\1\2\0\0"),
        ("UN", b"\1\2", b"\1\2\x20\x20"),
        ("LO", "größer", "gröser"),
    ],
)
@pytest.mark.parametrize("syntax", NATIVE[:2], ids=lambda syntax: syntax.name)
def test_private_values_count_to_their_last_byte(vr, one, other, syntax):
    hashes = [content_hash(in_syntax(private(vr, value), syntax)) for value in (one, other)]
    assert hashes[0] != hashes[1]


def test_private_letters_that_latin_1_lacks_count():
    """pydicom writes all of them as question marks where nobody tells it the character set."""
    hashes = {content_hash(private("LO", text, "ISO_IR 192")) for text in ("山田", "鈴木")}
    assert len(hashes) == 2


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(
    ("vr", "value"),
    [
        ("LO", "abc"),
        ("LO", "größer"),
        ("LO", ["a", "b"]),
        ("LT", " of  many "),
        ("UI", "1.2.3"),
        ("UI", "1.2.34"),
        ("DS", ["1.50", "2"]),
        ("US", [1, 0x2041, 0]),
        ("SL", [0, -1]),
        ("FD", 1.5),
        ("AT", 0x00100010),
        ("OB", b"\1\2\0\0"),
        ("OW", b"\1\2\0\x20"),
        ("UN", b"odd bytes!"),
    ],
)
def test_private_values_are_the_same_without_their_types(vr, value, syntax):
    dataset = private(vr, value)
    if syntax == ExplicitVRBigEndian and vr == "OW":
        dataset[0x00111001].value = value[1::-1] + value[:1:-1]
    assert content_hash(in_syntax(dataset, syntax)) == content_hash(private(vr, value))


@pytest.mark.parametrize("padding", [b"   ", b"\0"])
def test_padding_of_private_texts_is_no_content(padding):
    file = BytesIO()
    private("LO", "seven l").save_as(file, enforce_file_format=True)
    plain = b"\x11\0\x01\x10LO\x08\0seven l "
    assert plain in file.getvalue()
    text = b"seven l" + padding
    padded = file.getvalue().replace(plain, b"\x11\0\x01\x10LO" + len(text).to_bytes(2, "little") + text)
    assert content_hash(pydicom.dcmread(BytesIO(padded))) == content_hash(private("LO", "seven l"))


def without_character_set(dataset: Dataset) -> Dataset:
    """The same bytes, of which nothing says which letters they are."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    raw = file.getvalue()
    start = raw.index(b"\x08\0\x05\0CS")
    end = start + 8 + int.from_bytes(raw[start + 6 : start + 8], "little")
    return pydicom.dcmread(BytesIO(raw[:start] + raw[end:]))


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192", "ISO_IR 101"])
def test_a_character_set_that_was_taken_away_is_another_content(character_set):
    """Others show question marks there."""
    dataset = image()
    dataset.SpecificCharacterSet = character_set
    taken = without_character_set(dataset)
    assert "SpecificCharacterSet" not in taken
    assert content_hash(taken) != content_hash(dataset)
    assert content_hash(stored(taken)) == content_hash(taken)


def test_a_character_set_that_nothing_needs_may_be_taken_away():
    dataset = image()
    dataset.PatientName = "Miller^George"
    for item in dataset.AnatomicRegionSequence:
        item.CodeMeaning = "larger"
    assert content_hash(without_character_set(dataset)) == content_hash(dataset)


def test_letters_that_are_none_in_their_character_set_count():
    hashes = set()
    for wrong in (b"\xfc", b"\xf6"):
        file = BytesIO()
        dataset = image()
        dataset.SpecificCharacterSet, dataset.SeriesDescription = "ISO_IR 192", "size xx"
        dataset.save_as(file, enforce_file_format=True)
        hashes.add(
            content_hash(pydicom.dcmread(BytesIO(file.getvalue().replace(b"size xx", b"size x" + wrong))))
        )
    assert len(hashes) == 2


def bits(vr: str, syntax: str) -> Dataset:
    """Three frames of 5 x 5 pixels of one bit, which end within a byte."""
    dataset = image()
    dataset.SOPClassUID = SegmentationStorage
    dataset.Rows = dataset.Columns = 5
    dataset.NumberOfFrames = 3
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    packed = np.random.default_rng(3).integers(0, 256, 10, "u1").tobytes()
    if syntax == ExplicitVRBigEndian and vr == "OW":
        packed = np.frombuffer(packed, "<u2").astype(">u2").tobytes()
    dataset.PixelData = packed
    dataset["PixelData"].VR = vr
    dataset.file_meta.TransferSyntaxUID = syntax
    return stored(dataset)


@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
def test_pixels_of_one_bit_are_the_same_in_every_order(vr, syntax):
    assert content_hash(bits(vr, syntax)) == content_hash(bits("OB", ExplicitVRLittleEndian))


def test_compressed_pixels_of_one_bit_are_refused():
    """Of a stream as many bytes as there are pixels say nothing of its end."""
    dataset = bits("OB", ExplicitVRLittleEndian)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.8.1"  # Deflated Image Frame Compression
    with pytest.raises(Refused, match="without compression, got Deflated Image Frame") as caught:
        content_hash(dataset)
    assert caught.value.finding.code == "unknown-syntax"


@pytest.mark.parametrize("kind", ["segmentation", "map"])
def test_medkits_own_results_are_the_same_in_implicit_vr(tmp_path, kind):
    array, affine = geometry()
    source = open_source(write_series(tmp_path / "source", array, affine))
    if kind == "segmentation":
        made = make_segmentation(source, some_labels(), affine, MAKER)
    else:
        made = make_parametric_map(
            source, array.astype(np.float32), affine, replace(MAKER, label_names={1: "a"})
        )
    save(made, tmp_path / "made.dcm")
    implicit = pydicom.dcmread(tmp_path / "made.dcm")
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert content_hash(stored(implicit)) == content_hash(tmp_path / "made.dcm")


def test_the_same_bytes_are_decoded_once_and_others_anew(tmp_path, monkeypatch):
    one, copy, other = (tmp_path / name for name in ("one.dcm", "copy.dcm", "other.dcm"))
    save(image(seed=101), one)
    copy.write_bytes(one.read_bytes())
    save(image(seed=102), other)
    decoded = []
    read = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda source, **options: decoded.append(source) or read(source))
    hashes = [content_hash(path) for path in (one, copy, one, other)]
    assert len(decoded) == 2
    assert hashes[0] == hashes[1] == hashes[2] == content_hash(read(one)) != hashes[3]
    one.write_bytes(other.read_bytes())
    assert content_hash(one) == hashes[3], "the file is read each time"
    one.unlink()
    with pytest.raises(FileNotFoundError):
        content_hash(one)


def test_what_another_process_found_is_not_decoded_here_and_holds_for_its_bytes_alone(tmp_path):
    one, other = tmp_path / "one.dcm", tmp_path / "other.dcm"
    save(image(seed=103), one)
    save(image(seed=104), other)
    note_content(hashlib.sha256(one.read_bytes()).hexdigest(), "f" * 64)
    assert content_hash(one) == "f" * 64
    assert content_hash(other) == content_hash(pydicom.dcmread(other)) != "f" * 64


VALUES = {
    "UI": 0x00080018, "DS": 0x00180050, "IS": 0x00200013, "CS": 0x00080008, "LO": 0x0008103E, "SH": 0x00080050,
    "DA": 0x00080020, "TM": 0x00080030, "DT": 0x0008002A, "AE": 0x00020016, "AS": 0x00101010, "UC": 0x00080119,
    "US": 0x00280010, "SS": 0x00189219, "UL": 0x00209157, "SL": 0x00186020, "ST": 0x00080081, "PN": 0x00100010,
}  # fmt: skip
CHARACTERS = st.sampled_from([bytes([code]) for code in b" \0\\^=~.0123456789eE+-AZaz\xdc\x1b$B"])


@pytest.mark.parametrize("vr", VALUES)
@given(value=st.lists(CHARACTERS, max_size=20).map(b"".join))
@example(value=b"1.2 ")
@example(value=b"12\\-3\\4 ")
@example(value=b"1e5\\")
@example(value=b"\x01\x02\x03\x04")
@settings(max_examples=50)
def test_values_off_their_bytes_are_what_pydicom_makes_of_them(vr, value):
    def outcome(*, made: bool) -> str:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SpecificCharacterSet = "ISO_IR 100"
        tag = Tag(VALUES[vr])
        dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        try:
            if made:
                _ = dataset[tag]
            return content_hash(dataset)
        except Exception as error:  # of a value that is none
            return type(error).__name__

    assert outcome(made=False) == outcome(made=True)
