"""Label maps at places between voxels: the nearest label, or the one with most of the linear weights."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["linear_values", "nearest_labels", "voted_labels"]

_CORNERS = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
_PIECE = 2**18  # places that are voted on at once: their weights stay in a processor's cache


def nearest_labels(labels: Tensor, places: Tensor) -> Tensor:
    """``(D, H, W)`` int32 at ``(*sizes, 3)`` voxels, the label of the nearest; 0 beyond the map."""
    return _sampled(labels.to(torch.float32), places, "nearest").to(torch.int32)


def linear_values(image: Tensor, places: Tensor) -> Tensor:
    """``(D, H, W)`` float32 at ``(*sizes, 3)`` voxels, linear between them; 0 beyond the image."""
    return _sampled(image, places, "bilinear")


def voted_labels(labels: Tensor, places: Tensor) -> Tensor:
    """The label whose linearly interpolated mask is greatest, without a mask for each.

    Boundaries come out as smooth as the deformation is, where the nearest label gives steps. It is what linear
    interpolation of a one-hot map and its greatest channel would give, but for ties: those go to the lowest corner.

    Args:
        labels: ``(D, H, W)``, int32.
        places: ``(*sizes, 3)``, in voxels of the map.

    Returns:
        ``(*sizes)``, int32; beyond the map all is 0.
    """
    flat = places.flatten(0, -2)
    pieces = [_vote(labels, piece) for piece in torch.split(flat, _PIECE)]
    return torch.cat(pieces).view(places.shape[:-1])


def _vote(labels: Tensor, places: Tensor) -> Tensor:
    base = places.floor()
    fraction = (places - base).T
    lower = base.T.to(torch.int32)
    corners = torch.stack(
        [_at(labels, [lower[axis] + step for axis, step in enumerate(corner)]) for corner in _CORNERS]
    )
    best = corners[0]
    mixed = (corners != best).any(0).nonzero().flatten()
    if len(mixed):
        best[mixed] = _heaviest(corners[:, mixed], fraction[:, mixed])
    return best


def _heaviest(corners: Tensor, fraction: Tensor) -> Tensor:
    """Of ``(8, N)`` labels about places ``(3, N)`` from 0 to 1 between them, those that weigh most, ``(N,)``."""
    sides = torch.stack([1 - fraction, fraction])
    weights = torch.stack([sides[i, 0] * sides[j, 1] * sides[k, 2] for i, j, k in _CORNERS])
    votes = weights.clone()
    for one, other in combinations(range(len(_CORNERS)), 2):
        same = (corners[one] == corners[other]).to(weights.dtype)
        votes[one] += same * weights[other]
        votes[other] += same * weights[one]
    return corners.gather(0, votes.argmax(0, keepdim=True))[0]


def _at(labels: Tensor, index: list[Tensor]) -> Tensor:
    inside = torch.ones_like(index[0], dtype=torch.bool)
    flat = torch.zeros_like(index[0])
    for place, length in zip(index, labels.shape, strict=True):
        inside &= (place >= 0) & (place < length)
        flat = flat * length + place.clamp(0, length - 1)
    return labels.flatten().index_select(0, flat).where(inside, 0)


def _sampled(values: Tensor, places: Tensor, mode: str) -> Tensor:
    """By slabs along the first axis: on the CPU, PyTorch spreads volumes over its threads, and not what is in one."""
    sizes = torch.tensor(values.shape, dtype=places.dtype, device=places.device)
    grid = ((places * 2 + 1) / sizes - 1).flip(-1)  # x, the last axis, comes first
    slabs = next(number for number in (16, 8, 5, 4, 3, 2, 1) if len(grid) % number == 0)
    grid = grid.view(slabs, -1, *grid.shape[1:])
    volumes = values.expand(slabs, 1, *values.shape)
    found = functional.grid_sample(volumes, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return found.flatten(0, 2)
