"""Words that look like a scanner's are told from those that people type."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medkit.dicom.kept_words import (
    COMMON_SCHEMES,
    identifying_words,
    is_code,
    is_known_uid,
    is_plain,
    names_someone,
)


def test_the_schemes_that_pydicom_knows_are_common():
    known = {scheme for scheme in codes.schemes() if not scheme.startswith("99")}
    assert len(known) > 10
    assert known <= COMMON_SCHEMES
    assert not any(scheme.startswith("99") or scheme == "L" for scheme in COMMON_SCHEMES)


@pytest.mark.parametrize(
    ("keyword", "text", "yes"),
    [
        ("ImageType", "CT_SOM5 SPI", True),
        ("ImageType", "Mrs Smith", False),
        ("ImageType", "X" * 17, False),
        ("BodyPartExamined", "CSPINE", True),
        ("BodyPartExamined", "SMITH 4711", False),
    ],
)
def test_codes(keyword, text, yes):
    assert is_code(keyword, text) is yes


def test_labels_have_no_spaces_and_names_of_machines_no_carets():
    assert is_plain("ConvolutionKernel", "Hr60f")
    assert not is_plain("ConvolutionKernel", "Jane Smith")
    assert is_plain("SoftwareVersions", "syngo MR B17")
    assert not is_plain("SoftwareVersions", "Smith^Jane")


def test_words_by_which_a_patient_is_known():
    patient = Dataset()
    patient.PatientName, patient.PatientID, patient.PatientBirthDate = (
        "Rom^Jane Li",
        "MRN-47110815",
        "19700101",
    )
    words = identifying_words(patient)
    assert words == {"ROM", "JANE", "MRN", "47110815", "19700101"}
    assert names_someone("for jane", words)
    assert names_someone("x47110815y", words)
    assert not names_someone("MONOCHROME2", words)  # a short one within another


def test_uids_of_the_standard():
    assert is_known_uid("1.2.840.10008.5.1.4.1.1.2")
    assert not is_known_uid("1.2.840.10008.4711")
    assert not is_known_uid("1.2.840.10008.5/../etc")
