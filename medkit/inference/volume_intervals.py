"""Intervals of the manual volume: what a bundle's cross-validation found of them, applied to the volumes of a result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from medkit.inference.result import UNKNOWN
from medkit.metrics.conformal import Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VolumeInterval", "VolumeIntervals", "stated_intervals"]


@dataclass(frozen=True)
class VolumeInterval:
    """Where the volume of a manual outline is to be expected; all volumes in millilitres.

    Args:
        level: how often it lies there, 0 to 1.
        volume: the predicted one; ``"unknown"`` where the voxel size is.
        low: lower end; ``"unknown"`` where the volume is unknown or 0, or held-out cases were too few to tell.
        high: upper end, likewise.
    """

    level: float
    volume: float | Literal["unknown"]
    low: float | Literal["unknown"]
    high: float | Literal["unknown"]


@dataclass(frozen=True)
class VolumeIntervals:
    """What the metadata of a bundle state; see :func:`medkit.training.volume_intervals.volume_intervals`.

    Args:
        level: of all intervals.
        multiples: of the predicted volume, by structure; ``None`` where held-out cases were too few.
        sums: which of them are sums, and of which structures.
    """

    level: float
    multiples: dict[str, Bounds | None]
    sums: dict[str, list[str]]

    def about(self, volumes_ml: Mapping[str, float | Literal["unknown"]]) -> dict[str, VolumeInterval]:
        """The intervals of predicted volumes, and of sums of them."""
        volumes = dict(volumes_ml)
        for name, parts in self.sums.items():
            known = [volume for part in parts if (volume := volumes_ml.get(part, UNKNOWN)) != UNKNOWN]
            volumes[name] = math.fsum(known) if len(known) == len(parts) else UNKNOWN
        return {
            name: self._one(volumes[name], bounds)
            for name, bounds in self.multiples.items()
            if name in volumes
        }

    def _one(self, volume: float | Literal["unknown"], bounds: Bounds | None) -> VolumeInterval:
        if bounds is None or volume == UNKNOWN or volume == 0:
            return VolumeInterval(self.level, volume, UNKNOWN, UNKNOWN)
        return VolumeInterval(self.level, volume, volume * bounds.low, volume * bounds.high)


def stated_intervals(metadata: Mapping[str, Any]) -> VolumeIntervals | None:
    """What a bundle's metadata state of its volumes; ``None`` where no run was adopted that told."""
    stated = metadata.get("volume_intervals")
    if not isinstance(stated, dict) or "structures" not in stated:
        return None
    multiples = {
        name: None if found["low"] is None else Bounds(found["low"], found["high"])
        for name, found in stated["structures"].items()
    }
    return VolumeIntervals(stated["level"], multiples, stated["sums"])
