"""Slices against the integrals of an edge, a sine and noise under their profile."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medkit.errors import UsageError
from medkit.transforms.synthesis.resolution import Axis, Resolution, refill_matrix, slice_matrix, slice_places
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, rng

SIZE = 160


@st.composite
def axes(draw):
    spacing = draw(st.floats(1, 12))
    return Axis(
        spacing,
        draw(st.floats(1, spacing)),
        draw(st.sampled_from(["rectangular", "gaussian"])),
        draw(st.floats(0.42, 0.75)),
        draw(st.floats(0, 1)),
    )


@given(axes(), st.integers(1, 60))
def test_a_point_spread_is_positive_and_sums_to_one(axis, size):
    matrix = slice_matrix(axis, size)
    assert len(matrix) == len(slice_places(axis, size)) >= 1
    assert matrix.min() >= 0
    assert torch.allclose(matrix.sum(1), torch.ones(len(matrix), dtype=torch.float64))


@given(axes(), st.integers(2, 60))
def test_an_even_image_stays_as_it_is(axis, size):
    both = refill_matrix(axis, size) @ slice_matrix(axis, size)
    assert both.shape == (size, size)
    assert torch.allclose(both.sum(1), torch.ones(size, dtype=torch.float64))


@given(axes(), st.integers(1, 60))
def test_slices_lie_a_spacing_apart_on_the_grid(axis, size):
    places = slice_places(axis, size)
    assert torch.allclose(places.diff(), torch.full((len(places) - 1,), axis.spacing, dtype=torch.float64))
    if len(places) > 1:
        assert places.min() >= -1e-9
        assert places.max() <= size - 1 + 1e-9
        assert places[0] <= axis.spacing + 1e-9, "no slice is missing"
        assert places[-1] + axis.spacing > size - 1 - 1e-9


@pytest.mark.parametrize("profile", ["rectangular", "gaussian"])
def test_one_millimetre_is_as_it_was(profile):
    axis = Axis(profile=profile, spread=0.6)
    assert axis.fine
    assert torch.allclose(slice_matrix(axis, 20), torch.eye(20, dtype=torch.float64), atol=1e-12)
    assert torch.equal(refill_matrix(axis, 20), torch.eye(20, dtype=torch.float64))


@pytest.mark.parametrize(("spacing", "thickness"), [(5.0, 5.0), (6.5, 4.0), (9.0, 7.3)])
def test_an_edge_under_a_rectangular_profile_is_a_ramp(spacing, thickness):
    axis = Axis(spacing, thickness, shift=0.3)
    edge = math.floor(slice_places(axis, SIZE)[8]) + 1.5  # between two voxels, within a slice
    signal = (torch.arange(SIZE) > edge).double()
    expected = ((slice_places(axis, SIZE) + thickness / 2 - edge) / thickness).clamp(0, 1)
    assert 0 < expected[(expected > 0) & (expected < 1)].numel() <= 2
    assert torch.allclose((slice_matrix(axis, SIZE) @ signal)[2:-2], expected[2:-2], atol=1e-9)


@pytest.mark.parametrize(("thickness", "spread"), [(4.0, 0.42), (4.0, 0.75), (9.0, 0.75)])
def test_an_edge_under_a_gaussian_profile_is_its_integral(thickness, spread):
    axis = Axis(thickness, thickness, "gaussian", spread, 0.2)
    edge = 79.5
    signal = (torch.arange(SIZE) > edge).double()
    sigma = spread * math.sqrt(thickness**2 - 1)
    expected = torch.special.ndtr((slice_places(axis, SIZE) - edge) / sigma)
    inner = (slice_places(axis, SIZE) > 40) & (slice_places(axis, SIZE) < 120)
    assert torch.allclose((slice_matrix(axis, SIZE) @ signal)[inner], expected[inner], atol=1e-6)


def voxel_means_of_a_sine(frequency):
    """Of ``sin(2 pi f x)`` over each voxel: what a map of 1 mm holds of it."""
    return torch.sin(2 * math.pi * frequency * torch.arange(SIZE, dtype=torch.float64)) * torch.special.sinc(
        torch.tensor(frequency, dtype=torch.float64)
    )


@pytest.mark.parametrize("thickness", [3.0, 5.0, 7.0])
@pytest.mark.parametrize("frequency", [0.02, 0.09, 0.2])
def test_a_sine_loses_what_a_rectangular_profile_takes(thickness, frequency):
    axis = Axis(thickness, thickness)  # slices end where voxels do
    places = slice_places(axis, SIZE)
    gain = math.sin(math.pi * frequency * thickness) / (math.pi * frequency * thickness)
    found = (slice_matrix(axis, SIZE) @ voxel_means_of_a_sine(frequency))[1:-1]
    assert torch.allclose(found, gain * torch.sin(2 * math.pi * frequency * places)[1:-1], atol=1e-9)


@pytest.mark.parametrize("spread", [0.42, 0.75])
@pytest.mark.parametrize("frequency", [0.02, 0.05, 0.09])
def test_a_sine_loses_what_a_gaussian_profile_takes(spread, frequency):
    axis = Axis(4.0, 4.0, "gaussian", spread)
    places = slice_places(axis, SIZE)
    sigma = spread * math.sqrt(15)
    gain = math.exp(-2 * (math.pi * sigma * frequency) ** 2)
    inner = (places > 30) & (places < 130)
    found = (slice_matrix(axis, SIZE) @ voxel_means_of_a_sine(frequency))[inner]
    # A voxel's own width comes in twice: in what the map holds, and in what the profile weighs.
    twice = float(torch.special.sinc(torch.tensor(frequency, dtype=torch.float64))) ** 2
    expected = twice * gain * torch.sin(2 * math.pi * frequency * places)[inner]
    assert torch.allclose(found, expected, atol=1e-4)


def test_noise_keeps_one_part_in_the_thickness_of_its_energy():
    axis = Axis(5.0, 5.0, shift=0.2)
    energy = slice_matrix(axis, SIZE).square().sum(1)
    assert torch.allclose(energy[1:-1], torch.full((len(energy) - 2,), 0.2, dtype=torch.float64))


@given(axes())
def test_refilling_is_linear_between_slices(axis):
    places = slice_places(axis, SIZE)
    found = refill_matrix(axis, SIZE) @ places
    expected = torch.arange(SIZE, dtype=torch.float64).clamp(places[0], places[-1])
    assert torch.allclose(found, expected, atol=1e-6)


def test_distributions():
    step = Resolution(0.25, 0.6, (2, 9), (1, 1.5), (1.5, 4), 0.7)
    source = rng()
    drawn = [step.draw(source) for _ in range(3000)]
    assert_proportion((all(axis.fine for axis in one) for one in drawn), 0.25)
    coarse = [one for one in drawn if not any(axis.fine for axis in one)]
    cubes = [one for one in coarse if one[0].spacing == one[1].spacing == one[2].spacing]
    thick = [one for one in coarse if one not in cubes]
    assert len(coarse) > 2000
    assert_proportion((one in thick for one in coarse), 0.6)
    assert_even((one[0].spacing for one in cubes), 1.5, 4)
    for number in range(3):
        along = [one for one in thick if one[number].spacing == max(axis.spacing for axis in one)]
        assert_proportion((one in along for one in thick), 1 / 3)
        assert_even((one[number].spacing for one in along), 2, 9)
        assert_even((one[(number + 1) % 3].spacing for one in along), 1, 1.5)
    every = [axis for one in coarse for axis in one]
    assert all(max(1, 0.7 * axis.spacing) <= axis.thickness <= axis.spacing for axis in every)
    assert_proportion((axis.profile == "gaussian" for axis in every), 0.5)
    assert_even((axis.spread for axis in every), 0.42, 0.75)
    assert_even((axis.shift for axis in every), 0, 1)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (Axis(5.0, 6.0), "thickness: expected from 1 mm to the spacing of 5 mm, got 6 mm"),
        (Axis(5.0, 0.5), "thickness: expected from 1 mm to the spacing of 5 mm, got 0.5 mm"),
        (Axis(5.0, 5.0, "sinc"), r"profile: expected one of \['rectangular', 'gaussian'\], got 'sinc'"),
    ],
)
def test_axes_that_are_refused(axis, message):
    with pytest.raises(UsageError, match=message):
        slice_matrix(axis, 10)


def test_ranges_that_are_refused():
    with pytest.raises(UsageError, match="slice_spacing: expected two numbers in order of at least 1"):
        Resolution(slice_spacing=(0.5, 9))
