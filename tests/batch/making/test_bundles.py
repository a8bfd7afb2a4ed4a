"""Bundles are loaded once, and kept while they are wanted; what is wrong with one is told before a study meets it."""

from __future__ import annotations

import numpy as np
import pytest

from medkit.batch.making import BundleSettings, BundleShelf
from medkit.data.grid import Grid
from medkit.data.volume import Volume
from medkit.errors import CaseError, UsageError
from tests.phantoms import OBLIQUE, hippocampus
from tests.tiny_bundle import NAME, edit_json, make_tiny_bundle

GLIOMA = "glioma_segmentation_agunet"


def test_a_bundle_is_loaded_once(shelf):
    assert shelf.take(NAME) is shelf.take(NAME)


def test_what_was_wanted_last_is_kept(tiny_root):
    shelf = BundleShelf({name: BundleSettings(location=tiny_root) for name in "abc"})
    a, b = shelf.take("a"), shelf.take("b")
    assert shelf.take("a") is a
    c = shelf.take("c")  # takes the place of b
    assert shelf.take("a") is a
    assert shelf.take("c") is c
    assert shelf.take("b") is not b


def test_settings_reach_the_bundle_and_what_signs_its_results(tiny_root):
    settings = BundleSettings({"clean_up::largest_component": True}, "LR", location=tiny_root)
    shelved = BundleShelf({NAME: settings}).take(NAME)
    assert shelved.bundle.overrides == settings.overrides
    assert shelved.maker.settings["overrides"] == settings.overrides
    assert shelved.maker.settings["flips"]["axes"] == ["LR"]
    assert shelved.maker.digest == shelved.bundle.digest


def test_terms_have_to_be_accepted():
    with pytest.raises(UsageError, match="accept"):
        BundleShelf().take(GLIOMA)
    shelf = BundleShelf({GLIOMA: BundleSettings(accept_licence=True)})
    assert shelf.take(GLIOMA).bundle.licence


def test_a_bundle_whose_labels_have_no_codes_is_refused(tmp_path):
    root = make_tiny_bundle(tmp_path)
    edit_json(root / "configs" / "metadata.json", lambda metadata: metadata["segment_codes"].pop("2"))
    with pytest.raises(UsageError, match="expected codes for label 2"):
        BundleShelf({NAME: BundleSettings(location=root)}).take(NAME)


def test_no_such_bundle():
    with pytest.raises(UsageError, match="no bundle 'hippo'"):
        BundleShelf().take("hippo")


def test_volumes_on_different_grids_are_not_brought_together(shelf):
    array = hippocampus()[0]
    moved = OBLIQUE.copy()
    moved[0, 3] += 5
    volumes = [Volume(array, Grid(array.shape, affine), "a") for affine in (OBLIQUE, moved)]
    with pytest.raises(CaseError) as error:
        shelf.take(NAME).predict(volumes)
    assert error.value.code == "channels-on-different-grids"


def test_a_volume_that_does_not_fit_into_memory(shelf, monkeypatch):
    monkeypatch.setattr("medkit.data.host_memory.free_memory", lambda: 1000)
    volume = Volume(hippocampus()[0], Grid((13, 11, 9), OBLIQUE), "series 003")
    with pytest.raises(CaseError, match=r"^series 003: expected an image that fits") as error:
        shelf.take(NAME).predict([volume])
    assert error.value.code == "too-large"


def test_labels_are_those_of_the_image_alone(shelf):
    volume = Volume(hippocampus()[0], Grid((13, 11, 9), OBLIQUE), "series 003")
    one, other = (shelf.take(NAME).predict([volume]) for _ in range(2))
    assert np.array_equal(one.labels, other.labels)
    assert one.grid.shape == (13, 11, 9)
