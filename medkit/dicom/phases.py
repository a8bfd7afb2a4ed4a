"""Slices that share their places: phases, echoes and passes that are told apart, copies, or a refusal."""

from __future__ import annotations

import itertools
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from pydicom.valuerep import DT

from medkit.dicom.findings import Finding, Refused, Repair, counted
from medkit.dicom.geometry import coordinates, same_place
from medkit.dicom.group import Group
from medkit.dicom.intensities import same_meaning
from medkit.dicom.interlaced import check_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from medkit.dicom.planes import Plane

__all__ = ["told_apart"]

# A stack that has not every place of its series has so many slices at least.
_FEW = 3
_SOME_DAY, _HALF_A_DAY = "20000101", timedelta(hours=12)


def told_apart(group: Group, content: Callable[[Plane], bytes], repairs: Collection[Repair]) -> list[Group]:
    """Split a group whose slices share their places.

    Args:
        group: slices of one matrix, spacing and direction.
        content: a digest of a frame's stored pixels.
        repairs: asked for.

    Raises:
        Refused: ``multi-phase`` or ``duplicate``; ``interlaced`` or ``nonuniform``, where slices of two kinds take turns
            along a row.
    """
    places = _places(group.planes)
    if len(places) == len(group.planes):
        check_turns(group)
        return [group]
    ways = _ways(places)
    if not ways and (passes := _passes(group, places, repairs)):
        return passes
    if len(ways) == 1:
        return [Group(planes, keys, [*group.notes], [*group.repairs]) for keys, planes in ways[0]]
    if len(ways) > 1:
        keys = " or ".join("+".join(way[0][0]) for way in ways)
        first = " ".join(f"--pick {key}={value}" for key, value in ways[0][0][0].items())
        raise Refused(
            "multi-phase",
            f"{places[0][0].where}: expected one way to tell {len(places[0])} slices at one place apart, got {keys}; "
            f"pick a value of one of them, as {first}",
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
    for count, whole in ((1, True), (2, True), (1, False)):
        found: dict[frozenset[frozenset[int]], list[tuple[dict[str, str], list[Plane]]]] = {}
        for keys in itertools.combinations(names, count):
            way = _dealt(places, keys, whole)
            if way:
                partition = frozenset(frozenset(id(plane) for plane in planes) for _, planes in way)
                found.setdefault(partition, way)
        if found:
            return list(found.values())
    return []


def _dealt(
    places: list[list[Plane]], keys: tuple[str, ...], whole: bool
) -> list[tuple[dict[str, str], list[Plane]]]:
    """A stack for each value of the keys; nothing where that does not work out.

    Each has a slice of every place; or, where they need not be whole, one has, and the others have a few at least.
    """
    dealt: dict[tuple[str, ...], list[Plane]] = {}
    for place in places:
        values = [tuple(plane.soft.get(key, "") for key in keys) for plane in place]
        if len(set(values)) < len(values):
            return []
        for value, plane in zip(values, place, strict=True):
            dealt.setdefault(value, []).append(plane)
    counts = [len(planes) for planes in dealt.values()]
    if max(counts) < len(places) or min(counts) < (len(places) if whole else min(_FEW, len(places))):
        return []
    return [(dict(zip(keys, value, strict=True)), dealt[value]) for value in sorted(dealt, key=_by_number)]


def _passes(group: Group, places: list[list[Plane]], repairs: Collection[Repair]) -> list[Group]:
    """Deal the slices of each place out in the order of their acquisition.

    Without being asked only where each pass ended before the next began; slices that were taken in turn at every place
    could as well be of two kinds, in any order.
    """
    count = len(places[0])
    if any(len(place) != count for place in places):
        return []
    moments = _moments(group.planes)
    timed = [
        sorted(((moments[id(plane)], plane) for plane in place), key=lambda pair: pair[0])
        for place in (places if moments else [])
    ]
    if not timed or any(
        time == after for place in timed for (time, _), (after, _) in itertools.pairwise(place)
    ):
        return []
    passes = [[place[number] for place in timed] for number in range(count)]
    ends = [(min(time for time, _ in found), max(time for time, _ in found)) for found in passes]
    apart = all(one[1] < other[0] for one, other in itertools.pairwise(ends))
    if not apart and Repair.PASSES_BY_TIME not in repairs:
        return []
    said = "each pass ended before the next began" if apart else "taken in turn at every place"
    note = Finding(
        "passes-by-time",
        f"{count} slices at each place are told apart by their acquisition time alone: {said}",
    )
    repaired = (
        []
        if apart
        else [Finding(Repair.PASSES_BY_TIME, f"{count} passes by acquisition time, as was asked for")]
    )
    return [
        Group(
            [plane for _, plane in found],
            {"pass": str(number)},
            [*group.notes, note],
            [*group.repairs, *repaired],
        )
        for number, found in enumerate(passes, 1)
    ]


def _moments(planes: Sequence[Plane]) -> dict[int, datetime]:
    """When each slice was acquired, by its id; nothing where that is not said of all in one way.

    Of a time without a date nobody knows on which side of midnight it is, where a series takes half a day or more.
    """
    days = [plane.instance.elements.text("AcquisitionDate") for plane in planes]
    times = [plane.soft.get("acquisition-time", "") for plane in planes]
    for texts, dated in (
        ([plane.soft.get("acquisition-date-time", "") for plane in planes], True),
        ([day and time and day + time for day, time in zip(days, times, strict=True)], True),
        ([time and _SOME_DAY + time for time in times], False),
    ):
        found = [_moment(text) for text in texts]
        moments = [moment for moment in found if moment is not None]
        if len(moments) < len(planes) or len({moment.tzinfo is None for moment in moments}) > 1:
            continue
        if not dated and max(moments) - min(moments) >= _HALF_A_DAY:
            return {}
        return {id(plane): moment for plane, moment in zip(planes, moments, strict=True)}
    return {}


def _moment(text: str) -> datetime | None:
    """Of a date with hours, minutes and seconds (PS3.5 section 6.2, DT); ``None`` where it has not all of them."""
    if not re.fullmatch(r"\d{14}(\.\d{1,6})?([+-]\d{4})?", text):
        return None
    try:
        return DT(text)
    except ValueError:
        return None


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
        same = [same_meaning(plane, place[0]) and content(plane) == content(place[0]) for plane in place[1:]]
        copies += sum(same)
        others += len(same) - sum(same)
    phases = {len(place) for place in places} == {len(places[0])}
    if others and (phases or Repair.DROP_DUPLICATES not in repairs):
        first = max(places, key=len)
        mend = (
            _mend_of_phases(group, places, repairs)
            if phases
            else "ask for the repair drop-duplicates, which keeps the first by InstanceNumber"
        )
        raise Refused(
            "multi-phase" if phases else "duplicate",
            f"{first[1].where}: expected one slice at each place, got others of another content than {first[0].where} "
            f"at {sum(len(place) > 1 for place in places)} of {len(places)} places, and nothing that tells them apart; "
            f"{mend}",
        )
    if len(places) == 1:
        _check_one_thickness(places[0])
    notes = [*group.notes]
    if copies:
        notes.append(
            Finding(
                "duplicate",
                f"{counted(copies, 'slice is a copy of another at its', 'slices are copies of others at their')} place; "
                "one of each is used",
            )
        )
    repaired = [
        Finding(
            Repair.DROP_DUPLICATES,
            f"left out {counted(others, 'slice', 'slices')}, keeping the first by InstanceNumber at their place",
        )
    ]
    return Group(kept, group.keys, notes, [*group.repairs, *(repaired if others else [])])


def _check_one_thickness(planes: Sequence[Plane]) -> None:
    """It is the third edge of a slice that stands alone."""
    shown = sorted({f"{plane.thickness:g} mm" if plane.thickness else "none" for plane in planes})
    if len(shown) > 1:
        raise Refused(
            "duplicate",
            f"{planes[0].where}: expected one thickness of a slice that stands alone, got {' and '.join(shown)}; "
            "find out which is right and remove the others",
        )


def _mend_of_phases(group: Group, places: list[list[Plane]], repairs: Collection[Repair]) -> str:
    """What would help, or that nothing here does; repairs that were asked for in vain are named."""
    if Repair.PASSES_BY_TIME not in repairs and _passes(group, places, [Repair.PASSES_BY_TIME]):
        return "ask for the repair passes-by-time, which goes by their acquisition time"
    vain = [repair for repair in (Repair.PASSES_BY_TIME, Repair.DROP_DUPLICATES) if repair in repairs]
    asked = f"{' and '.join(vain)} cannot help here; " if vain else ""
    return (
        f"{asked}no pick or repair can tell them apart (most private elements, such as GE's gradient directions, "
        "and all without their creator are not read): convert them with the scanner's own software"
    )


def _instance_number(plane: Plane) -> tuple[float, str]:
    try:
        number = plane.instance.elements.number("InstanceNumber")
    except Refused:
        number = None
    return (float("inf") if number is None else number, plane.where)
