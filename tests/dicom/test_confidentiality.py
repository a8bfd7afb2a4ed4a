"""Nothing of a person survives in a data set, wherever it stood; what an image needs does."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medkit.dicom.confidentiality import KEY_VARIABLE, Dates, Deidentifier, edition
from medkit.dicom.elements import PRIVATE
from medkit.dicom.kept_words import KEPT_WORDS
from medkit.errors import UsageError
from tests.dicom.phi import TEXTS, Marked, marked_image, profile
from tests.dicom_series.stacks import Stack

KEY = b"sixteen bytes or"
NOBODY = Deidentifier(KEY)
# Attributes of the standard in which words, dates, UIDs or further attributes stand.
WORDS = {*TEXTS, "UI", "DA", "DT", "TM", "AS", "UR", "SQ", "OB", "UN"}
ANY = sorted(
    tag
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
    if vr in WORDS and tag >> 16 >= 8 and keyword not in KEPT_WORDS
)


def image(**values):
    (dataset, *_) = Stack(np.random.default_rng(0)).datasets
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def written(dataset):
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def cleaned(dataset, deidentifier=NOBODY):
    """As it comes out of a file, where values are still bytes."""
    raw = dcmread(io.BytesIO(written(dataset)))
    deidentifier.clean(raw)
    return dcmread(io.BytesIO(written(raw)))


def left(made, dataset):
    data = written(dataset)
    return [mark for mark in made.marks if mark in data]


def test_a_key_that_can_be_found_by_trying_is_refused_and_none_is_shown(monkeypatch):
    with pytest.raises(UsageError, match="at least 16 bytes, got 15"):
        Deidentifier(KEY[1:])
    assert "sixteen" not in repr(NOBODY)
    monkeypatch.setenv(KEY_VARIABLE, KEY.decode())
    assert Deidentifier.of_environment(Dates.SHIFTED) == Deidentifier(KEY, shift_dates=True)
    assert Deidentifier.of_environment(Dates.REMOVED) == NOBODY
    monkeypatch.setenv(KEY_VARIABLE, "")
    with pytest.raises(UsageError, match=f"{KEY_VARIABLE}: expected"):
        Deidentifier.of_environment(Dates.REMOVED)
    assert Deidentifier.of_known_key() is None
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY.decode()}\n")
    with pytest.raises(
        UsageError, match=f"{KEY_VARIABLE}: expected a key that neither begins nor ends with white"
    ):
        Deidentifier.of_environment(Dates.REMOVED)


def test_nothing_survives_of_all_that_the_standard_names():
    made = marked_image()
    assert len(made.marks) > 1000
    assert left(made, made.dataset) == made.marks
    assert left(made, cleaned(made.dataset)) == []


def test_a_data_set_that_was_not_read_from_a_file():
    made = marked_image()
    NOBODY.clean(made.dataset)
    assert left(made, made.dataset) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ANY), st.integers(0, 3)), min_size=1, max_size=30))
def test_nothing_survives_of_any_attribute_at_any_depth(places):
    made = Marked(image())
    for tag, depth in places:
        target = made.dataset
        for _ in range(depth):  # in a sequence that stays, with what is in it
            if "AnatomicRegionSequence" not in target:
                target.AnatomicRegionSequence = [Dataset()]
            target = target.AnatomicRegionSequence[0]
        made.put(target, Tag(tag), DicomDictionary[tag][0])
    assert left(made, cleaned(made.dataset)) == []


def test_with_dates_moved_times_of_day_alone_survive():
    made = marked_image()
    survived = left(made, cleaned(made.dataset, Deidentifier(KEY, shift_dates=True)))
    times = [mark for mark in survived if re.fullmatch(rb"173725\.[0-9]{6}", mark)]
    assert len(times) == 5  # StudyTime and the like
    # A date that was moved may be that of another element.
    assert all(re.fullmatch(rb"[0-9]{8}", mark) for mark in survived if mark not in times)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_other_transfer_syntaxes(syntax):
    made = marked_image()
    made.dataset.file_meta.TransferSyntaxUID = syntax
    assert left(made, cleaned(made.dataset)) == []


def test_what_an_image_needs_stays():
    before = image(
        Manufacturer="Scanner", KVP="120", EchoTime="4.60", RescaleType="HU", ConvolutionKernel="B30f"
    )
    after = cleaned(before)
    for name in (
        *("SOPClassUID", "Modality", "ImageType", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient"),
        *(
            "ImageOrientationPatient",
            "RescaleSlope",
            "RescaleIntercept",
            "RescaleType",
            "Manufacturer",
            "KVP",
        ),
        *("ConvolutionKernel", "EchoTime", "PixelData", "InstanceNumber", "SeriesNumber", "SliceThickness"),
    ):
        assert after.get(name) == before.get(name), name
    assert after["EchoTime"].value.original_string == "4.60"


def test_words_stand_for_numbers_and_codes_only_where_they_are_some():
    dataset = image()
    for tag, vr, value in (
        (0x00180060, "DS", b"Jane "),
        (0x00180081, "LO", b"Doe^Jane"),
        (0x00180015, "CS", b"DOE JANE BORN IN 1931 "),
        (0x00180022, "CS", b"NONE"),
        (0x00280006, "DOE", b"Doe "),
    ):
        dataset[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    NOBODY.clean(dataset)
    assert not {"KVP", "EchoTime", "BodyPartExamined", "PlanarConfiguration"} & set(dataset.dir())
    assert dataset.ScanOptions == "NONE"


# Marks, pseudonyms and UIDs


def test_an_object_says_that_it_was_deidentified():
    after = cleaned(image(BurnedInAnnotation="NO"))
    assert after.PatientIdentityRemoved == "YES"
    assert edition().startswith("PS3.15 20")
    assert edition() in after.DeidentificationMethod
    (code,) = after.DeidentificationMethodCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113100", "DCM")
    assert after.LongitudinalTemporalInformationModified == "REMOVED"
    both = cleaned(image(), Deidentifier(KEY, shift_dates=True, keep_diffusion=True))
    assert [item.CodeValue for item in both.DeidentificationMethodCodeSequence] == [
        "113100",
        "113107",
        "113111",
    ]
    assert both.LongitudinalTemporalInformationModified == "MODIFIED"


def test_one_patient_has_one_pseudonym_and_another_key_another():
    one, same = cleaned(image(PatientID="4711")), cleaned(image(PatientID="4711 ", PatientName="Other"))
    assert one.PatientID == same.PatientID == str(one.PatientName)
    assert one.PatientID.startswith("MK")
    assert cleaned(image(PatientID="4712")).PatientID != one.PatientID
    assert cleaned(image(PatientID="4711", IssuerOfPatientID="A")).PatientID != one.PatientID
    assert cleaned(image(PatientID="4711"), Deidentifier(KEY[::-1])).PatientID != one.PatientID
    nameless = {cleaned(image(PatientID="", StudyInstanceUID=uid)).PatientID for uid in ("1.2.3", "1.2.4")}
    assert len(nameless) == 2


def test_references_still_refer():
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.3.4",
    )
    after = cleaned(image(SOPInstanceUID="1.2.3.4", ReferencedImageSequence=[reference]))
    (found,) = after.ReferencedImageSequence
    assert found.ReferencedSOPInstanceUID == after.SOPInstanceUID != "1.2.3.4"
    assert found.ReferencedSOPClassUID == reference.ReferencedSOPClassUID
    assert after.file_meta.MediaStorageSOPInstanceUID != "1.2.3.4"


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.",
        "1.2.840.10008.5/../../etc",
        "1.2.840.10008.Doe",
        "2.25.1",
        "1.2.840.10008.4711.19700101",
    ],
)
def test_only_uids_of_the_standard_stay(uid):
    assert NOBODY.uid(uid) != uid
    assert NOBODY.uid(uid).startswith("2.25.")
    assert NOBODY.uid("1.2.840.10008.1.4.1.1\0") == "1.2.840.10008.1.4.1.1"


LOCAL = ["99DOE", "L", "ORBIS", "RIS", "LOCAL", "KIS01", "l", " 99X", "", None]


@pytest.mark.parametrize("scheme", [*LOCAL, "SCT", "DCM", "RADLEX"])
def test_local_codes_lose_their_meaning_and_common_ones_keep_it(scheme):
    region = Dataset()
    region.CodeValue, region.CodeMeaning = "4711", "Knee of Smith"
    if scheme is not None:
        region.CodingSchemeDesignator = scheme
    (item,) = cleaned(image(AnatomicRegionSequence=[region])).AnatomicRegionSequence
    kept = scheme not in LOCAL
    assert (item.CodeValue, item.CodeMeaning) == (("4711", "Knee of Smith") if kept else ("ANONYMIZED",) * 2)
    assert item.get("CodingSchemeDesignator") == (scheme if kept or not scheme else "99ANONYMIZED")


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("BodyPartExamined", "Mrs Smith 4711", None),
        ("BodyPartExamined", "SMITH 4711", None),
        ("BodyPartExamined", "HEAD_NECK", "HEAD_NECK"),
        ("ScanOptions", ["FC", "b. 1970-01-01"], None),
        ("ScanOptions", ["AXIAL MODE", ""], ["AXIAL MODE", ""]),
        ("ImageType", ["ORIGINAL", "PRIMARY", "Mrs Smith"], ["ORIGINAL", "PRIMARY", "ANONYMIZED"]),
        ("SequenceName", "SMITH 4711", "ANONYMIZED"),
        ("SequenceName", "*tfl3d1_16ns", "*tfl3d1_16ns"),
        ("ConvolutionKernel", ["Br40d", "3"], ["Br40d", "3"]),
        ("Manufacturer", "Smith^Jane", "ANONYMIZED"),
        ("ManufacturerModelName", "Biograph 64 mCT Flow", "Biograph 64 mCT Flow"),
    ],
)
def test_words_that_stay_are_written_as_scanners_write_them(name, value, left):
    dataset = image()
    dataset.add(DataElement(name, dictionary_VR(Tag(name)), value))
    assert cleaned(dataset).get(name) == left


@pytest.mark.parametrize("known", [{"PatientName": "Doering^Jane"}, {"PatientID": "JANE4711"}])
def test_no_word_by_which_the_patient_is_known_stays(known):
    region = Dataset()
    word = "DOERING" if "PatientName" in known else "JANE4711"
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "1", "SCT", f"Knee ({word.lower()})"
    values = {"SequenceName": f"x{word}", "Manufacturer": f"For {word}", "ScanOptions": f"A {word}"}
    after = cleaned(
        image(**known, **values, ImageType=["ORIGINAL", "PRIMARY", word], AnatomicRegionSequence=[region])
    )
    assert word.encode() not in written(after).upper()
    assert after.ImageType == ["ORIGINAL", "PRIMARY", "ANONYMIZED"]


def test_arrays_that_are_no_pixels_go():
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [8, 0, 16], "HU"
    table.add(DataElement("LUTData", "OW", b"SMITH, JANE 4711"))
    dataset = image(VOILUTSequence=[table])
    dataset.add(DataElement("WaveformData", "OW", b"SMITH, JANE 4711"))
    after = cleaned(dataset)
    assert not {"VOILUTSequence", "WaveformData"} & set(after.dir())
    assert "PixelData" in after


# Options


def test_dates_are_moved_by_one_number_of_days():
    dates = Deidentifier(KEY, shift_dates=True)
    one = cleaned(image(StudyDate="20200131", AcquisitionDate="20200201", ContentTime="101112.5"), dates)
    other = cleaned(image(StudyDate="20200302", AcquisitionDateTime="20200302235959.123+0100"), dates)
    as_days = [np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:8]}") for day in (
        one.StudyDate, one.AcquisitionDate, other.StudyDate, str(other.AcquisitionDateTime)
    )]  # fmt: skip
    assert np.diff(as_days).astype(int).tolist() == [1, 30, 0]
    assert 1 <= (np.datetime64("2020-01-31") - as_days[0]).astype(int) <= 3650
    assert one.ContentTime == "101112.5"
    assert str(other.AcquisitionDateTime)[8:] == "235959.123+0100"
    assert "PatientBirthDate" not in one or one.PatientBirthDate == ""
    assert cleaned(image(StudyDate="20200131")).StudyDate == ""


@pytest.mark.parametrize("date", ["2020", "31.01.2020", "20209999", "Doe", "00010101"])
def test_what_is_no_date_is_not_kept(date):
    dataset = image()
    dataset[0x00080020] = RawDataElement(Tag(0x00080020), "DA", len(date), date.encode(), 0, False, True)
    try:
        Deidentifier(KEY, shift_dates=True).clean(dataset)
    except ValueError:
        return  # refused as a whole
    assert date not in str(dataset.get("StudyDate"))


def test_private_values_that_the_reader_knows_are_kept_on_request():
    def dataset(creator="SIEMENS MR HEADER"):
        made = image()
        block = made.private_block(0x0019, creator, create=True)
        block.add_new(0x0C, "IS", "1000")
        block.add_new(0x0D, "CS", "DOE")
        return made

    tag = PRIVATE["SiemensBValue"][0]
    asked = Deidentifier(KEY, keep_diffusion=True)
    after = cleaned(dataset(), asked)
    assert (after[tag].value, 0x0019100D in after) == (1000, False)
    assert tag not in cleaned(dataset())
    assert tag not in cleaned(dataset("DOE"), asked)
    words = dataset()
    words[tag] = DataElement(tag, "LO", "Doe")
    assert tag not in cleaned(words, asked)


def test_the_table_is_the_standards():
    """Rows that were looked up in the standard, one of each action."""
    table = profile()
    assert len(table) > 600
    looked_up = {
        "AccessionNumber": "Z",
        "AcquisitionContextSequence": "X/Z",
        "AcquisitionDateTime": "X/Z/D",
        "ContentDate": "Z/D",
        "ContentSequence": "D",
        "DetectorID": "X/D",
        "DerivationDescription": "X",
        "FrameOfReferenceUID": "U",
        "SourceImageSequence": "X/Z/U*",
    }
    assert {name: table[Tag(name)] for name in looked_up} == looked_up
    assert set(table.values()) == {*looked_up.values()}
