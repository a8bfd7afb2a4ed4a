"""From stored numbers to values: bits, sign, padding, rescaling and lookup tables (PS3.3 C.7.6.3, "
"C.7.5.1.1.2, C.11.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.dicom.enhanced import is_dose, is_parametric_map
from medkit.dicom.findings import Finding, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medkit.dicom.elements import Elements
    from medkit.dicom.format import PixelFormat
    from medkit.dicom.planes import Plane

__all__ = ["REMARKS", "Mapping", "Table", "mapping_of", "output_type", "same_meaning", "values_of"]

_REAL_PADDING: dict[np.dtype[Any], tuple[str, str]] = {
    np.dtype(np.float32): ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    np.dtype(np.float64): ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
}
_TYPES = tuple(np.dtype(name) for name in ("u1", "i2", "u2", "i4", "u4"))


@dataclass(frozen=True, eq=False)
class Table:
    """A modality lookup table.

    Args:
        first: stored number of the first entry; lower ones have its value.
        entries: values; numbers beyond the last have its value.
    """

    first: int
    entries: NDArray[Any]


@dataclass(frozen=True)
class Mapping:
    """How the stored numbers of one frame become values.

    Args:
        slope: multiplies.
        intercept: is added then.
        table: instead of both.
        padding: lowest and highest stored number that stand for no measurement; both NaN where NaN does.
        unit: as the file names it.
        said: whether the file says how to rescale, or holds real numbers as they are.
        bounds: lowest and highest stored number that the slope is for, where the file says so.
    """

    slope: float = 1.0
    intercept: float = 0.0
    table: Table | None = None
    padding: tuple[float, float] | None = None
    unit: str = ""
    said: bool = True
    bounds: tuple[int, int] | None = None

    @property
    def whole(self) -> bool:
        """Whether whole numbers stay whole."""
        return self.table is not None or (self.slope == 1 and self.intercept == int(self.intercept))


def mapping_of(plane: Plane) -> Mapping:
    """What the file says of a frame's values.

    Raises:
        Refused: ``bad-rescale`` (a slope without intercept, or of zero; a parametric map without one real-world value
            mapping), ``lut`` (an impossible table), ``bad-value`` (what is no number).
    """
    elements = plane.instance.elements
    padding = _padding(elements, plane.format)
    if is_parametric_map(plane.instance):
        return _real_world(plane, padding)
    tables = [item for group in plane.values for item in group.items("ModalityLUTSequence")]
    scale = next(
        (group for group in plane.values if "RescaleSlope" in group or "RescaleIntercept" in group), None
    )
    unit = elements.text("Units") or (scale.text("RescaleType") if scale else "")
    if tables:
        if scale is not None or len(tables) > 1:
            raise Refused(
                "lut", f"{plane.where}: expected a modality table or a slope, got both; export it again"
            )
        return Mapping(
            table=_table(tables[0], plane), padding=padding, unit=tables[0].text("ModalityLUTType")
        )
    if "DoseGridScaling" in elements or is_dose(plane.instance):
        factor = elements.number("DoseGridScaling")
        if not factor or factor < 0 or scale is not None:
            raise Refused(
                "bad-rescale",
                f"{plane.where}: expected a DoseGridScaling above 0 alone, got {factor}; export it again",
            )
        return Mapping(slope=factor, padding=padding, unit=elements.text("DoseUnits"))
    slope = None if scale is None else scale.number("RescaleSlope")
    intercept = None if scale is None else scale.number("RescaleIntercept")
    if slope is None and intercept is None:
        return Mapping(padding=padding, unit=unit, said=plane.format.floating is not None)
    if slope is None or intercept is None or slope == 0:
        raise Refused(
            "bad-rescale",
            f"{plane.where}: expected RescaleSlope (not 0) and RescaleIntercept, got {slope} and {intercept}; "
            "export it again",
        )
    return Mapping(slope, intercept, padding=padding, unit=unit)


def same_meaning(one: Plane, other: Plane) -> bool:
    """Whether the same stored numbers in two frames are the same values, and the same padding.

    Raises:
        Refused: see :func:`mapping_of`.
    """
    if replace(one.format, frames=1) != replace(other.format, frames=1):
        return False
    here, there = mapping_of(one), mapping_of(other)
    if replace(here, table=None) != replace(there, table=None):
        return False
    if here.table is None or there.table is None:
        return here.table is there.table
    return here.table.first == there.table.first and np.array_equal(here.table.entries, there.table.entries)


def _real_world(plane: Plane, padding: tuple[float, float] | None) -> Mapping:
    """The one mapping of a parametric map, whose values are real-world ones (PS3.3 C.7.6.16.2.11).

    It is from stored numbers, whatever rescaling there is beside it.
    """
    found = plane.real_world
    slope = found[0].number("RealWorldValueSlope") if len(found) == 1 else None
    intercept = found[0].number("RealWorldValueIntercept") if len(found) == 1 else None
    if not slope or intercept is None:
        raise Refused(
            "bad-rescale",
            f"{plane.where}: expected one real-world value mapping of a parametric map, with a slope (not 0) and an "
            f"intercept, got {len(found)} mappings, slope {slope}, intercept {intercept}; export it again",
        )
    bounds = None
    if plane.format.floating is None:
        ends = [found[0].integer(f"RealWorldValue{end}ValueMapped") for end in ("First", "Last")]
        low, high = (None if end is None else _in_range(end, plane.format) for end in ends)
        bounds = None if low is None or high is None else (low, high)
    unit = next((item.text("CodeValue") for item in found[0].items("MeasurementUnitsCodeSequence")), "")
    return Mapping(slope, intercept, padding=padding, unit=unit, bounds=bounds)


def _padding(elements: Elements, found: PixelFormat) -> tuple[float, float] | None:
    """As stored numbers: the range is compared before any rescaling (PS3.3 C.7.5.1.1.2)."""
    if found.floating is not None:
        return _real_padding(elements, _REAL_PADDING[found.floating])
    values = [elements.integer(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if values[0] is None:
        return None
    low, high = sorted(
        _in_range(value, found) for value in (values[0], values[0] if values[1] is None else values[1])
    )
    return low, high


def _real_padding(elements: Elements, names: tuple[str, str]) -> tuple[float, float] | None:
    """Of floating-point pixels; it may be infinite or NaN (PS3.3 C.7.6.24 and C.7.6.25)."""
    value, limit = (elements.numbers(name, finite=False) for name in names)
    if not value:
        return None
    ends = (value[0], limit[0] if limit else value[0])
    without = [math.isnan(end) for end in ends]
    if len(value) > 1 or len(limit) > 1 or without.count(True) == 1:
        raise Refused(
            "bad-value",
            f"{elements.where}: expected one number or NaN as {names[0]} and as {names[1]}, got {value} and {limit}; "
            "export it again",
        )
    return (math.nan, math.nan) if all(without) else (min(ends), max(ends))


def _in_range(value: int, found: PixelFormat) -> int:
    """A number of the pixels' sign, whatever sign the element was written with."""
    bits = found.allocated
    value &= (1 << bits) - 1
    if found.signed and value >= 1 << (bits - 1):
        value -= 1 << bits
    return value


