"""Compare what a reader gave with the truth, every voxel at its place in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tests.dicom_series.truth import Answer, TrueVolume, Truth

Got = tuple[NDArray[np.generic], NDArray[np.float64]]

# A grid of a repair may reach so many of its own voxels over the region, and leave so much of it out.
OVERHANG_VOXELS = 1.01
MISSED_FRACTION = 0.15


class Outcome(StrEnum):
    """What became of a series."""

    RIGHT = "right"
    REFUSED = "refused"
    WRONG = "wrong"


@dataclass(frozen=True)
class Verdict:
    """An outcome with its reason in one line."""

    outcome: Outcome
    reason: str = ""


def judge(truth: Truth, got: Sequence[Got] | None, *, refusals: int = 0, repaired: bool = False) -> Verdict:
    """Whether the volumes that a reader gave are right.

    Args:
        truth: of the series.
        got: arrays (I, J, K) with affines to RAS millimetres, in any order; axes may be permuted and flipped, since
            places count, not indices. None or nothing is a refusal.
        refusals: how many series or volumes the reader refused aloud beside those that it gave. What is missing from
            the answer is then a refusal, no error.
        repaired: a repair was asked for, or the reader says that it made one.

    Returns:
        Right where the volumes are just those of one right answer. Volumes that may be left out may be there.
    """
    if not got:
        return Verdict(Outcome.REFUSED, "no volume")
    answers = truth.answers(repaired, told=refusals > 0)
    if not answers:
        return Verdict(Outcome.WRONG, f"{len(got)} volume(s) of what cannot be read rightly")
    verdicts = [_against(answer, got, refusals) for answer in answers]
    order = [Outcome.RIGHT, Outcome.REFUSED, Outcome.WRONG]
    # Of wrong ones the reason that was found last: it comes from the answer that was meant.
    return min(
        verdicts,
        key=lambda verdict: (order.index(verdict.outcome), -_nearness(verdict.reason.split(": ", 1)[-1])),
    )


def _against(answer: Answer, got: Sequence[Got], refusals: int) -> Verdict:
    left = list(answer)
    for number, (array, affine) in enumerate(got):
        faults = [fault(volume, array, affine) for volume in left]
        if None not in faults:
            where = f"volume {number + 1} of {len(got)}, {'x'.join(map(str, array.shape))}: "
            closest = max((text or "" for text in faults), key=_nearness, default="one too many")
            return Verdict(Outcome.WRONG, where + closest)
        del left[faults.index(None)]
    missing = sum(volume.required for volume in left)
    if not missing:
        return Verdict(Outcome.RIGHT)
    outcome = Outcome.REFUSED if refusals else Outcome.WRONG
    return Verdict(outcome, f"{missing} of {len(answer)} volumes missing")


def _nearness(text: str) -> int:
    """Reasons that were found late come from the volume that was meant."""
    return ["", "shape", "place", "value"].index(text.split(":")[0]) if ":" in text else 0


def fault(true: TrueVolume, array: NDArray[np.generic], affine: NDArray[np.float64]) -> str | None:
    """Why an array is not a true volume, in one line; None where it is."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.dtype.names:
        return f"shape: {array.ndim} axes of {array.dtype}"
    if not np.isfinite(affine).all() or affine.shape != (4, 4):
        return "place: the affine is not finite"
    return _regridded_fault(true, array, affine) if true.regridded else _exact_fault(true, array, affine)


def _exact_fault(true: TrueVolume, array: NDArray[np.generic], affine: NDArray[np.float64]) -> str | None:
    if sorted(array.shape) != sorted(true.shape):
        return f"shape: {array.shape}, not {true.shape}"
    corners = np.array(list(product(*((0, size - 1) for size in array.shape))), float)
    places = corners @ affine[:3, :3].T + affine[:3, 3]
    # The nearest corner of the truth for each; with the right ones the axes follow.
    true_corners = np.array(list(product(*((0, size - 1) for size in true.shape))), float)
    true_places = true_corners @ true.affine[:3, :3].T + true.affine[:3, 3]
    distances = np.linalg.norm(places[:, None] - true_places, axis=-1)
    nearest = distances.argmin(1)
    far = distances.min(1).max()
    if not far <= true.place:
        return f"place: a corner is {far:.3g} mm from where it should be"
    turned = _turned(array, true_corners[nearest], true.shape)
    if turned is None:
        return f"place: axes of {array.shape} do not match {true.shape}"
    index = np.moveaxis(np.indices(true.shape), 0, -1)
    expected = true.values(index @ true.affine[:3, :3].T + true.affine[:3, 3])
    wrong = ~(np.abs(turned.astype(float) - expected) <= true.tolerance)
    if true.hidden is not None:
        wrong &= ~true.hidden
    return _value_fault(wrong, turned, expected)


