"""A small head of nested ellipsoids, with the values of the real label maps and two sides that are told apart."""

from __future__ import annotations

import torch

# value, centre and half-axes, in parts of the head's extent about its middle; later ones lie over earlier ones
_SHAPES = (
    (511, (0, 0, 0), (0.96, 0.96, 0.96)),
    (507, (0, 0, 0), (0.90, 0.90, 0.90)),
    (515, (0, 0, 0), (0.84, 0.84, 0.84)),
    (24, (0, 0, 0), (0.76, 0.78, 0.76)),
)
# left value, right value, centre on the right, half-axes
_SIDES = (
    (3, 42, (0.02, 0, 0), (0.70, 0.72, 0.70)),
    (2, 41, (0.02, 0, 0), (0.54, 0.56, 0.54)),
    (4, 43, (0.16, 0.04, 0.16), (0.09, 0.24, 0.12)),
    (10, 49, (0.16, -0.06, -0.08), (0.12, 0.14, 0.10)),
    (17, 53, (0.34, -0.10, -0.20), (0.11, 0.20, 0.10)),
)
_BRAIN_STEM = (16, (0, -0.08, -0.42), (0.14, 0.14, 0.24))


def head(size: tuple[int, int, int] = (40, 48, 44)) -> torch.Tensor:
    """Labels ``(1, 1, *size)``, int32, axes to the right, front and up; the left hippocampus is the smaller one."""
    ticks = [torch.linspace(-1, 1, length) for length in size]
    place = torch.stack(torch.meshgrid(*ticks, indexing="ij"), -1)
    labels = torch.zeros(size, dtype=torch.int32)
    for value, centre, axes in _SHAPES:
        labels[_inside(place, centre, axes)] = value
    on_the_right = place[..., 0] > 0
    for left, right, centre, axes in _SIDES:
        mirrored = (-centre[0], *centre[1:])
        smaller = tuple(0.8 * axis for axis in axes) if left == 17 else axes
        labels[_inside(place, mirrored, smaller) & ~on_the_right] = left
        labels[_inside(place, centre, axes) & on_the_right] = right
    value, centre, axes = _BRAIN_STEM
    labels[_inside(place, centre, axes)] = value
    return labels[None, None]


def _inside(place: torch.Tensor, centre: tuple, axes: tuple) -> torch.Tensor:
    return ((place - torch.tensor(centre)) / torch.tensor(axes)).norm(dim=-1) < 1
