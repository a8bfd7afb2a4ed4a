"""Label maps as contours over the image that they belong to."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from contourpy import contour_generator
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.textpath import text_to_path
from scipy.ndimage import gaussian_filter, zoom

from medkit.data.palette import label_colours
from medkit.data.side_words import structures, without_side
from medkit.data.writing import replacing
from medkit.errors import CaseError
from medkit.figures.planes import VIEWS, Pose, View, focus, most_telling, plane

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from medkit.data.volume import Volume

    Colour = tuple[float, float, float]
    Millilitres = float | Literal["unknown"]

__all__ = ["Sum", "draw_overlay", "overlay_pixels"]

# Everything below is laid out in pixels, with the origin at the lower left.
_SIZE = (1320, 540)
_DPI = 110
_PANELS = (34, 88, 978, 392)  # left, bottom, width, height of the room for the three planes
_GAP = 50  # between panels; the letters of both neighbours stand in it
_LEGEND = (1042, 484, 258)  # left, top, width
_LEGEND_FLOOR = 106  # above the scale bar
_ROW, _TIGHT_ROW = 21, 17  # height in the legend: usually, and at least where there are many
_LEGEND_SIZES = (8.0, 7.4, 6.8)  # of its letters
_MARGIN = 14
_NOTES = (15, 14, 3)  # height of the last line, distance between lines, most lines
_FONT = "DejaVu Sans"

_BACKGROUND = "#0d1014"
_BRIGHT, _DIM, _AMBER = "#e8eaed", "#8f979f", "#e3b04b"
_FILL_OPACITY = 0.1
_DOUBT, _DOUBT_NAME = "#f032e6", "Magenta"  # no label has it
_LINE_WIDTH = 1.3
_TRUTH_TINT = 0.65  # share of white in the colour of a dashed reference line
_DASHES = (0, (3.2, 2.0))

_WINDOW_PERCENTILES = (0.5, 99.5)
_CT_MINIMUM = (-3100.0, -500.0)  # air or padding in Hounsfield units; phase images go further down
_CT_WINDOW = (-160.0, 240.0)  # soft tissue, level 40 and width 400
_OBLIQUE_DEGREES = 2.0

_SMOOTHING_VOXELS = 0.8
_MARGIN_VOXELS = 3  # as far as the smoothing reaches
_KEEP = 0.1  # by how much a voxel stays on its own side of the contour, however small a speck it is
_CURVE_PIXELS, _FINEST = 2, 4  # contours turn every two pixels, and no finer than at a fourth of a voxel


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


@dataclass(frozen=True)
class _Panel:
    """One plane in its place: ``left``, ``bottom`` in pixels, ``voxel`` width and height in pixels."""

    view: View
    index: int
    left: float
    bottom: float
    voxel: tuple[float, float]
    shape: tuple[int, int]

    @property
    def width(self) -> float:
        return self.shape[1] * self.voxel[0]

    @property
    def height(self) -> float:
        return self.shape[0] * self.voxel[1]


def draw_overlay(
    volume: Volume,
    labels: NDArray[Any],
    names: Mapping[int, str],
    path: Path,
    *,
    title: str,
    volumes_ml: Mapping[int, Millilitres] | None = None,
    sums: Sequence[Sum] = (),
    notes: Sequence[str] = (),
    truth: NDArray[Any] | None = None,
    doubt: NDArray[Any] | None = None,
    about: NDArray[np.bool_] | None = None,
    called: tuple[str, str] = ("prediction", "reference"),
) -> None:
    """Draw labels as contours over three planes of an image, into one PNG of 1320 x 540 pixels.

    The planes go through the labels' centre of mass (the reference's when there are no labels, the image's
    centre when there is neither; see :func:`medkit.figures.planes.focus`), or lie where more structures show (see
    :func:`medkit.figures.planes.most_telling`). They are shown in radiological convention, at one scale in millimetres.
    Voxels are permuted and flipped but never resampled, so that the planes of an oblique volume are its own, which the
    caption says.

    The two sides of one structure have one colour and one row of the legend, with a volume each. Where there are too
    many rows the largest structures are named. Remarks on image and result stand below, as many as three lines hold.

    Contours are smoothed by less than a voxel: every voxel centre stays on its side of them, so that a single
    stray voxel is drawn too. The grey window spans the 0.5th to the 99.5th percentile of the three planes, or
    -160 to 240 HU for an image whose minimum is that of a CT (-3100 to -500). The caption states it.

    Where the voxel size is unknown voxels are drawn as the grid's affine has them, and what is said in millimetres
    otherwise, positions and scale, is said in voxels. Where the side is unknown the letters are question marks, and
    no convention is claimed.

    Args:
        volume: the image; of several channels, the first is shown.
        labels: ``(I, J, K)`` integers on the grid of ``volume``.
        names: label value to name; only these are drawn, and background (0) never is.
        path: PNG to write, whole or not at all.
        title: one line above the planes.
        volumes_ml: label value to volume in millilitres, or "unknown", for the legend.
        sums: of volumes, for the legend.
        notes: remarks on the labels, drawn after ``volume.notes``, each once.
        truth: ``(I, J, K)`` reference labels, drawn dashed.
        doubt: ``(I, J, K)`` from 0 to 1, such as an entropy, laid over the image: the higher, the less of the
            image shows through.
        about: ``(I, J, K)`` what the planes go through, in the place of the labels.
        called: what the legend calls ``labels`` and ``truth``.

    Raises:
        CaseError: ``grids-differ`` when an array does not have the shape of the volume's grid.
    """
    figure = _composed(
        volume,
        labels,
        names,
        title,
        volumes_ml or {},
        sums=sums,
        notes=notes,
        truth=truth,
        doubt=doubt,
        about=about,
        called=called,
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", pil_kwargs={"compress_level": 3})


def overlay_pixels(
    volume: Volume,
    labels: NDArray[Any],
    names: Mapping[int, str],
    *,
    title: str,
    volumes_ml: Mapping[int, Millilitres],
) -> NDArray[np.uint8]:
    """The pixels of what :func:`draw_overlay` draws of the same, ``(540, 1320, 3)``: red, green, blue.

    Raises:
        CaseError: ``grids-differ`` when the labels do not have the shape of the volume's grid.
    """
    canvas: Any = _composed(volume, labels, names, title, volumes_ml).canvas
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _composed(
    volume: Volume,
    labels: NDArray[Any],
    names: Mapping[int, str],
    title: str,
    volumes_ml: Mapping[int, Millilitres],
    *,
    sums: Sequence[Sum] = (),
    notes: Sequence[str] = (),
    truth: NDArray[Any] | None = None,
    doubt: NDArray[Any] | None = None,
    about: NDArray[np.bool_] | None = None,
    called: Sequence[str] = (),
) -> Figure:
    """The figure of :func:`draw_overlay`, which has what these are."""
    _check_shapes(volume, labels=labels, truth=truth, doubt=doubt, about=about)
    pose = Pose(volume.grid.affine)
    image = pose.apply(volume.array[..., 0] if volume.array.ndim == 4 else volume.array)
    shown = {value: names[value] for value in sorted(names) if value != 0}
    colours = label_colours(shown)
    drawn = [pose.apply(array) for array in (labels, truth) if array is not None]
    centre = _centre(drawn, shown) if about is None else focus(pose.apply(about))
    remarks = _note_lines([*dict.fromkeys((*volume.notes, *notes))])
    panels = _arrange(image.shape, pose.spacing, centre, raised=_raised(remarks))
    pictures = [plane(image, panel.view, panel.index) for panel in panels]
    window = _grey_window(pictures)

    figure, axes = _blank()
    for panel, picture in zip(panels, pictures, strict=True):
        _draw_image(axes, panel, picture, window)
        if doubt is not None:
            _draw_doubt(axes, panel, plane(pose.apply(doubt), panel.view, panel.index))
        for array, dashed in zip(drawn, (False, True), strict=False):
            _draw_contours(axes, panel, plane(array, panel.view, panel.index), colours, dashed=dashed)
        _draw_letters(axes, panel, known=volume.grid.side_known)
    world = volume.grid.affine @ (*pose.index_in_array(centre, image.shape), 1)
    placed = volume.grid.size_known and volume.grid.side_known
    _draw_positions(axes, panels, world if placed else None)
    _write_line(axes, _SIZE[1] - 24, title, size=11, colour=_BRIGHT, weight="bold")
    _draw_caption(axes, volume, pose, window, remarks, doubt=doubt is not None)
    _draw_legend(axes, shown, colours, volumes_ml, sums, called if truth is not None else ())
    _draw_scale_bar(axes, panels[0].voxel[0] / pose.spacing[0], "mm" if volume.grid.size_known else "voxels")
    return figure


def _check_shapes(volume: Volume, **arrays: NDArray[Any] | None) -> None:
    for role, array in arrays.items():
        if array is not None and array.shape != tuple(volume.grid.shape):
            raise CaseError(
                "grids-differ",
                f"{volume.name}: expected {role} of the image's shape {tuple(volume.grid.shape)}, got "
                f"{array.shape}; resample them onto the image first",
            )


def _centre(drawn: Sequence[NDArray[Any]], names: Mapping[int, str]) -> tuple[int, int, int]:
    masks = [np.isin(array, list(names)) for array in drawn]
    first = next((number for number, mask in enumerate(masks) if mask.any()), 0)
    return most_telling(drawn[first], structures(names), focus(masks[first]))


def _arrange(
    shape: tuple[int, ...], spacing: NDArray[np.float64], centre: tuple[int, int, int], *, raised: int
) -> list[_Panel]:
    """Put the three planes side by side at the largest scale at which all fit, ``raised`` pixels off their place."""
    left, bottom, room, height = _PANELS
    bottom, height = bottom + raised, height - raised
    sizes = [[shape[axis] * spacing[axis] for axis in view.in_plane] for view in VIEWS]
    total, tallest = sum(size[0] for size in sizes), max(size[1] for size in sizes)
    scale = min((room - 2 * _GAP) / total, height / tallest)
    gap = (room - scale * total - 2 * _GAP) / 4 + _GAP
    x = left + gap - _GAP
    panels = []
    for view, size in zip(VIEWS, sizes, strict=True):
        across, up = view.in_plane
        y = bottom + (height - scale * size[1]) / 2
        voxel = (float(scale * spacing[across]), float(scale * spacing[up]))
        panels.append(_Panel(view, centre[view.axis], x, y, voxel, (shape[up], shape[across])))
        x += scale * size[0] + gap
    return panels


def _grey_window(pictures: Sequence[NDArray[Any]]) -> tuple[float, float]:
    values = np.concatenate([picture.ravel() for picture in pictures])
    if _CT_MINIMUM[0] <= values.min() < _CT_MINIMUM[1]:
        return _CT_WINDOW
    low, high = np.percentile(values, _WINDOW_PERCENTILES)
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high if high > low else low + 1)


def _blank() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_SIZE[0] / _DPI, _SIZE[1] / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    axes.set(xlim=(0, _SIZE[0]), ylim=(0, _SIZE[1]))
    return figure, axes


def _draw_image(axes: Axes, panel: _Panel, picture: NDArray[Any], window: tuple[float, float]) -> None:
    extent = (panel.left, panel.left + panel.width, panel.bottom, panel.bottom + panel.height)
    enlarged = min(panel.voxel) >= 1
    axes.imshow(
        picture.astype(np.float32),
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        extent=extent,
        aspect="auto",
        interpolation="bicubic" if enlarged else "hanning",
    )


def _draw_doubt(axes: Axes, panel: _Panel, doubt: NDArray[Any]) -> None:
    extent = (panel.left, panel.left + panel.width, panel.bottom, panel.bottom + panel.height)
    veil = np.empty((*doubt.shape, 4), np.float32)
    veil[..., :3] = to_rgb(_DOUBT)
    veil[..., 3] = np.clip(doubt, 0, 1)
    axes.imshow(veil, extent=extent, aspect="auto", interpolation="bilinear")


def _draw_contours(
    axes: Axes, panel: _Panel, labels: NDArray[Any], colours: Mapping[int, Colour], *, dashed: bool
) -> None:
    """The largest first: where two labels touch, the smaller one's line lies on top, on either side of the body."""
    sizes = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    shown = [value for value in colours if value in sizes]
    both: Counter[Colour] = Counter()  # the two of a pair have one colour
    for value in shown:
        both[colours[value]] += sizes[value]
    for value in sorted(shown, key=lambda value: both[colours[value]], reverse=True):
        colour = colours[value]
        outline = _outline(labels == value, panel)
        if dashed:
            style: dict[str, Any] = {"fill": False, "edgecolor": _tint(colour), "linestyle": _DASHES}
        else:
            style = {"facecolor": (*colour, _FILL_OPACITY), "edgecolor": colour}
        patch = PathPatch(outline, linewidth=_LINE_WIDTH, joinstyle="round", capstyle="butt", **style)
        axes.add_artist(patch)  # add_patch would measure every curve for limits that are set already


