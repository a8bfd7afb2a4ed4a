"""No reason holds what may come out of a header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.batch.making.reasons import tell_finding, without_patient
from medkit.dicom.findings import Finding

HASH = "0a1b2c3d4e5f" + "6" * 52
NAMES = [
    "Doe^Jane",
    "MÜLLER",
    "山田^太郎",
    "'Doe'",
    '"Doe Jane"',
    "19700101",
    "031500",
    "P1234567",
    "MRN-0012345",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_and_numbers_are_taken_away(name):
    told = without_patient(f"003: expected a number, got {name}; export it again")
    assert name not in told
    assert told.startswith("003: expected a number, got ")
    assert told.endswith("; export it again")


@given(st.lists(st.integers(0, 10**12), min_size=3, max_size=9))
def test_uids_are_taken_away(parts):
    uid = ".".join(map(str, [1, *parts]))
    assert without_patient(f"series {uid}: expected one") == "series (UID): expected one"


@given(st.text())
def test_nothing_is_raised_whatever_stands_there(text):
    told = without_patient(text)
    assert "^" not in told
    assert all(letter.isascii() for letter in told)


def test_numbers_that_say_where_and_how_much_stay():
    said = (
        "series 3: expected slices every 1.25 mm, got 2.5 mm; 1 slice is missing of 14: fetch what is missing"
    )
    assert without_patient(said) == said


def test_an_instance_goes_by_the_beginning_of_its_hash():
    name = f"{HASH}-{'f' * 64}.dcm"
    assert without_patient(f"{name}: cut short") == "instance 0a1b2c3d4e5f: cut short"
    assert without_patient(f"study {HASH} is there") == "study instance 0a1b2c3d4e5f is there"


@pytest.mark.parametrize(
    ("advice", "told"),
    [
        (
            "14: fetch what is missing, or ask for the repair split-gaps or resample",
            "14: fetch what is missing, or ask for the repair split-gaps (outputs.repairs, --repair)",
        ),
        (
            "at 2 of 3 places; ask for the repair drop-duplicates, which keeps the first",
            "at 2 of 3 places; ask for the repair drop-duplicates (outputs.repairs, --repair), which keeps the first",
        ),
        ("tilted; ask for the repair deshear", "tilted"),
    ],
)
def test_a_repair_is_advised_where_a_batch_has_it(advice, told):
    assert tell_finding(3, Finding("gap", f"expected one of {advice}")) == f"series 3: expected one of {told}"


def test_only_refusals_that_quote_no_header_are_told_whole():
    plain = Finding("gap", "expected slices every 2 mm, got 4 mm")
    assert tell_finding(3, plain) == "series 3: expected slices every 2 mm, got 4 mm"
    quoting = Finding("mixed-parameters", "expected doe as in a, got jane")
    told = tell_finding(None, quoting)
    assert told == "refused as mixed-parameters"
