"""Labels on another grid: those of scores resampled by MONAI, for any matrix, a plane at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import SpatialResample

from medkit.ops.interpolated_argmax import cpu
from medkit.transforms.resample_labels import resample_labels
from tests.largest_tensor import LargestTensor
from tests.transforms.monai_way import assert_same_but_for_ties


def random_scores(shape, classes=4, seed=0):
    return 3 * torch.randn(classes, *shape, generator=torch.Generator().manual_seed(seed))


def in_slabs(scores, number):
    return torch.tensor_split(scores, number, 1)


def by_monai(scores, matrix, wanted, *, softmax=True):
    scores = scores.softmax(0) if softmax else scores
    source = MetaTensor(scores.double(), affine=torch.eye(len(matrix), dtype=torch.float64))
    resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float64)
    return resample(source, dst_affine=torch.from_numpy(matrix), spatial_size=wanted).as_tensor()


@st.composite
def matrices(draw, axes, *, turned):
    linear = np.diag([draw(st.floats(0.3, 2.5)) * draw(st.sampled_from([1, -1])) for _ in range(axes)])
    if turned:
        off = np.array([[draw(st.floats(-0.6, 0.6)) for _ in range(axes)] for _ in range(axes)])
        linear = linear + off - np.diag(np.diag(off))
    matrix = np.eye(axes + 1)
    matrix[:axes, :axes] = linear
    matrix[:axes, axes] = [draw(st.floats(-3, 9)) for _ in range(axes)]
    return matrix


@pytest.mark.parametrize("turned", [False, True])
@given(data=st.data())
def test_labels_are_those_of_resampled_probabilities(data, turned):
    axes = data.draw(st.integers(2, 3))
    shape, wanted = (tuple(data.draw(st.integers(1, 11)) for _ in range(axes)) for _ in range(2))
    matrix = data.draw(matrices(axes, turned=turned))
    softmax = data.draw(st.booleans())
    scores = random_scores(shape, data.draw(st.integers(2, 5)))
    slabs = in_slabs(scores, data.draw(st.integers(1, shape[0])))
    found = resample_labels(slabs, shape, matrix, wanted, softmax=softmax)
    assert found.dtype == torch.uint8
    resampled = by_monai(scores, matrix, wanted, softmax=softmax)
    behind = resampled.max(0).values - resampled.gather(0, found.long()[None])[0]
    assert behind.max() <= 1e-5


def test_planes_that_are_not_turned_are_those_of_the_general_way():
    scores, matrix = random_scores((12, 9, 10)), np.diag([0.6, 0.7, 0.8, 1.0])
    straight = resample_labels([scores], (12, 9, 10), matrix, (17, 11, 12), softmax=True)
    matrix[0, 1] = 2e-5  # more than rounding, and less than would show
    turned = resample_labels([scores], (12, 9, 10), matrix, (17, 11, 12), softmax=True)
    assert (straight == turned).float().mean() > 0.999


def test_without_a_compiler(monkeypatch):
    scores, matrix = random_scores((12, 9, 10)), np.diag([0.6, 0.7, 0.8, 1.0])
    expected = by_monai(scores, matrix, (18, 11, 12))
    monkeypatch.setattr(cpu, "is_available", lambda: False)
    found = resample_labels([scores], (12, 9, 10), matrix, (18, 11, 12), softmax=True)
    assert_same_but_for_ties(found, expected)


def test_same_grid_gives_the_greatest():
    scores = random_scores((5, 6, 7), classes=300)
    found = resample_labels(in_slabs(scores, 2), (5, 6, 7), np.eye(4), (5, 6, 7), softmax=False)
    assert found.dtype == torch.int16
    assert torch.equal(found.long(), scores.argmax(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_other_types(dtype):
    scores, matrix = random_scores((8, 9, 10)).to(dtype), np.diag([0.5, 0.5, 0.5, 1.0])
    found = resample_labels([scores], (8, 9, 10), matrix, (15, 17, 19), softmax=True)
    assert_same_but_for_ties(found, by_monai(scores.double(), matrix, (15, 17, 19)))


def test_no_scores_on_the_wanted_grid_are_held():
    shape, wanted, classes = (64, 16, 16), (128, 32, 32), 6
    scores = random_scores(shape, classes)
    slabs = (scores[:, row : row + 8] for row in range(0, 64, 8))
    with LargestTensor() as largest:
        resample_labels(slabs, shape, np.diag([0.5, 0.5, 0.5, 1.0]), wanted, softmax=True)
    assert largest.elements == max(np.prod(wanted), classes * 8 * 16 * 16)