def _outline(mask: NDArray[np.bool_], panel: _Panel) -> Outline:
    """Smooth closed contours of a mask, in pixels of the figure."""
    rows, columns = (slice(found.min(), found.max() + 1) for found in np.nonzero(mask))
    inside = np.pad(mask[rows, columns], _MARGIN_VOXELS)
    smooth = gaussian_filter(inside.astype(np.float32), _SMOOTHING_VOXELS)
    field = np.where(inside, np.maximum(smooth, 0.5 + _KEEP), np.minimum(smooth, 0.5 - _KEEP))
    fine = int(np.clip(min(panel.voxel) / _CURVE_PIXELS, 1, _FINEST))
    if fine > 1:
        field = zoom(field, [((length - 1) * fine + 1) / length for length in field.shape], order=3)
    left = panel.left + (columns.start - _MARGIN_VOXELS + 0.5) * panel.voxel[0]
    top = panel.bottom + panel.height - (rows.start - _MARGIN_VOXELS + 0.5) * panel.voxel[1]
    lines: Any = contour_generator(z=field).lines(0.5)
    step = np.array([panel.voxel[0], -panel.voxel[1]]) / fine
    return Outline.make_compound_path(*(Outline((left, top) + line * step, closed=True) for line in lines))


def _tint(colour: Colour) -> Colour:
    red, green, blue = (channel + (1 - channel) * _TRUTH_TINT for channel in colour)
    return red, green, blue


