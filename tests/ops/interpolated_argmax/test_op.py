"""The choice of a kernel: whatever serves, the labels are the same."""

from __future__ import annotations

import pytest
import torch

from medkit.ops.interpolated_argmax import Places, cpu, interpolated_argmax, reference
from tests.ops.interpolated_argmax.cases import scored


def case(classes=5, dtype=torch.float32):
    scores = (
        torch.randint(-9, 9, (2, classes, 7, 9), generator=torch.Generator().manual_seed(0)).to(dtype) / 8
    )
    rows, columns = (Places.of(torch.arange(3 * n, dtype=torch.float64) / 4, n) for n in (7, 9))
    return scored(scores[0]), scored(scores[1]), 0.25, rows, columns


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 5, 256, 300])
def test_every_type_and_number_of_classes(classes, dtype):
    one, two, *rest = case(classes, dtype)
    expected = reference.interpolated_argmax(one.scores, two.scores, *rest)
    found = interpolated_argmax(one, two, *rest)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert found.shape == (21, 27)


def test_without_a_compiler(monkeypatch):
    expected = interpolated_argmax(*case())
    monkeypatch.setattr(cpu, "is_available", lambda: False)
    torch.testing.assert_close(interpolated_argmax(*case()), expected, rtol=0, atol=0)


def test_a_plane_itself_gives_its_labels():
    plane, *_ = case()
    rows, columns = (Places.of(torch.arange(n, dtype=torch.float64), n) for n in (7, 9))
    torch.testing.assert_close(interpolated_argmax(plane, plane, 0.0, rows, columns), plane.labels)
