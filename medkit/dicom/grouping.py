"""Split the frames of a series into stacks that are volumes, or say why that cannot be done without guessing."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from medkit.dicom.findings import Finding, Refused, Repair
from medkit.dicom.geometry import check_placed, coordinates, same_place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from medkit.dicom.planes import Plane

__all__ = ["Group", "split"]

# Directions and sizes that differ by less are one, but for rounding.
_SAME_DIRECTION = 1e-4
_SAME_SIZE = 1e-4
_PARALLEL = 0.999
# A group of fewer slices that fills another's place is no volume of its own, but part of it or a fault.
_FEW = 3
# A localizer has three directions; more, of one slice each, are a radial scan.
_DIRECTIONS = 3


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


def split(
    planes: Sequence[Plane], content: Callable[[Plane], bytes], repairs: Collection[Repair] = ()
) -> list[Group]:
    """Split the frames of a series.

    First by what differs between volumes and never within one (matrix, spacing, direction, echo time, b-value ...).
    Slices that then share their places are told apart by what else differs between them (acquisition, trigger time ...),
    where only one way of doing so gives whole stacks; or they are copies of each other.

    Args:
        planes: of one series.
        content: a digest of a frame's stored pixels.
        repairs: asked for.

    Raises:
        Refused: ``no-geometry``, ``mixed-frame-of-reference``, ``mixed-orientation``, ``mixed-spacing``,
            ``mixed-matrix``, ``mixed-parameters``, ``multi-phase`` or ``duplicate``.
    """
    for plane in planes:
        check_placed(plane)
    kept, repaired = _without_localizers(planes, repairs)
    kept, notes = _without_resent(kept, content)
    groups = [Group(found) for found in _strict_groups(kept)]
    groups, dropped = _without_strays(groups, repairs)
    _check_frames_of_reference(groups)
    _check_directions(groups)
    groups = [part for group in groups for part in _told_apart(group, content, repairs)]
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
    return kept, [Finding(Repair.DROP_LOCALIZER, f"left out {count} localizer images, as was asked for")]


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
        if not same_place(first, plane) or content(first) != content(plane) or first.strict != plane.strict:
            raise Refused(
                "duplicate",
                f"{plane.where}: expected one object of each SOP Instance UID, got another content than in "
                f"{first.where}; find out which is right and remove the other",
            )
    notes = [Finding("duplicate", f"{again} frames came more than once, alike; one of each is used")] if again else []
    return kept, notes


def _strict_groups(planes: Sequence[Plane]) -> list[list[Plane]]:
    by_key: dict[tuple[object, ...], list[Plane]] = {}
    for plane in planes:
        key = (plane.format.rows, plane.format.columns, tuple(sorted(plane.strict.items())))
        by_key.setdefault(key, []).append(plane)
    return [part for found in by_key.values() for part in _alike(found)]


def _alike(planes: list[Plane]) -> list[list[Plane]]:
    """By direction and spacing, but for rounding."""
    parts: list[list[Plane]] = []
    for plane in planes:
        for part in parts:
            if _same_direction(part[0], plane) and _same_spacing(part[0], plane):
                part.append(plane)
                break
        else:
            parts.append([plane])
    return parts


def _same_direction(one: Plane, other: Plane) -> bool:
    assert one.orientation is not None
    assert other.orientation is not None
    return float(np.abs(one.orientation - other.orientation).max()) < _SAME_DIRECTION


def _same_spacing(one: Plane, other: Plane) -> bool:
    return bool(np.allclose(one.spacing, other.spacing, rtol=_SAME_SIZE, atol=0))  # type: ignore[arg-type]


def _without_strays(
    groups: list[Group], repairs: Collection[Repair]
) -> tuple[list[Group], list[Finding]]:
    """Refuse slices that fill a place in another group's row, and so belong to it but for a difference."""
    kept, dropped = list(groups), []
    for group in groups:
        for other in groups:
            if group is other or len(group.planes) >= _FEW or not _fills(group.planes, other.planes):
                continue
            finding = _stray(group.planes[0], other.planes[0])
            if Repair.DROP_STRAY not in repairs:
                raise Refused(finding.code, finding.message)
            if group in kept:
                kept.remove(group)
                names = ", ".join(plane.where for plane in group.planes)
                dropped.append(Finding(Repair.DROP_STRAY, f"left out {names}, as was asked for: {finding.code}"))
    return kept, dropped