def _write_text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    colour: str = _DIM,
    weight: str = "normal",
    align: str = "left",
) -> None:
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


def _draw_letters(axes: Axes, panel: _Panel, *, known: bool) -> None:
    middle = (panel.left + panel.width / 2, panel.bottom + panel.height / 2)
    places = (
        (panel.left - 12, middle[1]),
        (panel.left + panel.width + 12, middle[1]),
        (middle[0], panel.bottom + panel.height + 12),
        (middle[0], panel.bottom - 13),
    )
    for letter, (x, y) in zip(panel.view.letters, places, strict=True):
        _write_text(
            axes, x, y, letter if known else "?", size=9, colour=_BRIGHT, weight="bold", align="center"
        )


def _draw_positions(axes: Axes, panels: Sequence[_Panel], world: NDArray[np.float64] | None) -> None:
    """Name of each plane and where it lies, in millimetres of the image's own space, or its number."""
    for panel in panels:
        if world is None:
            place = f"plane {panel.index + 1}"
        else:
            side = ("LR", "PA", "IS")[panel.view.axis][int(world[panel.view.axis] >= 0)]
            place = f"{side} {abs(world[panel.view.axis]):.0f} mm"
        text = f"{panel.view.name}, {place}"
        _write_text(axes, panel.left + panel.width / 2, panel.bottom - 33, text, size=7.5, align="center")


