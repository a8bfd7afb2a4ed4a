"""The frames of enhanced multi-frame objects (PS3.3 C.7.6.16), and of RT dose grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medkit.dicom.findings import Finding, Refused
from medkit.dicom.planes import (
    Plane,
    cosines_note,
    key_text,
    pixel_spacing,
    soft_keys,
    strict_keys,
    thickness,
    unit_orientation,
    vector,
)

if TYPE_CHECKING:
    from medkit.dicom.elements import Elements
    from medkit.dicom.format import PixelFormat
    from medkit.dicom.instance import Instance

__all__ = [
    "FunctionalGroups",
    "dose_note",
    "dose_planes",
    "enhanced_planes",
    "is_dose",
    "is_enhanced",
    "is_parametric_map",
]

# Functional group, element, key: what differs between volumes and never within one.
_STRICT = (
    ("MRImageFrameTypeSequence", "FrameType", "image-type"),
    ("CTImageFrameTypeSequence", "FrameType", "image-type"),
    ("PETFrameTypeSequence", "FrameType", "image-type"),
    ("MREchoSequence", "EffectiveEchoTime", "echo-time"),
    ("MRModifierSequence", "InversionTimes", "inversion-time"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle", "flip-angle"),
    ("MRDiffusionSequence", "DiffusionBValue", "b-value"),
    ("MRImageFrameTypeSequence", "ComplexImageComponent", "component"),
    ("CTReconstructionSequence", "ConvolutionKernel", "kernel"),
    ("CTXRayDetailsSequence", "KVP", "kvp"),
    ("FrameContentSequence", "TemporalPositionIndex", "temporal-index"),
    ("FrameContentSequence", "StackID", "stack"),
    ("PixelValueTransformationSequence", "RescaleType", "rescale-type"),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", "cardiac-phase"),
)
# What may change from slice to slice as well.
_SOFT = (
    ("FrameContentSequence", "FrameAcquisitionNumber", "acquisition"),
    ("FrameContentSequence", "FrameAcquisitionDateTime", "acquisition-date-time"),
    ("FrameContentSequence", "FrameReferenceDateTime", "frame-reference-time"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "trigger-time"),
    ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "repetition-time"),
    ("TemporalPositionSequence", "TemporalPositionTimeOffset", "temporal-offset"),
    ("MRDiffusionSequence", "DiffusionDirectionality", "directionality"),
)
# Dimensions along which the slices of one volume follow each other.
_WITHIN_VOLUME = {
    "InStackPositionNumber",
    "ImagePositionPatient",
    "FrameAcquisitionDateTime",
    "FrameReferenceDateTime",
}
# That place a frame and give it values: of two items nobody knows which is right.
_ONE_ITEM = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)
_FRAMES = "PerFrameFunctionalGroupsSequence"
_REAL_WORLD = "RealWorldValueMappingSequence"
_RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


def is_enhanced(instance: Instance) -> bool:
    """Whether an object says of each frame where it is."""
    return _FRAMES in instance.elements


def is_dose(instance: Instance) -> bool:
    """Whether it is an RT dose."""
    return instance.elements.text("SOPClassUID") == _RT_DOSE


def is_parametric_map(instance: Instance) -> bool:
    """Whether it is a parametric map, whose values are real-world ones."""
    return instance.elements.text("SOPClassUID") == _PARAMETRIC_MAP


def enhanced_planes(instance: Instance, found: PixelFormat) -> list[Plane]:
    """A plane for each frame.

    Raises:
        Refused: ``count-mismatch`` (groups for another number of frames), or what values raise.
    """
    elements = instance.elements
    shared = next(iter(elements.items("SharedFunctionalGroupsSequence")), None)
    per_frame = elements.items(_FRAMES)
    if len(per_frame) != found.frames:
        raise Refused(
            "count-mismatch",
            f"{instance.source.shown}: expected functional groups for each of its {found.frames} frames, "
            f"got {len(per_frame)}; export it again",
        )
    dimensions = _dimensions(elements)
    common, soft = strict_keys(elements), soft_keys(elements)
    if "ConcatenationUID" not in elements:
        soft["object"] = elements.text("InstanceNumber") or instance.sop_instance_uid
    if not elements.text("ImageType").upper().count("MIXED"):
        common.pop("image-type", None) if _has_frame_type(shared, per_frame) else None
    return [
        _plane(instance, found, number, FunctionalGroups(group, shared), common, soft, dimensions)
        for number, group in enumerate(per_frame, 1)
    ]


class FunctionalGroups:
    """The functional groups of a frame: its own, or else those shared by all."""

    def __init__(self, own: Elements, shared: Elements | None) -> None:
        self.sets = (own,) if shared is None else (own, shared)
        self.found: dict[str, list[Elements]] = {}

    def __getitem__(self, name: str) -> Elements | None:
        return next(iter(self.items(name)), None)

    def items(self, name: str) -> list[Elements]:
        """All items of a functional group that may have several."""
        if name not in self.found:
            self.found[name] = next((items for group in self.sets if (items := group.items(name))), [])
        return self.found[name]


def _has_frame_type(shared: Elements | None, per_frame: list[Elements]) -> bool:
    sets = [group for group in (shared, *per_frame[:1]) if group is not None]
    return any(
        name in group for group in sets for name in {row[0] for row in _STRICT if row[1] == "FrameType"}
    )


def _plane(
    instance: Instance,
    found: PixelFormat,
    number: int,
    groups: FunctionalGroups,
    common: dict[str, str],
    soft: dict[str, str],
    dimensions: list[str],
) -> Plane:
    where = f"{instance.source.shown}, frame {number}"
    for name in _ONE_ITEM:
        if (count := len(groups.items(name))) > 1:
            raise Refused("bad-value", f"{where}: expected one item of {name}, got {count}; export it again")
    place, turn = groups["PlanePositionSequence"], groups["PlaneOrientationSequence"]
    measures, content = groups["PixelMeasuresSequence"], groups["FrameContentSequence"]
    position = None if place is None else vector(place, "ImagePositionPatient", 3)
    cosines = None if turn is None else vector(turn, "ImageOrientationPatient", 6)
    instance.elements.notes.update(dict.fromkeys(cosines_note(cosines)))
    transformation = groups["PixelValueTransformationSequence"]
    values = tuple(group for group in (transformation, instance.elements) if group is not None)
    real_world = groups.items(_REAL_WORLD) or instance.elements.items(_REAL_WORLD)
    return Plane(
        instance,
        found,
        number,
        position,
        unit_orientation(cosines, where),
        None if measures is None else pixel_spacing(measures),
        None if measures is None else thickness(measures),
        common | _keys(groups, _STRICT),
        soft | _keys(groups, _SOFT) | _direction(groups) | _indices(content, dimensions),
        values,
        tuple(real_world),
    )


def _keys(groups: FunctionalGroups, rows: tuple[tuple[str, str, str], ...]) -> dict[str, str]:
    found = {}
    for sequence, name, key in rows:
        group = groups[sequence]
        if group is not None and (value := key_text(group, name)):
            found[key] = value
    return found


def _direction(groups: FunctionalGroups) -> dict[str, str]:
    diffusion = groups["MRDiffusionSequence"]
    for item in [] if diffusion is None else diffusion.items("DiffusionGradientDirectionSequence"):
        numbers = item.numbers("DiffusionGradientOrientation")
        return {"direction": "\\".join(f"{number + 0.0:.3f}" for number in numbers)}
    return {}


def _dimensions(elements: Elements) -> list[str]:
    """A key for each dimension that tells volumes apart; empty for one within a volume."""
    keys = []
    for number, item in enumerate(elements.items("DimensionIndexSequence"), 1):
        element = item.dataset.get("DimensionIndexPointer")
        keyword = "" if element is None else _keyword(int(element))
        keys.append("" if keyword in _WITHIN_VOLUME else f"dimension-{number}")
    return keys


def _keyword(tag: int) -> str:
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag)


def _indices(content: Elements | None, dimensions: list[str]) -> dict[str, str]:
    values = [] if content is None else content.strings("DimensionIndexValues")
    if len(values) != len(dimensions):
        return {}
    return {key: value for key, value in zip(dimensions, values, strict=True) if key}


def dose_planes(instance: Instance, found: PixelFormat) -> list[Plane]:
    """A plane for each frame of an RT dose, at its offset along the normal (PS3.3 C.8.8.3.2).

    Raises:
        Refused: ``no-geometry``, or what values raise.
    """
    elements, where = instance.elements, instance.source.shown
    position = vector(elements, "ImagePositionPatient", 3)
    orientation = unit_orientation(vector(elements, "ImageOrientationPatient", 6), where)
    offsets = elements.numbers("GridFrameOffsetVector")
    if found.frames == 1 and not offsets:
        offsets = [0.0]
    if position is None or orientation is None or len(offsets) != found.frames:
        raise Refused(
            "no-geometry",
            f"{where}: expected position, orientation and an offset for each of {found.frames} frames of a dose, "
            f"got {len(offsets)} offsets; export it again",
        )
    normal = np.cross(orientation[0], orientation[1])
    if offsets[0] != 0:
        # The other form of the standard: offsets are coordinates, of axial slices alone.
        if not np.allclose(np.abs(normal), [0, 0, 1], atol=1e-4) or abs(offsets[0] - position[2]) > 0.01:
            raise Refused(
                "no-geometry",
                f"{where}: expected offsets from the first frame, or places of axial frames, got {offsets[0]:g} first",
            )
        places = [np.array([position[0], position[1], offset]) for offset in offsets]
    else:
        places = [position + offset * normal for offset in offsets]
    strict = strict_keys(elements)
    for key, name in (("dose-units", "DoseUnits"), ("dose-type", "DoseType")):
        strict |= {key: text} if (text := elements.text(name)) else {}
    spacing, edge = pixel_spacing(elements), thickness(elements)
    return [
        Plane(instance, found, number, place, orientation, spacing, edge, strict, {}, (elements,))
        for number, place in enumerate(places, 1)
    ]


def dose_note(instance: Instance) -> Finding:
    """Say the unit of a dose."""
    unit = instance.elements.text("DoseUnits") or "an unknown unit"
    return Finding("dose", f"values are a dose in {unit}, stored numbers times DoseGridScaling")
