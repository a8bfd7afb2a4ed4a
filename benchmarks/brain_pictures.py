"""Heads slice by slice with the structures that a bundle found, to be looked at before anything is called done.

Three planes of each go into the bundle's card.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from brain_heads import MULTICONTRAST, STROKE, multicontrast, stroke, template
from brain_scores import on_grid
from PIL import Image
from timing import note

from medkit.data import Volume, read_volume
from medkit.errors import CaseError
from medkit.figures.overlay import draw_overlay
from medkit.figures.planes import VIEWS, Pose, plane

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import hsv_to_rgb

_STEP_MM = 6.0
_COLUMNS = 6
_OPACITY = 0.35
_HUE = 0.618  # from one label to the next: of 32, and of the two sides, no two neighbours look alike


def pictured_heads() -> dict[str, Volume]:
    """By the name of the picture."""
    files = {
        f"{patient.split(' (')[0]} {contrast}": path
        for patient in MULTICONTRAST
        for contrast, path in multicontrast(patient).items()
    } | {f"{STROKE} {name}": path for name, path in stroke().items()}
    return {"MNI152": template(), **{name: read_volume(path) for name, path in files.items()}}


def draw_pictures(bundle: Any, folder: Path) -> None:
    """One sheet a view and head, and the three planes that `medkit predict` draws.

    Args:
        bundle: loaded, its labels at 1 mm.
        folder: to write to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in pictured_heads().items():
        place = folder / name.replace(" ", "_")
        try:
            result = bundle.predict_volume(image)
        except CaseError as error:
            note(f"{name}: {error}")
            continue
        shown = _at_the_labels(image, result.grid)
        for view in VIEWS:
            draw_sheet(
                shown,
                result.labels,
                view,
                f"{name}, {view.name.lower()}",
                Path(f"{place}_{view.name.lower()}.png"),
            )
        native = on_grid(result.labels, result.grid, image.grid)
        draw_overlay(image, native, result.label_names, Path(f"{place}.png"), title=name)
        note(f"{name}: {place}*.png")


def draw_for_card(bundle: Any, folder: Path) -> str:
    """Three planes of each head, beside a card.

    Args:
        bundle: loaded, its labels on the image's grid.
        folder: of the card.

    Returns:
        The Markdown that shows them.
    """
    lines = []
    for name, image in pictured_heads().items():
        try:
            result = bundle.predict_volume(image)
        except CaseError as error:
            lines.append(f"{name} was refused ({error.code}).")
            continue
        path = folder / f"{name.replace(' ', '_')}.png"
        volumes = {value: result.volumes_ml[text] for value, text in result.label_names.items() if value}
        draw_overlay(image, result.labels, result.label_names, path, title=name, volumes_ml=volumes)
        with Image.open(path) as drawn:
            # Of 256 colours, a fifth as large; by the median, two structures would come to share one.
            reduced = drawn.convert("RGB").quantize(
                method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
            )
        reduced.save(path, optimize=True)
        lines.append(f"![{name}]({path.name})")
        note(f"{name}: {path}")
    return "\n\n".join(lines)


def _at_the_labels(image: Volume, grid: Any) -> Volume:
    """The nearest voxel's intensity at every label."""
    array = image.array[..., 0] if image.array.ndim == 4 else image.array
    return Volume(on_grid(array.astype(np.float32), image.grid, grid), grid, image.name)


def draw_sheet(image: Volume, labels: np.ndarray, view: Any, title: str, path: Path) -> None:
    """Planes of a view every few millimetres, bare and with labels below, in radiological convention.

    Args:
        image: on the grid of the labels.
        labels: ``(I, J, K)``.
        view: one of :data:`medkit.figures.planes.VIEWS`.
        title: above the sheet.
        path: to write.
    """
    pose = Pose(image.grid.affine)
    voxels, values = pose.apply(image.array), pose.apply(labels)
    step = max(1, round(_STEP_MM / pose.spacing[view.axis]))
    across, up = view.in_plane
    (there,) = np.nonzero(values.any(axis=(across, up)))
    places = (
        range(int(there[0]), int(there[-1]) + 1, step)
        if len(there)
        else range(0, values.shape[view.axis], step)
    )
    low, high = np.percentile(voxels, (0.5, 99.5))
    rows = -(-len(places) // _COLUMNS)
    figure, axes = plt.subplots(2 * rows, _COLUMNS, figsize=(2.4 * _COLUMNS, 5.0 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, place in enumerate(places):
        row, column = divmod(number, _COLUMNS)
        grey = np.clip((plane(voxels, view, place) - low) / max(high - low, 1e-6), 0, 1)
        aspect = pose.spacing[up] / pose.spacing[across]
        axes[2 * row][column].imshow(grey, cmap="gray", vmin=0, vmax=1, aspect=aspect)
        axes[2 * row + 1][column].imshow(coloured(grey, plane(values, view, place)), aspect=aspect)
    figure.suptitle(title)
    figure.tight_layout(pad=0.2, rect=(0, 0, 1, 0.97))
    figure.savefig(path, dpi=80)
    plt.close(figure)


def coloured(grey: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``(H, W, 3)``, the labels' colours over the picture."""
    hues = np.arange(int(labels.max()) + 1) * _HUE % 1
    colours = hsv_to_rgb(np.stack([hues, np.full_like(hues, 0.8), np.ones_like(hues)], -1))
    picture = np.repeat(grey[..., None], 3, axis=-1)
    return np.where((labels > 0)[..., None], (1 - _OPACITY) * picture + _OPACITY * colours[labels], picture)
