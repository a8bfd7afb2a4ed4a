"""The affine of a stack of slices, exact and with its shear, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medkit.data.grid import flip_lps_ras
from medkit.dicom.findings import Finding, Refused, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medkit.dicom.planes import Plane

__all__ = [
    "Runs",
    "Stack",
    "check_placed",
    "coordinates",
    "even_runs",
    "is_even",
    "same_direction",
    "same_place",
    "same_spacing",
    "stack_of",
]

# Directions and sizes that differ by less are one, but for rounding: 0.04 mm at the end of a field of 400 mm.
_SAME_DIRECTION = 1e-4
_SAME_SIZE = 1e-4
# Slices that are nearer than this, and than this part of a pixel's edge, lie at one place.
_SAME_PLACE_MM = 0.01
_SAME_PLACE_PIXELS = 0.1
# How far a slice may be from the even place: rounding of positions and no more. 2 % of a slice's edge is a tenth of what
# linear interpolation between slices would be asked to mend.
_EVEN = 0.02
_ROUNDING_MM = 2e-3
_ROUNDING_STEPS = 0.05  # where slices are so near to each other that this is less
_TILT_DEGREES = 0.05


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order, and where they lie.

    Args:
        planes: along the normal.
        affine: 4x4, ``(column, row, slice)`` to RAS millimetres.
        tilt_degrees: between the normal and the way from slice to slice.
        notes: on the geometry.
    """

    planes: tuple[Plane, ...]
    affine: NDArray[np.float64]
    tilt_degrees: float
    notes: tuple[Finding, ...]


@dataclass(frozen=True)
class Runs:
    """Where a sorted stack is even.

    Args:
        bounds: first slice and slice behind the last, of each even run.
        step: the commonest distance.
        whole: whether all distances are whole multiples of it, so that slices are missing rather than unevenly placed.
    """

    bounds: tuple[tuple[int, int], ...]
    step: float
    whole: bool


def check_placed(plane: Plane) -> None:
    """Check that a frame says where it is.

    Raises:
        Refused: ``no-geometry``.
    """
    missing = [
        name
        for name, value in (
            ("ImagePositionPatient", plane.position),
            ("ImageOrientationPatient", plane.orientation),
            ("PixelSpacing", plane.spacing),
        )
        if value is None
    ]
    if missing:
        raise Refused(
            "no-geometry",
            f"{plane.where}: expected a place in the patient, got no {', '.join(missing)}; export the series again",
        )


