"""The slices of one volume, and what was decided about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medkit.dicom.findings import Finding
    from medkit.dicom.planes import Plane

__all__ = ["Group"]


@dataclass
class Group:
    """Slices of one volume.

    Args:
        planes: each at a place of its own.
        keys: what tells it from the other groups of its series.
        notes: what was left out, and why that is safe.
        repairs: what was left out on request.
    """

    planes: list[Plane]
    keys: dict[str, str] = field(default_factory=dict)
    notes: list[Finding] = field(default_factory=list)
    repairs: list[Finding] = field(default_factory=list)
