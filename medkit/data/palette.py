"""The colours that labels have in label tables, DICOM segments and pictures alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.data.side_words import structures

if TYPE_CHECKING:
    from collections.abc import Mapping

    Colour = tuple[float, float, float]
    """Red, green and blue from 0 to 1."""

__all__ = ["DOUBT", "DOUBT_NAME", "label_colours"]

DOUBT, DOUBT_NAME = "#f032e6", "Magenta"
"""Of what pictures show of doubt; no label has it."""

# Trubetskoy, "List of 20 Simple, Distinct Colors" (sashamaps.net, 2017), without greys and what is too dark for an image
# in greys, and without magenta, which pictures have for doubt; three of Kelly's "Twenty-two colors of maximum contrast"
# (Color Engineering 3:26-27, 1965) in their place. Those that are furthest (in OKLab) from all before come first.
_COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (255, 225, 25),
    (128, 0, 0),
    (250, 190, 212),
    (170, 110, 40),
    (255, 250, 200),
    (128, 62, 117),  # Kelly's strong purple
    (166, 189, 215),  # Kelly's very light blue
    (0, 128, 128),
    (170, 255, 195),
    (255, 179, 0),  # Kelly's vivid yellow
    (128, 128, 0),
    (255, 215, 180),
    (220, 190, 255),
    (210, 245, 60),
)


def label_colours(names: Mapping[int, str]) -> dict[int, Colour]:
    """Red, green and blue from 0 to 1 of each label.

    Structures have a list of twenty colours in turn, in the order of their lowest label, so that the same names always
    give the same colours; the two sides of one structure share one (see :func:`medkit.data.side_words.structures`).

    Args:
        names: label, or channel of masks, to name, background left out.
    """
    colours = {}
    for number, labels in enumerate(structures(names)):
        red, green, blue = _COLOURS[number % len(_COLOURS)]
        colours.update(dict.fromkeys(labels, (red / 255, green / 255, blue / 255)))
    return colours
