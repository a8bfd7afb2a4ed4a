"""Strides of each axis, as they are written and as they multiply."""

from __future__ import annotations

import pytest

from medkit.networks.strides import between_stages, of_each_axis, total


def test_one_number_is_for_all_axes():
    assert of_each_axis([2, [1, 2, 2]], 3) == [(2, 2, 2), (1, 2, 2)]


def test_they_multiply_along_each_axis():
    assert total([(2, 2, 2), (1, 2, 2), (2, 1, 3)]) == (4, 4, 12)


def test_one_between_every_two_stages():
    assert between_stages((4, 8, 8), (2, 2), 2) == [(2, 2), (2, 2)]
    with pytest.raises(ValueError, match="a stride between every two stages, got 3 stages and 3 strides"):
        between_stages((4, 8, 8), (2, 2, 2), 2)


@pytest.mark.parametrize(
    ("filters", "strides", "message"),
    [
        ((4, 8), (0,), r"strides of 1 or more for each of 3 axes, got \(0, 0, 0\)"),
        ((4, 8), ((2, 2),), r"strides of 1 or more for each of 3 axes, got \(2, 2\)"),
        ((0, 8), (2,), r"two stages or more, of 1 channel or more each, got \(0, 8\)"),
        ((4,), (), r"two stages or more, of 1 channel or more each, got \(4,\)"),
    ],
)
def test_what_is_refused(filters, strides, message):
    with pytest.raises(ValueError, match=message):
        between_stages(filters, strides, 3)
