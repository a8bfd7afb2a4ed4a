"""Make a volume of a group of slices: decode, map to values, place, and repair where that was asked for."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.dicom.enhanced import dose_note, is_dose, is_parametric_map
from medkit.dicom.facts import told_by
from medkit.dicom.findings import Finding, Refused, Repair
from medkit.dicom.geometry import Runs, Stack, coordinates, even_runs, stack_of
from medkit.dicom.intensities import REMARKS, Mapping, mapping_of, output_type, values_of
from medkit.dicom.naming import tells_nothing_of_a_person
from medkit.dicom.pixels import stored_frames
from medkit.dicom.repairs import regrid
from medkit.dicom.result import Frame, SeriesVolume

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from medkit.dicom.group import Group
    from medkit.dicom.instance import Instance
    from medkit.dicom.limits import Limits
    from medkit.dicom.planes import Plane

__all__ = ["ContentDigests", "make_volumes"]

# A resampled stack bridges no more than so many usual distances.
_BRIDGE = 8.0
_SQUEEZE = 0.2
# Distances are one where they differ by less.
_ALIKE = 0.02
_FEW = 3
# Of so many thicknesses at least a slice may be missing between two.
_FAR = 1.5


class ContentDigests:
    """Digests of the stored pixels of frames. All of an object are made in one pass: each could need the whole of it."""

    def __init__(self) -> None:
        self.by_object: dict[Instance, list[bytes]] = {}

    def __call__(self, plane: Plane) -> bytes:
        """The digest of one frame."""
        found = self.by_object.get(plane.instance)
        if found is None:
            frames = stored_frames(plane.instance, plane.format, range(1, plane.format.frames + 1))
            found = [hashlib.sha256(np.ascontiguousarray(frame).data).digest() for frame in frames]
            self.by_object[plane.instance] = found
        return found[plane.number - 1]


@dataclass(frozen=True, eq=False)
class _Part:
    """A sorted, even stack; or an uneven one that is to be resampled to ``step``."""

    stack: Stack
    step: float | None
    repairs: tuple[Finding, ...]
    suffix: str = ""


def make_volumes(
    group: Group, name: str, repairs: Collection[Repair], limits: Limits, pool: ThreadPoolExecutor
) -> list[SeriesVolume]:
    """The volume of a group; several where gaps are split.

    Args:
        group: of one series.
        name: of the volume.
        repairs: asked for.
        limits: of memory.
        pool: reads and decodes.

    Raises:
        Refused: by geometry, pixels or values.
    """
    return [
        _repaired(_volume(part, group, f"{name}{part.suffix}", limits, pool), part, repairs)
        for part in _parts(group, repairs)
    ]


def _parts(group: Group, repairs: Collection[Repair]) -> list[_Part]:
    planes = group.planes
    try:
        return [_Part(stack_of(planes), None, ())]
    except Refused as refused:
        if refused.finding.code not in ("gap", "nonuniform") or len(planes) < 2:
            raise
        ordered = [planes[number] for number in np.argsort(coordinates(planes), kind="stable")]
        bounds = even_runs(ordered).bounds
        # Of uneven slices whole stacks must be left; a heap of single ones is no help.
        few = min(last - first for first, last in bounds) < _FEW and refused.finding.code == "nonuniform"
        if Repair.SPLIT_GAPS in repairs and not few:
            return _runs(ordered)
        if Repair.RESAMPLE in repairs:
            return [_to_resample(ordered, refused)]
        raise


def _runs(ordered: Sequence[Plane]) -> list[_Part]:
    bounds = even_runs(ordered).bounds
    said = Finding(
        Repair.SPLIT_GAPS, f"split into {len(bounds)} volumes at missing or uneven slices, as was asked for"
    )
    return [
        _Part(_run(ordered[first:last]), None, (said,), f"_part{number}")
        for number, (first, last) in enumerate(bounds, 1)
    ]


def _run(planes: Sequence[Plane]) -> Stack:
    try:
        return stack_of(planes)
    except Refused as refused:
        if len(planes) > 1:
            raise
        raise Refused(
            refused.finding.code,
            f"{refused}; split-gaps leaves it alone beside missing slices: ask for resample instead",
        ) from refused


def _to_resample(ordered: Sequence[Plane], refused: Refused) -> _Part:
    """The first slice places the stack; the others are brought into its line."""
    runs = even_runs(ordered)
    steps = np.diff(coordinates(ordered))
    if (steps <= _SQUEEZE * runs.step).any() or steps.max() > _BRIDGE * runs.step:
        raise Refused(
            refused.finding.code,
            f"{refused}; resample cannot: slices lie {steps.min():.4g} to {steps.max():.4g} mm from each other",
        )
    # Two slices make the affine of an even stack, whatever lies between.
    stack = stack_of([ordered[0], ordered[-1]])
    step = float(np.linalg.norm(stack.affine[:3, 2])) / _intervals(steps, runs)
    return _Part(Stack(tuple(ordered), stack.affine, stack.tilt_degrees, stack.notes), step, ())


def _intervals(steps: NDArray[np.float64], runs: Runs) -> int:
    """The number of even steps from first to last: as many as are known, or as the smallest of uneven ones asks for.

    The smallest of many distances is less than the others by rounding alone: those that are like it count together.
    """
    smallest = steps[steps <= steps.min() * (1 + _ALIKE)].mean()
    return int(np.rint(steps / smallest).sum() if runs.whole else np.ceil(steps.sum() / smallest - _ALIKE))


def _volume(part: _Part, group: Group, name: str, limits: Limits, pool: ThreadPoolExecutor) -> SeriesVolume:
    planes = part.stack.planes
    mappings = [mapping_of(plane) for plane in planes]
    _check_all_rescaled(planes, mappings)
    array, padding, remarks = _array(planes, mappings, limits, pool)
    first = planes[0].instance
    notes = [
        *group.notes,
        *part.stack.notes,
        *(REMARKS[code] for code in sorted(remarks)),
        *_notes(planes, mappings),
    ]
    count = 0 if padding is None else int(np.count_nonzero(padding))
    if count:
        values = sorted({str(mapping.padding) for mapping in mappings if mapping.padding})
        notes.append(
            Finding(
                "padding",
                f"{count} voxels are padding (stored numbers {', '.join(values)}) and no measurement; see the mask",
            )
        )
    return SeriesVolume(
        array=array,
        affine=part.stack.affine,
        frames=tuple(
            Frame(
                plane.instance.source.path,
                plane.instance.source.member,
                plane.instance.sop_instance_uid,
                plane.number,
            )
            for plane in planes
        ),
        notes=tuple(dict.fromkeys(notes)),
        repairs=(*group.repairs, *part.repairs),
        name=name,
        series_instance_uid=first.elements.text("SeriesInstanceUID"),
        study_instance_uid=first.elements.text("StudyInstanceUID"),
        modality=first.modality,
        facts=_facts(part, group, mappings, count),
        padding=padding if count else None,
        told=told_by(planes),
    )


def _array(
    planes: Sequence[Plane], mappings: Sequence[Mapping], limits: Limits, pool: ThreadPoolExecutor
) -> tuple[NDArray[Any], NDArray[np.bool_] | None, set[str]]:
    found, dtype = planes[0].format, output_type(planes, mappings)
    shape = (len(planes), found.rows, found.columns)
    if (size := int(np.prod(shape, dtype=np.int64)) * dtype.itemsize) > limits.series_bytes:
        raise Refused(
            "too-large",
            f"{planes[0].where}: expected a volume of at most {limits.series_bytes} bytes, got {size}; raise the limit",
        )
    slices = np.empty(shape, dtype)
    padding = np.zeros(shape, bool) if any(mapping.padding for mapping in mappings) else None
    by_instance: dict[int, list[int]] = {}
    for number, plane in enumerate(planes):
        by_instance.setdefault(id(plane.instance), []).append(number)

    def read(numbers: list[int]) -> set[str]:
        numbers = sorted(numbers, key=lambda number: planes[number].number)
        instance, met = planes[numbers[0]].instance, set()
        frames = stored_frames(
            instance, planes[numbers[0]].format, [planes[number].number for number in numbers]
        )
        for number, raw in zip(numbers, frames, strict=True):
            columns, rows = (slice(None, None, -1 if turned else 1) for turned in planes[number].flipped)
            mask, remarks = values_of(raw[rows, columns], planes[number], mappings[number], slices[number])
            met |= remarks
            if padding is not None and mask is not None:
                padding[number] = mask
        return met

    remarks = set().union(*pool.map(read, by_instance.values()))
    return slices.transpose(2, 1, 0), None if padding is None else padding.transpose(2, 1, 0), remarks


def _check_all_rescaled(planes: Sequence[Plane], mappings: Sequence[Mapping]) -> None:
    said = [mapping.said for mapping in mappings]
    if any(said) and not all(said):
        raise Refused(
            "bad-rescale",
            f"{planes[said.index(False)].where}: expected RescaleSlope and RescaleIntercept as in "
            f"{planes[said.index(True)].where}, got neither; export it again",
        )


def _repaired(volume: SeriesVolume, part: _Part, repairs: Collection[Repair]) -> SeriesVolume:
    tilted = Repair.DESHEAR in repairs and any(note.code == "tilt" for note in volume.notes)
    if part.step is None and not tilted:
        return volume
    array, affine, said = volume.array, volume.affine, list(volume.repairs)
    outside = np.zeros(array.shape, bool) if volume.padding is None else volume.padding
    if part.step is not None:
        origins = np.array([plane.position for plane in part.stack.planes]) * [-1.0, -1.0, 1.0]  # LPS to RAS
        made = regrid(array, outside, affine, origins, upright=False, step=part.step)
        counts = f"{array.shape[2]} slices interpolated onto {made.array.shape[2]} at even distances"
        said.append(Finding(Repair.RESAMPLE, f"{counts}, over up to {made.bridged_mm:.4g} mm"))
        array, affine, outside = made.array, made.affine, made.outside
    if tilted:  # after the other: between slices is interpolated along the tilt, where both have pixels
        origins = affine[:3, 3] + np.arange(array.shape[2])[:, None] * affine[:3, 2]
        made = regrid(array, outside, affine, origins, upright=True, step=None)
        tilt = f"a tilt of {part.stack.tilt_degrees:.3g} degrees"
        said.append(Finding(Repair.DESHEAR, f"{tilt} was taken away by interpolation within slices"))
        array, affine, outside = made.array, made.affine, made.outside
    notes = tuple(
        note for note in volume.notes if note.code not in ("padding", *(["tilt"] if tilted else []))
    )
    count = int(np.count_nonzero(outside))
    if count:
        notes += (
            Finding(
                "padding",
                f"{count} voxels lie outside of all slices or touch padding, and have the lowest value; see the mask",
            ),
        )
    return replace(
        volume,
        array=array,
        affine=affine,
        frames=(),
        notes=notes,
        repairs=tuple(said),
        padding=outside if count else None,
        facts=volume.facts | {"padding_voxels": count, "slices": array.shape[2]},
    )


def _notes(planes: Sequence[Plane], mappings: Sequence[Mapping]) -> list[Finding]:
    first = planes[0].instance
    notes = list(dict.fromkeys(note for plane in planes for note in plane.instance.notes))
    if is_dose(first):
        notes.append(dose_note(first))
    if any(plane.format.photometric == "MONOCHROME1" for plane in planes):
        notes.append(
            Finding("monochrome1", "shown with dark for high values; values are as measured, not inverted")
        )
    if any(plane.format.shift for plane in planes):
        notes.append(
            Finding("high-bit", "values lie above the lowest bits, as HighBit says, and are shifted down")
        )
    if len({plane.format.signed for plane in planes}) > 1:
        notes.append(Finding("mixed-sign", "signed and unsigned slices; each is read by its own header"))
    if any(mapping.table is not None for mapping in mappings):
        notes.append(Finding("lut", "values come from a modality lookup table"))
    if any(_lossy(plane) for plane in planes):
        notes.append(
            Finding("lossy", "pixels were compressed with loss: values are near those measured, no more")
        )
    if any(plane.instance.executable for plane in planes):
        notes.append(
            Finding(
                "executable-preamble", "a file begins as a Windows program does; do not pass it on as it is"
            )
        )
    return [*notes, *_scale_notes(planes, mappings), *_number_notes(planes), *_distance_note(planes)]


def _scale_notes(planes: Sequence[Plane], mappings: Sequence[Mapping]) -> list[Finding]:
    notes = []
    first = planes[0].instance
    scaled = any(mapping.slope != 1 for mapping in mappings)
    if first.modality == "MR" and "philips" in first.elements.text("Manufacturer").lower() and scaled:
        notes.append(
            Finding(
                "philips-scale", "rescaled as the standard has it; Philips' own scale slope is not applied"
            )
        )
    if first.modality == "CT" and not all(mapping.said for mapping in mappings):
        notes.append(
            Finding(
                "no-rescale",
                "CT without RescaleSlope and RescaleIntercept: values are stored numbers, perhaps no Hounsfield units",
            )
        )
    # Those of a parametric map are applied.
    if not is_parametric_map(first) and any(plane.real_world for plane in planes):
        notes.append(
            Finding(
                "real-world-values",
                "a real-world value mapping is there and not applied; values are the rescaled ones",
            )
        )
    return notes


def _number_notes(planes: Sequence[Plane]) -> list[Finding]:
    """Slices may be missing where every second InstanceNumber is."""
    found = (plane.instance.elements.whole("InstanceNumber") for plane in planes)
    numbers = [number for number in found if number is not None]
    if len(planes) < 3 or planes[0].format.frames > 1 or len(numbers) < len(planes):
        return []
    steps = set(np.diff(numbers).tolist())
    if len(steps) == 1 and abs(step := steps.pop()) > 1:
        return [
            Finding("instance-numbers", f"InstanceNumber goes in steps of {abs(step)}: others may be missing")
        ]
    return []


def _distance_note(planes: Sequence[Plane]) -> list[Finding]:
    """Of two slices nobody knows whether they are neighbours but by the header."""
    thickness = planes[0].thickness
    if len(planes) != 2 or thickness is None:
        return []
    distance = abs(float(np.diff(coordinates(planes))[0]))
    if distance <= _FAR * thickness:
        return []
    said = f"two slices lie {distance:.4g} mm apart, where the header has {thickness:.4g} mm: others may be missing"
    return [Finding("far-apart", said)]


def _lossy(plane: Plane) -> bool:
    return (
        plane.instance.elements.text("LossyImageCompression") == "01"
        or plane.instance.transfer_syntax in _LOSSY
    )


_LOSSY = {f"1.2.840.10008.1.2.4.{end}" for end in ("50", "51", "53", "55", "81")}


def _facts(part: _Part, group: Group, mappings: Sequence[Mapping], padding: int) -> dict[str, Any]:
    planes = part.stack.planes
    syntaxes = Counter(str(plane.instance.transfer_syntax) for plane in planes)
    return {
        "series_number": planes[0].instance.series_number,
        "keys": dict(group.keys),
        "parameters": {
            key: value
            for key, value in planes[0].strict.items()
            if key not in _NOT_FACTS and tells_nothing_of_a_person(key, value)
        },
        "unit": mappings[0].unit,
        "tilt_degrees": round(part.stack.tilt_degrees, 4),
        "padding_voxels": padding,
        "transfer_syntaxes": sorted(syntaxes),
        "slices": len(planes),
    }


_NOT_FACTS = {"frame-of-reference", "class"}
