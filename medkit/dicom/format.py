"""The shape and the type of stored pixels, checked before a byte of them is decoded (PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.dicom.findings import Refused, counted

if TYPE_CHECKING:
    from medkit.dicom.elements import Elements
    from medkit.dicom.instance import Instance
    from medkit.dicom.limits import Limits

__all__ = ["PixelFormat", "pixel_format", "whole_numbers"]

_FLOATS: dict[str, np.dtype[np.floating[Any]]] = {
    "FloatPixelData": np.dtype(np.float32),
    "DoubleFloatPixelData": np.dtype(np.float64),
}
_ALLOCATED = (8, 16, 32)
_GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class PixelFormat:
    """How the pixels of one object are stored.

    Args:
        rows: of a frame.
        columns: of a frame.
        frames: of the object.
        allocated: bits of a pixel in the file.
        stored: bits of its value.
        shift: bits below the value, from a HighBit that is not BitsStored - 1.
        signed: two's complement.
        photometric: ``MONOCHROME1`` or ``MONOCHROME2``, of what is read.
        floating: type of floating-point pixels; ``None`` for whole numbers.
    """

    rows: int
    columns: int
    frames: int
    allocated: int
    stored: int
    shift: int
    signed: bool
    photometric: str
    floating: np.dtype[np.floating[Any]] | None = None

    @property
    def frame_bytes(self) -> int:
        """Of one decoded frame."""
        return self.rows * self.columns * self.allocated // 8

    @property
    def bounds(self) -> tuple[int, int]:
        """Lowest and highest whole number that can be stored."""
        if self.signed:
            return -(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1
        return 0, (1 << self.stored) - 1


def pixel_format(instance: Instance, limits: Limits) -> PixelFormat:
    """Check the image pixel module.

    Raises:
        Refused: ``no-pixels``, ``colour``, ``bad-pixels`` (an impossible type), ``too-large``, or what values raise.
    """
    elements, where = instance.elements, instance.source.shown
    if instance.pixels is None:
        raise Refused("no-pixels", f"{where}: expected pixels, got an image without; copy it again")
    rows, columns = elements.integer("Rows") or 0, elements.integer("Columns") or 0
    if rows <= 0 or columns <= 0 or instance.frames <= 0:
        raise Refused(
            "bad-pixels",
            f"{where}: expected rows, columns and frames above 0, got {rows} x {columns} x {instance.frames}; "
            "export it again",
        )
    samples = elements.integer("SamplesPerPixel") or 1
    photometric = elements.text("PhotometricInterpretation") or "MONOCHROME2"
    if samples != 1 or photometric not in _GREY:
        colours = photometric if samples == 1 else f"{samples} samples of {photometric}"
        raise Refused(
            "colour",
            f"{where}: expected grey values, got {colours}; colour is no measurement",
        )
    floating = _FLOATS.get(instance.pixels.keyword)
    if floating is not None:
        bits = floating.itemsize * 8
        found = PixelFormat(rows, columns, instance.frames, bits, bits, 0, True, photometric, floating)
    else:
        found = whole_numbers(elements, rows, columns, instance.frames, photometric)
    _check_size(instance, found, limits)
    return found


def whole_numbers(elements: Elements, rows: int, columns: int, frames: int, photometric: str) -> PixelFormat:
    """The format of pixels that are whole numbers, of whatever colours.

    Args:
        elements: of the object.
        rows: of a frame.
        columns: of a frame.
        frames: of the object.
        photometric: PhotometricInterpretation.

    Raises:
        Refused: ``bad-pixels`` (impossible bits or sign), or what values raise.
    """
    allocated = elements.integer("BitsAllocated") or 0
    stored = elements.integer("BitsStored") or 0
    high = elements.integer("HighBit")
    high = stored - 1 if high is None else high
    signed = elements.integer("PixelRepresentation")
    shift = high - (stored - 1)
    sound = allocated in _ALLOCATED and 1 <= stored <= allocated and shift >= 0 and high < allocated
    if not sound or signed not in (0, 1):
        raise Refused(
            "bad-pixels",
            f"{elements.where}: expected {', '.join(map(str, _ALLOCATED))} bits with HighBit above "
            "BitsStored - 1 "
            f"and PixelRepresentation 0 or 1, got BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}, "
            f"PixelRepresentation {signed}; export it again",
        )
    return PixelFormat(rows, columns, frames, allocated, stored, shift, bool(signed), photometric)


def _check_size(instance: Instance, found: PixelFormat, limits: Limits) -> None:
    where, size = instance.source.shown, instance.source.size
    total = found.frame_bytes * found.frames
    if excess := limits.excess(found.rows, found.columns, total, size, instance.transfer_syntax):
        raise Refused(
            "too-large",
            f"{where}: expected {excess}, in {counted(found.frames, 'frame', 'frames')}; raise the limits if you trust "
            "the file",
        )
