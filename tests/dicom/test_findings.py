"""Repairs have the names that commands and configs use."""

from __future__ import annotations

import pickle

from medkit.dicom import Finding, Repair
from medkit.dicom.findings import Refused, counted


def test_a_repair_is_its_name_and_has_a_meaning():
    assert Repair("deshear") is Repair.DESHEAR
    assert [repair.value for repair in Repair] == [str(repair) for repair in Repair]
    assert all(repair.meaning for repair in Repair)
    assert pickle.loads(pickle.dumps(Repair.RESAMPLE)) is Repair.RESAMPLE


def test_a_refusal_carries_its_finding():
    assert Refused("gap", "there").finding == Finding("gap", "there")


def test_one_is_not_several():
    assert [counted(count, "slice is", "slices are") for count in (0, 1, 2)] == [
        *("0 slices are", "1 slice is", "2 slices are")
    ]
