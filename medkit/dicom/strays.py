"""Slices that fill a place in the row of others, and so belong to it but for a difference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medkit.dicom.findings import Finding, Refused, Repair, counted
from medkit.dicom.geometry import coordinates, same_direction, same_spacing

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from medkit.dicom.group import Group
    from medkit.dicom.planes import Plane

__all__ = ["comparable", "difference", "note_left_out", "turned_alike", "without_strays"]

_PARALLEL = 0.999
# A group of fewer slices that fills another's place is no volume of its own, but part of it or a fault.
_FEW = 3


def turned_alike(planes: Sequence[Plane]) -> tuple[list[Plane], list[Finding]]:
    """Turn slices round that were stored from the other end than most others of their kind.

    Their pixels lie on the grid of the others, so that nothing is interpolated.
    """
    counts: list[tuple[Plane, int]] = []
    for plane in planes:
        known = [number for number, (one, _) in enumerate(counts) if same_direction(one, plane)]
        if known:
            counts[known[0]] = (counts[known[0]][0], counts[known[0]][1] + 1)
        else:
            counts.append((plane, 1))
    if len(counts) < 2:
        return list(planes), []
    model, most = max(counts, key=lambda pair: pair[1])
    if most <= len(planes) / 2:
        return list(planes), []
    made, turned = [], 0
    for plane in planes:
        flipped = _as_model(plane, model)
        turned += flipped is not plane
        made.append(flipped)
    note = Finding(
        "flipped-slice",
        f"{counted(turned, 'slice is', 'slices are')} stored from another end than the others, and turned round",
    )
    return made, [note] if turned else []


def _as_model(plane: Plane, model: Plane) -> Plane:
    assert plane.orientation is not None
    assert model.orientation is not None
    assert plane.spacing is not None
    assert plane.position is not None
    same_matrix = (plane.format.rows, plane.format.columns) == (model.format.rows, model.format.columns)
    if same_direction(plane, model) or not same_matrix or not same_spacing(plane, model):
        return plane
    flips = tuple(bool(plane.orientation[axis] @ model.orientation[axis] < 0) for axis in (0, 1))
    signs = np.where(flips, -1.0, 1.0)[:, None]
    edges = np.array([plane.format.columns - 1, plane.format.rows - 1]) * plane.spacing[::-1]
    shift = sum((plane.orientation[axis] * edges[axis] for axis in (0, 1) if flips[axis]), np.zeros(3))
    made = replace(
        plane,
        orientation=plane.orientation * signs,
        position=plane.position + shift,
        flipped=(flips[0], flips[1]),
    )
    return made if same_direction(made, model) else plane


def without_strays(groups: list[Group], repairs: Collection[Repair]) -> tuple[list[Group], list[Finding]]:
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
                dropped.append(
                    Finding(Repair.DROP_STRAY, f"left out {names}, as was asked for: {finding.code}")
                )
    return kept, dropped


def note_left_out(groups: Sequence[Group], planes: Sequence[Plane], picked: Sequence[Plane]) -> None:
    """Note with a group that a pick left out slices of its row, which may be a part of its volume."""
    kept = {id(plane) for plane in picked}
    left = [plane for plane in planes if id(plane) not in kept]
    for group in groups:
        beside = [plane for plane in left if comparable(plane, group.planes[0])]
        if beside and _shares_row(beside, group.planes):
            said = "a pick left out slices at other places of this row"
            group.notes.append(Finding("part-picked", f"{said}: it may be a part of a larger volume"))


def _fills(few: Sequence[Plane], many: Sequence[Plane]) -> bool:
    """Whether few slices belong into the row of many."""
    return len(few) < len(many) and comparable(few[0], many[0]) and _shares_row(few, many)


def comparable(one: Plane, other: Plane) -> bool:
    """Whether two slices are parallel and their places can be compared."""
    if one.localizer != other.localizer or abs(float(one.normal @ other.normal)) < _PARALLEL:
        return False
    # Other frames of reference come so far on request only.
    return one.strict.get("frame-of-reference") == other.strict.get("frame-of-reference")


def _shares_row(few: Sequence[Plane], many: Sequence[Plane]) -> bool:
    """Whether slices lie in the row of others, or at its ends, at places that none of these has."""
    row = np.sort(coordinates(many))
    step = float(np.median(np.diff(row))) if len(row) > 1 else many[0].thickness or 0.0
    normal = many[0].normal
    places = np.array([float(normal @ plane.position) for plane in few])  # type: ignore[operator]
    inside = (places > row[0] - 1.6 * step) & (places < row[-1] + 1.6 * step)
    apart = np.abs(places[:, None] - row).min(1) > 0.25 * step
    return bool((inside & apart).any())


def _stray(one: Plane, other: Plane) -> Finding:
    what, code = difference(one, other)
    return Finding(
        code,
        f"{one.where}: expected {what[2]} as in {other.where}, got {what[1]}: {what[0]} differs within one row "
        "of slices; "
        "find out why, or ask for the repair drop-stray",
    )


def difference(one: Plane, other: Plane) -> tuple[tuple[str, str, str], str]:
    """Name, value here and value there of the first difference, and its code."""
    if (one.format.rows, one.format.columns) != (other.format.rows, other.format.columns):
        sizes = [f"{plane.format.rows} x {plane.format.columns}" for plane in (one, other)]
        return ("the matrix", *sizes), "mixed-matrix"  # type: ignore[return-value]
    for key in sorted(one.strict.keys() | other.strict.keys()):
        here, there = one.strict.get(key, "none"), other.strict.get(key, "none")
        if here != there:
            return (key, here, there), "mixed-parameters"
    if not same_direction(one, other):
        axes = [" ".join(f"{n:.4g}" for n in plane.orientation.ravel()) for plane in (one, other)]  # type: ignore[union-attr]
        return ("the direction", *axes), "mixed-orientation"  # type: ignore[return-value]
    shown = [" x ".join(f"{n:.6g}" for n in plane.spacing) for plane in (one, other)]  # type: ignore[union-attr]
    return ("the spacing", *shown), "mixed-spacing"  # type: ignore[return-value]
