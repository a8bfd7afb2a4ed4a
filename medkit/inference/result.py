"""What a prediction gives: label map, volumes, timings, in memory and with their geometry."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from medkit.data.grid import Grid
    from medkit.data.volume import Volume
    from medkit.inference.features import FeatureMap
    from medkit.inference.uncertainty import Uncertainty
    from medkit.inference.volume_intervals import VolumeInterval, VolumeIntervals
    from medkit.transforms.native_probabilities import NativeProbabilities

__all__ = ["NOTHING_LABELLED", "UNKNOWN", "Result", "count_labels"]

UNKNOWN: Literal["unknown"] = "unknown"
"""What stands for a volume where the voxel size is unknown."""
NOTHING_LABELLED = "no voxel was labelled: the result is empty"
"""Among the notes of a result without any label."""


@dataclass(frozen=True)
class Result:
    """A predicted label map on its grid.

    Args:
        volume: the image that was segmented.
        labels: ``(I, J, K)`` label values, or ``(I, J, K, C)`` masks where the bundle's classes overlap.
        grid: of ``labels``: the image's own, unless the bundle does not return to it.
        label_names: value (or channel number, for masks) to name, background left out.
        provenance: bundle, digest, overrides, device and versions that made the result.
        seconds: time spent in each step.
        soft: probabilities ``(I, J, K)`` of each class, where they were asked for; NativeProbabilities makes them of
            what the network gave, one at a time, whenever it is passed over.
        uncertainty: how sure the labels are, where that was asked for.
        features: the network's last feature map, where that was asked for.
        intervals: what the bundle's cross-validation says of its volumes, where that holds for these labels.
        notes: remarks for the report.
        files: where the image came from, one file a channel; none for one from memory.
    """

    volume: Volume = field(repr=False)
    labels: NDArray[np.unsignedinteger[Any]] = field(repr=False)
    grid: Grid = field(repr=False)
    label_names: dict[int, str]
    provenance: dict[str, Any] = field(repr=False)
    seconds: dict[str, float]
    soft: Tensor | NativeProbabilities | None = field(default=None, repr=False)
    uncertainty: Uncertainty | None = field(default=None, repr=False)
    features: FeatureMap | None = field(default=None, repr=False)
    intervals: VolumeIntervals | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @cached_property
    def probabilities(self) -> NDArray[np.float32] | None:
        """``(C, I, J, K)``, all classes at once, where they were asked for."""
        if self.soft is None:
            return None
        whole = np.empty(self.soft.shape, dtype=np.float32)
        for channel, values in zip(whole, self.soft, strict=True):
            channel[...] = values
        return whole

    @cached_property
    def volumes_ml(self) -> dict[str, float | Literal["unknown"]]:
        """Volume of each name in millilitres, from the affine's determinant; or ``"unknown"``, as the voxel size."""
        if (voxel := self.grid.voxel_volume_ml) is None:
            return dict.fromkeys(self.label_names.values(), UNKNOWN)
        if self.labels.ndim == 4:
            counts = {c: sum(map(np.count_nonzero, self.labels[..., c])) for c in self.label_names}
        else:
            counts = count_labels(self.labels)
        volumes = dict.fromkeys(self.label_names.values(), 0.0)
        for value, name in self.label_names.items():
            volumes[name] += counts.get(value, 0) * voxel
        return {**volumes}

    @cached_property
    def volume_interval_ml(self) -> dict[str, VolumeInterval] | None:
        """Where a manual volume is to be expected, by name, and for the sum of all where the bundle has that."""
        return None if self.intervals is None else self.intervals.about(self.volumes_ml)

    def save(
        self, folder: str | Path, *, name: str | None = None, picture: bool = True, force: bool = False
    ) -> Path:
        """Write label map, picture, record, ``volumes.csv`` and ``report.json``.

        Args:
            folder: results folder; other cases in it stay.
            name: of the case; by default the image file's, or ``image`` for one from memory.
            picture: whether to draw one.
            force: replace results of another image or of other settings, and what is there beside this result's own.

        Returns:
            The label map's path.

        Raises:
            UsageError: the name leads out of the folder, or results of another image, bundle or other settings have it
                there, or such as this result has not.
        """
        from medkit.inference.earlier_results import check_keeps_results
        from medkit.inference.records import (
            check_bundle_owns,
            check_name_is_free,
            check_name_leads_inside,
            save_result,
        )
        from medkit.inference.report import assemble_report

        folder, name = Path(folder), name or self._file_name()
        check_name_leads_inside(name)
        check_bundle_owns(folder, name, self.provenance["bundle"])
        if not force:
            remedy = "pass another name=, choose another folder, or pass force=True"
            check_name_is_free(folder, name, self.files or self.volume, remedy)
            check_keeps_results(folder, [name], self.provenance, self._kinds(picture), remedy, anew=True)
        record = save_result(self, folder, name, picture=picture)
        assemble_report(folder)
        return folder / str(record["outputs"]["labels"])

    def _kinds(self, picture: bool) -> list[str]:
        """Of output that it has, as records call them."""
        kept = {
            "picture": picture or None,
            "probabilities": self.soft,
            "uncertainty": self.uncertainty,
            "features": self.features,
        }
        return ["labels", *(kind for kind, content in kept.items() if content is not None)]

    def _file_name(self) -> str:
        from medkit.data.reading import file_suffix

        if not self.files:
            return "image"
        first = self.files[0]
        return first.name[: len(first.name) - len(file_suffix(first) or "")]


def count_labels(labels: NDArray[np.unsignedinteger[Any]]) -> dict[int, int]:
    """Voxels of each value that a label map ``(I, J, K)`` holds, counted without a copy of the whole."""
    counts: Counter[int] = Counter()
    for slab in labels:
        values, numbers = np.unique(slab, return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return dict(counts)
