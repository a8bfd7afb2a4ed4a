"""Labels on a finer or coarser grid from class scores, without the scores there.

Resampling the probabilities of all classes and taking the greatest gives smooth borders, but holds all classes
on the grid that is wanted. Here a plane of labels is made at a time, from the two planes of scores beside it.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from medkit.ops.interpolated_argmax import Places, ScoredPlane, interpolated_argmax
from medkit.ops.interpolated_argmax.reference import greatest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["resample_labels"]

# Coordinates in single precision are no better than this, in voxels.
_SAME_PLACE = 1e-4
# Scored at a time: enough to be worth the threads' while, few beside the slab that they come from.
_PLANES = 8


def resample_labels(
    slabs: Iterable[Tensor],
    shape: Sequence[int],
    matrix: NDArray[np.float64],
    wanted: Sequence[int],
    *,
    softmax: bool,
) -> Tensor:
    """The class of the greatest linearly interpolated score at every voxel of another grid.

    Beyond its border the grid of the scores goes on as it is there.

    Args:
        slabs: scores ``(K, n, *shape[1:])`` in order along the first axis, together ``(K, *shape)``.
        shape: of the grid of the scores, two axes or three.
        matrix: homogeneous; an index of the wanted grid to one of the grid of the scores. One that keeps the
            axes apart takes two planes of scores at a time, any other all of them.
        wanted: shape of the wanted grid.
        softmax: interpolate the softmax of the scores over the classes.

    Returns:
        Labels of that shape, uint8, or int16 for more than 256 classes; of equals the lower class.
    """
    rank = len(shape)
    linear, origin = matrix[:rank, :rank], matrix[:rank, rank]
    turned = np.abs(linear - np.diag(np.diag(linear))) @ (np.array(wanted) - 1)
    if turned.max() > _SAME_PLACE:
        return _resample_turned(_whole(slabs, shape[0], softmax=softmax), matrix, wanted)
    places = [
        Places.of(torch.from_numpy(linear[axis, axis] * np.arange(wanted[axis]) + origin[axis]), shape[axis])
        for axis in range(rank)
    ]
    return _resample_straight(_planes(slabs, softmax=softmax), places)


def _parts(slabs: Iterable[Tensor], *, softmax: bool) -> Iterator[Tensor]:
    """Scores of some planes at a time, ``(n, K, *sizes)``."""
    for slab in slabs:
        for part in torch.split(slab, _PLANES, 1):
            # Always a copy: the giver of the slabs may write over one as soon as it is asked for the next.
            scores = part.transpose(0, 1).clone(memory_format=torch.contiguous_format)
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
            yield scores.softmax(1) if softmax else scores


def _planes(slabs: Iterable[Tensor], *, softmax: bool) -> Iterator[ScoredPlane]:
    """Planes of two axes; those of an image of two axes have one row."""
    for part in _parts(slabs, softmax=softmax):
        scores = part if part.ndim == 4 else part.unsqueeze(2)
        labels = greatest(scores.transpose(0, 1))
        yield from map(ScoredPlane, scores, labels)


def _resample_straight(planes: Iterator[ScoredPlane], places: list[Places]) -> Tensor:
    """A wanted plane lies between two neighbours of those given: two are held at a time."""
    first, *others = places
    others = [Places.of(torch.zeros(1), 1)] * (2 - len(others)) + others
    shape = tuple(map(len, places))
    labels = before = None
    for number, plane in enumerate(planes):
        if labels is None:
            labels = torch.empty(shape, dtype=plane.labels.dtype, device=plane.labels.device)
            rows, columns = (axis.to(labels.device) for axis in others)
        for index in (first.high == number).nonzero().flatten().tolist():
            other = before if before is not None and first.low[index] < number else plane
            found = interpolated_argmax(other, plane, float(first.weight[index]), rows, columns)
            labels[index] = found.view(shape[1:])
        before = plane
    assert labels is not None
    return labels


def _whole(slabs: Iterable[Tensor], number: int, *, softmax: bool) -> Tensor:
    """All scores, ``(K, number, *sizes)``, of which no second copy is held."""
    scores, begin = None, 0
    for part in _parts(slabs, softmax=softmax):
        if scores is None:
            scores = part.new_empty(part.shape[1], number, *part.shape[2:])
        scores[:, begin : begin + len(part)] = part.transpose(0, 1)
        begin += len(part)
    assert scores is not None
    return scores


def _resample_turned(scores: Tensor, matrix: NDArray[np.float64], wanted: Sequence[int]) -> Tensor:
    """Any matrix: the corners of every voxel are looked up, a wanted plane at a time."""
    known = torch.stack([greatest(plane) for plane in scores.unbind(1)])
    labels = torch.empty(tuple(wanted), dtype=known.dtype, device=known.device)
    indices = np.stack([axis.ravel() for axis in np.indices((1, *wanted[1:]))])
    for row in range(wanted[0]):
        indices[0] = row
        positions = torch.from_numpy(matrix[:-1, :-1] @ indices + matrix[:-1, -1:])
        labels[row] = _looked_up(scores, known, positions).view(tuple(wanted[1:]))
    return labels


def _looked_up(scores: Tensor, known: Tensor, positions: Tensor) -> Tensor:
    """Labels at positions ``(axes, N)``, computed where the corners disagree (see ``interpolated_argmax``)."""
    places = [
        Places.of(along, size).to(scores.device) for along, size in zip(positions, known.shape, strict=True)
    ]
    steps = torch.tensor(known.stride(), device=known.device)[:, None]
    corners = [
        torch.stack(corner).long().mul(steps).sum(0)
        for corner in product(*((axis.low, axis.high) for axis in places))
    ]
    found = known.flatten()[corners[0]]
    mixed = torch.stack([known.flatten()[corner] != found for corner in corners[1:]]).any(0)
    weights = [(1 - axis.weight[mixed], axis.weight[mixed]) for axis in places]
    blend = scores.new_zeros(len(scores), int(mixed.sum()))
    for corner, factors in zip(corners, product(*weights), strict=True):
        blend += scores.flatten(1)[:, corner[mixed]] * torch.stack(factors).prod(0)
    found[mixed] = greatest(blend)
    return found
