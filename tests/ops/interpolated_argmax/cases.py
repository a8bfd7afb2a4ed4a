"""Planes of scores with places between their voxels; numbers of few bits, so that sums are exact and ties are."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from medkit.ops.interpolated_argmax import Places, ScoredPlane
from medkit.ops.interpolated_argmax.reference import greatest


def scored(scores):
    return ScoredPlane(scores, greatest(scores))


@st.composite
def exact_planes(draw):
    """Two planes, a weight and places, all in eighths: every sum in single precision is exact."""
    classes, height, width = draw(st.integers(2, 6)), draw(st.integers(1, 7)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    coarse = draw(st.integers(1, 8))  # few values: many ties
    planes = [
        torch.randint(-coarse, coarse + 1, (classes, height, width), generator=generator) / 8
        for _ in range(2)
    ]
    return (
        *map(scored, planes),
        draw(st.integers(0, 8)) / 8,
        eighths(draw, height, generator),
        eighths(draw, width, generator),
    )


def eighths(draw, size, generator):
    number = draw(st.integers(1, 20))
    positions = torch.randint(-12, 8 * size + 12, (number,), generator=generator) / 8
    return Places.of(positions.double(), size)