def _draw_caption(
    axes: Axes,
    volume: Volume,
    pose: Pose,
    window: tuple[float, float],
    remarks: Sequence[str],
    *,
    doubt: bool,
) -> None:
    digits = ".0f" if window[1] - window[0] >= 20 else ".3g"
    text = f"Grey window {window[0]:{digits}} to {window[1]:{digits}}."
    if volume.grid.side_known:
        text = f"Radiological convention: the patient's right is on the viewer's left.  {text}"
    if pose.tilt_degrees > _OBLIQUE_DEGREES:
        text += f"  Planes follow the voxel axes, up to {pose.tilt_degrees:.0f}° off the body axes."
    if doubt:
        text += f"  {_DOUBT_NAME}: where the labels are doubtful (entropy)."
    _write_line(axes, 33 + _raised(remarks), text, size=7.5, colour=_DIM)
    last, distance, _ = _NOTES
    for number, line in enumerate(reversed(remarks)):
        _write_line(axes, last + number * distance, line, size=7.5, colour=_AMBER)


def _raised(remarks: Sequence[str]) -> int:
    """By how many pixels all else makes room for lines of remarks."""
    _, distance, _ = _NOTES
    return max(len(remarks) - 1, 0) * distance


def _note_lines(notes: Sequence[str]) -> list[str]:
    """Notes one after the other, as many as fit, and how many more there are."""
    most = _NOTES[2]
    for kept in range(len(notes), 0, -1):
        more = _more(len(notes) - kept)
        lines = _wrapped("; ".join(notes[:kept]) + more)
        if len(lines) <= most:
            return lines
    if not notes:
        return []
    more = _more(len(notes) - 1) or " (whole in the record)"
    *first, last = _wrapped(notes[0])[:most]
    room = _SIZE[0] - 2 * _MARGIN - _text_width(more, size=7.5)
    return [*first, _fitted(last + "…", room, size=7.5) + more]