def _turned(
    array: NDArray[np.generic], corners: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.generic] | None:
    """The array along the truth's axes; ``corners`` are the true indices of its own, in the order of a product."""
    cube = corners.reshape(2, 2, 2, 3)
    steps = [cube[1, 0, 0] - cube[0, 0, 0], cube[0, 1, 0] - cube[0, 0, 0], cube[0, 0, 1] - cube[0, 0, 0]]
    axes: list[int] = []
    flips: list[int] = []
    for size, step in zip(array.shape, steps, strict=True):
        along = np.flatnonzero(step)
        if size == 1:
            axes.append(-1)
            continue
        if len(along) != 1 or shape[along[0]] != size:
            return None
        axes.append(int(along[0]))
        flips += [int(along[0])] if step[along[0]] < 0 else []
    free = [axis for axis in range(3) if axis not in axes]
    axes = [free.pop() if axis < 0 else axis for axis in axes]
    if len(set(axes)) != 3:
        return None
    return np.flip(np.transpose(array, np.argsort(axes)), flips)


def _regridded_fault(true: TrueVolume, array: NDArray[np.generic], affine: NDArray[np.float64]) -> str | None:
    """Inside the region all values must be right, the region must be filled, and the grid not reach far out of it."""
    index = np.moveaxis(np.indices(array.shape), 0, -1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(true.affine)
    true_index = places @ inverse[:3, :3].T + inverse[:3, 3]
    last = np.array(true.shape) - 1
    # Of rounding alone: beyond the faces there is no value to be right.
    slack = 1e-6
    inside = np.all((true_index >= -slack) & (true_index <= last + slack), axis=-1)
    within = np.all((true_index >= slack) & (true_index <= last - slack), axis=-1)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    region = (
        np.array(list(product(*((0, size) for size in last)))) @ true.affine[:3, :3].T + true.affine[:3, 3]
    )
    own = np.linalg.inv(affine)
    reach = region @ own[:3, :3].T + own[:3, 3]
    size = np.array(array.shape) - 1
    if (reach.min(0) > OVERHANG_VOXELS).any() or (reach.max(0) < size - OVERHANG_VOXELS).any():
        return f"place: {array.shape} at {steps.round(3)} mm reaches out of the region"
    # As many voxels as a grid of this size has in the region, but for its faces.
    whole = abs(np.linalg.det(true.affine[:3, :3])) * np.prod(np.maximum(last, 1)) / np.prod(steps)
    if inside.sum() < (1 - MISSED_FRACTION) * whole:
        return f"place: {inside.sum()} voxels in the region, where {whole:.0f} would fill it"
    if (steps > 1.5 * np.linalg.norm(true.affine[:3, :3], axis=0).max()).any():
        return f"place: steps of {steps.round(3)} mm are coarser than the slices"
    expected = true.values(places)
    wrong = inside & ~(np.abs(array.astype(float) - expected) <= true.tolerance)
    # On the very face of the region a voxel may be filled like those outside of it; rounding decides.
    wrong &= within | ~np.isin(array, np.unique(array[~inside]))
    if true.hidden is not None:
        wrong &= ~_beside(true.hidden, true_index)
    return _value_fault(wrong, array, expected)


def _beside(hidden: NDArray[np.bool_], index: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which places have a hidden voxel within one voxel, so that interpolation meets it."""
    found = np.zeros(index.shape[:-1], bool)
    for corner in product((0, 1), repeat=3):
        place = np.clip(np.floor(index).astype(int) + corner, 0, np.array(hidden.shape) - 1)
        found |= hidden[tuple(np.moveaxis(place, -1, 0))]
    return found


def _value_fault(
    wrong: NDArray[np.bool_], array: NDArray[np.generic], expected: NDArray[np.float64]
) -> str | None:
    if not wrong.any():
        return None
    first = tuple(int(axis[0]) for axis in np.nonzero(wrong))
    share = f"{wrong.sum()} of {wrong.size} voxels"
    return f"value: {share}; at {first} {float(array[first]):.6g} where {expected[first]:.6g} is true"
