"""The compiled kernel: the reference's labels where sums are exact, ties included, and else but for rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from medkit.ops import native
from medkit.ops.interpolated_argmax import Places, cpu, reference
from tests.ops.interpolated_argmax.cases import exact_planes, scored


@pytest.fixture(scope="module", autouse=True)
def _kernel_is_there():
    assert cpu.is_available(), (
        "the kernels are not compiled: run `pip install -e .` where there is a C compiler"
    )


def compute(one, two, weight, rows, columns):
    return cpu.interpolated_argmax((one.scores, two.scores), (one.labels, two.labels), weight, rows, columns)


@given(case=exact_planes())
def test_labels_are_those_of_the_reference(case):
    one, two, weight, rows, columns = case
    expected = reference.interpolated_argmax(one.scores, two.scores, weight, rows, columns)
    torch.testing.assert_close(compute(*case), expected, rtol=0, atol=0)


def large():
    torch.manual_seed(0)
    planes = [scored(torch.randn(14, 40, 50).softmax(0)) for _ in range(2)]
    rows, columns = (Places.of(torch.linspace(-1, n + 1, 3 * n, dtype=torch.float64), n) for n in (40, 50))
    return (*planes, 0.3, rows, columns)


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 500])
def test_every_number_of_threads_gives_the_same(monkeypatch, threads):
    case = large()
    expected = compute(*case)
    monkeypatch.setattr(native, "thread_count", lambda: threads)
    torch.testing.assert_close(compute(*case), expected, rtol=0, atol=0)


def test_labels_differ_from_the_reference_by_rounding_alone():
    one, two, weight, rows, columns = case = large()
    found = compute(*case).long()
    scores = torch.lerp(one.scores.double(), two.scores.double(), weight)
    for axis, places in ((1, rows), (2, columns)):
        ends = (scores.index_select(axis, end) for end in (places.low, places.high))
        scores = torch.lerp(*ends, places.weight.double().view(-1, *[1] * (2 - axis)))
    behind = scores.max(0).values - scores.gather(0, found[None])[0]
    assert behind.max() < 1e-6
    assert len(found.unique()) == 14


def test_only_mixed_corners_are_computed():
    """Scores of NaN beside labels that agree: had they been computed with, they would show."""
    torch.manual_seed(0)
    scores = torch.rand(4, 6, 8)
    plane = scored(scores)
    agreed = plane.labels.clone().fill_(2)
    hidden = torch.full_like(scores, torch.nan)
    rows, columns = (Places.of(torch.linspace(0, n - 1, 11, dtype=torch.float64), n) for n in (6, 8))
    found = cpu.interpolated_argmax((hidden, hidden), (agreed, agreed), 0.5, rows, columns)
    assert (found == 2).all()