def _table(item: Elements, plane: Plane) -> Table:
    descriptor = item.numbers("LUTDescriptor")
    if len(descriptor) != 3 or int(descriptor[2]) not in (8, 10, 12, 16):
        raise Refused(
            "lut", f"{plane.where}: expected a LUTDescriptor of 3 numbers, got {descriptor}; export it again"
        )
    count = int(descriptor[0]) % 65536 or 65536
    data = item.raw("LUTData")
    order = "<" if plane.instance.little_endian else ">"
    if len(data) == 2 * count:
        entries = np.frombuffer(data, f"{order}u2")
    elif int(descriptor[2]) == 8 and len(data) == count + count % 2:
        entries = np.frombuffer(data, "u1")[:count]
    else:
        raise Refused(
            "lut",
            f"{plane.where}: expected a table of {count} entries, got {len(data)} bytes; export it again",
        )
    first = int(descriptor[1])
    if plane.format.signed:
        first = (first + 32768) % 65536 - 32768
    else:
        first %= 65536
    low, high = plane.format.bounds
    if first > high or first + count <= low:
        raise Refused(
            "lut",
            f"{plane.where}: expected a table for stored numbers of {low} to {high}, got one that begins at "
            f"{first}; export it again",
        )
    return Table(first, entries.astype(np.uint16))


def output_type(planes: Sequence[Plane], mappings: Sequence[Mapping]) -> np.dtype[Any]:
    """The smallest whole type for the values of all frames, or float32."""
    low, high = 0, 0
    for plane, mapping in zip(planes, mappings, strict=True):
        if not mapping.whole or plane.format.floating is not None:
            return np.dtype(np.float32)
        if mapping.table is not None:
            bounds = int(mapping.table.entries.min()), int(mapping.table.entries.max())
        else:
            bounds = plane.format.bounds
        shift = int(mapping.intercept)
        low, high = min(low, bounds[0] + shift), max(high, bounds[1] + shift)
    for found in _TYPES:
        if np.iinfo(found).min <= low and high <= np.iinfo(found).max:
            return found
    return np.dtype(np.float32)