def _fills(few: Sequence[Plane], many: Sequence[Plane]) -> bool:
    """Whether few slices lie in the row of many, or at its ends, at places that none of them has."""
    if len(many) <= len(few) or few[0].localizer != many[0].localizer:
        return False
    if abs(float(few[0].normal @ many[0].normal)) < _PARALLEL:
        return False
    row = np.sort(coordinates(many))
    step = float(np.median(np.diff(row))) if len(row) > 1 else 0.0
    normal = many[0].normal
    places = np.array([float(normal @ plane.position) for plane in few])  # type: ignore[operator]
    inside = (places > row[0] - 1.6 * step) & (places < row[-1] + 1.6 * step)
    apart = np.abs(places[:, None] - row).min(1) > 0.25 * step
    return bool((inside & apart).any())


def _stray(one: Plane, other: Plane) -> Finding:
    what, code = _difference(one, other)
    return Finding(
        code,
        f"{one.where}: expected {what[2]} as in {other.where}, got {what[1]}: {what[0]} differs within one row of slices; "
        "find out why, or ask for the repair drop-stray",
    )


def _difference(one: Plane, other: Plane) -> tuple[tuple[str, str, str], str]:
    """Name, value here and value there of the first difference, and its code."""
    if (one.format.rows, one.format.columns) != (other.format.rows, other.format.columns):
        sizes = [f"{plane.format.rows} x {plane.format.columns}" for plane in (one, other)]
        return ("the matrix", *sizes), "mixed-matrix"  # type: ignore[return-value]
    for key in sorted(one.strict.keys() | other.strict.keys()):
        here, there = one.strict.get(key, "none"), other.strict.get(key, "none")
        if here != there:
            code = "mixed-frame-of-reference" if key == "frame-of-reference" else "mixed-parameters"
            return (key, here, there), code
    if not _same_direction(one, other):
        axes = [" ".join(f"{n:.4g}" for n in plane.orientation.ravel()) for plane in (one, other)]  # type: ignore[union-attr]
        return ("the direction", *axes), "mixed-orientation"  # type: ignore[return-value]
    shown = [" x ".join(f"{n:.6g}" for n in plane.spacing) for plane in (one, other)]  # type: ignore[union-attr]
    return ("the spacing", *shown), "mixed-spacing"  # type: ignore[return-value]


def _check_frames_of_reference(groups: list[Group]) -> None:
    found = {group.planes[0].strict.get("frame-of-reference", ""): group.planes[0] for group in groups}
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise Refused(
            "mixed-frame-of-reference",
            f"{other.where}: expected the frame of reference of {one.where} in one series, got another; "
            "their places cannot be compared: read them one by one with the pick frame-of-reference=UID",
        )


def _check_directions(groups: list[Group]) -> None:
    """Refuse a fan of single slices."""
    single = [group.planes[0] for group in groups if len(group.planes) == 1]
    directions: list[Plane] = []
    for plane in single:
        if not any(_same_direction(plane, other) for other in directions):
            directions.append(plane)
    if len(directions) > _DIRECTIONS:
        raise Refused(
            "mixed-orientation",
            f"{directions[1].where}: expected parallel slices, got {len(directions)} directions of one slice each; "
            "a radial scan is no volume",
        )


def _told_apart(
    group: Group, content: Callable[[Plane], bytes], repairs: Collection[Repair]
) -> list[Group]:
    """Split a group whose slices share their places."""
    places = _places(group.planes)
    if len(places) == len(group.planes):
        return [group]
    ways = _ways(places)
    if len(ways) == 1:
        return [Group(planes, keys) for keys, planes in ways[0]]
    if len(ways) > 1:
        keys = " or ".join("+".join(way[0][0]) for way in ways)
        raise Refused(
            "multi-phase",
            f"{places[0][0].where}: expected one way to tell {len(places[0])} slices at one place apart, got {keys}; "
            "pick a value of one of them",
        )
    return [_without_copies(group, places, content, repairs)]


