"""The judge sees every mutation that a reader's error would make, and takes every way to write the right answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.dicom_series import KINDS, Outcome, TrueVolume, Truth, judge, make
from tests.dicom_series.judging import Got, fault
from tests.dicom_series.stacks import ROUNDING

# One of each sort: plain, oblique, sheared, slopes, padding, few bits.
SAMPLES = ("axial", "sagittal-oblique", "tilt", "pet-slope-per-slice", "padding", "unsigned-8", "slope-small")


def right(true: TrueVolume) -> Got:
    """The array that a perfect reader gives, with what stands in the padding."""
    index = np.moveaxis(np.indices(true.shape), 0, -1)
    step = (true.tolerance - true.regridded) / (0.5 + ROUNDING)
    values = true.values(index @ true.affine[:3, :3].T + true.affine[:3, 3])
    array = np.rint(values / step) * step if true.hidden is None else np.where(true.hidden, -3000, values)
    return array, true.affine.copy()


def truth_of(kind: str, tmp_path, seed: int = 0) -> Truth:
    return make(kind, tmp_path / f"{kind}-{seed}", seed)


def outcome(truth: Truth, *got: Got, **options: object) -> Outcome:
    return judge(truth, list(got), **options).outcome


def moved(affine: NDArray[np.float64], axis: int, voxels: float) -> NDArray[np.float64]:
    other = affine.copy()
    other[:3, 3] += voxels * affine[:3, axis]
    return other


def swapped(array: NDArray[np.generic]) -> NDArray[np.generic]:
    other = array.copy()
    other[..., [3, 4]] = array[..., [4, 3]]
    return other


def negated(affine: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    other = affine.copy()
    other[:3, axis] *= -1
    return other


MUTATIONS: dict[str, Callable[[NDArray[np.generic], NDArray[np.float64]], Got]] = {
    "columns flipped": lambda a, m: (a[::-1], m),
    "rows flipped": lambda a, m: (a[:, ::-1], m),
    "slices flipped": lambda a, m: (a[..., ::-1], m),
    "turned in the plane": lambda a, m: (a[::-1, ::-1], m),
    "shifted by a column": lambda a, m: (np.roll(a, 1, 0), m),
    "shifted by a row": lambda a, m: (np.roll(a, 1, 1), m),
    "shifted by a slice": lambda a, m: (np.roll(a, 1, 2), m),
    "two slices swapped": lambda a, m: (swapped(a), m),
    "first slice twice": lambda a, m: (np.concatenate([a[..., :1], a[..., :-1]], 2), m),
    "first slice missing": lambda a, m: (a[..., 1:], moved(m, 2, 1)),
    "last slice missing": lambda a, m: (a[..., :-1], m),
    "one slice more": lambda a, m: (np.concatenate([a, a[..., -1:]], 2), m),
    "doubled": lambda a, m: (1.02 * a, m),
    "three more": lambda a, m: (a + 3.0, m),
    "not rescaled": lambda a, m: (2 * a - 1024, m),
    "origin one column off": lambda a, m: (a, moved(m, 0, 1)),
    "origin half a row off": lambda a, m: (a, moved(m, 1, 0.5)),
    "origin a tenth of a slice off": lambda a, m: (a, moved(m, 2, 0.1)),
    "slices point down": lambda a, m: (a, negated(m, 2)),
    "in LPS": lambda a, m: (a, np.diag([-1.0, -1, 1, 1]) @ m),
    "spacing two per cent off": lambda a, m: (a, m @ np.diag([1, 1, 1.02, 1])),
    "columns and rows changed": lambda a, m: (a.transpose(1, 0, 2), m),
    "not a number": lambda a, m: (np.full(a.shape, np.nan), m),
    "affine not a number": lambda a, m: (a, m * np.nan),
    "colour": lambda a, m: (np.stack([a] * 3, -1), m),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_right_answer_is_right(kind, tmp_path):
    truth = truth_of(kind, tmp_path)
    assert outcome(truth, right(truth.volumes[0])) == Outcome.RIGHT


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("kind", SAMPLES)
def test_a_mutation_is_wrong(kind, mutation, tmp_path):
    truth = truth_of(kind, tmp_path)
    verdict = judge(truth, [MUTATIONS[mutation](*right(truth.volumes[0]))])
    assert verdict.outcome == Outcome.WRONG
    assert verdict.reason


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
def test_axes_may_stand_in_any_order(axes, flips, tmp_path):
    truth = truth_of("sagittal-oblique", tmp_path)
    array, affine = right(truth.volumes[0])
    turn = np.eye(4)
    turn[:3, :3] = np.eye(3)[:, list(axes)]
    other, to_world = array.transpose(axes), affine @ turn
    for axis in np.flatnonzero(flips):
        back = np.eye(4)
        back[axis, axis], back[axis, 3] = -1, other.shape[axis] - 1
        other, to_world = np.flip(other, axis), to_world @ back
    assert outcome(truth, (other, to_world)) == Outcome.RIGHT


@given(seed=st.integers(0, 2**16), voxel=st.tuples(*(st.integers(0, size - 1) for size in (14, 12, 9))))
def test_one_wrong_voxel_is_wrong(seed, voxel, tmp_path):
    truth = truth_of("far-oblique", tmp_path, seed)
    array, affine = right(truth.volumes[0])
    assert outcome(truth, (array, affine)) == Outcome.RIGHT
    array[voxel] += 2
    verdict = judge(truth, [(array, affine)])
    assert (verdict.outcome, f"at {voxel} " in verdict.reason) == (Outcome.WRONG, True)


@given(seed=st.integers(0, 2**16), shift=st.tuples(*(st.integers(-3, 3) for _ in range(3))))
def test_any_shift_of_the_array_is_seen(seed, shift, tmp_path):
    truth = truth_of("coronal-oblique", tmp_path, seed)
    array, affine = right(truth.volumes[0])
    expected = Outcome.WRONG if any(shift) else Outcome.RIGHT
    assert outcome(truth, (np.roll(array, shift, (0, 1, 2)), affine)) == expected


def test_values_in_the_padding_are_free(tmp_path):
    truth = truth_of("padding", tmp_path)
    array, affine = right(truth.volumes[0])
    hidden = truth.volumes[0].hidden
    assert hidden is not None
    assert outcome(truth, (np.where(hidden, 12345, array), affine)) == Outcome.RIGHT


def test_a_single_slice_may_have_two_axes_and_any_third_column(tmp_path):
    truth = truth_of("one-slice", tmp_path)
    array, affine = right(truth.volumes[0])
    affine[:3, 2] = [9, 9, 9]
    assert outcome(truth, (array[..., 0], affine)) == Outcome.RIGHT


def test_volumes_are_matched_whatever_their_order(tmp_path):
    truth = truth_of("echoes-interleaved", tmp_path)
    got = [right(volume) for volume in truth.volumes]
    assert outcome(truth, *got[::-1]) == Outcome.RIGHT
    assert outcome(truth, *got[1:]) == Outcome.WRONG
    assert outcome(truth, *got[1:], refusals=1) == Outcome.REFUSED
    assert outcome(truth, *got, got[0]) == Outcome.WRONG
    mixed = [(np.concatenate([got[0][0][..., :4], got[1][0][..., 4:]], 2), got[0][1]), *got[1:]]
    assert outcome(truth, *mixed) == Outcome.WRONG
    average = [(sum(array for array, _ in got) / 3, got[0][1])]
    assert outcome(truth, *average, refusals=1) == Outcome.WRONG


def test_what_may_be_left_out(tmp_path):
    truth = truth_of("localizer", tmp_path)
    volume, scout = (right(true) for true in truth.volumes)
    assert outcome(truth, volume) == outcome(truth, volume, scout) == Outcome.RIGHT
    assert outcome(truth, scout) == Outcome.WRONG


def test_nothing_is_a_refusal(tmp_path):
    truth = truth_of("axial", tmp_path)
    assert judge(truth, None).outcome == outcome(truth) == Outcome.REFUSED


def test_anything_is_wrong_where_nothing_can_be_right(tmp_path):
    truth = truth_of("position-absent", tmp_path)
    assert not truth.readable
    assert outcome(truth, right(truth_of("axial", tmp_path).volumes[0])) == Outcome.WRONG


def test_a_loss_must_be_told(tmp_path):
    truth = truth_of("truncated-pixels-last", tmp_path)
    (answer,) = truth.told
    assert outcome(truth, right(answer[0])) == Outcome.WRONG
    assert outcome(truth, right(answer[0]), refusals=1) == Outcome.RIGHT


def test_slabs_on_both_sides_of_a_gap(tmp_path):
    truth = truth_of("gap-one", tmp_path)
    below, above = (right(true) for true in truth.others[0])
    assert outcome(truth, below, above) == Outcome.RIGHT
    closed = np.concatenate([below[0], above[0]], 2), below[1]
    assert outcome(truth, closed) == outcome(truth, closed, repaired=True) == Outcome.WRONG


def resampled(true: TrueVolume, step: float, shift: float, pad: int) -> Got:
    """Exact values on an upright grid over the region, with what a repair puts outside."""
    corners = np.array(list(product(*((0, size - 1) for size in true.shape))))
    places = corners @ true.affine[:3, :3].T + true.affine[:3, 3]
    low, high = places.min(0) + shift, places.max(0)
    shape = np.floor((high - low) / step).astype(int) + 1 + 2 * pad
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = low - pad * step
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    own = np.linalg.inv(true.affine)
    index = points @ own[:3, :3].T + own[:3, 3]
    inside = np.all((index >= -1e-6) & (index <= np.array(true.shape) - 1 + 1e-6), -1)
    return np.where(inside, true.values(points), -1000), affine


def test_a_repair_may_take_another_grid(tmp_path):
    truth = truth_of("tilt", tmp_path)
    true = truth.repaired[0][0]
    array, affine = resampled(true, 0.7, 0.2, pad=1)
    assert outcome(truth, (array, affine)) == Outcome.WRONG  # nobody asked for it
    assert outcome(truth, (array, affine), repaired=True) == Outcome.RIGHT
    assert outcome(truth, (array[..., ::-1], affine), repaired=True) == Outcome.WRONG
    assert outcome(truth, (array + 3, affine), repaired=True) == Outcome.WRONG
    assert outcome(truth, (array, moved(affine, 2, 0.5)), repaired=True) == Outcome.WRONG
    spoiled = array.copy()
    spoiled[np.unravel_index(np.argmax(array), array.shape)] = -1000  # as outside, but well within
    assert outcome(truth, (spoiled, affine), repaired=True) == Outcome.WRONG
    half = array.shape[2] // 2
    assert outcome(truth, (array[..., :half], affine), repaired=True) == Outcome.WRONG
    assert outcome(truth, resampled(true, 5.5, 0.0, pad=0), repaired=True) == Outcome.WRONG
    assert outcome(truth, resampled(true, 0.7, 0.0, pad=4), repaired=True) == Outcome.WRONG


def test_faces_of_a_repaired_grid_count(tmp_path):
    true = truth_of("gap-one", tmp_path).repaired[0][0]
    array, affine = right(true)
    assert fault(true, array, affine) is None
    array[0, 5, 5] += 100
    assert "value: 1 of" in str(fault(true, array, affine))


def test_a_fault_says_what_and_where(tmp_path):
    true = truth_of("axial", tmp_path).volumes[0]
    array, affine = right(true)
    assert fault(true, array, affine) is None
    assert "place: a corner is" in str(fault(true, array, moved(affine, 0, 1)))
    array[2, 3, 4] = 5000
    assert "1 of 1512 voxels; at (2, 3, 4) 5000 where" in str(fault(true, array, affine))
    assert "shape: (14, 12, 9), not (3, 12, 9)" in str(fault(replace(true, shape=(3, 12, 9)), array, affine))


def test_there_are_kinds_of_each_sort():
    assert len(KINDS) >= 140
