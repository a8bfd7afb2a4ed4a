"""Names tell volumes apart, and nothing of the patient."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.dicom import inspect
from medkit.dicom.naming import shown_keys, tells_nothing_of_a_person, volume_name
from tests.dicom_series.stacks import Stack


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("b-value", "400"),
        ("echo-time", "1.23e-05"),
        ("repetition-time", "1e+06"),
        ("direction", "0.1\\-0.2\\.5"),
        ("kernel", "B30f"),
        ("stack", ""),
        ("scanning-sequence", "SE"),
        ("scanning-sequence", "EP\\SE"),
        ("patient-position", "HFS"),
    ],
)
def test_numbers_and_coded_words_are_shown(key, value):
    assert tells_nothing_of_a_person(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("contrast", "Gd for Mrs Smith"),
        ("acquisition-time", "101112"),
        ("frame-reference-time", "20200102101112.5"),
        ("frame-reference-time", "2.02001e+13"),
        ("stack", "Smith"),
        ("scanning-sequence", "SMITH"),
        ("scanning-sequence", "SE\\SMITH"),
        ("patient-position", "19500101"),
        ("sequence-name", "smith_epi"),
        ("trigger-time", "19500101"),
    ],
)
def test_times_and_words_are_not(key, value):
    assert not tells_nothing_of_a_person(key, value)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=6, unique=True))
def test_ordinals_tell_apart_what_the_values_told_apart(values):
    shown = shown_keys([{"contrast": value} for value in values])
    assert len({found["contrast"] for found in shown}) == len(values)
    assert all(found["contrast"].isdigit() or found["contrast"] in values for found in shown)


def test_a_name_is_taken_once():
    assert volume_name(3, {}, {"003", "003_2"}) == "003_3"
    assert volume_name(None, {"kernel": "B30f", "frame-of-reference": "1.2.3"}, ()) == "series_kernel-B30f"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ContrastBolusAgent", ("none", "Gd for Mrs Smith")),
        ("AcquisitionDateTime", ("20200102101112.000000", "20200102101512.000000")),
        ("AcquisitionTime", ("101112", "101512")),
        ("SequenceName", ("smith_1", "smith_2")),
        ("PatientPosition", ("HFS", "Smith")),
    ],
)
def test_verdicts_have_no_words_and_times_of_a_person(name, values, mr, written):
    late = Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, first=20, offset=300)
    for stack, value in zip((mr, late), values, strict=True):
        for dataset in stack.datasets:
            setattr(dataset, name, value)
    record = inspect(written([*mr.datasets, *late.datasets]))
    names = [volume["name"] for volume in record["series"][0]["volumes"]]
    assert len(names) == 2
    assert all(name.endswith(f"-{number}") for number, name in enumerate(names, 1))
    text = json.dumps(record)
    assert not any(word in text for word in (*values[1:], values[1][:8], "Smith", "smith"))
