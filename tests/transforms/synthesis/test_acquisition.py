"""Slices along any axis, spoilt where they were sampled, back on the grid."""

from __future__ import annotations

import json

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.acquisition import Acquisition, AcquisitionParameters
from medkit.transforms.synthesis.ghosts import Ghosts
from medkit.transforms.synthesis.kspace_noise import KSpaceNoise, KSpaceNoiseParameters
from medkit.transforms.synthesis.resolution import Axis, Resolution, refill_matrix, slice_matrix
from medkit.transforms.synthesis.sample import Sample
from medkit.transforms.synthesis.step import Step
from tests.transforms.synthesis.drawn import assert_recorded, many, phantom

FINE = Axis()
THICK = Axis(5.0, 4.0, "rectangular", 0.42, 0.1)


class Size(Step):
    """Keeps the size of the image that it sees."""

    def __init__(self):
        self.seen = None

    def draw(self, rng):
        return None

    def apply(self, sample, parameters):
        self.seen = tuple(sample.image.shape)
        return sample


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_along_one_axis(axis):
    sample, size = phantom(), Size()
    axes = tuple(THICK if number == axis else FINE for number in range(3))
    found = Acquisition(Resolution(), [size]).apply(sample, AcquisitionParameters(axes, (None,)))
    length = sample.image.shape[axis]
    whole = (refill_matrix(THICK, length) @ slice_matrix(THICK, length)).float()
    expected = torch.tensordot(sample.image, whole, dims=([axis], [1])).movedim(-1, axis)
    assert torch.allclose(found.image, expected, atol=1e-5)
    assert size.seen == tuple(
        slice_matrix(THICK, length).shape[0] if number == axis else edge
        for number, edge in enumerate(sample.image.shape)
    )
    assert torch.equal(found.labels, sample.labels)


def test_a_fine_scan_is_the_image():
    sample = phantom()
    found = Acquisition(Resolution()).apply(sample, AcquisitionParameters((FINE,) * 3, ()))
    assert torch.equal(found.image, sample.image)


def test_all_axes_at_once():
    sample = phantom()
    axes = (Axis(2.0, 2.0), Axis(3.0, 2.0, "gaussian"), Axis(4.5, 4.5))
    found = Acquisition(Resolution()).apply(sample, AcquisitionParameters(axes, ()))
    assert found.image.shape == sample.image.shape
    assert found.image.std() < sample.image.std()
    assert found.image.mean() == pytest.approx(float(sample.image.mean()), rel=0.1)


def test_noise_is_as_coarse_as_the_slices():
    image = torch.full((60, 30, 30), 0.5)
    image[0, 0, 0] = 1
    axes = (Axis(6.0, 6.0), FINE, FINE)
    drawn = AcquisitionParameters(axes, (KSpaceNoiseParameters(0.1, 3),))
    noisy = Acquisition(Resolution(), [KSpaceNoise()]).apply(Sample(image.int(), image), drawn).image
    assert noisy.diff(dim=1).std() > 3 * noisy.diff(dim=0).std()


def test_records():
    step = Acquisition(Resolution(), [KSpaceNoise(), Ghosts()])
    for drawn in many(step, 20):
        assert_recorded(step, drawn)
    record = step.record(drawn)
    assert set(record) == {"axes", "faults"}
    assert [fault["step"] for fault in record["faults"]] == ["KSpaceNoise", "Ghosts"]


@pytest.mark.parametrize(
    "broken", [{}, {"axes": [{}, {}, {}], "faults": []}, {"axes": [], "faults": []}, None]
)
def test_records_of_something_else_are_refused(broken):
    with pytest.raises(UsageError, match="record of Acquisition: expected three axes"):
        Acquisition(Resolution()).parameters_from(json.loads(json.dumps(broken)))
