"""A number is a number, or the file is refused."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from medkit.dicom.elements import PRIVATE, Elements, tag_of
from medkit.dicom.findings import Refused


def raw(dataset, implicit=False, little=True):
    """A data set as it comes from a file, with raw values."""
    stream = io.BytesIO()
    target = DicomIO(stream)
    target.is_implicit_VR, target.is_little_endian = implicit, little
    write_dataset(target, dataset)
    stream.seek(0)
    return Elements(dcmread(stream, force=True), "file")


def decimal(text):
    dataset = Dataset()
    dataset.SOPClassUID = "1.2"
    dataset.add_new(0x00281053, "LO", text)  # a VR that does not check
    return raw(dataset)


@given(number=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_decimal_string_is_its_number(number):
    assert decimal(f"{number!r}").number("RescaleSlope") == number


@pytest.mark.parametrize("text", ["nan", "inf", "1,000,5", "abc", "1 2", "0x10", "1.5,2"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(Refused) as refused:
        decimal(text).number("RescaleSlope")
    assert refused.value.finding.code == "bad-value"
    assert "file: expected" in refused.value.finding.message


def test_a_comma_is_read_as_a_point_with_a_note():
    elements = decimal("-1,25\\3,5e1")
    assert elements.numbers("RescaleSlope") == [-1.25, 35]
    assert {note.code for note in elements.notes} == {"decimal-comma"}
    assert not decimal("1.25").notes


def test_several_numbers_and_parts_are_refused_where_one_whole_is_asked_for():
    with pytest.raises(Refused, match="one number"):
        decimal("1\\2").number("RescaleSlope")
    with pytest.raises(Refused, match="whole number"):
        decimal("1.5").integer("RescaleSlope")
    assert decimal("  12 ").integer("RescaleSlope") == 12
    assert decimal("").number("RescaleSlope") is None
    assert decimal("1").number("RescaleIntercept") is None


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
def test_values_in_all_encodings(implicit, little):
    if implicit and not little:
        return  # the standard has no such
    dataset = Dataset()
    dataset.SOPClassUID = "1.2"
    dataset.Rows = 258
    dataset.PixelSpacing = [0.5, 2]
    dataset.DiffusionBValue = 800.5
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.ModalityLUTSequence = Sequence([Dataset()])
    dataset.ModalityLUTSequence[0].LUTExplanation = "inner"
    elements = raw(dataset, implicit, little)
    assert elements.integer("Rows") == 258
    assert elements.numbers("PixelSpacing") == [0.5, 2]
    assert elements.number("DiffusionBValue") == 800.5
    assert elements.text("ImageType") == "ORIGINAL\\PRIMARY"
    (item,) = elements.items("ModalityLUTSequence")
    assert item.text("LUTExplanation") == "inner"
    assert elements.items("PerFrameFunctionalGroupsSequence") == []
    elements.dataset.Rows  # noqa: B018  # pydicom replaces the raw value
    assert elements.integer("Rows") == 258


def test_an_element_of_another_type_is_refused():
    dataset = Dataset()
    dataset.SOPClassUID = "1.2"
    dataset.add_new(0x00280010, "OB", b"\x01\x02")
    with pytest.raises(Refused, match="expected US as Rows, got OB"):
        raw(dataset).integer("Rows")


def test_a_private_element_counts_only_with_its_owner():
    tag, vr, creator = PRIVATE["SiemensBValue"]
    for owner, expected in ((creator, [400.0]), ("SOMEBODY ELSE", [])):
        dataset = Dataset()
        dataset.SOPClassUID = "1.2"
        dataset.add_new(0x00190010, "LO", owner)
        dataset.add_new(tag, vr, "400")
        assert raw(dataset).numbers("SiemensBValue") == expected


def test_names_in_other_character_sets_are_one_name():
    names = []
    for charset in ("ISO_IR 192", ["", "ISO 2022 IR 87"]):
        dataset = Dataset()
        dataset.SpecificCharacterSet = charset
        dataset.SOPClassUID = "1.2"
        dataset.PatientName = "Yamada^Tarou=山田^太郎^="
        names.append(raw(dataset).person_name("PatientName"))
    assert names[0] == names[1] == "Yamada^Tarou=山田^太郎"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5),
        ("-5", -5),
        ("+05 ", 5),
        ("--5", None),
        ("\xb2", None),
        ("9" * 5000, None),
        ("1.5", None),
        ("", None),
    ],
)
def test_a_number_that_no_voxel_depends_on_may_be_none(text, number):
    assert decimal(text).whole("RescaleSlope") == number


def test_an_unknown_keyword_is_a_fault_of_ours():
    with pytest.raises(KeyError):
        tag_of("NoSuchKeyword")
