"""b-values and gradient directions, of the standard and of vendors that had their own before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medkit.dicom.elements import Elements

__all__ = ["b_value", "direction"]

# GE adds a billion to b-values of some protocols.
_GE_OFFSET = 1_000_000


def b_value(elements: Elements) -> str:
    """Of the standard's element, or of Siemens, GE, Philips or United Imaging; empty where there is none."""
    for name in ("DiffusionBValue", "SiemensBValue", "GEBValue", "PhilipsBValue", "UIHBValue"):
        found = elements.numbers(name)
        if found:
            value = found[0] % _GE_OFFSET if name == "GEBValue" else found[0]
            return f"{value:.6g}"
    return ""


def direction(elements: Elements) -> str:
    """Gradient direction, rounded to three digits; empty where there is none."""
    for name in ("DiffusionGradientOrientation", "SiemensDirection"):
        found = elements.numbers(name)
        if len(found) == 3:
            return "\\".join(f"{number + 0.0:.3f}" for number in found)
    return ""
