"""Label maps as contours in one plane of an image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from contourpy import contour_generator
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from scipy.ndimage import gaussian_filter, zoom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from medkit.data.palette import Colour
    from medkit.figures.planes import View

__all__ = ["DASHES", "LINE_WIDTH", "Panel", "draw_contours"]

LINE_WIDTH = 1.3
DASHES = (0, (3.2, 2.0))
_FILL_OPACITY = 0.1
_TRUTH_TINT = 0.65  # share of white in the colour of a dashed reference line
_SMOOTHING_VOXELS = 0.8
_MARGIN_VOXELS = 3  # as far as the smoothing reaches
_KEEP = 0.1  # by how much a voxel stays on its own side of the contour, however small a speck it is
_CURVE_PIXELS, _FINEST = 2, 4  # contours turn every two pixels, and no finer than at a fourth of a voxel


@dataclass(frozen=True)
class Panel:
    """One plane in its place: ``left``, ``bottom`` in pixels, ``voxel`` width and height in pixels."""

    view: View
    index: int
    left: float
    bottom: float
    voxel: tuple[float, float]
    shape: tuple[int, int]

    @property
    def width(self) -> float:
        """In pixels."""
        return self.shape[1] * self.voxel[0]

    @property
    def height(self) -> float:
        """In pixels."""
        return self.shape[0] * self.voxel[1]


def draw_contours(
    axes: Axes, panel: Panel, labels: NDArray[Any], colours: Mapping[int, Colour], *, dashed: bool
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
            style: dict[str, Any] = {"fill": False, "edgecolor": _tint(colour), "linestyle": DASHES}
        else:
            style = {"facecolor": (*colour, _FILL_OPACITY), "edgecolor": colour}
        patch = PathPatch(outline, linewidth=LINE_WIDTH, joinstyle="round", capstyle="butt", **style)
        axes.add_artist(patch)  # add_patch would measure every curve for limits that are set already


def _outline(mask: NDArray[np.bool_], panel: Panel) -> Outline:
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
