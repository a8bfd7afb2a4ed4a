from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from medkit.dicom.modalities import _MISTAKES, modality_fault

TERMS = {code.value for code in codes.cid33.concepts.values()}


def test_all_terms_of_the_standard_are_taken_and_so_are_others_that_may_be_somebody_s_own():
    assert {"CT", "MR", "PT", "NM", "US"} < TERMS
    for term in [*TERMS, "mr", " CT ", "OPR", "XY", "LAB_2 B"]:
        assert modality_fault(term) is None, term


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        *_MISTAKES.items(),
        ("mri", "MR"),
        ("Magnetic Resonance", "MR"),
        ("ultrasound", "US"),
        ("X-Ray Angiography", "XA"),
    ],
)
def test_what_people_write_for_a_term_is_told_with_it(value, meant):
    assert meant in TERMS
    assert value.upper() not in TERMS
    told = f"expected a modality as DICOM writes it, such as CT, MR or PT, got '{value}'; did you mean '{meant}'?"
    assert modality_fault(value) == told


@pytest.mark.parametrize("value", ["MR/CT", "T1-weighted", "A" * 17, "MR\\CT"])
def test_what_no_element_can_hold_is_told(value):
    assert modality_fault(value) == (
        f"expected a modality as DICOM writes it, such as CT, MR or PT, got '{value}'; it has at most 16 letters, "
        "digits, spaces and '_'"
    )
