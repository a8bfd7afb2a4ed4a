"""Rows in which slices of several kinds take turns: one volume dealt out to several, or several taken for one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from medkit.dicom.findings import Finding, Refused
from medkit.dicom.geometry import coordinates, is_even, same_place
from medkit.dicom.strays import comparable, difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medkit.dicom.group import Group
    from medkit.dicom.planes import Plane

__all__ = ["check_turns", "check_whole_rows"]

# That tell volumes apart where slices take turns. A time does not: many scanners acquire every second slice first.
_KEYS = ("acquisition", "contrast", "echo", "filter", "repetition-time", "scan-options", "sequence-name")
# That no scanner changes within a volume: what differs in them is two volumes, wherever their slices lie.
_CHOSEN = {"component", "image-type", "kernel"}
# Fewer slices on end, on the average, are not blocks: settings that follow the heart change from slice to slice.
_BLOCK = 3
# Slices of two groups that lie this much of a distance from each other at least are at places of their own.
_APART = 0.1


def check_whole_rows(groups: Sequence[Group]) -> None:
    """Check that no row was dealt out to groups in turn, by a setting that changes from slice to slice.

    Raises:
        Refused: ``interlaced``, where groups with gaps between all slices make one even row together.
    """
    rows = [_one_at_each_place(group.planes) for group in groups]
    several = [planes for planes in rows if len(planes) > 1]
    for first in several:
        row = [first]
        for other in several:
            if all(_take_turns(other, planes) for planes in row):
                row.append(other)
        if len(row) > 1 and is_even(list(itertools.chain(*row))):
            one, two = row[0][0], row[1][0]
            (name, here, there), _ = difference(two, one)
            if name in _CHOSEN:
                continue
            raise Refused(
                "interlaced",
                f"{two.where}: expected {name} {there} as in {one.where} in all of an even row of slices, got {here} in "
                f"turn with it; find out whether they are one volume, or pick what tells them apart",
            )


def _one_at_each_place(planes: Sequence[Plane]) -> list[Plane]:
    kept: list[Plane] = []
    for number in np.argsort(coordinates(planes), kind="stable"):
        if not kept or not same_place(kept[-1], planes[number]):
            kept.append(planes[number])
    return kept


def _take_turns(some: Sequence[Plane], others: Sequence[Plane]) -> bool:
    """Whether slices lie between others, all of them at places of their own."""
    if not comparable(some[0], others[0]):
        return False
    normal = others[0].normal
    rows = [np.sort([float(normal @ plane.position) for plane in planes]) for planes in (some, others)]  # type: ignore[operator]
    step = min(float(np.diff(row).min()) for row in rows)
    apart = np.abs(rows[0][:, None] - rows[1]).min()
    return bool(apart > _APART * step and rows[0][0] < rows[1][-1] and rows[1][0] < rows[0][-1])


def check_turns(group: Group) -> None:
    """Check that a row whose slices lie at places of their own is one volume.

    Where its slices come from two acquisitions in turn, a note is added: of MR these are packages of one volume.
    So it is where blocks of slices lie side by side that differ in a setting: they may be parts of two scans.

    Raises:
        Refused: ``interlaced``, where slices before and after contrast, or of two acquisitions of CT, take turns;
            ``nonuniform``, where slices of each kind are even, and all together are not.
    """
    planes = [group.planes[number] for number in np.argsort(coordinates(group.planes), kind="stable")]
    for key in _KEYS:
        values = [plane.soft.get(key, "") for plane in planes]
        if not _recur(values):
            group.notes += _blocks_note(key, values)
            continue
        shown = _shown(key, values)
        parts = [[plane for plane in planes if plane.soft.get(key, "") == value] for value in set(values)]
        said = f"{planes[0].where}: expected slices of one {key} in a row, got {shown} in turn"
        if not is_even(planes):
            if all(len(part) > 1 and is_even(part) for part in parts):
                raise Refused("nonuniform", f"{said}, at uneven distances; pick one of them")
        elif key == "contrast" or (key == "acquisition" and planes[0].instance.modality == "CT"):
            raise Refused("interlaced", f"{said}; find out whether they are one volume, or pick one of them")
        else:
            group.notes.append(
                Finding("in-turn", f"slices of {shown} take turns; they are taken for one volume")
            )


def _blocks_note(key: str, values: Sequence[str]) -> list[Finding]:
    """Say that values change along a row once or a few times.

    Several acquisitions are the table's positions in one scan; two may be two scans.
    """
    blocks = len(list(itertools.groupby(values)))
    if not 1 < blocks <= (2 if key == "acquisition" else len(values) / _BLOCK):
        return []
    said = f"slices of {_shown(key, values)} lie side by side; they are taken for one volume"
    return [Finding("side-by-side", said)]


def _shown(key: str, values: Sequence[str]) -> str:
    """The different values for a message. Contrast is free text, that may name somebody."""
    named = [f"{key}={value or 'none'}" for value in dict.fromkeys(values) if key != "contrast"]
    return " and ".join(named) or f"several values of {key}"


def _recur(values: Sequence[str]) -> bool:
    """Whether each of several values comes again after another, rather than once in a block."""
    blocks = [value for value, _ in itertools.groupby(values)]
    return len(set(blocks)) > 1 and all(blocks.count(value) > 1 for value in set(blocks))
