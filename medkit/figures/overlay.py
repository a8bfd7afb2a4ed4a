"""Label maps as contours over three planes of the image that they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb

from medkit.data.palette import DOUBT, label_colours
from medkit.data.side_words import structures
from medkit.data.writing import replacing
from medkit.errors import CaseError
from medkit.figures.caption import draw_caption, raised_by, remark_lines
from medkit.figures.contours import Panel, draw_contours
from medkit.figures.legend import draw_legend, draw_scale_bar
from medkit.figures.lettering import BRIGHT, SIZE, blank_sheet, write_line, write_text
from medkit.figures.planes import VIEWS, Pose, focus, most_telling, plane

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from medkit.data.volume import Volume
    from medkit.figures.legend import Millilitres, Sum

__all__ = ["draw_overlay", "overlay_pixels"]

_PANELS = (34, 88, 978, 392)  # left, bottom, width, height of the room for the three planes, in pixels
_GAP = 50  # between panels; the letters of both neighbours stand in it
_WINDOW_PERCENTILES = (0.5, 99.5)
_CT_MINIMUM = (-3100.0, -500.0)  # air or padding in Hounsfield units; phase images go further down
_CT_WINDOW = (-160.0, 240.0)  # soft tissue, level 40 and width 400


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
    remarks = remark_lines([*dict.fromkeys((*volume.notes, *notes))])
    panels = _arrange(image.shape, pose.spacing, centre, raised=raised_by(remarks))
    pictures = [plane(image, panel.view, panel.index) for panel in panels]
    window = _grey_window(pictures)

    figure, axes = blank_sheet()
    for panel, picture in zip(panels, pictures, strict=True):
        _draw_image(axes, panel, picture, window)
        if doubt is not None:
            _draw_doubt(axes, panel, plane(pose.apply(doubt), panel.view, panel.index))
        for array, dashed in zip(drawn, (False, True), strict=False):
            draw_contours(axes, panel, plane(array, panel.view, panel.index), colours, dashed=dashed)
        _draw_letters(axes, panel, known=volume.grid.side_known)
    world = volume.grid.affine @ (*pose.index_in_array(centre, image.shape), 1)
    placed = volume.grid.size_known and volume.grid.side_known
    _draw_positions(axes, panels, world if placed else None)
    write_line(axes, SIZE[1] - 24, title, size=11, colour=BRIGHT, weight="bold")
    draw_caption(axes, volume, pose, window, remarks, doubt=doubt is not None)
    draw_legend(axes, shown, colours, volumes_ml, sums, called if truth is not None else ())
    draw_scale_bar(axes, panels[0].voxel[0] / pose.spacing[0], "mm" if volume.grid.size_known else "voxels")
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
) -> list[Panel]:
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
        panels.append(Panel(view, centre[view.axis], x, y, voxel, (shape[up], shape[across])))
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


def _draw_image(axes: Axes, panel: Panel, picture: NDArray[Any], window: tuple[float, float]) -> None:
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


def _draw_doubt(axes: Axes, panel: Panel, doubt: NDArray[Any]) -> None:
    extent = (panel.left, panel.left + panel.width, panel.bottom, panel.bottom + panel.height)
    veil = np.empty((*doubt.shape, 4), np.float32)
    veil[..., :3] = to_rgb(DOUBT)
    veil[..., 3] = np.clip(doubt, 0, 1)
    axes.imshow(veil, extent=extent, aspect="auto", interpolation="bilinear")


def _draw_letters(axes: Axes, panel: Panel, *, known: bool) -> None:
    middle = (panel.left + panel.width / 2, panel.bottom + panel.height / 2)
    places = (
        (panel.left - 12, middle[1]),
        (panel.left + panel.width + 12, middle[1]),
        (middle[0], panel.bottom + panel.height + 12),
        (middle[0], panel.bottom - 13),
    )
    for letter, (x, y) in zip(panel.view.letters, places, strict=True):
        write_text(axes, x, y, letter if known else "?", size=9, colour=BRIGHT, weight="bold", align="center")


def _draw_positions(axes: Axes, panels: Sequence[Panel], world: NDArray[np.float64] | None) -> None:
    """Name of each plane and where it lies, in millimetres of the image's own space, or its number."""
    for panel in panels:
        if world is None:
            place = f"plane {panel.index + 1}"
        else:
            side = ("LR", "PA", "IS")[panel.view.axis][int(world[panel.view.axis] >= 0)]
            place = f"{side} {abs(world[panel.view.axis]):.0f} mm"
        text = f"{panel.view.name}, {place}"
        write_text(axes, panel.left + panel.width / 2, panel.bottom - 33, text, size=7.5, align="center")