def values_of(
    raw: NDArray[Any], plane: Plane, mapping: Mapping, out: NDArray[Any]
) -> tuple[NDArray[np.bool_] | None, set[str]]:
    """Write the values of a frame, and tell what was met.

    Args:
        raw: stored bits, see :func:`medkit.dicom.pixels.stored_frames`.
        plane: the frame.
        mapping: its own.
        out: ``(rows, columns)`` of the type of :func:`output_type`.

    Returns:
        Where padding is, if the file has a padding value (what float32 cannot hold of it becomes 0); and codes of
        remarks: ``high-bits`` (something beside the value in its bits), ``sign-bits`` (negative numbers whose sign fills
        no more than their own bits).

    Raises:
        Refused: ``not-finite``, ``bad-rescale`` (stored numbers that no mapping is for).
    """
    found = plane.format
    remarks: set[str] = set()
    stored, padding = raw, None
    if found.floating is None:
        stored, remarks = _stored_numbers(raw, found)
        if mapping.padding is not None:
            low, high = mapping.padding
            whole = raw.view(f"i{raw.dtype.itemsize}") if found.signed else raw
            padding = ((stored >= low) & (stored <= high)) | ((whole >= low) & (whole <= high))
    elif mapping.padding is not None:
        low, high = mapping.padding
        padding = np.isnan(raw) if math.isnan(low) else (raw >= low) & (raw <= high)
    if found.floating is not None and not np.isfinite(raw if padding is None else raw[~padding]).all():
        raise Refused(
            "not-finite", f"{plane.where}: expected finite numbers, got some that are not; export it again"
        )
    if mapping.bounds is not None:
        _check_mapped(stored if padding is None else stored[~padding], mapping.bounds, plane)
    if mapping.table is not None:
        index = np.clip(stored.astype(np.int64) - mapping.table.first, 0, len(mapping.table.entries) - 1)
        out[...] = mapping.table.entries[index]
    elif mapping.whole and out.dtype.kind != "f":
        if mapping.intercept:
            wide = np.int32 if raw.dtype.itemsize <= 2 else np.int64
            np.add(stored, int(mapping.intercept), out=out, dtype=wide, casting="unsafe")
        else:
            out[...] = stored
    else:
        _write_real(stored, plane, mapping, out, padding)
    return padding, remarks


def _write_real(
    stored: NDArray[Any],
    plane: Plane,
    mapping: Mapping,
    out: NDArray[Any],
    padding: NDArray[np.bool_] | None,
) -> None:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        out[...] = stored.astype(np.float64) * mapping.slope + mapping.intercept
    held = np.isfinite(out)
    if padding is not None:
        out[padding & ~held] = 0
        held |= padding
    if not held.all():
        raise Refused(
            "not-finite",
            f"{plane.where}: expected values that float32 can hold, got some above {np.finfo(out.dtype).max:.3g}; "
            "export it in another unit",
        )


def _check_mapped(stored: NDArray[Any], bounds: tuple[int, int], plane: Plane) -> None:
    if stored.size and not bounds[0] <= stored.min() <= stored.max() <= bounds[1]:
        raise Refused(
            "bad-rescale",
            f"{plane.where}: expected stored numbers of {bounds[0]} to {bounds[1]}, for which there is a real-world "
            f"value mapping, got {stored.min()} to {stored.max()}; export it again",
        )


def _stored_numbers(raw: NDArray[Any], found: PixelFormat) -> tuple[NDArray[Any], set[str]]:
    """Take the value out of its allocated bits, with its sign (PS3.5 section 8.1.1)."""
    bits, signed = raw.dtype.itemsize * 8, raw.view(f"i{raw.dtype.itemsize}")
    if found.stored == bits:
        return (signed if found.signed else raw), set()
    left = bits - found.stored - found.shift
    moved = raw << np.array(left, raw.dtype)
    if found.signed:
        values = moved.view(signed.dtype) >> np.array(bits - found.stored, signed.dtype)
        if found.shift or np.array_equal(values, signed):
            return values, set()
        unsigned = raw < (1 << found.stored)
        return values, {"sign-bits" if unsigned.all() else "high-bits"}
    values = moved >> np.array(bits - found.stored, raw.dtype)
    return values, set() if found.shift or np.array_equal(values, raw) else {"high-bits"}


REMARKS = {
    "high-bits": Finding(
        "high-bits",
        "bits beside the stored values are not empty (an old overlay, or garbage); they are not read",
    ),
    "sign-bits": Finding(
        "sign-bits",
        "negative numbers are stored without their sign in the unused bits; they are read as negative, as the "
        "standard has it: "
        "if they were meant as large ones, PixelRepresentation is wrong",
    ),
}
