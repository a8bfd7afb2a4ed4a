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

_Volume = float | Literal["unknown"]


@dataclass(frozen=True)
class VolumeInterval:
    """Where the volume of a manual outline is to be expected; all volumes in millilitres.

    Args:
        level: how often it lies there, 0 to 1.
        volume: the predicted one; ``"unknown"`` where the voxel size is.
        low: lower end; ``"unknown"`` where the volume is unknown, held-out cases were too few to tell, or no volume
            like it was among them (0 never is), or where that is so of a part of a sum.
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
        verified_ml: the smallest and the largest predicted volume for which they were verified, by structure.
    """

    level: float
    multiples: dict[str, Bounds | None]
    sums: dict[str, list[str]]
    verified_ml: dict[str, tuple[float, float]]

    def about(self, volumes_ml: Mapping[str, _Volume]) -> dict[str, VolumeInterval]:
        """The intervals of predicted volumes, and of sums of them."""
        volumes, wanting = self._with_sums(volumes_ml), self._wanting(volumes_ml)
        found = {}
        for name, bounds in self.multiples.items():
            if (volume := volumes.get(name)) is None:
                continue
            if bounds is None or volume == UNKNOWN or name in wanting:
                found[name] = VolumeInterval(self.level, volume, UNKNOWN, UNKNOWN)
            else:
                found[name] = VolumeInterval(self.level, volume, volume * bounds.low, volume * bounds.high)
        return found

    def notes(self, volumes_ml: Mapping[str, _Volume]) -> tuple[str, ...]:
        """Why volumes that could have an interval have none, a line each."""
        reasons = self._wanting(volumes_ml).items()
        return tuple(f"the volume of {name} has no interval: {reason}" for name, reason in reasons)

    def _with_sums(self, volumes_ml: Mapping[str, _Volume]) -> dict[str, _Volume]:
        volumes = dict(volumes_ml)
        for name, parts in self.sums.items():
            known = [volume for part in parts if (volume := volumes_ml.get(part, UNKNOWN)) != UNKNOWN]
            volumes[name] = math.fsum(known) if len(known) == len(parts) else UNKNOWN
        return volumes

    def _wanting(self, volumes_ml: Mapping[str, _Volume]) -> dict[str, str]:
        """Volumes for which the multiples were not verified, and why; a sum follows its parts."""
        reasons: dict[str, str] = {}
        for name, volume in self._with_sums(volumes_ml).items():  # sums come last
            if volume == UNKNOWN or self.multiples.get(name) is None:
                continue
            low, high = self.verified_ml[name]
            parts = [
                part for part in self.sums.get(name, ()) if part in reasons or not self.multiples.get(part)
            ]
            if parts:
                reasons[name] = f"that of {parts[0]}, a part of it, has none"
            elif not low <= volume <= high:
                reasons[name] = (
                    f"it was verified for {low:.2f} to {high:.2f} ml, and here are {volume:.2f} ml"
                )
        return reasons


def stated_intervals(metadata: Mapping[str, Any]) -> VolumeIntervals | None:
    """What a bundle's metadata state of its volumes; ``None`` where no run was adopted that told.

    A structure without ``verified_ml``, as metadata of before have it, counts as one of which too little is known.
    """
    stated = metadata.get("volume_intervals")
    if not isinstance(stated, dict) or "structures" not in stated:
        return None
    verified = {
        name: (ends[0], ends[1])
        for name, row in stated["structures"].items()
        if (ends := row.get("verified_ml")) is not None
    }
    multiples = {
        name: Bounds(row["low"], row["high"]) if name in verified else None
        for name, row in stated["structures"].items()
    }
    return VolumeIntervals(stated["level"], multiples, stated["sums"], verified)
