"""Pictures of features, as colours, and of what one layer makes of them, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from brain_features_heads import SEGMENTATION, Example
from brain_features_patients import Scan
from brain_features_tasks import TASKS, answer
from torch import Tensor

from medkit.networks.features import FeatureNetwork
from medkit.networks.one_layer import OneLayer

Tile = tuple[str, np.ndarray]


def draw_versions(sources: dict[str, FeatureNetwork], images: Tensor, path: Path) -> None:
    """Versions ``(V, 1, D, H, W)`` of one head, and the features of each."""
    rows = [[(f"version {number + 1}", _axial(image[0])) for number, image in enumerate(images)]]
    for name, source in sources.items():
        with torch.no_grad():
            rows.append([(name, colours) for colours in _as_colours(list(source.features(images)))])
    _draw(rows, path)


def draw_patient(sources: dict[str, FeatureNetwork], scans: dict[str, Scan], path: Path) -> None:
    """The contrasts of one patient, on one grid, and the features of each."""
    rows = [[(contrast, _axial(scan.image.as_tensor()[0])) for contrast, scan in scans.items()]]
    for name, source in sources.items():
        colours = _as_colours([scan.features(source) for scan in scans.values()])
        rows.append([(name, each) for each in colours])
    _draw(rows, path)


def draw_tasks(models: dict[str, dict[str, OneLayer]], example: Example, path: Path) -> None:
    """A row a task: what is given, what is wanted, and the answers by source."""
    rows = []
    for task, by_source in models.items():
        image, wanted = example.pairs[task]
        tiles: list[Tile] = [(f"{task}: input", _axial(image[0, 0])), ("wanted", _axial(wanted[0, 0]))]
        for source, model in by_source.items():
            found = answer(task, model, image)
            shown = found.argmax(1)[0] if task == SEGMENTATION else found[0, 0]
            tiles.append((f"{source}: {TASKS[task].score(found, wanted, example.inside):.3f}", _axial(shown)))
        rows.append(tiles)
    _draw(rows, path)


def _axial(volume: Tensor) -> np.ndarray:
    return volume[:, :, volume.shape[2] // 2].cpu().float().numpy().T


def _as_colours(maps: Sequence[Tensor]) -> list[np.ndarray]:
    """The middle axial slice of each ``(F, D, H, W)``: three principal components of them all as colours."""
    slices = [found[..., found.shape[3] // 2].cpu().float() for found in maps]
    together = torch.cat([plane.flatten(1) for plane in slices], 1).T
    centred = together - together.mean(0)
    _, _, axes = torch.linalg.svd(centred.T @ centred)
    values = centred @ axes[:3].T
    low, high = torch.quantile(values[:: max(1, len(values) // 10**5)], torch.tensor([0.02, 0.98]), dim=0)
    colours = ((values - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    planes = colours.split([plane[0].numel() for plane in slices])
    return [
        part.view(*plane.shape[1:], -1).numpy().transpose(1, 0, 2)
        for part, plane in zip(planes, slices, strict=True)
    ]


def _draw(rows: Sequence[Sequence[Tile]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(
        len(rows), max(map(len, rows)), figsize=(2.8 * max(map(len, rows)), 3 * len(rows)), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for row, tiles in zip(axes, rows, strict=True):
        for axis, (title, picture) in zip(row, tiles, strict=False):
            axis.imshow(picture, origin="lower", cmap="gray", interpolation="nearest")
            axis.set_title(title, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
