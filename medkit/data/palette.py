"""The colours that labels have in label tables and in pictures alike."""

from __future__ import annotations

__all__ = ["label_colour"]

_COLOURS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240))


def label_colour(value: int) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1 of a label value; six colours in turn, from label 1 on."""
    red, green, blue = _COLOURS[(value - 1) % len(_COLOURS)]
    return red / 255, green / 255, blue / 255
