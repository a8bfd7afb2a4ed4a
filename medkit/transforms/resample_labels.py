"""Labels on a finer or coarser grid from class scores, without the scores there; and the scores, class by class.

Resampling the probabilities of all classes and taking the greatest gives smooth borders, but holds all classes
on the grid that is wanted. Here a plane of labels is made at a time, from the two planes of scores beside it.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from medkit.ops.interpolated_argmax import Places, ScoredPlane, interpolated_argmax
from medkit.ops.interpolated_argmax.reference import greatest, interpolated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["resample_labels", "resample_scores"]

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
    places = _straight(shape, matrix, wanted)
    if places is None:
        return _resample_turned(_whole(slabs, shape[0], softmax=softmax), matrix, wanted)
    return _resample_straight(_planes(slabs, softmax=softmax), places)


def resample_scores(scores: Tensor, matrix: NDArray[np.float64], wanted: Sequence[int]) -> Tensor:
    """One class's scores where :func:`resample_labels` compares them, equal to its own but for rounding.

    Args:
        scores: of one class, of two axes or three, in single or double precision.
        matrix: see there.
        wanted: see there.

    Returns:
        Scores of the wanted shape and of the same type.
    """
    places, scores = _straight(scores.shape, matrix, wanted), scores.contiguous()
    found = scores.new_empty(tuple(wanted))
    if places is None:
        for row, positions in enumerate(_positions(matrix, wanted)):
            corners, weights = _corners(positions, scores)
            found[row] = _blend(scores[None], corners, weights).view(found.shape[1:])
        return found
    first, rows, columns = _three(places)
    rows, columns = rows.to(scores.device), columns.to(scores.device)
    planes = scores[:, None] if scores.ndim == 3 else scores[:, None, None]  # each with an axis for one class
    for index, weight in enumerate(first.weight.tolist()):
        one, two = planes[int(first.low[index])], planes[int(first.high[index])]
        found[index] = interpolated(one, two, weight, rows, columns).view(found.shape[1:])
    return found


def _straight(
    shape: Sequence[int], matrix: NDArray[np.float64], wanted: Sequence[int]
) -> list[Places] | None:
    """Samples along each axis, for a matrix that keeps the axes apart; ``None`` for any other."""
    rank = len(shape)
    linear, origin = matrix[:rank, :rank], matrix[:rank, rank]
    turned = np.abs(linear - np.diag(np.diag(linear))) @ (np.array(wanted) - 1)
    if turned.max() > _SAME_PLACE:
        return None
    return [
        Places.of(torch.from_numpy(linear[axis, axis] * np.arange(wanted[axis]) + origin[axis]), shape[axis])
        for axis in range(rank)
    ]


def _three(places: list[Places]) -> list[Places]:
    """Samples along three axes; an image of two has one row."""
    first, *others = places
    return [first, *[Places.of(torch.zeros(1), 1)] * (2 - len(others)), *others]


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
    first, *others = _three(places)
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
    for row, positions in enumerate(_positions(matrix, wanted)):
        labels[row] = _looked_up(scores, known, positions).view(tuple(wanted[1:]))
    return labels


def _positions(matrix: NDArray[np.float64], wanted: Sequence[int]) -> Iterator[Tensor]:
    """Where the voxels of each wanted plane lie, ``(axes, N)``."""
    indices = np.stack([axis.ravel() for axis in np.indices((1, *wanted[1:]))])
    for row in range(wanted[0]):
        indices[0] = row
        yield torch.from_numpy(matrix[:-1, :-1] @ indices + matrix[:-1, -1:])


def _looked_up(scores: Tensor, known: Tensor, positions: Tensor) -> Tensor:
    """Labels at positions ``(axes, N)``, computed where the corners disagree (see ``interpolated_argmax``)."""
    corners, weights = _corners(positions, known)
    found = known.flatten()[corners[0]]
    mixed = torch.stack([known.flatten()[corner] != found for corner in corners[1:]]).any(0)
    found[mixed] = greatest(
        _blend(scores, [corner[mixed] for corner in corners], [axis[mixed] for axis in weights])
    )
    return found


def _corners(positions: Tensor, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Places of the corners about positions ``(axes, N)`` in an image made flat; and along each axis the far weight."""
    places = [
        Places.of(along, size).to(image.device) for along, size in zip(positions, image.shape, strict=True)
    ]
    steps = torch.tensor(image.stride(), device=image.device)[:, None]
    corners = [
        torch.stack(corner).long().mul(steps).sum(0)
        for corner in product(*((axis.low, axis.high) for axis in places))
    ]
    return corners, [axis.weight for axis in places]


def _blend(scores: Tensor, corners: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Scores ``(K, N)`` between their values ``(K, *sizes)`` at the corners."""
    blend = scores.new_zeros(len(scores), len(corners[0]))
    for corner, factors in zip(corners, product(*((1 - far, far) for far in weights)), strict=True):
        blend += scores.flatten(1)[:, corner] * torch.stack(factors).prod(0)
    return blend
