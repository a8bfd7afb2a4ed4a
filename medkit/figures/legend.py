"""The legend of a picture: a row a structure, with its volumes, sums of them, and a bar of a known length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from matplotlib.patches import Rectangle

from medkit.data.side_words import structures, without_side
from medkit.figures.contours import DASHES, LINE_WIDTH
from medkit.figures.lettering import BRIGHT, fitted, text_width, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from medkit.data.palette import Colour

    Millilitres = float | Literal["unknown"]

__all__ = ["Sum", "draw_legend", "draw_scale_bar"]

_LEGEND = (1042, 484, 258)  # left, top, width
_LEGEND_FLOOR = 106  # above the scale bar
_SCALE_BAR = 94  # height
_ROW, _TIGHT_ROW = 21, 17  # height in the legend: usually, and at least where there are many
_LEGEND_SIZES = (8.0, 7.4, 6.8)  # of its letters


class Sum(NamedTuple):
    """A volume of several labels together, for the legend.

    Args:
        name: what it is called.
        volume_ml: in millilitres, or "unknown".
        remark: for a line of its own below, such as an interval; may be empty.
    """

    name: str
    volume_ml: Millilitres
    remark: str


class _Row(NamedTuple):
    """Of the legend: a patch of ``colour`` where it has one, ``text`` on the left and ``figure`` on the right."""

    text: str
    figure: str = ""
    colour: Colour | None = None


def draw_legend(
    axes: Axes,
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
    volumes_ml: Mapping[int, Millilitres],
    sums: Sequence[Sum],
    called: Sequence[str],
) -> None:
    """Draw it on the right.

    Args:
        axes: of the sheet, in pixels.
        names: label value to name.
        colours: of each label.
        volumes_ml: label value to volume in millilitres, or "unknown".
        sums: of volumes, below.
        called: what labels and reference are called; nothing where there is no reference.
    """
    left, top, _ = _LEGEND
    below = _sum_rows(sums)
    lines = len(below) + (len(called) + 0.5 if called else 0)
    room = top - _LEGEND_FLOOR
    rows = _label_rows(names, colours, volumes_ml, most=max(1, int(room / _TIGHT_ROW - lines))) + below
    height = min(_ROW, room / max(len(rows) + lines - len(below), 1))
    size = _legend_size(rows)
    y = top - height / 2
    for row in rows:
        _draw_row(axes, y, row, size)
        y -= height
    if called:
        y -= height / 2
        for text, dashes in zip(called, ("solid", DASHES), strict=True):
            axes.plot([left - 4, left + 14], [y, y], color=BRIGHT, linewidth=LINE_WIDTH, linestyle=dashes)
            write_text(axes, left + 20, y, text, size=size)
            y -= height


def _label_rows(
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
    volumes_ml: Mapping[int, Millilitres],
    *,
    most: int,
) -> list[_Row]:
    """A row a structure; the largest where there is no room for all, in the order of the labels all the same."""
    found = structures(names)
    if len(found) > most:
        sizes = {value: volume for value, volume in volumes_ml.items() if volume != "unknown"}
        found.sort(key=lambda labels: -max(sizes.get(label, 0.0) for label in labels))
    chosen, left_out = (found, 0) if len(found) <= most else (found[: most - 1], len(found) - most + 1)
    rows = [
        _Row(
            names[labels[0]] if len(labels) == 1 else without_side(names[labels[0]]),
            _volumes(labels, volumes_ml),
            colours[labels[0]],
        )
        for labels in sorted(chosen, key=min)
    ]
    return [*rows, _Row(f"and {left_out} more")] if left_out else rows


def _sum_rows(sums: Sequence[Sum]) -> list[_Row]:
    rows = []
    for one in sums:
        rows.append(_Row(one.name, _millilitres(one.volume_ml)))
        if one.remark:
            rows.append(_Row("", one.remark))
    return rows


def _legend_size(rows: Sequence[_Row]) -> float:
    """The largest size of letters with which no name is cut that the smallest shows whole."""
    showable = [row for row in rows if _fits(row, _LEGEND_SIZES[-1])]
    return next(size for size in _LEGEND_SIZES if all(_fits(row, size) for row in showable))


def _fits(row: _Row, size: float) -> bool:
    return text_width(row.text, size=size) <= _room_for_name(row, size)


def _room_for_name(row: _Row, size: float) -> float:
    figure = text_width(row.figure, size=size) + 6 if row.figure else 0
    return _LEGEND[2] - 20 - figure


def _draw_row(axes: Axes, y: float, row: _Row, size: float) -> None:
    left, _, width = _LEGEND
    if row.colour:
        patch = Rectangle(
            (left, y - 5), 11, 10, facecolor=(*row.colour, 0.35), edgecolor=row.colour, linewidth=1
        )
        axes.add_artist(patch)
    write_text(axes, left + width, y, row.figure, size=size, align="right")
    name = fitted(row.text, _room_for_name(row, size), size=size)
    write_text(axes, left + 20, y, name, size=size, colour=BRIGHT)


def _volumes(labels: Sequence[int], volumes_ml: Mapping[int, Millilitres]) -> str:
    """Of one label, or of the left and the right one."""
    volumes = [volumes_ml[label] for label in labels if label in volumes_ml]
    known = [_number(volume) for volume in volumes if volume != "unknown"]
    if len(labels) == 1:
        return _millilitres(volumes[0]) if volumes else ""
    if len(known) < len(labels):
        return "L, R unknown" if volumes else "L, R"
    left, right = known
    return f"L {left}, R {right} ml"


def _millilitres(volume: Millilitres) -> str:
    return f"{_number(volume)} ml" if volume != "unknown" else volume


def _number(volume: float) -> str:
    decimals = 2 if volume < 10 else 1 if volume < 100 else 0
    return f"{volume:.{decimals}f}"


def draw_scale_bar(axes: Axes, pixels_per_unit: float, unit: str) -> None:
    """Draw a bar of a round length below the legend."""
    left, _, width = _LEGEND
    longest = width / pixels_per_unit
    decade = 10.0 ** np.floor(np.log10(longest))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= longest)
    right = left + length * pixels_per_unit
    y = _SCALE_BAR
    axes.plot([left, left, right, right], [y + 4, y, y, y + 4], color=BRIGHT, linewidth=1.2)
    write_text(axes, left, y - 14, f"{length:g} {unit}", size=8, colour=BRIGHT)