def _more(number: int) -> str:
    return f"; and {number} more in the record" if number else ""


def _wrapped(text: str) -> list[str]:
    """Lines of whole words, as wide as the picture; no more than one that is too many for notes."""
    lines: list[str] = []
    room = 0.0
    for word in text.split():
        width = _text_width(f"n {word}", size=7.5) - _text_width("n", size=7.5)  # with the space before it
        if width <= room:
            lines[-1] += f" {word}"
            room -= width
        elif len(lines) > _NOTES[2]:
            break
        else:
            lines.append(word)
            room = _SIZE[0] - 2 * _MARGIN - width
    return lines


def _draw_legend(
    axes: Axes,
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
    volumes_ml: Mapping[int, Millilitres],
    sums: Sequence[Sum],
    called: Sequence[str],
) -> None:
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
        for text, dashes in zip(called, ("solid", _DASHES), strict=True):
            axes.plot([left - 4, left + 14], [y, y], color=_BRIGHT, linewidth=_LINE_WIDTH, linestyle=dashes)
            _write_text(axes, left + 20, y, text, size=size)
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
    return _text_width(row.text, size=size) <= _room_for_name(row, size)


def _room_for_name(row: _Row, size: float) -> float:
    figure = _text_width(row.figure, size=size) + 6 if row.figure else 0
    return _LEGEND[2] - 20 - figure


def _draw_row(axes: Axes, y: float, row: _Row, size: float) -> None:
    left, _, width = _LEGEND
    if row.colour:
        patch = Rectangle(
            (left, y - 5), 11, 10, facecolor=(*row.colour, 0.35), edgecolor=row.colour, linewidth=1
        )
        axes.add_artist(patch)
    _write_text(axes, left + width, y, row.figure, size=size, align="right")
    name = _fitted(row.text, _room_for_name(row, size), size=size)
    _write_text(axes, left + 20, y, name, size=size, colour=_BRIGHT)


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


def _write_line(axes: Axes, y: float, text: str, *, size: float, colour: str, weight: str = "normal") -> None:
    """Text over the whole width of the picture, cut where that ends."""
    fitted = _fitted(text, _SIZE[0] - 2 * _MARGIN, size=size, weight=weight)
    _write_text(axes, _MARGIN, y, fitted, size=size, colour=colour, weight=weight)


def _fitted(text: str, pixels: float, *, size: float, weight: str = "normal") -> str:
    if _text_width(text, size=size, weight=weight) <= pixels:
        return text
    lengths = range(len(text))
    fitting = bisect_right(
        lengths, pixels, key=lambda n: _text_width(text[:n] + "…", size=size, weight=weight)
    )
    return text[: max(fitting - 1, 0)] + "…"


@lru_cache(maxsize=1024)
def _text_width(text: str, *, size: float, weight: str = "normal") -> float:
    font = FontProperties(family=_FONT, size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) * _DPI / 72


def _draw_scale_bar(axes: Axes, pixels_per_unit: float, unit: str) -> None:
    left, _, width = _LEGEND
    longest = width / pixels_per_unit
    decade = 10.0 ** np.floor(np.log10(longest))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= longest)
    right = left + length * pixels_per_unit
    y = _PANELS[1] + 6
    axes.plot([left, left, right, right], [y + 4, y, y, y + 4], color=_BRIGHT, linewidth=1.2)
    _write_text(axes, left, y - 14, f"{length:g} {unit}", size=8, colour=_BRIGHT)
