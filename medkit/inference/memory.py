"""Estimate the host memory of a prediction before it is made, and refuse what would not fit."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from monai.data.utils import AFFINE_TOL
from monai.transforms import Spacingd
from monai.utils import get_equivalent_dtype

from medkit.data.grid import Grid
from medkit.data.peek import peek_channels
from medkit.errors import CaseError
from medkit.inference.cascade import CascadeInferer
from medkit.inference.native_labels import NativeLabelInferer
from medkit.networks.features import feature_network
from medkit.transforms.native_labels import NativeLabelsd
from medkit.transforms.steps import flat_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medkit.data.cases import Case
    from medkit.inference.predictor import LoadedBundle

__all__ = ["check_fits", "check_memory", "describe_memory", "estimate_bytes"]

GIB = 2**30
# Bytes a voxel, read off measured runs (benchmarks/memory.py), and by how much more is announced. An image is
# taken to have four bytes a voxel; its neighbours in a run are one being read and one being written.
_MARGIN = 1.3
_FILE, _FLOAT, _HALF = 4, 4, 2
# MONAI resamples along a grid of coordinates; torch holds seven numbers a voxel while it computes the three.
_GRID_NUMBERS, _COORDINATES = 7, 3
_ENTROPY_NUMBERS = 3  # a voxel, while one class is added
_ACTIVATIONS = 500  # of a network, a voxel of its windows
_KEPT_FREE = 512 << 20  # by medkit.allocator
# Where labels are made without scores on the image's grid: the labels and a copy, and a channel being checked. Then
# what is read and written beside the preprocessing shows: labels, their picture, the file's own type.
_LABELS, _CHECKED, _WRITTEN = 2, 2, 4
# Where probabilities go with them, class by class: on the network's grid the greatest score and the sum, and one class
# twice; on the image's one class on its way back, softened and compared, if all of the image were boundaries; and what
# of that is kept until all is written.
_NORM, _CLASS_THERE, _CLASS_HERE, _CLASS_KEPT = 8, 8, 44, 17


def estimate_bytes(
    bundle: LoadedBundle,
    grid: Grid,
    channels: int,
    cases: int = 1,
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    features: bool = False,
) -> int:
    """Host memory that predicting an image takes at its peak, beyond the loaded bundle.

    Args:
        bundle: to predict with.
        grid: shape and spacing of the image.
        channels: of the image.
        cases: in the run; beside one, the next is read and the last one written.
        probabilities: whether they are kept.
        uncertainty: whether it is judged.
        features: whether they are made.
    """
    classes = int(bundle.output_format.get("num_channels", 1))
    native, resampling = math.prod(grid.shape), _resampling(bundle, grid)
    network, size = resampling or (float(native), _FLOAT)
    image = channels * (native * _FILE + network * _FLOAT)
    if resampling is None:
        before = channels * native * 18.0
        after = native * (10.0 + classes * 2 * _FLOAT)
    else:
        copy = size if size != _FLOAT else 0
        before = network * _GRID_NUMBERS * size + channels * native * (_FLOAT + copy)
        after = native * size * max(_GRID_NUMBERS, _COORDINATES + classes)
        after += network * classes * (2 * _FLOAT + copy)
    kept: float = native * classes * _FLOAT * probabilities
    beside = kept  # once labels are made
    if _makes_labels_by_planes(bundle):
        after = native * _LABELS + network * (classes * _FLOAT + _CHECKED)
        kept, beside = (native * _CLASS_KEPT + network * (classes * _FLOAT + _NORM)) * probabilities, 0
        if probabilities or uncertainty:
            after = native * _CLASS_HERE + network * (classes * _FLOAT + _NORM + _CLASS_THERE)
    during = float(_finder_bytes(bundle, grid, channels))
    if bundle.members:
        # The mean, one output with the number of windows in each voxel, and a mirrored and a padded image.
        during += network * _FLOAT * (2 * classes + 1 + 2 * channels)
    if uncertainty:
        masks = network * classes * len(bundle.members or ()) / 8
        maps = classes if bundle.activation == "sigmoid" else 1
        during, after = during + masks, after + masks + native * _FLOAT * (maps + _ENTROPY_NUMBERS)
        kept, beside = kept + native * _FLOAT * maps, beside + native * _FLOAT * maps
    mapped = 0.0
    if features:
        # Labels are there, and what is kept with them; the image padded, and its blocks as channels.
        places = _feature_numbers(bundle, network)
        mapped = native * _LABELS + kept + 2 * channels * network * _FLOAT + places * (_HALF + _FLOAT)
        kept += places * _HALF
    neighbours = min(cases - 1, 2) * (channels * native * _FILE + native * _WRITTEN + kept)
    peak = max(before, image + max(during, after + beside, mapped))
    return int(_MARGIN * (peak + neighbours)) + _window_bytes(bundle)


def check_memory(
    bundle: LoadedBundle,
    case: Case,
    free_bytes: int,
    cases: int,
    *,
    probabilities: bool,
    uncertainty: bool = False,
    features: bool = False,
) -> None:
    """Refuse, by its header, an image that would not fit.

    Args:
        bundle: to predict with.
        case: the image; one that cannot be read is left to the reading.
        free_bytes: memory that was free when the run began.
        cases: see :func:`estimate_bytes`.
        probabilities: whether they are kept.
        uncertainty: whether it is judged.
        features: whether they are made.

    Raises:
        CaseError: ``too-large``, with the estimate.
    """
    if (peeked := peek_channels(case.paths, bundle.arrays)) is None:
        return
    grid, channels = peeked
    check_fits(
        bundle,
        str(case.paths[0]),
        grid,
        channels,
        free_bytes,
        cases,
        probabilities=probabilities,
        uncertainty=uncertainty,
        features=features,
    )


def check_fits(
    bundle: LoadedBundle,
    name: str,
    grid: Grid,
    channels: int,
    free_bytes: int,
    cases: int = 1,
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    features: bool = False,
) -> None:
    """Refuse an image that would not fit, by its shape; ``name`` is how the message calls it.

    The others are the arguments of :func:`estimate_bytes` and :func:`check_memory`.

    Raises:
        CaseError: ``too-large``, with the estimate.
    """
    needed = estimate_bytes(
        bundle, grid, channels, cases, probabilities=probabilities, uncertainty=uncertainty, features=features
    )
    if needed > free_bytes:
        raise CaseError(
            "too-large",
            f"{name}: expected an image that fits into the {_gib(free_bytes)} of free memory, got "
            f"{_shown(grid)}, which takes about {_gib(needed)}; crop it, or use a machine with more",
        )


def describe_memory(
    bundle: LoadedBundle,
    cases: Sequence[Case],
    free_bytes: int,
    *,
    probabilities: bool,
    uncertainty: bool = False,
    features: bool = False,
) -> str:
    """One line on the memory that the largest of the cases will take; unreadable ones are left to the run."""
    peeked = [found for case in cases if (found := peek_channels(case.paths, bundle.arrays))]
    if not peeked:
        return "memory: no image can be read; see the report"
    estimate = partial(
        estimate_bytes, bundle, probabilities=probabilities, uncertainty=uncertainty, features=features
    )
    sizes = [estimate(*found, len(cases)) for found in peeked]
    needed, (grid, _) = max(zip(sizes, peeked, strict=True), key=lambda pair: pair[0])
    largest = f"{_gib(needed)} at the peak for the largest image ({_shown(grid)})"
    return f"memory: {largest}, {_gib(free_bytes)} free"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= 0.1 * GIB else "less than 0.1 GiB"


def _shown(grid: Grid) -> str:
    voxels = f"{' x '.join(map(str, grid.shape))} voxels"
    if (spacing := grid.spacing_mm) is None:
        return f"{voxels} of unknown size"
    return f"{voxels} of {' x '.join(f'{edge:.3g}' for edge in spacing)} mm"


def _resampling(bundle: LoadedBundle, grid: Grid) -> tuple[float, int] | None:
    """Number of voxels once the image is resampled for the network, if it is, and bytes of a number then."""
    for step in flat_steps(bundle.preprocessing):
        if isinstance(step, Spacingd):
            wanted = [float(edge) for edge in step.spacing_transform.pixdim]
            wanted += [wanted[-1]] * (3 - len(wanted))
            # An edge that is not above 0 is kept as it is.
            factors = [old / new if new > 0 else 1.0 for new, old in zip(wanted, grid.spacing, strict=False)]
            if any(abs(factor - 1) > AFFINE_TOL for factor in factors):
                number = np.dtype(get_equivalent_dtype(step.dtype[0] or np.float32, np.ndarray))
                return math.prod(grid.shape) * math.prod(factors), number.itemsize
    return None


def _makes_labels_by_planes(bundle: LoadedBundle) -> bool:
    joined = isinstance(bundle.inferer, NativeLabelInferer)  # holds less than is announced here
    return joined or any(isinstance(step, NativeLabelsd) for step in bundle.steps)


def _feature_numbers(bundle: LoadedBundle, network: float) -> float:
    """Of the feature map of an image that has so many voxels for the network."""
    source = feature_network(bundle.network)
    return network * source.feature_channels / math.prod([source.block] * source.spatial_dims)


def _finder_bytes(bundle: LoadedBundle, grid: Grid, channels: int) -> int:
    """What another bundle takes that looks at the whole image first, as the network sees it."""
    if not isinstance(bundle.inferer, CascadeInferer):
        return 0
    network, _ = _resampling(bundle, grid) or (math.prod(grid.shape), _FLOAT)
    edge = network ** (1 / 3)  # any sides of as many voxels take as much
    seen = Grid((round(edge),) * 3, np.eye(4))
    return estimate_bytes(bundle.inferer.finder, seen, channels)


def _window_bytes(bundle: LoadedBundle) -> int:
    """Memory of the network itself while it works on its windows, and what a process keeps of it once it is free."""
    inferer = bundle.inferer.inferer if isinstance(bundle.inferer, CascadeInferer) else bundle.inferer
    roi = getattr(inferer, "roi_size", None)
    if not isinstance(roi, (list, tuple)):
        return 0
    used = _ACTIVATIONS * math.prod(roi) * int(getattr(inferer, "sw_batch_size", 1))
    return used + min(used, _KEPT_FREE)