def coordinates(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """Millimetres along the normal of the first."""
    normal = planes[0].normal
    return np.array([float(normal @ _position(plane)) for plane in planes])


def same_place(one: Plane, other: Plane) -> bool:
    """Whether two parallel slices lie at one place."""
    assert one.spacing is not None
    nearest = min(_SAME_PLACE_MM, _SAME_PLACE_PIXELS * min(one.spacing))
    return float(np.linalg.norm(_position(one) - _position(other))) < nearest


def same_direction(one: Plane, other: Plane) -> bool:
    """Whether rows and columns of two slices run the same way, but for rounding."""
    assert one.orientation is not None
    assert other.orientation is not None
    return float(np.abs(one.orientation - other.orientation).max()) < _SAME_DIRECTION


def same_spacing(one: Plane, other: Plane) -> bool:
    """Whether the pixels of two slices are of one size, but for rounding."""
    assert one.spacing is not None
    assert other.spacing is not None
    return bool(np.allclose(one.spacing, other.spacing, rtol=_SAME_SIZE, atol=0))


def even_runs(planes: Sequence[Plane]) -> Runs:
    """Find where the distances of sorted slices are even."""
    steps = np.linalg.norm(np.diff(np.array([_position(plane) for plane in planes]), axis=0), axis=1)
    usual = float(np.median(steps)) if len(steps) != 2 else float(steps.min())
    counts = [int((np.abs(steps - step) <= _tolerance(step)).sum()) for step in steps]
    usual = float(steps[int(np.argmax(counts))]) if max(counts) > 1 else usual
    even = np.abs(steps - usual) <= 2 * _tolerance(usual)
    bounds, first = [], 0
    for number, good in enumerate(even, 1):
        if not good:
            bounds.append((first, number))
            first = number
    bounds.append((first, len(planes)))
    multiples = steps / usual
    whole = bool((np.abs(multiples - np.rint(multiples)) <= 2 * _EVEN).all() and (multiples > 0.5).all())
    return Runs(tuple(bounds), usual, whole)


def stack_of(planes: Sequence[Plane]) -> Stack:
    """The stack of parallel slices, each at a place of its own.

    Raises:
        Refused: ``gap``, ``nonuniform`` or ``no-geometry`` (one slice that does not say its thickness).
    """
    normal = planes[0].normal
    order = np.argsort(coordinates(planes), kind="stable")
    ordered = [planes[number] for number in order]
    positions = np.array([_position(plane) for plane in ordered])
    notes: list[Finding] = []
    if len(ordered) == 1:
        step, origin = _thickness(ordered[0]) * normal, positions[0]
        notes.append(
            Finding("single-slice", "one slice: the third edge is its thickness as the header says it")
        )
    else:
        origin, step, apart = _line(positions)
        if apart > _tolerance(float(np.linalg.norm(step))):
            raise _uneven(ordered)
        if apart > _rounding(float(np.linalg.norm(step))):
            notes.append(
                Finding("jitter", f"slices lie up to {apart:.3g} mm from even places, which are taken")
            )
    tilt = _degrees(step, normal)
    if tilt > 60:
        raise Refused(
            "nonuniform",
            f"{ordered[0].where}: expected slices behind each other, got some beside each other; "
            "pick what tells them apart",
        )
    if tilt > _TILT_DEGREES:
        notes.append(
            Finding(
                "tilt",
                f"slices are shifted against each other by {tilt:.3g} degrees (gantry tilt); the affine has this shear, "
                "which some programs ignore; the repair deshear makes right angles",
            )
        )
    return Stack(tuple(ordered), _affine(ordered[0], origin, step), tilt, tuple(notes))


def is_even(planes: Sequence[Plane]) -> bool:
    """Whether parallel slices are a stack as they are."""
    try:
        stack_of(planes)
    except Refused:
        return False
    return True


def _position(plane: Plane) -> NDArray[np.float64]:
    assert plane.position is not None
    return plane.position


def _rounding(step: float) -> float:
    return min(_ROUNDING_MM, _ROUNDING_STEPS * step)


def _tolerance(step: float) -> float:
    return max(_EVEN * step, _rounding(step))


def _line(positions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Origin and step of the straight, even line through positions, and the farthest of them from it.

    Through first and last where all lie on it but for rounding, since fits have digits of their own.
    """
    count = np.arange(len(positions))[:, None]
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    apart = float(np.linalg.norm(positions - (positions[0] + count * step), axis=1).max())
    if apart <= _rounding(float(np.linalg.norm(step))):
        return positions[0], step, apart
    design = np.hstack([np.ones_like(count), count]).astype(np.float64)
    origin, step = np.linalg.lstsq(design, positions, rcond=None)[0]
    return origin, step, float(np.linalg.norm(positions - (origin + count * step), axis=1).max())


def _uneven(planes: Sequence[Plane]) -> Refused:
    runs = even_runs(planes)
    positions = np.array([_position(plane) for plane in planes])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    worst = int(np.argmax(np.abs(steps - runs.step)))
    between = f"between {planes[worst].where} and {planes[worst + 1].where}"
    missing = int(np.rint(steps / runs.step - 1).sum())
    if runs.whole and missing:
        return Refused(
            "gap",
            f"{between}: expected slices every {runs.step:.6g} mm, got {steps[worst]:.6g} mm; "
            f"{counted(missing, 'slice is', 'slices are')} missing of {len(planes) + missing}: "
            "fetch what is missing, or ask for the repair split-gaps or resample",
        )
    return Refused(
        "nonuniform",
        f"{between}: expected slices every {runs.step:.6g} mm and in line, got {steps[worst]:.6g} mm; "
        "ask for the repair resample or split-gaps",
    )


def _thickness(plane: Plane) -> float:
    if plane.thickness is None:
        raise Refused(
            "no-geometry",
            f"{plane.where}: expected a second slice or SliceThickness, got neither; a picture is no volume",
        )
    return plane.thickness


def _degrees(step: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    length = float(np.linalg.norm(step))
    return (
        float(np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), abs(step @ normal))))
        if length
        else 90.0
    )


def _affine(plane: Plane, origin: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """PS3.3 equation C.7.6.2.1-1, with the step from slice to slice as the third column."""
    assert plane.orientation is not None
    assert plane.spacing is not None
    lps = np.eye(4)
    lps[:3, 0] = plane.orientation[0] * plane.spacing[1]
    lps[:3, 1] = plane.orientation[1] * plane.spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = origin
    return flip_lps_ras(lps)
