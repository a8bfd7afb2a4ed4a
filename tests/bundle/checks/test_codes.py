"""The codes of labels in the metadata of a bundle."""

from __future__ import annotations

import pytest

from tests.bundle.breaking import METADATA, drop, put
from tests.bundle.checks.problems import check, expect, problems


def test_a_bundle_of_others_may_have_none(tiny):
    drop(tiny, METADATA, "segment_codes")
    assert problems(tiny) == {}
    assert any(f.check.startswith("segment codes: none") for f in check(tiny))


def test_medkits_own_bundles_have_them(own):
    drop(own, METADATA, "segment_codes")
    expect(own, "segment codes", METADATA, "got none", only=False)


def test_a_label_without_codes(tiny):
    drop(tiny, METADATA, "segment_codes::2")
    expect(tiny, "segment codes", METADATA, "label 2 (posterior hippocampus)")


@pytest.mark.parametrize("label", ["0", "7"])
def test_codes_of_what_is_no_label(tiny, label):
    put(tiny, METADATA, f"segment_codes::{label}", {
        "category": {"value": "91723000", "meaning": "Anatomical Structure"},
        "type": {"value": "12738006", "meaning": "Brain"},
    })  # fmt: skip
    expect(tiny, "segment codes", METADATA, f"{label} is no label")


def test_a_mistyped_code(tiny):
    put(tiny, METADATA, "segment_codes::1::type::value", "5366009")
    expect(tiny, "segment codes", METADATA, "1: ", "5366009")


def test_a_wrong_form(tiny):
    put(tiny, METADATA, "segment_codes::1::type", "Hippocampus")
    expect(tiny, "segment codes", METADATA, "1::type")
