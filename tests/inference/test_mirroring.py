"""Mirror images: which labels change places, about which axis, and that the mean of them is the same mirrored."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import medkit
from medkit.errors import CaseError, UsageError
from medkit.inference.mirroring import Mirroring, lateral_pairs, parse_axes
from tests.inference.lateral import NAMES, Fixed, flipped, turned, with_masks, with_names, with_steps
from tests.phantoms import hippocampus

AFFINES = [
    nib.affines.from_matvec(np.eye(3)[:, order] * signs, [12.5, -7, 30])
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1])
    for signs in ([1, 1, 1], [-1, -1, 1], [1, -1, -1])
]
SWAP = np.array([0, 2, 1])


@pytest.fixture(scope="module")
def lateral_root(tiny_root, tmp_path_factory):
    return with_names(tiny_root, tmp_path_factory.mktemp("lateral"))


@pytest.fixture(scope="module")
def mirrored(lateral_root):
    return medkit.load(lateral_root, flips="LR")


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["background", "left kidney", "right kidney", "liver"], ((1, 2),)),
        (["Kidney, Right", "Spleen", "KIDNEY LEFT"], ((0, 2),)),
        (["hip_l", "femur_l", "femur_r", "hip_r"], ((0, 3), (1, 2))),
        (["ctx-lh-insula", "ctx-rh-insula", "Left-Amygdala", "Right-Amygdala"], ((0, 1), (2, 3))),
        (["lung_upper_left", "lung_upper_right", "lung_lower_left", "lung_lower_right"], ((0, 1), (2, 3))),
        (["background", "anterior hippocampus", "posterior hippocampus"], ()),
        (["kidney lhs", "kidney rhs", "liver", "rectum"], ((0, 1),)),
        (["vertebrae L1", "vertebrae L2", "lesion", "L"], ()),
    ],
)
def test_pairs_are_found_by_name(names, pairs):
    assert lateral_pairs(dict(enumerate(names)), None, "it") == pairs


@pytest.mark.parametrize(
    "names",
    [
        ["left kidney"],
        ["left kidney", "kidney right"],
        ["left kidney", "right kidney", "Right Kidney"],
        ["left right line", "right left line"],
        ["leftkidney", "rightkidney"],
        ["left", "right"],
        ["hip l"],
        ["background", "LH", "RH"],
        ["background", "L", "R"],
        ["lt", "rt"],
        ["kidneyL", "kidneyR"],
        ["lKidney", "rKidney"],
        ["LKidney", "RKidney"],
        ["ThalamusLH", "ThalamusRH"],
        ["cortex kidneyL", "cortex kidneyR"],
        ["kidneyL", "kidneyRt"],
        ["left kidney", "right kidney", "kidneyR"],
    ],
)
def test_names_that_leave_the_pairs_open_are_refused(names):
    with pytest.raises(UsageError, match=r"it: expected .*, got .*lateral_pairs"):
        lateral_pairs(dict(enumerate(names)), None, "it")


def test_pairs_that_the_metadata_state_are_taken():
    names = {0: "links", 1: "mitte", 2: "rechts"}
    assert lateral_pairs(names, [["links", "rechts"]], "it") == ((0, 2),)
    assert lateral_pairs({0: "left ventricle", 1: "right ventricle"}, [], "it") == ()
    assert lateral_pairs({}, [], "it") == ()


@pytest.mark.parametrize("stated", ["links", [["links"]], [["links", "x"]], [["links", "links"]], {"a": "b"}])
def test_pairs_of_no_names_are_refused(stated):
    with pytest.raises(UsageError, match="a list of pairs of names out of links, rechts"):
        lateral_pairs({0: "links", 1: "rechts"}, stated, "it")


def test_unnamed_channels_are_refused():
    with pytest.raises(UsageError, match="expected names of its channels"):
        lateral_pairs({}, None, "it")


@pytest.mark.parametrize(("flips", "axes"), [("", ()), (" lr", ("LR",)), (["SI", "AP"], ("AP", "SI"))])
def test_axes_by_name(flips, axes):
    assert parse_axes(flips) == axes


@pytest.mark.parametrize("flips", ["X", "LR AP", "LR,0", ["left"]])
def test_other_axes_are_refused(flips):
    with pytest.raises(UsageError, match=r"expected axes of the body, LR, AP, SI, .* got"):
        parse_axes(flips)


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("axes", [(), ("LR",), ("LR", "SI"), ("LR", "AP", "SI")])
def test_mirrors_are_all_combinations_and_undone_in_parts(affine, axes):
    image = torch.arange(2 * 5 * 4 * 3.0).reshape(1, 2, 5, 4, 3)
    mirroring = Mirroring(axes)
    seen = set()
    for mirror in mirroring.mirrors(affine):
        copy = mirror.apply(image)
        seen.add(tuple(copy.flatten().tolist()))
        parts = [mirror.undo(copy, start, min(start + 2, 5)) for start in (0, 2, 4)]
        torch.testing.assert_close(torch.cat(parts, 2), image, rtol=0, atol=0)
    assert len(seen) == len(mirroring) == 2 ** len(axes)


def test_left_and_right_are_turned_round_whatever_axis_they_lie_on():
    for affine in AFFINES:
        image = np.arange(4 * 4 * 4).reshape(4, 4, 4)
        _, mirror = Mirroring(("LR",)).mirrors(affine)
        copy = mirror.apply(torch.from_numpy(image)[None, None])
        np.testing.assert_array_equal(copy[0, 0], flipped(image, affine))


def test_known_network(lateral_root):
    """Bright is left, darker is right, and the network believes in the left a little more than it should."""
    bundle = medkit.load(lateral_root, flips="LR")
    chances = torch.tensor([0.0, 0.75, 0.25])

    def left(image):
        return chances.log().clamp(min=-60).view(1, 3, 1, 1, 1).repeat(len(image), 1, *image.shape[2:])

    bundle.network = Fixed(left)
    found = bundle.predict(np.random.default_rng(0).random((9, 8, 7)), np.eye(4), probabilities=True)
    np.testing.assert_allclose(found.probabilities[1], 0.5, atol=1e-6)
    np.testing.assert_allclose(found.probabilities[2], 0.5, atol=1e-6)


@settings(max_examples=20)
@given(
    affine=st.sampled_from(AFFINES),
    shape=st.tuples(*[st.integers(5, 24)] * 3),
    seed=st.integers(0, 99),
)
def test_mirrored_array_gives_mirrored_labels_of_the_other_side(mirrored, affine, shape, seed):
    image = np.random.default_rng(seed).random(shape)
    found = mirrored.predict(image, affine, probabilities=True)
    other = mirrored.predict(flipped(image, affine), affine, probabilities=True)
    for channel in range(3):
        expected = flipped(found.probabilities[SWAP[channel]], affine)
        np.testing.assert_allclose(other.probabilities[channel], expected, atol=1e-4)
    first, second = np.sort(other.probabilities, axis=0)[[-1, -2]]
    clear = first - second > 1e-3
    np.testing.assert_array_equal(other.labels[clear], SWAP[flipped(found.labels, affine)][clear])


def test_it_is_the_flips_that_make_it_so(lateral_root):
    plain = medkit.load(lateral_root)
    image, affine = np.random.default_rng(0).random((12, 13, 14)), AFFINES[4]
    other = plain.predict(flipped(image, affine), affine).labels
    assert (other == SWAP[flipped(plain.predict(image, affine).labels, affine)]).mean() < 0.9


@settings(max_examples=10)
@given(affine=st.sampled_from(AFFINES), axis=st.integers(0, 2), seed=st.integers(0, 99))
def test_body_that_is_stored_the_other_way_has_its_labels_in_the_same_place(mirrored, affine, axis, seed):
    image = np.random.default_rng(seed).random((11, 17, 9))
    found = mirrored.predict(image, affine).labels
    assert len(np.unique(found)) > 1
    other = mirrored.predict(*turned(image, affine, axis)).labels
    assert (turned(other, affine, axis)[0] == found).mean() > 0.999


@pytest.mark.parametrize("flips", ["AP", "SI", "LR,AP", "LR,AP,SI"])
def test_other_axes_and_several(lateral_root, flips):
    bundle = medkit.load(lateral_root, flips=flips)
    image, affine = np.random.default_rng(0).random((12, 20, 14)), AFFINES[7]
    found = bundle.predict(image, affine, probabilities=True).probabilities
    for axis in flips.split(","):
        other = bundle.predict(flipped(image, affine, (axis,)), affine, probabilities=True).probabilities
        order = SWAP if axis == "LR" else range(3)
        for channel in range(3):
            expected = flipped(found[order[channel]], affine, (axis,))
            np.testing.assert_allclose(other[channel], expected, atol=1e-4)


def test_overlapping_masks(lateral_root, tmp_path):
    root = with_masks(with_names(lateral_root, tmp_path, {"0": "left hand", "1": "right hand", "2": "skin"}))
    bundle = medkit.load(root, flips="LR")
    image, affine = np.random.default_rng(0).random((12, 13, 14)), AFFINES[4]
    found = bundle.predict(image, affine, probabilities=True)
    other = bundle.predict(flipped(image, affine), affine, probabilities=True)
    assert found.labels.ndim == 4
    for channel, counterpart in enumerate((1, 0, 2)):
        expected = flipped(found.probabilities[counterpart], affine)
        np.testing.assert_allclose(other.probabilities[channel], expected, atol=1e-5)
    plain = medkit.load(root).predict(image, affine, probabilities=True).probabilities
    assert np.abs(plain - found.probabilities).max() > 0.01


def test_certainty_stays_finite(lateral_root):
    bundle = medkit.load(lateral_root, flips="LR,AP")
    bundle.network = Fixed(lambda image: torch.cat([image + 500, image - 500, image], 1))
    soft = bundle.predict(hippocampus()[0], np.eye(4), probabilities=True).probabilities
    np.testing.assert_allclose(soft[0], 1, atol=1e-6)


def test_output_that_is_not_finite_is_still_refused(lateral_root):
    bundle = medkit.load(lateral_root, flips="LR")
    bundle.network = Fixed(lambda image: torch.cat([image * torch.nan] * 3, 1))
    with pytest.raises(CaseError, match="got NaN or infinity"):
        bundle.predict(hippocampus()[0], np.eye(4))


def test_output_of_several_tensors_is_the_cases_failure(lateral_root):
    bundle = medkit.load(lateral_root, flips="LR")
    bundle.inferer = lambda image, network: [image, image]
    with pytest.raises(CaseError, match="expected one tensor from the inferer, got list"):
        bundle.predict(hippocampus()[0], np.eye(4))


@pytest.mark.parametrize("activation", [{}, {"softmax": True, "sigmoid": True}, {"other": "$torch.tanh"}])
def test_bundle_without_an_activation_is_refused(lateral_root, tmp_path, activation):
    root = with_steps(with_names(lateral_root, tmp_path), activation, {"argmax": True})
    with pytest.raises(
        UsageError,
        match=r"expected NativeLabelsd with softmax, or Activationsd .* got softmax=",
    ):
        medkit.load(root, flips="LR")


def test_bundle_of_one_side_is_refused_and_told_what_to_write(tiny_root, tmp_path):
    names = {**NAMES, "2": "aorta"}
    with pytest.raises(UsageError, match="one 'left thing' and one label that is called 'right thing'"):
        medkit.load(with_names(tiny_root, tmp_path / "a", names), flips="LR")
    assert medkit.load(with_names(tiny_root, tmp_path / "b", names), flips="AP").members
    stated = with_names(tiny_root, tmp_path / "c", names, lateral_pairs=[["left thing", "aorta"]])
    assert medkit.load(stated, flips="LR").provenance["flips"] == {
        "axes": ["LR"],
        "swapped": [["left thing", "aorta"]],
    }


def test_real_hippocampus(real_data):
    """No label of it has a side: a mirrored crop has mirrored labels, and a crop stored otherwise the same."""
    path = sorted((real_data / "hippocampus" / "images").glob("*.nii.gz"))[0]
    image = nib.load(path)
    array, affine = np.asanyarray(image.dataobj), image.affine
    bundle = medkit.load("hippocampus_segmentation_unet", flips="LR")
    assert bundle.provenance["flips"] == {"axes": ["LR"], "swapped": []}
    found = bundle.predict(array, affine).labels
    assert set(np.unique(found)) == {0, 1, 2}
    mirrored = bundle.predict(flipped(array, affine), affine).labels
    assert (mirrored != flipped(found, affine)).sum() <= 3, "but for ties"
    other = bundle.predict(*turned(array, affine, 0)).labels
    assert (turned(other, affine, 0)[0] != found).sum() <= 3
    truth = np.asanyarray(nib.load(real_data / "hippocampus" / "labels" / path.name).dataobj)
    dice = [
        2 * ((found == k) & (truth == k)).sum() / ((found == k).sum() + (truth == k).sum()) for k in (1, 2)
    ]
    assert min(dice) > 0.8
