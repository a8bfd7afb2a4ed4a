"""The committed weights of the bundle that segments brains: left and right, and what is no brain."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from nilearn.datasets import load_mni152_template
from nilearn.image import crop_img

import medkit
from medkit.bundle.store import find_bundle
from medkit.data import Grid, Volume, as_volume, read_volume
from medkit.errors import CaseError
from medkit.inference.mirroring import lateral_pairs
from tests.bundles.no_brains import NO_BRAINS

NAME = "brain_anatomy_segmentation"


@pytest.fixture(scope="module")
def bundle():
    return medkit.load(NAME, device="cpu")


@pytest.fixture(scope="module")
def head():
    """The symmetric template without the air around it: fewer windows to look at."""
    template = crop_img(load_mni152_template(resolution=1))
    template.header.set_xyzt_units("mm")
    return as_volume(template)


@pytest.fixture(scope="module")
def result(bundle, head):
    return bundle.predict_volume(head)


@cache
def sides():
    """Pairs of names, left and right."""
    names = read_names()
    return [(names[left], names[right]) for left, right in lateral_pairs(names, None, NAME)]


@cache
def read_names():
    channels = find_bundle(NAME).metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    return {int(value): name for value, name in channels.items()}


def swapped(labels):
    names = read_names()
    values = {name: value for value, name in names.items()}
    table = np.arange(len(names), dtype=labels.dtype)
    for left, right in sides():
        table[values[left]], table[values[right]] = values[right], values[left]
    return table[labels]


def agreement(one, other):
    """Part of the voxels that either map labels in which both say the same."""
    either = (one > 0) | (other > 0)
    return np.count_nonzero((one == other) & either) / np.count_nonzero(either)


def test_the_weights_are_there():
    assert find_bundle(NAME).weights.is_file()
    assert len(sides()) == 14


def test_left_and_right_of_the_symmetric_template_have_one_size(result):
    volumes = result.volumes_ml
    for left, right in sides():
        apart = abs(volumes[left] - volumes[right])
        assert volumes[left] > 0, left
        assert apart < max(0.03 * volumes[left], 0.03), f"{left}: {volumes[left]}, {volumes[right]} ml"


def test_left_is_on_the_left(result):
    values = {name: value for value, name in read_names().items()}
    for left, right in sides():
        middles = [
            (np.argwhere(result.labels == values[name]) @ result.grid.affine[0, :3]).mean()
            for name in (left, right)
        ]
        assert middles[0] < middles[1], left


def test_an_array_that_is_flipped_alone_has_its_names_flipped(bundle, head, result):
    other = bundle.predict_volume(Volume(head.array[::-1].copy(), head.grid, "flipped"))
    assert agreement(other.labels[::-1], swapped(result.labels)) > 0.97
    assert agreement(other.labels[::-1], result.labels) < 0.3


def test_an_array_that_is_flipped_with_its_affine_has_the_same_labels(bundle, head, result):
    affine = head.grid.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (head.grid.shape[0] - 1)
    affine[:3, 0] *= -1
    other = bundle.predict_volume(Volume(head.array[::-1].copy(), Grid(head.grid.shape, affine), "other way"))
    assert agreement(other.labels[::-1], result.labels) > 0.99


@pytest.fixture(scope="module")
def lenient():
    """The bundle as it is refuses half a head, which has less than half of all structures whole."""
    return medkit.load(NAME, device="cpu", overrides={"expected::fewest": 8})


@pytest.mark.parametrize("side", [0, 1])
def test_half_a_head_has_the_structures_of_one_side(lenient, head, side):
    middle = head.grid.shape[0] // 2
    low = (side == 0) == (head.grid.affine[0, 0] > 0)  # the half with the lower indices
    part = slice(0, middle) if low else slice(middle, None)
    affine = head.grid.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (0 if low else middle)
    array = head.array[part].copy()
    volumes = lenient.predict_volume(Volume(array, Grid(array.shape, affine), "half")).volumes_ml
    assert volumes[sides()[0][side]] > 50
    for pair in sides():
        assert volumes[pair[1 - side]] < 0.1 * max(volumes[pair[side]], 1.0), pair


@pytest.mark.parametrize("file", NO_BRAINS)
def test_other_parts_of_the_body_are_refused(bundle, real_data, file):
    with pytest.raises(CaseError, match="expected an image of a brain") as raised:
        bundle.predict_volume(read_volume(real_data / file))
    assert raised.value.code == "not-recognised"


@pytest.mark.parametrize("kind", ["zeros", "noise"])
def test_nothing_at_all_is_refused(bundle, kind):
    shape = (96, 96, 96)
    array = np.zeros(shape, np.float32)
    if kind == "noise":
        array = np.random.default_rng(0).random(shape, np.float32)
    with pytest.raises(CaseError):
        bundle.predict_volume(Volume(array, Grid(shape, np.diag([2.0, 2, 2, 1])), kind))
