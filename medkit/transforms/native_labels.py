"""From class scores on the network's grid to a label map on the image's own, without class scores there.

MONAI's ``Activationsd``, ``Invertd(nearest_interp=False)`` and ``AsDiscreted(argmax=True)`` give the same labels,
and hold the probabilities of all classes on both grids on the way.
"""

from __future__ import annotations

from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import AFFINE_TOL, to_affine_nd
from monai.transforms import (
    Cropd,
    Flipd,
    InvertibleTransform,
    MapTransform,
    Orientationd,
    Padd,
    Rotate90d,
    Spacingd,
    SpatialResampled,
)
from monai.utils import MetaKeys

from medkit.errors import UsageError
from medkit.transforms.native_probabilities import NativeProbabilities
from medkit.transforms.resample_labels import resample_labels, resample_scores
from medkit.transforms.steps import flat_steps

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from monai.config import KeysCollection
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["NativeGrid", "NativeLabelsd"]

_RESAMPLING = (Spacingd, SpatialResampled)
# Voxels move or go, and none is computed: labels return as scores would. What was cropped is background.
_LOSSLESS = (Cropd, Flipd, Orientationd, Padd, Rotate90d)
_SIZED = (Cropd, Padd)  # undone by a number of voxels, which are those of the file
_INSTEAD = "use MONAI's Activationsd, Invertd(nearest_interp=False) and AsDiscreted(argmax=True) instead"


class NativeLabelsd(MapTransform):
    """Turn class scores on the network's grid into labels on the grid that the image had in its file.

    Labels are those of MONAI's ``Activationsd(softmax=True)``, ``Invertd(nearest_interp=False)`` and
    ``AsDiscreted(argmax=True)``, save where two classes are equal to rounding, and save along an axis of one voxel
    that was resampled with ``align_corners=True``: there MONAI looks beside the place that the affines tell.

    Args:
        keys: of scores ``(K, *sizes)``, two classes at least.
        transform: the preprocessing, which may flip, permute, crop and pad, and then resample once by linear
            interpolation.
        orig_keys: of the preprocessed image, one, or one for each of ``keys``.
        softmax: take the softmax of the scores first; otherwise they are interpolated as they are.
        resample_back: to the voxels of the file; otherwise labels keep the spacing that the network saw, and their axes
            are those of the file all the same: for a network that knows more than thick slices show. The preprocessing
            then neither crops nor pads.
        allow_missing_keys: pass over keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        transform: InvertibleTransform,
        orig_keys: KeysCollection,
        *,
        softmax: bool,
        resample_back: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        names = [orig_keys] if isinstance(orig_keys, str) else list(orig_keys)
        self.orig_keys = names * len(self.keys) if len(names) == 1 else names
        self.transform, self.softmax, self.resample_back = transform, softmax, resample_back

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with labels ``(1, I, J, K)`` in the place of the scores, uint8 for up to 256 classes.

        Raises:
            UsageError: the image was not made by such a preprocessing, or the scores do not lie on its grid, are not
                finite, or of one class.
        """
        item = dict(data)
        for key, orig_key in self.key_iterator(item, self.orig_keys):
            scores, grid = self._placed(item, key, orig_key)
            item[key] = grid.labels([scores], softmax=self.softmax)
        return item

    def probabilities(
        self, data: Mapping[Any, Any], key: str, labels: Tensor, temperature: float | None = None
    ) -> NativeProbabilities:
        """What this step makes labels of.

        Args:
            data: an item as it was before this step.
            key: of the scores, one of those of this step.
            labels: ``(1, I, J, K)`` that it made of them.
            temperature: to calibrate them with; ``None`` for not to.
        """
        scores, grid = self._placed(data, key, self.orig_keys[self.keys.index(key)])
        plain = labels.as_subclass(torch.Tensor)[0]
        return NativeProbabilities(scores, grid, plain, softmax=self.softmax, temperature=temperature)

    def _placed(
        self, item: Mapping[Any, Any], key: Hashable, orig_key: Hashable
    ) -> tuple[Tensor, NativeGrid]:
        scores, image = item[key], item[orig_key]
        if scores.shape[1:] != image.shape[1:]:
            raise UsageError(
                f"{key}: expected scores on the grid of the image, {tuple(image.shape[1:])}, got shape "
                f"{tuple(scores.shape)}; {_INSTEAD}"
            )
        scores = scores.as_tensor() if isinstance(scores, MetaTensor) else scores
        return scores, NativeGrid(image, self.transform, orig_key, resample_back=self.resample_back)


