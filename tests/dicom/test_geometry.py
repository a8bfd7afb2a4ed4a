"""The affine puts every pixel where the standard's equation puts it, whatever the order and the tilt."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medkit.dicom.findings import Refused, counted
from medkit.dicom.geometry import even_runs, same_place, stack_of


def planes(positions, axes=None, spacing=(0.7, 0.9), thickness=2.0):
    axes = np.eye(3)[:2] if axes is None else axes
    return [
        SimpleNamespace(
            position=np.asarray(position, float),
            orientation=axes,
            normal=np.cross(axes[0], axes[1]),
            spacing=spacing,
            thickness=thickness,
            where=f"slice {number}",
        )
        for number, position in enumerate(positions)
    ]


turns = st.tuples(*[st.floats(-3, 3)] * 3).map(lambda angles: Rotation.from_euler("xyz", angles).as_matrix())


@given(turn=turns, shear=st.tuples(*[st.floats(-0.5, 0.5)] * 2), step=st.floats(0.5, 9), data=st.data())
def test_every_pixel_is_where_the_standard_puts_it(turn, shear, step, data):
    way = turn.T @ np.array([*shear, 1.0]) * step
    origin = np.array([-120.5, 33.25, 801.0])
    positions = [origin + number * way for number in range(6)]
    given_planes = planes(positions, turn[:2])
    order = data.draw(st.permutations(range(6)))
    stack = stack_of([given_planes[number] for number in order])
    assert [plane.where for plane in stack.planes] == [f"slice {number}" for number in range(6)]
    for column, row, number in ((0, 0, 0), (511, 3, 5), (7, 400, 2)):
        lps = positions[number] + turn[0] * 0.9 * column + turn[1] * 0.7 * row
        got = stack.affine @ [column, row, number, 1]
        np.testing.assert_allclose(got[:3], lps * [-1, -1, 1], atol=1e-6)
    tilt = np.degrees(np.arctan(np.hypot(*shear)))
    assert stack.tilt_degrees == pytest.approx(tilt, abs=1e-4)
    assert ("tilt" in [note.code for note in stack.notes]) == (stack.tilt_degrees > 0.05)


def test_rounded_positions_are_even():
    positions = [(0, 0, round(number / 3, 3)) for number in range(300)]
    stack = stack_of(planes(positions))
    assert stack.notes == ()
    assert stack.affine[2, 2] == pytest.approx(1 / 3, abs=1e-5)


def test_small_jitter_is_noted_and_large_refused():
    rng = np.random.default_rng(0)
    for size, codes in ((0.01, ["jitter"]), (0.4, None)):
        positions = [(0, 0, 3 * number + rng.uniform(-size, size)) for number in range(20)]
        if codes:
            assert [note.code for note in stack_of(planes(positions)).notes] == codes
        else:
            with pytest.raises(Refused) as refused:
                stack_of(planes(positions))
            assert refused.value.finding.code == "nonuniform"


@given(missing=st.sets(st.integers(1, 18), min_size=1, max_size=5))
def test_missing_slices_are_a_gap_and_counted(missing):
    if len({number - 1 for number in missing} | missing) > 12:
        return
    places = [number for number in range(20) if number not in missing]
    with pytest.raises(Refused) as refused:
        stack_of(planes([(0, 0, 2.5 * place) for place in places]))
    assert refused.value.finding.code == "gap"
    assert f"{counted(len(missing), 'slice is', 'slices are')} missing of 20" in refused.value.finding.message
    runs = even_runs(planes([(0, 0, 2.5 * place) for place in places]))
    assert [place for first, last in runs.bounds for place in places[first:last]] == places
    for first, last in runs.bounds:
        assert set(np.diff(places[first:last])) <= {1}


def test_slices_beside_each_other_are_no_stack():
    with pytest.raises(Refused) as refused:
        stack_of(planes([(40 * number, 0, 0.01 * number) for number in range(5)]))
    assert refused.value.finding.code == "nonuniform"


def test_one_slice_has_its_thickness_or_no_place():
    stack = stack_of(planes([(1, 2, 3)]))
    np.testing.assert_allclose(stack.affine, [[-0.9, 0, 0, -1], [0, -0.7, 0, -2], [0, 0, 2, 3], [0, 0, 0, 1]])
    with pytest.raises(Refused) as refused:
        stack_of(planes([(1, 2, 3)], thickness=None))
    assert refused.value.finding.code == "no-geometry"


@pytest.mark.parametrize(
    ("step", "off", "code"), [(0.009, 1e-4, ""), (0.009, 1.5e-3, "nonuniform"), (2.5, 1.5e-3, "")]
)
def test_what_is_rounding_depends_on_the_distance_of_slices(step, off, code):
    positions = np.outer(np.arange(9), [0, 0, step])
    positions[4, 2] += off
    if code:
        with pytest.raises(Refused) as refused:
            stack_of(planes(positions, spacing=(0.009, 0.009)))
        assert refused.value.finding.code == code
    else:
        assert not stack_of(planes(positions, spacing=(0.009, 0.009))).notes


@pytest.mark.parametrize(
    ("edge", "apart", "same"),
    [(0.7, 0.009, True), (0.7, 0.011, False), (0.009, 0.0005, True), (0.009, 0.009, False)],
)
def test_what_is_one_place_depends_on_the_pixels(edge, apart, same):
    one, other = planes([(0, 0, 0), (0, 0, apart)], spacing=(edge, edge))
    assert same_place(one, other) == same
