"""Label maps are whole numbers in few bytes, or are refused with what they are instead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.data.label_map import HIGHEST_LABEL, as_label_map

SIZES = {0: "u1", 255: "u1", 256: "u2", 65535: "u2", 65536: "u4", HIGHEST_LABEL: "u4"}


@pytest.mark.parametrize(("highest", "dtype"), SIZES.items())
@pytest.mark.parametrize("given_as", ["u4", "i8", "f8"])
def test_the_smallest_type_that_holds_the_labels(highest, dtype, given_as):
    labels = np.array([0, highest // 2, highest], given_as)
    found = as_label_map(labels)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, labels)


def test_a_label_that_could_occur_counts():
    assert as_label_map(np.ones(3, np.uint8), 256).dtype == np.uint16
    assert as_label_map(np.full(3, 300), 2).dtype == np.uint16


def test_masks_are_labels():
    np.testing.assert_array_equal(as_label_map(np.array([True, False])), [1, 0])


def test_a_map_that_is_small_already_is_not_copied():
    labels = np.zeros((3, 4, 5), np.uint8)
    assert as_label_map(labels) is labels


@given(st.lists(st.floats(0, HIGHEST_LABEL), min_size=1), st.sampled_from(["f4", "f8"]))
def test_no_fraction_passes(values, dtype):
    array = np.array(values, dtype)
    array[array > HIGHEST_LABEL] = 0  # rounded up
    if (array == np.floor(array)).all():
        np.testing.assert_array_equal(as_label_map(array), array)
        return
    with pytest.raises(ValueError, match=r"^fractions, such as"):
        as_label_map(array)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([-1, 1], "values from -1 to 1"),
        ([0, 2**32], r"values from 0 to 4\.295e\+09"),
        ([0, np.nan], "values from nan to nan"),
        ([-np.inf, np.inf], "values from -inf to inf"),
        ([1, 0.25, 0.5], r"fractions, such as 0\.25"),
    ],
)
def test_what_is_no_label_map(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        as_label_map(np.array(values))
