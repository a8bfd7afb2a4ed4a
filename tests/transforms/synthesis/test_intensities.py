"""Each tissue has the Gaussian that was drawn for it; boundaries and lesions are between two."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.intensities import Intensities
from medkit.transforms.synthesis.sample import Sample
from tests.head_phantom import head
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, assert_recorded, many, rng

SCHEME = brain_scheme()
STEP = Intensities(SCHEME)
TISSUE = SCHEME.tissue_table(torch.device("cpu"))


def drawn(**changed):
    return dataclasses.replace(STEP.draw(rng(1)), **changed)


def test_every_tissue_has_its_mean_and_deviation():
    number = len(SCHEME.tissues)
    parameters = drawn(means=tuple(0.4 + 0.01 * i for i in range(number)), stds=(0.03,) * number, blend=0.0)
    labels = head((64, 72, 68))[0, 0]
    image = STEP.apply(Sample(labels), parameters).image
    assert image.dtype == torch.float32
    for value in labels.unique().tolist():
        voxels = image[labels == value]
        assert abs(voxels.mean() - parameters.means[TISSUE[value]]) < 5 * 0.03 / len(voxels) ** 0.5
        assert voxels.std() == pytest.approx(0.03, abs=0.2 / len(voxels) ** 0.5)


def test_left_and_right_are_of_one_tissue():
    assert TISSUE[17] == TISSUE[53]
    parameters = drawn(stds=(0.0,) * len(SCHEME.tissues), blend=0.0)
    labels = head()[0, 0]
    image = STEP.apply(Sample(labels), parameters).image
    assert image[labels == 17].unique().tolist() == image[labels == 53].unique().tolist()


def test_nothing_is_below_zero():
    parameters = drawn(means=(0.0,) * len(SCHEME.tissues), stds=(1.0,) * len(SCHEME.tissues))
    image = STEP.apply(Sample(head()[0, 0]), parameters).image
    assert image.min() == 0
    assert image.max() > 1


def test_blending_is_between_neighbours_alone():
    labels = torch.zeros(21, 5, 5, dtype=torch.int32)
    labels[10:] = 2
    means = tuple(0.2 + 0.6 * (index == TISSUE[2]) for index in range(len(SCHEME.tissues)))
    parameters = drawn(means=means, stds=(0.0,) * len(means), blend=0.6)
    profile = STEP.apply(Sample(labels), parameters).image[:, 2, 2]
    assert torch.allclose(profile[:7], torch.tensor(0.2))
    assert torch.allclose(profile[13:], torch.tensor(0.8))
    assert (profile.diff() >= -1e-6).all()
    assert 0.21 < profile[9] < 0.5 < profile[10] < 0.79
    assert profile[9] + profile[10] == pytest.approx(1.0)


def test_lesions_have_an_intensity_of_their_own():
    labels = torch.full((9, 9, 9), 2, dtype=torch.int32)
    lesions = torch.zeros(9, 9, 9)
    lesions[4], lesions[5] = 1, 0.25
    means = (0.2,) * len(SCHEME.tissues)
    parameters = drawn(means=means, stds=(0.0,) * len(means), lesion_mean=0.6, lesion_std=0.0)
    image = STEP.apply(Sample(labels, lesions=lesions), parameters).image
    assert image[:, 0, 0].tolist() == pytest.approx([0.2] * 4 + [0.6, 0.3] + [0.2] * 3)


def test_the_seed_alone_makes_the_noise():
    sample = Sample(head()[0, 0])
    one, same, other = (STEP.apply(sample, drawn(seed=seed)).image for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_distributions():
    step = Intensities(SCHEME, mean=(0.1, 0.9), std=(0.02, 0.05), mix_probability=0.0, dark_background=0.4)
    found = many(step, 500)
    background = SCHEME.background_tissue
    for tissue in (3, 9):
        assert_even((one.means[tissue] for one in found), 0.1, 0.9)
        assert_even((one.stds[tissue] for one in found), 0.02, 0.05)
    assert_even((one.lesion_mean for one in found), 0.1, 0.9)
    assert_proportion((one.means[background] == one.stds[background] == 0 for one in found), 0.4)
    assert_proportion((one.blend > 0 for one in found), 0.7)
    assert_even((one.blend for one in found if one.blend), 0.3, 0.8)
    assert_recorded(step, found[0])


def test_mixed_tissues_lie_between_others():
    pure = many(Intensities(SCHEME, mix_probability=0.0), 300)
    mixed = many(Intensities(SCHEME, mix_probability=1.0), 300)
    spread = [torch.tensor([one.means[1:] for one in found]).std() for found in (pure, mixed)]
    # Of a mean of two with even weights the variance is two thirds of one's, on average.
    assert (spread[1] / spread[0]) ** 2 == pytest.approx(2 / 3, abs=0.06)


def test_means_lie_between_a_contrast_and_free_ones():
    """Of two contrasts, each in its turn; in which free ones are what they are without contrasts."""
    contrasts = [dict.fromkeys(SCHEME.tissues, mean) for mean in (0.2, 0.7)]
    free = many(Intensities(SCHEME, mix_probability=0.0, dark_background=0.0), 400)
    bound = Intensities(
        SCHEME, mix_probability=0.0, dark_background=0.0, contrasts=contrasts, freedom=(0.0, 0.0)
    )
    found = many(bound, 400)
    assert {mean for one in found for mean in one.means} == {0.2, 0.7}
    assert_proportion((one.means[5] == 0.2 for one in found), 0.5)
    wholly = dataclasses.asdict(Intensities(SCHEME, contrasts=contrasts, freedom=(1.0, 1.0)).draw(rng(4)))
    assert wholly["means"] == Intensities(SCHEME).draw(rng(4)).means
    between = many(
        Intensities(
            SCHEME, mix_probability=0.0, dark_background=0.0, contrasts=contrasts[:1], freedom=(0.5, 0.5)
        ),
        400,
    )
    assert_even((one.means[5] for one in between), 0.1, 0.6)
    assert_even((one.means[5] for one in free), 0.0, 1.0)
    assert_recorded(bound, found[0])


def test_the_background_is_as_dark_with_a_contrast():
    contrast = dict.fromkeys(SCHEME.tissues, 0.5)
    found = many(Intensities(SCHEME, contrasts=[contrast], dark_background=0.4), 500)
    assert_proportion((one.means[SCHEME.background_tissue] == 0 for one in found), 0.4)


def test_a_contrast_of_other_tissues_is_refused():
    with pytest.raises(
        UsageError, match=r"contrasts: expected a mean for each tissue, .*got them for \['bone'\]"
    ):
        Intensities(SCHEME, contrasts=[{"bone": 0.1}])
    with pytest.raises(UsageError, match="contrasts: expected two numbers in order of at least 0"):
        Intensities(SCHEME, contrasts=[dict.fromkeys(SCHEME.tissues, -0.1)])


def test_a_range_below_zero_is_refused():
    with pytest.raises(UsageError, match="mean: expected two numbers in order of at least 0"):
        Intensities(SCHEME, mean=(-1, 1))
