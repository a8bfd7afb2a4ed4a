from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from medkit.batch.making import BundleSettings, KnownBundle, known_bundles
from medkit.batch.making.known import fitting_bundle, loaded_bundles
from medkit.batch.rules import Criteria
from medkit.bundle.store import find_bundle
from medkit.inference.loading import load_bundle
from tests.batch.making.studies import RULE
from tests.tiny_bundle import NAME, edit_json


@pytest.fixture
def own_bundle(tiny_root, tmp_path):
    return shutil.copytree(tiny_root, tmp_path / NAME)


def test_a_bundle_is_told_once_as_it_will_be_when_it_is_loaded(tiny_root):
    again = replace(RULE, name="again")
    known, faults = known_bundles((RULE, again), {NAME: BundleSettings(location=tiny_root)})
    loaded = load_bundle(tiny_root)
    assert faults == []
    assert known == [KnownBundle(NAME, loaded.folder.metadata["version"], loaded.digest)]
    settings = {NAME: BundleSettings(location=tiny_root)}
    assert loaded_bundles((RULE, again), settings, None) == (known, [])


def _without_codes(metadata):
    metadata["segment_codes"] = {}


def _not_for_sale(metadata):
    metadata["commercial_use"] = False


@pytest.mark.parametrize(
    ("change", "words"), [(_not_for_sale, "expected that its terms are accepted"), (_without_codes, "code")]
)
def test_what_is_wrong_with_a_bundle_is_told_by_the_rule(own_bundle, change, words):
    edit_json(own_bundle / "configs" / "metadata.json", change)
    other = replace(RULE, bundle="hippocampus_segmentation_unet")
    known, ((number, fault),) = known_bundles((other, RULE), {NAME: BundleSettings(location=own_bundle)})
    assert ([one.name for one in known], number) == ([other.bundle], 1)
    assert words in fault
    assert fitting_bundle(RULE, own_bundle).root == own_bundle, "whether it may be used is not asked"
    accepted = BundleSettings(location=own_bundle, accept_licence=True)
    assert (known_bundles((RULE,), {NAME: accepted})[1] == []) is (change is _not_for_sale)


def test_bundles_of_medkit_are_looked_for_by_name_and_have_weights_and_the_inputs_of_the_rule():
    ours = replace(RULE, bundle="hippocampus_segmentation_unet")
    assert known_bundles((ours,), {})[1] == []
    inputs = {name: Criteria(frozenset({"MR"})) for name in ("t1", "t2")}
    assert (
        "expected the inputs of hippocampus_" in known_bundles((replace(ours, inputs=inputs),), {})[1][0][1]
    )
    assert (
        "no bundle 'hippocampus_segmentation_unit'"
        in (known_bundles((replace(RULE, bundle="hippocampus_segmentation_unit"),), {})[1][0][1])
    )


def test_a_bundle_of_medkit_without_weights_cannot_be_used(own_bundle, monkeypatch):
    (own_bundle / "models" / "model.pt").unlink()
    monkeypatch.setattr("medkit.bundle.store.bundles_root", lambda: own_bundle.parent)
    assert find_bundle(NAME).lacks_weights_of == NAME
    assert "expected the weights of" in known_bundles((RULE,), {})[1][0][1]
