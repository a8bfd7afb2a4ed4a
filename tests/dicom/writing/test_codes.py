"""Codes as highdicom takes them."""

from __future__ import annotations

from medkit.dicom.writing.codes import coded
from tests.dicom.writing.sources import KIDNEY


def test_a_concept_keeps_its_three_parts():
    code = coded(KIDNEY)
    assert (code.value, code.scheme_designator, code.meaning) == ("64033007", "SCT", "Kidney")
