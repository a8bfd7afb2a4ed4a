"""The comparisons of `brain_anatomy.py` with bundles whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace

import brain_anatomy
import numpy as np
import pytest
from brain_anatomy import (
    NOISE,
    TURNS,
    Bench,
    changed_image,
    contrasts,
    labelled,
    mirrored,
    no_brain,
    real,
    repeated,
)
from results import Results

from medkit.bundle.build import bundles_root
from medkit.bundle.store import BundleFolder
from medkit.data import Grid, Volume, write_volume
from medkit.errors import CaseError

NAMES = {
    1: "left cerebral white matter",
    2: "right cerebral white matter",
    3: "left hippocampus",
    4: "right hippocampus",
}
AFFINE = np.array([[1.5, 0, 0, -30], [0, 1.0, 0, -25], [0, 0, 1.2, -20], [0, 0, 0, 1]])


class Thresholds:
    """What is bright on the left of the body is one structure, and on its right another."""

    def __init__(self, by_space=True):
        self.by_space = by_space

    def predict_volume(self, image):
        if image.array.max() == image.array.min():
            raise CaseError("not-recognised", "expected a brain")
        rise = image.grid.affine[0, 0] if self.by_space else 1.0
        where = np.arange(image.grid.shape[0]) - (image.grid.shape[0] - 1) / 2
        right = (where * rise > 0)[:, None, None]
        labels = np.where(image.array > 0.5, np.where(right, 2, 1), 0).astype(np.uint8)
        labels[(image.array > 1.5)] += 2
        return SimpleNamespace(
            labels=labels,
            grid=image.grid,
            seconds={"read": 9.0, "inference": 1.5},
            notes=(),
            volumes_ml={"a": 1.0},
        )


@pytest.fixture
def bench(tmp_path):
    made = Bench(
        BundleFolder(bundles_root() / "brain_anatomy_segmentation"), Results(tmp_path / "r.jsonl"), {}, []
    )
    vars(made).update(native=Thresholds(), fine=Thresholds(), names=NAMES, key={"weights": "1"})
    return made


@pytest.fixture
def image():
    """A block that is longer to the front than it is high, nearer to one side, with a brighter one inside."""
    array = np.zeros((40, 50, 36), np.float32)
    array[8:36, 6:44, 12:26] = 1
    array[12:16, 20:30, 14:20] = array[26:30, 20:30, 14:20] = 2
    return Volume(array, Grid(array.shape, AFFINE), "block")


def test_a_mirror_image_has_its_names_changed(bench, image):
    found = mirrored(bench, image)
    assert found["refused"] is None
    assert set(found["dice"].values()) == {1.0}
    assert found["volumes"] == 0


def test_a_bundle_that_prefers_a_side_does_not_agree_with_its_mirror_image(bench, image):
    class OneSided(Thresholds):
        def predict_volume(self, image):
            result = super().predict_volume(image)
            result.labels[result.labels == 2] = 1
            return result

    bench.native = OneSided()
    found = mirrored(bench, image)
    assert found["dice"]["left cerebral white matter"] < 0.7
    assert found["dice"]["right cerebral white matter"] == 0


@pytest.mark.parametrize("change", TURNS)
def test_labels_of_a_turned_head_lie_about_the_head_as_it_was(image, change):
    turned, grid = changed_image(image, change)
    assert turned.array.shape == image.array.shape
    own = image.array > 0.5
    back = brain_anatomy.on_grid((turned.array > 0.5).astype(np.uint8), grid, image.grid) > 0
    assert overlap(turned.array > 0.5, own) < 0.94 < 0.96 < overlap(back, own)


def overlap(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_noise_is_of_the_strength_that_is_said(image):
    for change, part in NOISE.items():
        noisy, grid = changed_image(image, change)
        assert grid == image.grid
        assert np.std(noisy.array - image.array) == pytest.approx(2 * part, rel=0.02)


def test_a_head_agrees_with_itself(bench, image):
    found = repeated(bench, image, next(iter(NOISE)))
    assert min(found["dice"].values()) > 0.99


def test_what_is_refused_is_said(bench, image):
    flat = Volume(np.zeros_like(image.array), image.grid, "flat")
    assert mirrored(bench, flat) == {"refused": "not-recognised"}
    assert no_brain(bench, flat) == {"refused": "not-recognised", "ml": None}
    assert no_brain(bench, image)["ml"] == 1.0
    assert labelled(bench.native, image)[1] == {"refused": None, "seconds": 1.5}
    assert real(bench, "flat", lambda: flat, None)["sides"] == {"swapped": None, "wrong_side": None}


def test_sides_and_volumes_of_a_real_head(bench, image):
    found = real(bench, "block", lambda: image, None)
    assert found["sides"] == {"swapped": False, "wrong_side": 0.0}
    assert found["volumes"]["left hippocampus"] == pytest.approx(4 * 10 * 6 * 1.8 / 1000)
    assert found["rows"] is None


def test_contrasts_on_grids_of_their_own(bench, image, tmp_path, monkeypatch):
    files = {}
    for name, step in (("T1", 1), ("T2", 2)):
        part = image.array[:, :, ::step] if step == 1 else image.array[:, :, 8::step]
        affine = AFFINE.copy()
        affine[2, 2] *= step
        affine[2, 3] += 0 if step == 1 else 8 * AFFINE[2, 2]
        files[name] = tmp_path / f"{name}.nii.gz"
        write_volume(files[name], part, Grid(part.shape, affine))
    monkeypatch.setattr(brain_anatomy, "multicontrast", lambda patient: files)
    found = contrasts(bench, "anna")
    assert found["refused"] == {"T1": None, "T2": None}
    assert min(found["pairs"]["T1 and T2"]["dice"].values()) > 0.8


def test_what_was_measured_is_not_measured_again(bench):
    calls = []

    def make():
        calls.append(1)
        return {"a": 1}

    assert bench.find("part", make, name="x") == bench.find("part", make, name="x") == {"a": 1}
    assert bench.find("part", make, name="y") == {"a": 1}
    bench.key = {"weights": "2"}
    bench.find("part", make, name="x")
    assert len(calls) == 3
