"""Colours of labels: far apart for structures, the same for two sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from medkit.data.palette import DOUBT, label_colours

TWENTY = {value: f"organ {value}" for value in range(1, 21)}


def oklab(colour):
    """In OKLab (Ottosson, 2020), where distances are those that are seen; black to white is 1."""
    linear = np.where(
        np.array(colour) <= 0.04045, np.array(colour) / 12.92, ((np.array(colour) + 0.055) / 1.055) ** 2.4
    )
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    opponents = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return opponents @ np.cbrt(cones @ linear)


def apart(one, other):
    return float(np.linalg.norm(oklab(one) - oklab(other)))


def test_twenty_structures_are_told_apart():
    colours = label_colours(TWENTY).values()
    assert min(apart(*pair) for pair in itertools.combinations(colours, 2)) > 0.07


def test_few_structures_are_further_apart():
    colours = [label_colours(TWENTY)[value] for value in range(1, 13)]
    assert min(apart(*pair) for pair in itertools.combinations(colours, 2)) > 0.11


def test_no_label_has_the_colour_of_doubt():
    doubt = to_rgb(DOUBT)
    assert min(apart(doubt, colour) for colour in label_colours(TWENTY).values()) > 0.19


def test_the_first_six_are_those_of_always():
    found = [tuple(round(255 * part) for part in label_colours(TWENTY)[value]) for value in range(1, 7)]
    assert found == [
        (230, 25, 75),
        (60, 180, 75),
        (0, 130, 200),
        (245, 130, 48),
        (145, 30, 180),
        (70, 240, 240),
    ]


def test_two_sides_of_a_structure_share_a_colour():
    names = {1: "left kidney", 2: "liver", 3: "spleen", 7: "right kidney", 8: "left lung"}
    colours = label_colours(names)
    assert colours[1] == colours[7]
    assert len({*colours.values()}) == 4
    alone = label_colours({1: "a", 2: "b", 3: "c", 8: "d"})
    assert [colours[value] for value in (1, 2, 3, 8)] == [*alone.values()]


def test_channels_have_the_colours_of_the_labels_that_are_drawn_of_them():
    channels = label_colours({0: "left lung", 1: "heart", 2: "right lung"})
    labels = label_colours({1: "left lung", 2: "heart", 3: "right lung"})
    assert {channel + 1: colour for channel, colour in channels.items()} == labels


@pytest.mark.parametrize("count", [0, 1, 20, 45])
def test_any_number_of_labels_has_colours_whatever_their_order(count):
    names = {value: f"rib {value}" for value in range(count)}
    colours = label_colours(names)
    assert colours.keys() == names.keys()
    assert colours == label_colours(dict(reversed(names.items())))
    assert all(0 <= part <= 1 for colour in colours.values() for part in colour)
    assert len({*colours.values()}) == min(count, 20)
