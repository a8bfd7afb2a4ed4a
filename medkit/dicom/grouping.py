"""Split the frames of a series into stacks that are volumes, or say why that cannot be done without guessing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medkit.dicom.findings import Finding, Refused, Repair, counted
from medkit.dicom.geometry import same_direction, same_place, same_spacing
from medkit.dicom.group import Group
from medkit.dicom.intensities import same_meaning
from medkit.dicom.interlaced import check_whole_rows
from medkit.dicom.limits import Limits
from medkit.dicom.phases import told_apart
from medkit.dicom.strays import turned_alike, without_strays

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from medkit.dicom.planes import Plane

__all__ = ["settings_alike", "split"]

# A localizer has three directions; more, of one slice each, are a radial scan.
_DIRECTIONS = 3
# So many parallel slices with a volume each are one volume whose headers differ where they should not.
_ROW = 3
# Scanners write what is one setting with digits that change from slice to slice.
_MEASURED = ("echo-time", "inversion-time", "flip-angle", "kvp")
_SAME_SETTING = 2e-3
# That place no voxel, and that anonymisers and converters drop from some slices.
_MAY_BE_UNSAID = ("scanning-sequence", "patient-position")
# By which slices at one place are put in order, beside what a plane has of its own.
_ORDER = ("AcquisitionDate", "InstanceNumber")


def split(
    planes: Sequence[Plane],
    content: Callable[[Plane], bytes],
    repairs: Collection[Repair] = (),
    limits: Limits | None = None,
) -> list[Group]:
    """Split the frames of a series.

    First by what differs between volumes and never within one (matrix, spacing, direction, echo time, b-value ...).
    Slices that then share their places are told apart by what else differs between them (acquisition, trigger time ...),
    where only one way of doing so gives whole stacks; or they are copies of each other.

    Args:
        planes: of one series, see :func:`settings_alike`.
        content: a digest of a frame's stored pixels.
        repairs: asked for.
        limits: of the number of volumes.

    Raises:
        Refused: ``mixed-frame-of-reference``, ``mixed-orientation``, ``mixed-spacing``,
            ``mixed-matrix``, ``mixed-parameters``, ``interlaced``, ``nonuniform``, ``multi-phase``, ``duplicate`` or
            ``too-large``; of slices that may be copies also what ``content`` raises, and
            :func:`medkit.dicom.intensities.mapping_of`.
    """
    kept, repaired = _without_localizers(planes, repairs)
    kept, notes = _without_resent(kept, content)
    if Repair.SPLIT_FRAMES not in repairs:
        _check_one_frame_of_reference(kept)
    groups: list[Group] = []
    strict = _strict_groups(kept)
    limits = limits or Limits()
    for found in strict:
        _check_few(max(len(strict), len(groups)), found[0], limits)
        _check_few_directions(found, limits)
        turned, said = turned_alike(found)
        groups += [Group(part, notes=[*said]) for part in _alike(turned)]
    groups, dropped = without_strays(groups, repairs)
    _check_directions(groups)
    check_whole_rows(groups)
    groups = [part for group in groups for part in told_apart(group, content, repairs)]
    _name_by_difference(groups)
    for group in groups:
        group.notes[:0] = notes
        group.repairs[:0] = repaired + dropped
    return groups


def _without_localizers(
    planes: Sequence[Plane], repairs: Collection[Repair]
) -> tuple[list[Plane], list[Finding]]:
    if Repair.DROP_LOCALIZER not in repairs:
        return list(planes), []
    kept = [plane for plane in planes if not plane.localizer]
    if not kept or len(kept) == len(planes):
        return list(planes), []
    count = len(planes) - len(kept)
    said = f"left out {counted(count, 'localizer image', 'localizer images')}, as was asked for"
    return kept, [Finding(Repair.DROP_LOCALIZER, said)]


def _without_resent(
    planes: Sequence[Plane], content: Callable[[Plane], bytes]
) -> tuple[list[Plane], list[Finding]]:
    """One plane of each object that came twice."""
    by_uid: dict[tuple[str, int], Plane] = {}
    kept, again = [], 0
    for plane in planes:
        key = (plane.instance.sop_instance_uid, plane.number)
        first = by_uid.setdefault(key, plane) if key[0] else plane
        if first is plane:
            kept.append(plane)
            continue
        again += 1
        if not _alike_in_all(first, plane, content):
            raise Refused(
                "duplicate",
                f"{plane.where}: expected one object of each SOP Instance UID, got another content, meaning, thickness "
                f"or acquisition than in {first.where}; find out which is right and remove the other",
            )
    notes = (
        [
            Finding(
                "duplicate",
                f"{counted(again, 'frame', 'frames')} came more than once, alike; one of each is used",
            )
        ]
        if again
        else []
    )
    return kept, notes


def _alike_in_all(one: Plane, other: Plane, content: Callable[[Plane], bytes]) -> bool:
    """Whether two planes are one, whichever of the two is read."""
    return (
        one.strict == other.strict
        and one.soft == other.soft
        and one.thickness == other.thickness
        and all(one.instance.elements.text(name) == other.instance.elements.text(name) for name in _ORDER)
        and one.format.frames == other.format.frames
        and same_place(one, other)
        and same_direction(one, other)
        and same_spacing(one, other)
        and same_meaning(one, other)
        and content(one) == content(other)
    )


def _strict_groups(planes: Sequence[Plane], but_for: Collection[str] = ()) -> list[list[Plane]]:
    by_key: dict[tuple[object, ...], list[Plane]] = {}
    for plane in planes:
        strict = sorted(item for item in plane.strict.items() if item[0] not in but_for)
        by_key.setdefault((plane.format.rows, plane.format.columns, *strict), []).append(plane)
    return list(by_key.values())


def _check_few(count: int, plane: Plane, limits: Limits) -> None:
    if count > limits.volumes:
        raise Refused(
            "too-large",
            f"{plane.where}: expected at most {limits.volumes} volumes in a series, got {count} kinds of slices; pick "
            "some by what tells them apart, or raise the limit",
        )


def _check_few_directions(planes: Sequence[Plane], limits: Limits) -> None:
    seen: list[Plane] = []
    for plane in planes:
        if not any(same_direction(plane, other) and same_spacing(plane, other) for other in seen):
            seen.append(plane)
        if len(seen) > limits.directions:
            raise Refused(
                "mixed-orientation",
                f"{plane.where}: expected parallel slices, got more than {limits.directions} directions or spacings; "
                "a radial scan is no volume",
            )


def settings_alike(planes: Sequence[Plane]) -> list[Plane]:
    """Give settings that differ in their last digits one value; the exact one may still tell volumes apart.

    A slice that lacks a scanning sequence or a position of the patient gets that of the slices that share its other
    settings, where these have one alone.
    """
    made = list(planes)
    for key in _MEASURED:
        exact = {text for plane in planes if (text := plane.strict.get(key, "")) and "\\" not in text}
        alike: dict[str, str] = {}
        first = ""
        for text in sorted((text for text in exact if _is_number(text)), key=float):
            if not first or float(text) - float(first) > _SAME_SETTING * abs(float(text)):
                first = text
            alike[text] = first
        if any(one != other for one, other in alike.items()):
            made = [_with_setting(plane, key, alike) for plane in made]
    return _with_unsaid(made)


def _with_unsaid(planes: Sequence[Plane]) -> list[Plane]:
    agreed: dict[int, dict[str, str]] = {}
    for alike in _strict_groups(planes, but_for=_MAY_BE_UNSAID):
        said = {key: {text for plane in alike if (text := plane.strict.get(key))} for key in _MAY_BE_UNSAID}
        one = {key: found.pop() for key, found in said.items() if len(found) == 1}
        agreed |= {id(plane): one for plane in alike if not one.keys() <= plane.strict.keys()}
    return [
        replace(plane, strict=agreed[id(plane)] | plane.strict) if id(plane) in agreed else plane
        for plane in planes
    ]


def _with_setting(plane: Plane, key: str, alike: dict[str, str]) -> Plane:
    text = plane.strict.get(key, "")
    if text not in alike:
        return plane
    return replace(plane, strict=plane.strict | {key: alike[text]}, soft=plane.soft | {f"exact-{key}": text})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _alike(planes: list[Plane]) -> list[list[Plane]]:
    """By direction and spacing, but for rounding."""
    parts: list[list[Plane]] = []
    for plane in planes:
        for part in parts:
            if same_direction(part[0], plane) and same_spacing(part[0], plane):
                part.append(plane)
                break
        else:
            parts.append([plane])
    return parts


def _check_one_frame_of_reference(planes: Sequence[Plane]) -> None:
    found = {plane.strict.get("frame-of-reference", ""): plane for plane in planes}
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise Refused(
            "mixed-frame-of-reference",
            f"{other.where}: expected the frame of reference of {one.where} in one series, got another; "
            "their places cannot be compared: ask for the repair split-frames, or pick one by frame-of-reference=UID",
        )


def _check_directions(groups: list[Group]) -> None:
    """Refuse a fan of single slices, and a row of slices of which each has settings of its own."""
    single = [group.planes[0] for group in groups if len(group.planes) == 1]
    directions = _first_of_each(single, same_direction)
    if len(directions) > _DIRECTIONS:
        raise Refused(
            "mixed-orientation",
            f"{directions[1].where}: expected parallel slices, got {len(directions)} directions of one slice each; "
            "a radial scan is no volume",
        )
    for direction in directions:
        places = _first_of_each([plane for plane in single if same_direction(plane, direction)], same_place)
        if len(places) >= _ROW:
            keys = sorted(
                key for key, value in places[0].strict.items() if places[1].strict.get(key) != value
            )
            raise Refused(
                "mixed-parameters",
                f"{places[1].where}: expected slices that share their settings, got {len(places)} parallel ones, "
                f"each with its own {', '.join(keys) or 'matrix or spacing'}; find out what is wrong in the headers",
            )


def _first_of_each(planes: Sequence[Plane], alike: Callable[[Plane, Plane], bool]) -> list[Plane]:
    found: list[Plane] = []
    for plane in planes:
        if not any(alike(plane, other) for other in found):
            found.append(plane)
    return found


def _name_by_difference(groups: list[Group]) -> None:
    """Give each group the strict keys that differ between the groups, and its matrix, spacing or direction."""
    shapes = [
        {"matrix": f"{group.planes[0].format.columns}x{group.planes[0].format.rows}"} for group in groups
    ]
    keys = [
        {**group.planes[0].strict, **shape, **_direction_keys(group)}
        for group, shape in zip(groups, shapes, strict=True)
    ]
    differing = {name for found in keys for name in found if len({other.get(name) for other in keys}) > 1}
    for group, found in zip(groups, keys, strict=True):
        strict = {name: value for name, value in found.items() if name in differing}
        group.keys = {**strict, **group.keys}


def _direction_keys(group: Group) -> dict[str, str]:
    plane = group.planes[0]
    normal = np.abs(plane.normal)
    name = ("sagittal", "coronal", "axial")[int(np.argmax(normal))]
    assert plane.spacing is not None
    return {"plane": name, "spacing": "x".join(f"{edge:.4g}" for edge in plane.spacing)}
