"""The committed weights of the bundle that extracts brains: real heads of several contrasts, and what is no brain."""

from __future__ import annotations

import numpy as np
import pytest
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

import medkit
from medkit.bundle.store import find_bundle
from medkit.data import Grid, Volume, as_volume, read_volume
from medkit.errors import CaseError
from tests.bundles.no_brains import NO_BRAINS

NAME = "brain_extraction"
BRAIN = 1
BEYOND = (0, 1, 69)  # of DLMUSE's values: background, and the fluid about the brain


@pytest.fixture(scope="module")
def bundle():
    return medkit.load(NAME, device="cpu")


@pytest.fixture(scope="module")
def stripped():
    """The symmetric template, which has no skull."""
    template = load_mni152_template(resolution=2)
    template.header.set_xyzt_units("mm")
    return as_volume(template)


@pytest.fixture(scope="module")
def of_stripped(bundle, stripped):
    return bundle.predict_volume(stripped)


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_weights_are_there():
    assert find_bundle(NAME).weights.is_file()


def test_a_brain_without_its_skull_is_found_whole(of_stripped):
    known = as_volume(load_mni152_brain_mask(resolution=2)).array > 0
    assert dice(of_stripped.labels > 0, known) > 0.9


@pytest.mark.parametrize("case", ["IXI013-HH-1212", "IXI080-HH-1341"])
def test_the_brain_of_a_head_is_that_which_another_tool_outlines(bundle, real_data, case):
    labels = bundle.predict_volume(read_volume(real_data / f"ixi_t1/t1/{case}_T1.nii.gz")).labels
    known = read_volume(real_data / f"ixi_t1/dlmuse/{case}_DLMUSE.nii.gz").array
    assert dice(labels == BRAIN, ~np.isin(known, BEYOND)) > 0.88


def test_a_mirrored_array_has_a_mirrored_mask(bundle, stripped, of_stripped):
    other = bundle.predict_volume(Volume(stripped.array[::-1].copy(), stripped.grid, "mirrored"))
    assert dice(other.labels[::-1] == BRAIN, of_stripped.labels == BRAIN) > 0.97


def test_an_array_that_is_turned_with_its_affine_has_the_same_labels(bundle, stripped, of_stripped):
    array = stripped.array.transpose(2, 0, 1).copy()
    affine = stripped.grid.affine[:, [2, 0, 1, 3]]
    other = bundle.predict_volume(Volume(array, Grid(array.shape, affine), "turned"))
    assert np.array_equal(other.labels.transpose(1, 2, 0), of_stripped.labels)


@pytest.mark.parametrize("file", NO_BRAINS)
def test_other_parts_of_the_body_are_refused(bundle, real_data, file):
    with pytest.raises(CaseError, match="expected an image of a brain") as raised:
        bundle.predict_volume(read_volume(real_data / file))
    assert raised.value.code == "not-recognised"


def test_noise_is_refused(bundle):
    array = np.random.default_rng(0).random((96, 96, 96), np.float32)
    with pytest.raises(CaseError, match="expected an image of a brain, which fills") as raised:
        bundle.predict_volume(Volume(array, Grid(array.shape, np.diag([2.0, 2, 2, 1])), "noise"))
    assert raised.value.code == "not-recognised"


def test_a_field_of_view_that_was_filled_up_is_noted(bundle, stripped, of_stripped):
    array = stripped.array.copy()
    array[:, :, 55:] = 0  # above it
    assert not of_stripped.notes
    notes = bundle.predict_volume(Volume(array, stripped.grid, "filled up")).notes
    assert any(note.startswith("ends in a flat plane within the image") for note in notes)


def test_an_image_in_which_hardly_any_brain_shows_is_refused(bundle, stripped):
    part = stripped.array[:20].copy()
    with pytest.raises(CaseError, match="expected an image of a brain") as raised:
        bundle.predict_volume(Volume(part, Grid(part.shape, stripped.grid.affine), "edge"))
    assert raised.value.code == "not-recognised"
