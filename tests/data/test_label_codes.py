"""Codes of labels: their form, their check digits, and that no code stands for two labels."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.bundle.store import list_bundles
from medkit.data.label_codes import (
    Concept,
    LabelCodes,
    is_snomed_identifier,
    label_codes,
    label_codes_problems,
)
from medkit.errors import UsageError

STRUCTURE = {"value": "91723000", "meaning": "Anatomical Structure"}
KIDNEY = {"value": "64033007", "meaning": "Kidney"}
LEFT = {"value": "7771000", "meaning": "Left"}
RIGHT = {"value": "24028007", "meaning": "Right"}
CODES = {
    "1": {"category": STRUCTURE, "type": KIDNEY, "modifiers": [LEFT]},
    "2": {"category": STRUCTURE, "type": KIDNEY, "modifiers": [RIGHT]},
}


def changed(path: str, value) -> dict:
    content = copy.deepcopy(CODES)
    *parents, last = path.split("::")
    inside = content
    for name in parents:
        inside = inside[int(name)] if isinstance(inside, list) else inside[name]
    inside[last] = value
    return content


def test_codes_are_read():
    left = label_codes(CODES, "here")[1]
    assert left == LabelCodes(
        Concept("91723000", "Anatomical Structure", "SCT"),
        Concept("64033007", "Kidney"),
        (Concept("7771000", "Left"),),
    )
    region = label_codes(changed("1::region", KIDNEY | {"scheme": "99X"}), "here")[1].region
    assert region == Concept("64033007", "Kidney", "99X")


@pytest.mark.parametrize("bundle", list_bundles(), ids=lambda bundle: bundle.name)
def test_every_label_of_every_bundle_has_codes_that_dicom_knows(bundle):
    # pydicom's dictionaries are those of DICOM PS3.16: a code that is not in them is none that a viewer knows.
    from pydicom.sr._concepts_dict import concepts

    named = {
        (value, meaning.casefold())
        for codes in concepts["SCT"].values()
        for value, (meaning, _) in codes.items()
    }
    declared = bundle.metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    codes = label_codes(bundle.metadata["segment_codes"], bundle.name)
    assert codes.keys() == {int(value) for value in declared} - {0}
    for label in codes.values():
        for concept in label.concepts:
            assert (concept.value, concept.meaning.casefold()) in named


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [("1::type", None, ["1::type", "None"]), ("1::type", "kidney", ["1::type"]), ("1::side", LEFT, ["side"]),
     ("left", {}, ["left"]), ("1::modifiers", [], ["1::modifiers"]), ("1::type::value", 64033007, ["1::type::value"]),
     ("1::type::meaning", "Rein à gauche", ["1::type::meaning"]),
     ("1::region_modifiers", [LEFT], ["region_modifiers"]),
     ("1::type::value", "64033008", ["1: ", "64033008", "check digit"]),
     ("2::modifiers::0::value", "7771000", ["2: ", "label 1", "modifiers"])],
)  # fmt: skip
def test_what_is_wrong_is_told(path, value, words):
    problems = list(label_codes_problems(changed(path, value)))
    assert any(all(word in problem for word in words) for problem in problems), problems
    assert all("\n" not in problem for problem in problems)
    with pytest.raises(UsageError, match="metadata of x: "):
        label_codes(changed(path, value), "metadata of x")


@pytest.mark.parametrize("content", [{}, [], "Kidney", None, 3])
def test_no_table_at_all(content):
    assert list(label_codes_problems(content))


def test_the_category_alone_tells_no_labels_apart():
    content = copy.deepcopy(CODES)
    content["2"] = {
        "category": {"value": "85756007", "meaning": "Tissue"},
        "type": KIDNEY,
        "modifiers": [LEFT],
    }
    assert "label 1" in next(label_codes_problems(content))


def test_identifiers_of_the_standard_are_right():
    from pydicom.sr._concepts_dict import concepts

    values = {value for codes in concepts["SCT"].values() for value in codes}
    wrong = {value for value in values if not is_snomed_identifier(value)}
    assert len(values) > 5000
    assert wrong <= {"115347700"}  # a slip of the standard's own: no check digit fits


@given(st.sampled_from(["91723000", "5366008", "24028007", "12738006"]), st.data())
def test_one_wrong_digit_or_two_that_changed_places_are_found(value, data):
    place = data.draw(st.integers(0, len(value) - 1))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != value[place]]))
    assert not is_snomed_identifier(value[:place] + digit + value[place + 1 :])
    left = data.draw(st.integers(0, len(value) - 2))
    swapped = value[:left] + value[left + 1] + value[left] + value[left + 2 :]
    assert swapped == value or not is_snomed_identifier(swapped)


@pytest.mark.parametrize("value", ["", "T-A0100", "91723000 ", "９１７２３０００", "0" * 8])
def test_what_is_no_identifier_at_all(value):
    assert not is_snomed_identifier(value)
