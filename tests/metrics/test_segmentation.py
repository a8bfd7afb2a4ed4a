"""Scores of label maps: known shapes, foreign references, real masks."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial.distance import cdist

from medkit.data import read_volume
from medkit.errors import CaseError
from medkit.metrics.segmentation import DEFINITIONS, LabelScore, score_case

NAMES = {0: "background", 1: "one"}
ISOTROPIC = (1.0, 1.0, 1.0)
ANISOTROPIC = (0.7, 1.3, 4.0)


def box(shape, *ranges):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(*bounds) for bounds in ranges)] = 1
    return mask


def ball(radius, centre, spacing, shape=(24, 22, 20)):
    axes = np.indices(shape).astype(float)
    squared = sum(((axis - c) * edge) ** 2 for axis, c, edge in zip(axes, centre, spacing, strict=True))
    return (squared <= radius**2).astype(np.uint8)


def score(prediction, truth, spacing=ISOTROPIC, **options) -> LabelScore:
    (only,) = score_case(prediction, truth, spacing, NAMES, **options)
    return only


def boundary_millimetres(mask, spacing):
    return np.argwhere(mask.astype(bool) & ~binary_erosion(mask)) * np.array(spacing)


def brute_force_hd95(prediction, truth, spacing):
    distances = cdist(boundary_millimetres(prediction, spacing), boundary_millimetres(truth, spacing))
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


def distance_map_hd95(prediction, truth, spacing):
    """The same by distance maps, for masks too large for all pairs."""
    both = tuple(slice(found.min(), found.max() + 1) for found in np.nonzero(prediction | truth))
    masks = [np.pad(mask[both].astype(bool), 1) for mask in (prediction, truth)]
    surfaces = [mask & ~binary_erosion(mask) for mask in masks]
    maps = [distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    return max(np.percentile(maps[1][surfaces[0]], 95), np.percentile(maps[0][surfaces[1]], 95))


def itk_images(*masks, spacing):
    images = []
    for mask in masks:
        image = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)))
        image.SetSpacing(spacing)
        images.append(image)
    return images


def test_identical_masks_are_perfect():
    mask = box((12, 12, 12), (2, 9), (3, 8), (4, 10))
    result = score(mask, mask, ANISOTROPIC)
    assert (result.dice, result.surface_dice, result.hd95_mm) == (1.0, 1.0, 0.0)
    assert result.volume_ml == result.truth_volume_ml == pytest.approx(7 * 5 * 6 * 0.7 * 1.3 * 4.0 / 1000)


def test_shifted_boxes_have_the_overlap_and_distance_of_their_shift():
    truth = box((20, 20, 20), (4, 14), (4, 14), (4, 14))
    prediction = box((20, 20, 20), (4, 14), (4, 14), (6, 16))
    result = score(prediction, truth, (1.0, 1.0, 2.5))
    assert result.dice == pytest.approx(0.8)
    assert result.hd95_mm == pytest.approx(5.0)


def test_surface_dice_of_shifted_slabs_counts_the_faces_that_moved():
    # Off by more than 1 mm, in voxel faces: the top of the taller slab (2500), a strip around its side (200),
    # and the top of the other without its rim (2500 - 291), out of 5800 + 6200.
    truth = box((60, 60, 20), (5, 55), (5, 55), (8, 12))
    prediction = box((60, 60, 20), (5, 55), (5, 55), (8, 14))
    result = score(prediction, truth)
    assert result.surface_dice == pytest.approx(1 - (2500 + 200 + 2209) / 12000, abs=0.02)
    assert score(prediction, truth, surface_tolerance_mm=2.0).surface_dice == 1.0


def test_surface_area_weights_follow_the_spacing():
    # The faces across the long voxel edge are the larger ones, and only those are off.
    truth = box((24, 24, 24), (6, 16), (6, 16), (6, 16))
    longer = box((24, 24, 24), (6, 16), (6, 16), (6, 19))
    thin_faces = score(longer, truth, (1.0, 1.0, 4.0)).surface_dice
    wide_faces = score(longer, truth, (4.0, 4.0, 1.0)).surface_dice
    assert wide_faces < thin_faces


def test_a_tolerance_of_one_voxel_does_not_hang_on_rounding():
    truth = box((16, 16, 16), (4, 12), (4, 12), (4, 12))
    prediction = box((16, 16, 16), (4, 12), (4, 12), (5, 13))
    for edge in (1.0, 1.0 + 1e-6, 1.0 - 1e-6):
        assert score(prediction, truth, (edge, edge, edge)).surface_dice == 1.0


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC, (2.0, 0.5, 1.0)])
def test_agreement_with_foreign_references(spacing):
    truth = ball(6.0, (11, 11, 10), spacing)
    prediction = ball(5.0, (12, 10, 10), spacing)
    prediction[2, 3, 4] = 1
    result = score(prediction, truth, spacing)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*itk_images(truth, prediction, spacing=spacing))
    assert result.dice == pytest.approx(overlap.GetDiceCoefficient(), abs=1e-6)
    assert result.hd95_mm == pytest.approx(brute_force_hd95(prediction, truth, spacing), rel=1e-5)
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*itk_images(truth, prediction, spacing=spacing))
    assert result.hd95_mm <= hausdorff.GetHausdorffDistance() + 1e-5


def test_surface_dice_of_concentric_balls():
    truth, outer = (ball(radius, (30, 30, 30), ISOTROPIC, (61, 61, 61)) for radius in (20.0, 24.0))
    assert score(outer, truth, surface_tolerance_mm=2.0).surface_dice == 0.0
    assert score(outer, truth, surface_tolerance_mm=5.0).surface_dice == 1.0


def test_masks_at_the_edge_of_the_image_have_a_surface_there():
    full = np.ones((8, 9, 10), np.uint8)
    result = score(full, box((8, 9, 10), (0, 8), (0, 9), (0, 5)), ANISOTROPIC)
    assert result.dice == pytest.approx(2 / 3)
    assert result.hd95_mm > 0
    assert 0 < result.surface_dice < 1


def test_neither_map_has_the_label():
    empty = np.zeros((5, 5, 5), np.uint8)
    result = score(empty, empty)
    assert all(math.isnan(value) for value in (result.dice, result.surface_dice, result.hd95_mm))
    assert (result.volume_ml, result.truth_volume_ml) == (0.0, 0.0)


@pytest.mark.parametrize("missing", ["prediction", "truth"])
def test_one_map_lacks_the_label(missing):
    empty, mask = np.zeros((6, 6, 6), np.uint8), box((6, 6, 6), (1, 3), (1, 3), (1, 3))
    result = score(empty, mask) if missing == "prediction" else score(mask, empty)
    assert (result.dice, result.surface_dice, result.hd95_mm) == (0.0, 0.0, math.inf)


def test_a_single_voxel():
    mask = box((5, 5, 5), (2, 3), (2, 3), (2, 3))
    assert score(mask, mask).dice == 1.0
    assert score(mask, np.roll(mask, 2, 0), (3.0, 1.0, 1.0)).hd95_mm == pytest.approx(6.0)


def test_labels_are_scored_in_order_and_background_and_unnamed_ones_are_not():
    labels = np.zeros((9, 9, 9), np.int32)
    labels[1:3], labels[4:6], labels[7:9] = 300, 2, 77
    scores = score_case(labels, labels, ISOTROPIC, {300: "c", 0: "background", 2: "b", 5: "absent"})
    assert [(item.label, item.name) for item in scores] == [(2, "b"), (5, "absent"), (300, "c")]
    assert [item.dice for item in scores] == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
    assert score_case(labels, labels, ISOTROPIC, {0: "background"}) == []


def test_voxel_volume_can_be_given_for_sheared_grids():
    mask = box((6, 6, 6), (1, 5), (1, 5), (1, 5))
    assert score(mask, mask, voxel_volume_ml=0.5).volume_ml == 32.0


def test_different_grids_are_refused():
    with pytest.raises(CaseError, match=r"\(4, 4, 5\) and \(4, 4, 4\).*resample") as caught:
        score_case(np.zeros((4, 4, 5), int), np.zeros((4, 4, 4), int), ISOTROPIC, NAMES)
    assert caught.value.code == "grids-differ"


def test_probabilities_are_refused():
    with pytest.raises(CaseError, match=r"prediction.*float32") as caught:
        score_case(np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), int), ISOTROPIC, NAMES)
    assert caught.value.code == "labels-not-integer"


def test_every_score_has_a_definition():
    fields = set(LabelScore.__dataclass_fields__) - {"label", "name"}
    assert set(DEFINITIONS) == fields


def test_no_warning_reaches_the_user(recwarn):
    mask = box((6, 6, 6), (1, 5), (1, 5), (1, 5))
    score(mask, mask)
    assert not recwarn.list


pairs = st.integers(0, 2**32 - 1).map(
    lambda seed: (np.random.default_rng(seed).random((2, 7, 6, 5)) < 0.3).astype(np.uint8)
)
spacings = st.tuples(*[st.floats(0.3, 5.0)] * 3)


def scores_of(result: LabelScore) -> list[float]:
    return [result.dice, result.surface_dice, result.hd95_mm]


@given(pair=pairs, spacing=spacings)
def test_scores_are_symmetric_and_bounded(pair, spacing):
    there, back = score(*pair, spacing), score(*pair[::-1], spacing)
    assert scores_of(there) == pytest.approx(scores_of(back), rel=1e-5)
    assert (there.volume_ml, there.truth_volume_ml) == (back.truth_volume_ml, back.volume_ml)
    assert 0 <= there.dice <= 1
    assert 0 <= there.surface_dice <= 1 + 1e-6


@given(pair=pairs, spacing=spacings, axes=st.sampled_from(list(permutations(range(3)))), data=st.data())
def test_scores_do_not_depend_on_how_the_axes_are_stored(pair, spacing, axes, data):
    flipped = data.draw(st.sets(st.integers(1, 3)).map(tuple))
    moved = np.flip(pair, flipped).transpose(0, *(axis + 1 for axis in axes))
    expected = score(*pair, spacing)
    result = score(*moved, tuple(spacing[axis] for axis in axes))
    assert (result.dice, result.hd95_mm) == pytest.approx((expected.dice, expected.hd95_mm), rel=1e-5)
    assert result.volume_ml == pytest.approx(expected.volume_ml)


def test_a_manual_and_an_automatic_spleen(real_data):
    case = real_data / "spleen_manual_vs_auto"
    truth = read_volume(case / "spleen1_label_gt.nii.gz")
    prediction = read_volume(case / "spleen1_label_auto.nii.gz")
    spacing = truth.grid.spacing
    result = score(prediction.array, truth.array, spacing, voxel_volume_ml=truth.grid.voxel_volume_ml)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*itk_images(truth.array, prediction.array, spacing=spacing))
    assert result.dice == pytest.approx(overlap.GetDiceCoefficient(), abs=1e-6)
    assert result.dice == pytest.approx(0.887, abs=1e-3)
    assert 100 < result.truth_volume_ml < 400  # a spleen
    assert result.hd95_mm == pytest.approx(
        distance_map_hd95(prediction.array, truth.array, spacing), rel=1e-5
    )


def test_where_the_voxel_size_is_unknown_only_the_dice_is_scored():
    one, two = np.zeros((2, 6, 7, 8), np.uint8)
    one[1:4, 1:4, 1:4], two[2:5, 1:4, 1:4] = 1, 1
    one[5, 5, 5] = 2
    known = score_case(one, two, (1.0, 1.0, 1.0), {1: "a", 2: "b", 3: "c"})
    unknown = score_case(one, two, None, {1: "a", 2: "b", 3: "c"}, voxel_volume_ml=0.001)
    for with_size, without in zip(known, unknown, strict=True):
        assert without.dice == with_size.dice or math.isnan(without.dice) == math.isnan(with_size.dice)
        rest = (without.surface_dice, without.hd95_mm, without.volume_ml, without.truth_volume_ml)
        assert all(map(math.isnan, rest))
        assert with_size.size_known
        assert not without.size_known
    assert unknown[0].dice == pytest.approx(2 / 3)
