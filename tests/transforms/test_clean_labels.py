"""Small pieces go, large ones stay, and what went is told."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor
from scipy import ndimage

import medkit
from medkit.data import Grid
from medkit.data.monai_io import GRID_KEY
from medkit.errors import CaseError, UsageError
from medkit.inference.result import NOTHING_LABELLED
from medkit.transforms.clean_labels import NOTES_KEY, CleanLabelsd
from tests.phantoms import hippocampus

NAMES = {"0": "background", "1": "one", "2": "two"}
WHOLE = np.ones((3, 3, 3), bool)


def blocks():
    """Label 1 in pieces of 27, 8 and 1 voxels, label 2 in one of 8 and one of 8 that touch by a corner alone."""
    labels = np.zeros((1, 16, 16, 16), np.float32)
    labels[0, 1:4, 1:4, 1:4] = 1
    labels[0, 6:8, 1:3, 1:3] = 1
    labels[0, 10, 1, 1] = 1
    labels[0, 1:3, 8:10, 8:10] = 2
    labels[0, 3:5, 10:12, 10:12] = 2
    return labels


def placed(labels, edges=(1.0, 1.0, 2.0)):
    return MetaTensor(torch.from_numpy(labels), affine=np.diag([*edges, 1.0]))


def cleaned(labels, **rules):
    item = CleanLabelsd("pred", names=NAMES, **rules)({"pred": labels})
    return np.asarray(item["pred"]), item.get(NOTES_KEY, [])


def of_the_rules(notes):
    """Those among the remarks on a case that say what went."""
    return [note for note in notes if note.startswith("clean-up removed")]


def sizes(labels, value):
    pieces, number = ndimage.label(labels[0] == value, WHOLE)
    return sorted(np.bincount(pieces.ravel())[1:].tolist()) if number else []


def test_without_rules_nothing_is_touched():
    labels = placed(blocks())
    item = CleanLabelsd("pred")({"pred": labels})
    assert item == {"pred": labels}
    assert item["pred"] is labels


def test_maps_of_two_axes():
    """Pieces of 9 and 4 pixels of 1 by 1 by 2 mm."""
    labels = blocks()[:, :, :, 1]
    found, _ = cleaned(placed(labels), largest_component=True)
    assert (found == 1).sum() == 9
    found, notes = cleaned(placed(labels), minimum_mm3=10)
    assert (found == 1).sum() == 9
    assert notes == ["clean-up removed 2 pieces of one (10 mm3)"]


def test_largest_piece_stays():
    found, notes = cleaned(placed(blocks()), largest_component=True)
    assert sizes(found, 1) == [27]
    assert sizes(found, 2) == [16], "what touches by a corner is one piece"
    assert notes == ["clean-up removed 2 pieces of one (18 mm3)"]


def test_largest_piece_of_some_labels():
    labels = blocks()
    labels[0, 14, 14, 14] = 2
    found, notes = cleaned(placed(labels), largest_component=[2])
    assert sizes(found, 1) == [1, 8, 27]
    assert sizes(found, 2) == [16]
    assert notes == ["clean-up removed 1 piece of two (2 mm3)"]


def bodies():
    """One of 27 + 8 voxels of both labels, one of 8 + 9 of both; a voxel of label 2 alone."""
    labels = np.zeros((1, 16, 16, 16), np.float32)
    labels[0, 1:4, 1:4, 1:4] = 1
    labels[0, 4:6, 1:3, 1:3] = 2
    labels[0, 10:12, 8:10, 8:10] = 1
    labels[0, 12:15, 8:11, 10] = 2
    labels[0, 15, 15, 15] = 2
    return labels


def test_labels_of_one_piece_stay_where_the_largest_is():
    found, notes = cleaned(placed(bodies()), one_piece=True)
    expected = bodies()
    expected[0, 8:] = 0
    np.testing.assert_array_equal(found, expected)
    assert notes == ["clean-up removed 2 pieces (0.036 ml) apart from the largest of all labels (0.07 ml)"]
    assert cleaned(found, one_piece=True)[1] == []


def test_labels_of_one_piece_by_their_values():
    found, notes = cleaned(bodies(), one_piece=[1])
    assert (sizes(found, 1), sizes(found, 2)) == ([27], [1, 8, 9])
    assert notes == ["clean-up removed 1 piece (8 voxels) apart from the largest of labels 1 (27 voxels)"]


def test_overlapping_masks_of_one_piece():
    labels = bodies()[0]
    masks = np.stack([labels == 0, labels > 0, labels == 2]).astype(np.float32)
    found, _ = cleaned(placed(masks), one_piece=True)
    assert found.sum(axis=(1, 2, 3)).tolist() == [masks[0].sum(), 35, 8], "background is no part of the body"
    found, _ = cleaned(placed(masks), one_piece=[2])
    assert found.sum(axis=(1, 2, 3)).tolist() == [*masks[:2].sum(axis=(1, 2, 3)), 9]


def test_the_other_rules_look_at_what_is_left_of_the_body():
    """The largest piece of label 2, 9 voxels, goes with the smaller body."""
    assert sizes(cleaned(placed(bodies()), one_piece=True, largest_component=True)[0], 2) == [8]


def dumbbell(bridge):
    """Cubes of 12^3 and 10^3 voxels, of label 1, with a bridge of label 2 between them."""
    labels = np.zeros((1, 40, 16, 16), np.float32)
    labels[0, 2:14, 2:14, 2:14] = labels[0, 26:36, 3:13, 3:13] = 1
    labels[0, 14:26, 5 : 5 + bridge, 5 : 5 + bridge] = 2
    return labels


@pytest.mark.parametrize(("bridge", "apart"), [(1, True), (4, True), (5, False)])
def test_a_second_body_that_hangs_on_a_thin_bridge_goes(bridge, apart):
    found, notes = cleaned(dumbbell(bridge), one_piece=True)
    if not apart:
        np.testing.assert_array_equal(found, dumbbell(bridge))
        assert not notes
        return
    assert (sizes(found, 1), bool(found[0, 26:].any())) == ([12**3], False)
    assert 0 < (found == 2).sum() < 12 * bridge**2, "the bridge is shared out"
    (note,) = notes
    assert note.startswith("clean-up removed 1 piece (")
    again, more = cleaned(found, one_piece=True)
    np.testing.assert_array_equal(again, found)
    assert not more


def test_a_small_body_on_a_bridge_stays():
    labels = dumbbell(2)
    labels[0, 26:] = 0
    labels[0, 26:31, 3:8, 3:8] = 1
    found, notes = cleaned(labels, one_piece=True)
    np.testing.assert_array_equal(found, labels)
    assert not notes


def test_nothing_labelled_is_of_one_piece():
    found, notes = cleaned(placed(np.zeros((1, 4, 4, 4), np.float32)), one_piece=True)
    assert (found.any(), notes) == (False, [])


def test_minimum_is_in_cubic_millimetres():
    assert sizes(cleaned(placed(blocks()), minimum_mm3=16)[0], 1) == [8, 27], "8 voxels of 2 mm3 are 16"
    assert sizes(cleaned(placed(blocks()), minimum_mm3=16.1)[0], 1) == [27]
    assert sizes(cleaned(placed(blocks(), (1, 1, 1)), minimum_mm3=16)[0], 1) == [27]


def test_minimum_by_label_as_json_has_it():
    found, notes = cleaned(placed(blocks()), minimum_mm3={"2": 100, "1": 3})
    assert sizes(found, 1) == [8, 27]
    assert sizes(found, 2) == []
    assert notes == [
        "clean-up removed 1 piece of one (2 mm3)",
        "clean-up removed 1 piece of two (32 mm3, all there was)",
    ]


def of_unknown_size():
    """The blocks in each form that says nothing of millimetres."""
    grid = Grid((16, 16, 16), np.eye(4), size_known=False)
    return (
        blocks(),
        torch.from_numpy(blocks()),
        MetaTensor(torch.from_numpy(blocks()), meta={GRID_KEY: grid.to_json()}),
    )


def test_minimum_in_voxels_needs_no_size():
    for labels in of_unknown_size():
        found, notes = cleaned(labels, minimum_voxels=10)
        assert sizes(found, 1) == [27]
        assert notes == ["clean-up removed 2 pieces of one (9 voxels)"]
    found, notes = cleaned(placed(blocks()), minimum_voxels={"1": 8})
    assert sizes(found, 1) == [8, 27]
    assert notes == ["clean-up removed 1 piece of one (2 mm3)"]


def test_minimum_in_millimetres_is_refused_where_the_size_is_unknown():
    for labels in of_unknown_size():
        with pytest.raises(
            CaseError, match=r"give the rule in voxels \(minimum_voxels\), or none"
        ) as refused:
            cleaned(labels, minimum_mm3=10)
        assert refused.value.code == "voxel-size-unknown"


def test_the_stricter_of_both_minima_holds():
    labels = placed(blocks())
    assert sizes(cleaned(labels, minimum_mm3=16, minimum_voxels=9)[0], 1) == [27]
    assert sizes(cleaned(labels, minimum_mm3=17, minimum_voxels=2)[0], 1) == [27]
    assert sizes(cleaned(labels, minimum_mm3=16, minimum_voxels=8)[0], 1) == [8, 27]


@pytest.mark.parametrize(
    "rules",
    [
        {"largest_component": [1, 7]},
        {"minimum_mm3": {"7": 5}},
        {"minimum_voxels": {0: 5, 7: 5}},
        {"one_piece": [2, 7]},
    ],
)
def test_rules_for_a_label_that_there_is_not_are_refused(rules):
    (rule,) = rules
    with pytest.raises(UsageError, match=rf"{rule}: expected labels out of 1, 2, got (0, )?7; correct it"):
        CleanLabelsd("pred", names=NAMES, **rules)
    CleanLabelsd("pred", **rules)


def test_both_rules_may_leave_nothing():
    found, notes = cleaned(placed(blocks()), largest_component=True, minimum_mm3=1000)
    assert not found.any()
    assert [note.rpartition("(")[2] for note in notes] == ["72 mm3, all there was)", "32 mm3, all there was)"]


def test_overlapping_masks_are_cleaned_each():
    labels = blocks()[0]
    masks = np.stack([labels > 0, labels == 1, labels == 2]).astype(np.float32)
    item = CleanLabelsd("pred", largest_component=[0, 1])({"pred": placed(masks)})
    found = np.asarray(item["pred"])
    assert found.sum(axis=(1, 2, 3)).tolist() == [27, 27, 16]
    assert [note.split(" (")[0] for note in item[NOTES_KEY]] == [
        "clean-up removed 3 pieces of label 0",
        "clean-up removed 2 pieces of label 1",
    ]


def test_background_that_is_a_channel_stays():
    labels = blocks()[0]
    masks = np.stack([labels == 0, labels == 1, labels == 2]).astype(np.float32)
    masks[0, 2, 2, 2] = 1
    assert cleaned(placed(masks), largest_component=True)[0][0].sum() == masks[0].sum()


@given(
    labels=hnp.arrays(np.uint8, (1, 7, 6, 5), elements=st.integers(0, 2)),
    minimum=st.sampled_from([0, 2, 5]),
    largest=st.booleans(),
)
def test_what_stays_was_there_and_obeys_the_rules(labels, minimum, largest):
    before = labels.copy()
    found, notes = cleaned(placed(labels, (1, 1, 1)), minimum_mm3=minimum, largest_component=largest)
    np.testing.assert_array_equal(labels, before)
    assert np.all((found == labels) | (found == 0))
    for value in (1, 2):
        expected = [size for size in sizes(labels, value) if size >= minimum]
        assert sizes(found, value) == (
            [size for size in sizes(labels, value)[-1:] if size >= minimum] if largest else expected
        )
    assert bool(notes) == bool((found != labels).any())
    again, more = cleaned(placed(found.copy(), (1, 1, 1)), minimum_mm3=minimum, largest_component=largest)
    np.testing.assert_array_equal(again, found)
    assert not more


@pytest.mark.parametrize("rule", ["largest_component", "one_piece"])
@pytest.mark.parametrize("labels", ["yes", 1, [1.5], [-1], {"1": True}])
def test_odd_rules_for_the_largest_are_refused(rule, labels):
    with pytest.raises(UsageError, match=rf"{rule}: expected true, .* got"):
        CleanLabelsd("pred", **{rule: labels})


@pytest.mark.parametrize("minimum", ["much", -1, np.inf, [3], True, {"one": 3}, {"1": None}, {"1": True}])
@pytest.mark.parametrize("rule", ["minimum_mm3", "minimum_voxels"])
def test_odd_sizes_are_refused(rule, minimum):
    with pytest.raises(UsageError, match=rf"{rule}: expected (cubic|a whole number of) .* from 0, .* got"):
        CleanLabelsd("pred", **{rule: minimum})


def test_bundle_of_ours_takes_the_rules_by_name(tmp_path):
    image = hippocampus((40, 44, 30), np.eye(4))[0]
    plain = medkit.load("hippocampus_segmentation_unet")
    before = plain.predict(image, np.eye(4))
    strict = medkit.load(plain.folder.root, overrides={"clean_up::minimum_mm3": 1e6})
    after = strict.predict(image, np.eye(4))
    assert before.labels.any()
    assert not after.labels.any()
    assert of_the_rules(before.notes) == []
    removed = of_the_rules(after.notes)
    assert len(removed) == np.unique(before.labels).size - 1
    assert all("all there was" in note for note in removed)
    assert NOTHING_LABELLED in after.notes
    after.save(tmp_path, picture=False)
    record = json.loads((tmp_path / "cases" / "image.json").read_text())
    assert record["notes"] == list(after.notes)
    assert record["overrides"] == {"clean_up::minimum_mm3": 1e6}


def test_real_hippocampus_keeps_its_largest_pieces(real_data):
    path = real_data / "hippocampus" / "images" / "hippocampus_164.nii.gz"
    plain = medkit.load("hippocampus_segmentation_unet").predict(path)
    clean = medkit.load(
        "hippocampus_segmentation_unet", overrides={"clean_up::largest_component": True}
    ).predict(path)
    for value in (1, 2):
        pieces, _ = ndimage.label(plain.labels == value, WHOLE)
        largest = np.bincount(pieces.ravel())[1:].max()
        assert (clean.labels == value).sum() == largest
    gone = (plain.labels != clean.labels).sum()
    assert bool(gone) == bool(of_the_rules(clean.notes))
    assert nib.load(path).shape == clean.labels.shape


@pytest.mark.parametrize("minimum", [2.5, {"1": 8, "2": 0.5}])
def test_parts_of_a_voxel_are_refused(minimum):
    with pytest.raises(UsageError, match="minimum_voxels: expected a whole number of voxels, got"):
        CleanLabelsd("pred", minimum_voxels=minimum)
    assert CleanLabelsd("pred", minimum_voxels=8.0).minimum_voxels == {None: 8}
