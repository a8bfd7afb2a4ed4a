"""One frame of an object as the reader sees it: where it lies, and what tells it from others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from medkit.dicom.diffusion import b_value, direction
from medkit.dicom.elements import is_number
from medkit.dicom.findings import Finding, Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medkit.dicom.elements import Elements
    from medkit.dicom.format import PixelFormat
    from medkit.dicom.instance import Instance

__all__ = [
    "Plane",
    "classic_planes",
    "cosines_note",
    "key_text",
    "pixel_spacing",
    "soft_keys",
    "strict_keys",
    "thickness",
    "unit_orientation",
    "vector",
]

# What differs between volumes and never within one. The names are those of picks and of volumes.
_STRICT = {
    "image-type": "ImageType",
    "echo-time": "EchoTime",
    "inversion-time": "InversionTime",
    "flip-angle": "FlipAngle",
    "kernel": "ConvolutionKernel",
    "kvp": "KVP",
    "temporal-position": "TemporalPositionIdentifier",
    "temporal-index": "TemporalPositionIndex",
    "component": "ComplexImageComponent",
    "cardiac-phase": "NominalPercentageOfCardiacPhase",
    "units": "Units",
    "patient-position": "PatientPosition",
    "rescale-type": "RescaleType",
    "stack": "StackID",
}
# What may change from slice to slice of one volume as well, and tells volumes apart where slices share their places.
_SOFT = {
    "acquisition": "AcquisitionNumber",
    "echo": "EchoNumbers",
    "trigger-time": "TriggerTime",
    "sequence-name": "SequenceName",
    "scan-options": "ScanOptions",
    "filter": "FilterType",
    "frame-reference-time": "FrameReferenceTime",
    "contrast": "ContrastBolusAgent",
    "repetition-time": "RepetitionTime",
    "acquisition-date-time": "AcquisitionDateTime",
    "acquisition-time": "AcquisitionTime",
    "content-time": "ContentTime",
}


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame.

    Args:
        instance: the object that holds it.
        format: of its pixels.
        number: of the frame, from 1.
        position: centre of its first pixel, LPS millimetres.
        orientation: unit vectors along which the column index and the row index grow, ``(2, 3)``, LPS.
        spacing: distance of rows, distance of columns, in millimetres.
        thickness: distance to the next slice as the header says it, where it does.
        strict: what differs between volumes and never within one.
        soft: what may tell volumes apart.
        values: element sets that say how stored numbers become values, the nearest first.
        real_world: the real-world value mappings of the frame (PS3.3 C.7.6.16.2.11).
        flipped: whether columns and rows are turned round, so that they run as those of the other slices.
    """

    instance: Instance
    format: PixelFormat
    number: int
    position: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    strict: dict[str, str]
    soft: dict[str, str]
    values: tuple[Elements, ...] = field(default=())
    real_world: tuple[Elements, ...] = ()
    flipped: tuple[bool, bool] = (False, False)

    @property
    def where(self) -> str:
        """How messages call it."""
        name = self.instance.source.shown
        return name if self.format.frames == 1 else f"{name}, frame {self.number}"

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        assert self.orientation is not None
        return np.asarray(np.cross(self.orientation[0], self.orientation[1]), dtype=np.float64)

    @property
    def localizer(self) -> bool:
        """Whether its image type says that it is one."""
        return "LOCALIZER" in self.strict.get("image-type", "").upper().split("\\")


def classic_planes(instance: Instance, found: PixelFormat) -> list[Plane]:
    """The one plane of an object that says everything in its top level.

    Raises:
        Refused: ``no-geometry`` (several frames without a place each), or what values raise.
    """
    elements = instance.elements
    if found.frames > 1:
        raise Refused(
            "no-geometry",
            f"{instance.source.shown}: expected a place for each of its {found.frames} frames, got none; "
            "cine and secondary captures are no volumes",
        )
    position, orientation = vector(elements, "ImagePositionPatient", 3), _orientation(elements)
    _check_no_mosaic(elements)
    return [
        Plane(
            instance,
            found,
            1,
            position,
            orientation,
            pixel_spacing(elements),
            thickness(elements),
            strict_keys(elements),
            soft_keys(elements),
            (elements,),
            tuple(elements.items("RealWorldValueMappingSequence")),
        )
    ]