def _places(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Slices by place."""
    found: list[list[Plane]] = []
    for number in np.argsort(coordinates(planes), kind="stable"):
        plane = planes[number]
        here = [place for place in reversed(found[-8:]) if same_place(place[0], plane)]
        if here:
            here[0].append(plane)
        else:
            found.append([plane])
    return found


def _ways(places: list[list[Plane]]) -> list[list[tuple[dict[str, str], list[Plane]]]]:
    """The ways of dealing the slices of each place out to whole stacks, by one key or by two; different ones only."""
    names = sorted({name for place in places for plane in place for name in plane.soft})
    names = [name for name in names if len({plane.soft.get(name) for place in places for plane in place}) > 1]
    for count in (1, 2):
        found: dict[frozenset[frozenset[int]], list[tuple[dict[str, str], list[Plane]]]] = {}
        for keys in itertools.combinations(names, count):
            way = _dealt(places, keys)
            if way:
                partition = frozenset(frozenset(id(plane) for plane in planes) for _, planes in way)
                found.setdefault(partition, way)
        if found:
            return list(found.values())
    return []


def _dealt(places: list[list[Plane]], keys: tuple[str, ...]) -> list[tuple[dict[str, str], list[Plane]]]:
    """One slice of every place for each value of the keys; nothing where that does not work out."""
    dealt: dict[tuple[str, ...], list[Plane]] = {}
    for place in places:
        values = [tuple(plane.soft.get(key, "") for key in keys) for plane in place]
        if len(set(values)) < len(values):
            return []
        for value, plane in zip(values, place, strict=True):
            dealt.setdefault(value, []).append(plane)
    if any(len(planes) != len(places) for planes in dealt.values()):
        return []
    return [(dict(zip(keys, value, strict=True)), dealt[value]) for value in sorted(dealt, key=_by_number)]


def _by_number(value: tuple[str, ...]) -> tuple[object, ...]:
    try:
        return (0, *(float(part or 0) for part in value))
    except ValueError:
        return (1, *value)


def _without_copies(
    group: Group, places: list[list[Plane]], content: Callable[[Plane], bytes], repairs: Collection[Repair]
) -> Group:
    kept, copies, others = [], 0, 0
    for place in places:
        place = sorted(place, key=_instance_number)
        kept.append(place[0])
        same = [content(plane) == content(place[0]) and _as_values(plane) == _as_values(place[0]) for plane in place[1:]]
        copies += sum(same)
        others += len(same) - sum(same)
    if others and Repair.DROP_DUPLICATES not in repairs:
        counts = Counter(len(place) for place in places)
        code = "multi-phase" if set(counts) == {len(places[0])} else "duplicate"
        first = max(places, key=len)
        raise Refused(
            code,
            f"{first[1].where}: expected one slice at each place, got others of another content than {first[0].where} "
            f"at {sum(len(place) > 1 for place in places)} of {len(places)} places, and nothing that tells them apart; "
            "ask for the repair drop-duplicates, which keeps the first by InstanceNumber",
        )
    notes = [*group.notes]
    if copies:
        notes.append(Finding("duplicate", f"{copies} slices are copies of others at their place; one of each is used"))
    repaired = [Finding(Repair.DROP_DUPLICATES, f"left out {others} slices, keeping the first by InstanceNumber at their place")]
    return Group(kept, group.keys, notes, [*group.repairs, *(repaired if others else [])])


def _as_values(plane: Plane) -> tuple[str, ...]:
    """What turns stored numbers into values."""
    names = ("RescaleSlope", "RescaleIntercept", "BitsStored", "PixelRepresentation", "HighBit")
    return tuple(elements.text(name) for elements in plane.values for name in names)


def _instance_number(plane: Plane) -> tuple[float, str]:
    try:
        number = plane.instance.elements.number("InstanceNumber")
    except Refused:
        number = None
    return (float("inf") if number is None else number, plane.where)


def _name_by_difference(groups: list[Group]) -> None:
    """Give each group the strict keys that differ between the groups, and its matrix, spacing or direction."""
    shapes = [{"matrix": f"{group.planes[0].format.columns}x{group.planes[0].format.rows}"} for group in groups]
    keys = [{**group.planes[0].strict, **shape, **_direction_keys(group)} for group, shape in zip(groups, shapes, strict=True)]
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
