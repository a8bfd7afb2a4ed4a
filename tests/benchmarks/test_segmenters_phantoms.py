"""The cue alone tells the class."""

from __future__ import annotations

import numpy as np
import pytest
from segmenters_phantoms import LARGEST_DISTANCE, LENGTH, TEST, TRAIN, WIDTH, phantom

NUMBERS = range(40)


@pytest.mark.parametrize("across", [False, True])
def test_without_its_cue_an_image_is_that_of_the_other_class(across):
    for number in NUMBERS:
        one, other = (phantom(0, TEST, number, across=across, swapped=swapped) for swapped in (False, True))
        assert {one.kind, other.kind} == {0, 1}
        assert np.array_equal(one.cue, other.cue)
        assert np.array_equal(one.image[~one.cue], other.image[~one.cue])
        assert np.sign(one.image[one.cue].mean()) == 2 * one.kind - 1
        assert one.image[one.cue].mean() == pytest.approx(-other.image[one.cue].mean(), abs=0.1)


def test_the_same_arguments_give_the_same_image_and_others_another():
    first = phantom(0, TRAIN, 3)
    assert np.array_equal(first.image, phantom(0, TRAIN, 3).image)
    for other in (phantom(1, TRAIN, 3), phantom(0, TEST, 3), phantom(0, TRAIN, 4)):
        assert not np.array_equal(first.image, other.image)


def test_every_image_has_all_distances_and_is_laid_out_as_asked():
    for number in NUMBERS:
        along, across = (phantom(0, TEST, number, across=across) for across in (False, True))
        assert along.image.shape == along.distance.shape == (WIDTH, LENGTH)
        assert across.image.shape == across.cue.shape == (LENGTH, WIDTH)
        for each in (along, across):
            assert set(each.distance.flat) >= set(range(LARGEST_DISTANCE + 1))
            assert each.distance[each.cue].max() <= 4


def test_both_classes_and_both_ends_occur():
    found = [phantom(0, TRAIN, number) for number in NUMBERS]
    assert {each.kind for each in found} == {0, 1}
    assert {bool(each.cue[:, : LENGTH // 2].any()) for each in found} == {False, True}