class NativeGrid:
    """The way back from the network's grid to that of the file, read off what the preprocessing did.

    Args:
        image: as the preprocessing left it, ``(C, *sizes)``.
        transform: the preprocessing.
        key: of the image in it.
        resample_back: see :class:`NativeLabelsd`.

    Attributes:
        shape: of the network's grid.
        crops: whether the file's grid has voxels that the network's has not.

    Raises:
        UsageError: the preprocessing did something else than flip, permute, crop or pad and then resample once
            by linear interpolation, or cropped or padded what is not resampled back.
    """

    def __init__(
        self, image: Any, transform: InvertibleTransform, key: Hashable, *, resample_back: bool = True
    ) -> None:
        self.key = key
        # Of its own, so that a grid can be used while another image goes through the preprocessing.
        self.steps = [copy(step) for step in flat_steps(transform) if _moves(step, key)]
        for step in self.steps:
            step.allow_missing_keys = True
        self.operations = list(image.applied_operations) if isinstance(image, MetaTensor) else []
        self._check(image)
        self.meta = image.meta
        self.crops = any(isinstance(step, Cropd) for step in self.steps)
        self.shape = tuple(image.shape[1:])
        self.wanted, self.affine = self.shape, to_affine_nd(len(self.shape), image.affine).double()
        self.matrix = np.eye(len(self.shape) + 1)
        if self.steps and isinstance(self.steps[-1], _RESAMPLING):
            self.steps.pop()
            operation = self.operations.pop()
            if resample_back:
                self._undo(operation)
            else:
                self._check_keeps_voxels()

    def _check(self, image: Any) -> None:
        names = [type(step).__name__ for step in self.steps]
        if not isinstance(image, MetaTensor):
            raise UsageError(
                f"{self.key}: expected an image with metadata (a MetaTensor), got a plain tensor; keep its metadata, "
                f"or {_INSTEAD}"
            )
        if len(self.steps) != len(self.operations) or image.pending_operations:
            raise UsageError(
                f"{self.key}: expected an image with a trace of each of {', '.join(names) or 'no steps'}, got "
                f"{len(self.operations)} operations; keep its metadata, compute nothing lazily, or {_INSTEAD}"
            )
        for place, (step, name) in enumerate(zip(self.steps, names, strict=True)):
            last = place == len(self.steps) - 1
            if not isinstance(step, (*_LOSSLESS, *_RESAMPLING) if last else _LOSSLESS):
                raise UsageError(
                    f"{self.key}: expected a preprocessing that flips, permutes, crops or pads and resamples at its "
                    f"end, got {name} in {', '.join(names)}; {_INSTEAD}"
                )

    def _check_keeps_voxels(self) -> None:
        if sized := [type(step).__name__ for step in self.steps if isinstance(step, _SIZED)]:
            raise UsageError(
                f"{self.key}: expected a preprocessing that neither crops nor pads, for labels that keep its spacing, "
                f"got {', '.join(sized)}; take it out, or resample back"
            )

    def _undo(self, operation: Mapping[str, Any]) -> None:
        extra = operation["extra_info"]
        if extra["mode"] != "bilinear" or extra["padding_mode"] != "border":
            raise UsageError(
                f"{self.key}: expected an image resampled with mode 'bilinear' and padding_mode 'border', got "
                f"'{extra['mode']}' and '{extra['padding_mode']}'; {_INSTEAD}"
            )
        self.wanted = tuple(int(size) for size in operation["orig_size"])
        source, self.affine = self.affine, to_affine_nd(len(self.shape), extra["src_affine"]).double()
        for affine in (source, self.affine):
            if not abs(torch.linalg.det(affine)) > 0:
                raise UsageError(
                    f"{self.key}: expected an affine that can be inverted, got {affine.tolist()}; correct the "
                    "image's header"
                )
        matrix: NDArray[np.float64] = np.linalg.solve(source.numpy(), self.affine.numpy())
        # What MONAI takes for no change it does not resample.
        same = np.allclose(source, self.affine, atol=AFFINE_TOL)
        same = same or np.allclose(matrix, self.matrix, atol=AFFINE_TOL)
        self.matrix = self.matrix if same and self.wanted == self.shape else matrix

    def labels(self, slabs: Iterable[Tensor], *, softmax: bool) -> MetaTensor:
        """Labels ``(1, I, J, K)`` with the metadata of the file.

        Args:
            slabs: scores, see :func:`medkit.transforms.resample_labels.resample_labels`.
            softmax: see there.

        Raises:
            UsageError: they are not finite, or of one class.
        """
        checked = _checked(slabs)
        return self._returned(resample_labels(checked, self.shape, self.matrix, self.wanted, softmax=softmax))

    def scores(self, scores: Tensor) -> Tensor:
        """One class's scores ``(*sizes)`` as ``(I, J, K)``, zeros where voxels were cropped away."""
        returned: Tensor = self._returned(resample_scores(scores, self.matrix, self.wanted)).as_tensor()
        return returned[0]

    def _returned(self, found: Tensor) -> MetaTensor:
        """What lies where the last resampling began, ``(1, I, J, K)`` where the file's voxels lie."""
        meta = {**deepcopy(self.meta), MetaKeys.AFFINE: self.affine}
        placed = MetaTensor(found[None], meta=meta, applied_operations=deepcopy(self.operations))
        item: dict[Hashable, Any] = {self.key: placed}
        for step in reversed(self.steps):
            item = step.inverse(item)
        returned: MetaTensor = item[self.key].contiguous()
        return returned


def _moves(step: Any, key: Hashable) -> bool:
    """Whether a step leaves a trace in the image."""
    return isinstance(step, InvertibleTransform) and key in getattr(step, "keys", (key,))


def _checked(slabs: Iterable[Tensor]) -> Iterator[Tensor]:
    """Refuse scores that have no greatest, or none that means anything."""
    for slab in slabs:
        if len(slab) < 2:
            raise UsageError(
                f"expected a network that gives scores of two classes or more, got {len(slab)}; let it give the "
                f"background too, or {_INSTEAD}"
            )
        if not bool(torch.isfinite(slab.sum())) and not bool(torch.isfinite(slab).all()):
            raise UsageError(
                "expected finite numbers in the network's output, got NaN or infinity; look for absurd "
                "intensities in the image, or for damage in the weights"
            )
        yield slab
