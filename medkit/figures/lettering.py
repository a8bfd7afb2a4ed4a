"""The sheet that a picture is drawn on, and what is written on it: letters that fit."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "BRIGHT",
    "DIM",
    "MARGIN",
    "SIZE",
    "blank_sheet",
    "fitted",
    "text_width",
    "write_line",
    "write_text",
]

SIZE = (1320, 540)
"""Of the sheet in pixels. Everything is laid out in them, with the origin at the lower left."""
MARGIN = 14
BRIGHT, DIM = "#e8eaed", "#8f979f"
_BACKGROUND = "#0d1014"
_DPI = 110
_FONT = "DejaVu Sans"


def blank_sheet() -> tuple[Figure, Axes]:
    """A figure, and axes in its pixels all over it."""
    figure = Figure(figsize=(SIZE[0] / _DPI, SIZE[1] / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    axes.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    return figure, axes


def write_text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    colour: str = DIM,
    weight: str = "normal",
    align: str = "left",
) -> None:
    """Text at a place, centred on its height."""
    axes.text(
        x,
        y,
        text,
        fontsize=size,
        color=colour,
        fontweight=weight,
        family=_FONT,
        horizontalalignment=align,
        verticalalignment="center",
        parse_math=False,
    )


def write_line(axes: Axes, y: float, text: str, *, size: float, colour: str, weight: str = "normal") -> None:
    """Text over the whole width of the picture, cut where that ends."""
    cut = fitted(text, SIZE[0] - 2 * MARGIN, size=size, weight=weight)
    write_text(axes, MARGIN, y, cut, size=size, colour=colour, weight=weight)


def fitted(text: str, pixels: float, *, size: float, weight: str = "normal") -> str:
    """As much of a text as so many pixels hold."""
    if text_width(text, size=size, weight=weight) <= pixels:
        return text
    lengths = range(len(text))
    fitting = bisect_right(
        lengths, pixels, key=lambda n: text_width(text[:n] + "…", size=size, weight=weight)
    )
    return text[: max(fitting - 1, 0)] + "…"


@lru_cache(maxsize=1024)
def text_width(text: str, *, size: float, weight: str = "normal") -> float:
    """In pixels."""
    font = FontProperties(family=_FONT, size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) * _DPI / 72
