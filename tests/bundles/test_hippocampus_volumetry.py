"""Hippocampi of whole heads: the committed network on the MNI152 template, found by a finder that knows the places."""

from __future__ import annotations

import csv
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from nilearn.datasets import load_mni152_template

import medkit
from medkit.bundle.store import bundles_root
from medkit.data import Grid, Volume, as_volume
from medkit.errors import CaseError, UsageError

NAME = "hippocampus_volumetry"
CENTRE_MM, HALF_MM = np.array([27.0, -22.0, -13.5]), np.array([6.5, 18.0, 6.5])  # of an ellipsoid of 3.2 ml
PITCH = np.deg2rad(-30)  # lower in front
PARTS = ["anterior hippocampus", "posterior hippocampus"]


class Finder:
    """Ellipsoids in the place of the hippocampi of MNI space, the right one the mirror image of the left one."""

    folder = SimpleNamespace(name="finder")

    def __init__(self, sides=("left", "right")):
        self.sides, self.seen = sides, []

    def predict_volume(self, volume):
        self.seen.append(volume)
        labels = np.zeros(volume.grid.shape, np.uint8)
        places = np.moveaxis(np.indices(volume.grid.shape), 0, -1) @ volume.grid.affine[:3, :3].T
        places += volume.grid.affine[:3, 3]
        for value, sign in ((1, -1.0), (2, 1.0)):
            across, along, up = np.moveaxis(places - CENTRE_MM * [sign, 1, 1], -1, 0)
            turned = (
                across,
                np.cos(PITCH) * along + np.sin(PITCH) * up,
                np.cos(PITCH) * up - np.sin(PITCH) * along,
            )
            distance = sum((part / half) ** 2 for part, half in zip(turned, HALF_MM, strict=True))
            labels[distance <= 1] = value
        return SimpleNamespace(
            labels=labels,
            grid=volume.grid,
            label_names={1: "left hippocampus", 2: "right hippocampus"},
            notes=("two pieces",),
        )


@pytest.fixture(scope="module")
def head():
    template = load_mni152_template(resolution=1)
    template.header.set_xyzt_units("mm")
    volume = as_volume(template)
    box = (slice(None), slice(40, 170), slice(20, 110))  # what is about the hippocampi, from ear to ear
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [0, 40, 20]
    array = np.ascontiguousarray(volume.array[box]) * 1000 + 7
    return Volume(array, Grid(array.shape, affine), "MNI152")


@pytest.fixture(scope="module")
def bundle():
    made = medkit.load(NAME, device="cpu", overrides={"cascade::finder": Finder()})
    # Intervals are those of the config as it is; the finder, which has weights of its own, is put in for these tests.
    made.overrides.clear()
    return made


@pytest.fixture(scope="module")
def result(bundle, head):
    return bundle.predict_volume(head)


def volume_of(result, side):
    return sum(ml for name, ml in result.volumes_ml.items() if name.startswith(side))


def swapped(labels):
    return np.array([0, 3, 4, 1, 2], labels.dtype)[labels]


def test_both_hippocampi_of_the_template_have_one_size(result):
    left, right = (volume_of(result, side) for side in ("left", "right"))
    assert 3 < left < 4.5
    assert abs(left - right) / left < 0.03
    assert list(result.label_names.values()) == [
        f"{side} {part}" for side in ("left", "right") for part in PARTS
    ]


def test_left_is_on_the_left_and_anterior_in_front(result):
    def middle(value):
        return (
            np.argwhere(result.labels == value) @ result.grid.affine[:3, :3].T + result.grid.affine[:3, 3]
        ).mean(0)

    front, behind, right = middle(1), middle(2), middle(3)
    assert front[0] < -15
    assert right[0] > 15
    assert front[1] > behind[1]


def test_volumes_come_with_intervals_by_side(result):
    intervals = result.volume_interval_ml
    assert any(
        "those of hippocampus_segmentation_unet, counted on its images" in note for note in result.notes
    )
    for side in ("left", "right"):
        for part in (*PARTS, "whole hippocampus"):
            told = intervals[f"{side} {part}"]
            assert told.low < told.volume < told.high
        assert intervals[f"{side} whole hippocampus"].volume == pytest.approx(volume_of(result, side))


def test_remarks_of_the_finder_are_those_of_the_result(result):
    assert [note for note in result.notes if note.startswith("finder")] == ["finder: two pieces"]


def test_the_finder_sees_the_intensities_of_the_file(bundle, result, head):
    seen = bundle.inferer.finder.seen[0]
    assert seen.grid.shape == head.grid.shape
    np.testing.assert_allclose(seen.array, head.array, atol=0.01)


def test_the_scale_of_the_intensities_does_not_matter(bundle, result, head):
    other = bundle.predict_volume(Volume(head.array * 0.02, head.grid, "dim"))
    assert np.mean(other.labels != result.labels) < 1e-5


def test_an_array_that_is_flipped_alone_has_its_names_flipped(bundle, result, head):
    other = bundle.predict_volume(Volume(head.array[::-1].copy(), head.grid, "flipped"))
    np.testing.assert_array_equal(other.labels[::-1], swapped(result.labels))


def test_an_array_that_is_flipped_with_its_affine_has_the_same_labels(bundle, result, head):
    affine = head.grid.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (head.grid.shape[0] - 1)
    affine[:3, 0] *= -1
    other = bundle.predict_volume(Volume(head.array[::-1].copy(), Grid(head.grid.shape, affine), "other way"))
    np.testing.assert_array_equal(other.labels[::-1], result.labels)


def test_results_lie_on_the_grid_of_the_scan(bundle, head, tmp_path):
    affine = head.grid.affine @ np.diag([1.0, 1.0, 2.0, 1.0])
    array = np.ascontiguousarray(head.array[:, :, ::2])
    thick = bundle.predict(Volume(array, Grid(array.shape, affine), "thick"))
    assert thick.labels.shape == array.shape
    assert 3 < volume_of(thick, "left") < 4.5
    thick.save(tmp_path, name="thick")
    assert (tmp_path / "pictures" / "thick.png").is_file()
    (row,) = csv.DictReader((tmp_path / "volumes.csv").open())
    assert {f"{side} {part} (ml)" for side in ("left", "right") for part in PARTS} <= row.keys()


def test_a_hippocampus_that_is_not_there_fails_the_case(bundle, head):
    affine = head.grid.affine.copy()
    half = np.ascontiguousarray(head.array[: head.grid.shape[0] // 2])
    with pytest.raises(CaseError, match="half: expected a right hippocampus") as raised:
        bundle.predict_volume(Volume(half, Grid(half.shape, affine), "half"))
    assert raised.value.code == "structure-not-found"


def test_a_finder_without_weights_is_told(tmp_path):
    finder = bundles_root() / "brain_anatomy_segmentation"
    shutil.copytree(finder, tmp_path / "finder", ignore=shutil.ignore_patterns("models"))
    with pytest.raises(UsageError, match=r"finder: the weights are missing: .*model\.pt"):
        medkit.load(NAME, overrides={"finder::bundle": str(tmp_path / "finder")})