def strict_keys(elements: Elements) -> dict[str, str]:
    """The keys of a classic object that never differ within a volume."""
    keys = {key: key_text(elements, name) for key, name in _STRICT.items()}
    # A set of words, which a scanner may write in any order.
    keys["scanning-sequence"] = "\\".join(sorted(elements.strings("ScanningSequence")))
    keys["modality"] = elements.text("Modality")
    keys["class"] = elements.text("SOPClassUID")
    keys["frame-of-reference"] = elements.text("FrameOfReferenceUID")
    keys["b-value"] = b_value(elements)
    return {key: value for key, value in keys.items() if value}


def soft_keys(elements: Elements) -> dict[str, str]:
    """The keys of a classic object that may tell volumes apart."""
    keys = {key: key_text(elements, name) for key, name in _SOFT.items()}
    keys["direction"] = direction(elements)
    return {key: value for key, value in keys.items() if value}


def key_text(elements: Elements, name: str) -> str:
    """The values of an element for comparing: numbers in their shortest form, so that 30 and 30.0 are one.

    Text, dates and times stay as they are: a second has more digits than a setting.
    """
    text = elements.text(name)
    if not text or not is_number(name):
        return text
    try:
        return "\\".join(f"{float(part):.10g}" for part in text.split("\\"))
    except ValueError:
        return text


def vector(elements: Elements, name: str, count: int) -> NDArray[np.float64] | None:
    """So many numbers, or ``None`` where there are none.

    Raises:
        Refused: ``bad-value``, where there are more or less.
    """
    numbers = elements.numbers(name)
    if not numbers:
        return None
    if len(numbers) != count:
        raise Refused(
            "bad-value",
            f"{elements.where}: expected {count} numbers as {name}, got {len(numbers)}; export it again",
        )
    return np.array(numbers)


def pixel_spacing(elements: Elements) -> tuple[float, float] | None:
    """Distance of rows and of columns, where both are above 0.

    Raises:
        Refused: ``bad-value``.
    """
    found = vector(elements, "PixelSpacing", 2)
    if found is None:
        return None
    if not (found > 0).all():
        raise Refused(
            "bad-value", f"{elements.where}: expected PixelSpacing above 0, got {found[0]:g} and {found[1]:g}"
        )
    return float(found[0]), float(found[1])


def thickness(elements: Elements) -> float | None:
    """Distance of slices as the header says it, for want of a second slice."""
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        found = elements.number(name)
        if found is not None and found > 0:
            return found
    return None


def _orientation(elements: Elements) -> NDArray[np.float64] | None:
    cosines = vector(elements, "ImageOrientationPatient", 6)
    elements.notes.update(dict.fromkeys(cosines_note(cosines)))
    return unit_orientation(cosines, elements.where)


def _check_no_mosaic(elements: Elements) -> None:
    if "MOSAIC" in elements.text("ImageType").upper().split("\\"):
        raise Refused(
            "mosaic",
            f"{elements.where}: expected a slice, got a mosaic of many, whose order and places stand in "
            "private elements; "
            "export enhanced objects, or one slice a file",
        )


def unit_orientation(cosines: NDArray[np.float64] | None, where: str) -> NDArray[np.float64] | None:
    """Two unit vectors at a right angle.

    A direction has no length, so that another length than 1 is brought to it, with a note by the caller's elements.

    Raises:
        Refused: ``bad-orientation``, where an axis has next to no length or the two are not at a right angle.
    """
    if cosines is None:
        return None
    axes: NDArray[np.float64] = cosines.reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    axes = axes / np.maximum(lengths, 1e-12)[:, None]
    if (lengths < 0.5).any() or (lengths > 2).any() or abs(float(axes[0] @ axes[1])) > _RIGHT_ANGLE:
        raise Refused(
            "bad-orientation",
            f"{where}: expected direction cosines of length 1 at a right angle, got {_shown(cosines)}; export it again",
        )
    return np.asarray(axes, dtype=np.float64)


def cosines_note(cosines: NDArray[np.float64] | None) -> list[Finding]:
    """Say where direction cosines are not of length 1, by more than rounding to three digits."""
    if cosines is None or np.abs(np.linalg.norm(cosines.reshape(2, 3), axis=1) - 1).max() <= _RIGHT_ANGLE:
        return []
    return [
        Finding(
            "cosines", f"direction cosines {_shown(cosines)} are not of length 1; taken as directions alone"
        )
    ]


_RIGHT_ANGLE = 2e-3  # what rounding to three digits may leave


def _shown(numbers: NDArray[np.float64]) -> str:
    return "\\".join(f"{number:.6g}" for number in numbers)
