"""Two bundles, one after the other: a coarse one finds structures in a large image, a fine one sees crops of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from medkit.data.pieces import connected_pieces
from medkit.data.volume import as_volume
from medkit.errors import CaseError, UsageError
from medkit.transforms.clean_labels import NOTES_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from medkit.data.grid import Grid
    from medkit.data.volume import Volume
    from medkit.inference.predictor import LoadedBundle
    from medkit.inference.result import Result

__all__ = ["CascadeInferer"]

# A logit against the background's of 0 that no voxel outside of a crop can win by.
_NEVER = -30.0


@dataclass(frozen=True)
class _Found:
    """Where a structure is.

    Args:
        box: about it, with its margin.
        mask: its voxels within the box.
        ml: its volume by the finder.
    """

    box: tuple[slice, slice, slice]
    mask: NDArray[np.bool_]
    ml: float


class CascadeInferer(Inferer):
    """Give the network a crop about each structure that another bundle finds, and put its answers in their place.

    The output has the background, then the network's classes other than background for the first structure, then those
    for the second, and so on: logits against the background's, which is 0, so that a softmax gives the network's own
    probabilities. What the finder remarks on the image stands in the output's metadata, under ``notes``.

    Args:
        finder: bundle that segments the image, as :func:`medkit.load` gives it.
        structures: what it is to find, by its own names of them, in the order of the output; for each whether the
            network is to see its mirror image, left for right.
        margin_mm: about a structure's box.
        minimum_ml: less than this of a structure is none.
        agreement: least and largest volume of all that the network outlines of a structure, in parts of what the finder
            found of it. Where the two do not agree one of them is wrong.
        preprocessing: of a crop ``(C, *sizes)`` for the network, without geometry: takes and gives an item with the key
            ``image``; under ``structure`` it finds the finder's mask ``(1, *sizes)`` of what the crop is about.
        inferer: runs the network over a crop.

    Raises:
        UsageError: nothing to find, a margin below 0, or an agreement that is no range.
    """

    def __init__(
        self,
        finder: LoadedBundle,
        structures: Mapping[str, bool],
        margin_mm: float,
        minimum_ml: float,
        agreement: Sequence[float],
        preprocessing: Callable[[Any], Any],
        inferer: Inferer,
    ) -> None:
        if not structures or margin_mm < 0:
            raise UsageError(
                f"expected structures to find and a margin of 0 mm or more, got {list(structures)} and {margin_mm}"
            )
        if len(agreement) != 2 or not 0 <= agreement[0] <= agreement[1]:
            raise UsageError(
                f"agreement: expected a least and a largest part of a volume, got {agreement}; correct them"
            )
        self.least, self.most = agreement
        self.finder, self.structures = finder, dict(structures)
        self.margin_mm, self.minimum_ml = margin_mm, minimum_ml
        self.preprocessing, self.inferer = preprocessing, inferer

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """``(1, C, D, H, W)`` images, axes to the right, front and up, to ``(1, 1 + S (K - 1), D, H, W)`` logits.

        Args:
            inputs: a ``MetaTensor`` of one image, intensities as in its file.
            network: ``(1, C, *sizes)`` crops to ``(1, K, *sizes)`` logits.
            args: handed to the network.
            kwargs: handed to the network.

        Raises:
            UsageError: an image that does not know its place, or several, or one with other axes, or a finder that has
                no such structure or does not return to the image's grid.
            CaseError: a structure is not there, or the image's edge cuts it, or its voxel size is not known; or the
                network outlines much more or less of it than the finder found.
        """
        if len(inputs) != 1 or not isinstance(inputs, MetaTensor):
            raise UsageError(
                "expected one image that knows its place (a MetaTensor), got another; keep its metadata, and give the "
                "cascade one image at a time"
            )
        plain = inputs.as_tensor()
        image = replace(as_volume(inputs[0]), name="in the search for structures")
        _check(image)
        result = self.finder.predict_volume(image)
        found = self._search(result, image)
        output: Tensor | None = None
        for place, (name, mirrored) in enumerate(self.structures.items()):
            box = (..., *found[name].box)
            structure = torch.from_numpy(found[name].mask).to(plain.device)[None]
            logits = self._fine(plain[box], structure, network, mirrored, *args, **kwargs)[0]
            outlined = int(torch.count_nonzero(logits.argmax(0))) * (image.grid.voxel_volume_ml or 0.0)
            self._check_agreement(name, outlined, found[name].ml)
            classes = len(logits) - 1
            if output is None:
                count = 1 + classes * len(self.structures)
                output = plain.new_full((count, *plain.shape[2:]), _NEVER, dtype=torch.float32)
                output[0] = 0
            first = 1 + place * classes
            output[first : first + classes][box] = logits[1:] - logits[:1]
        assert output is not None
        notes = [f"{self.finder.folder.name}: {note}" for note in result.notes]
        placed: Tensor = MetaTensor(output[None], meta={**inputs.meta, NOTES_KEY: notes})
        return placed

    def _fine(
        self,
        crop: Tensor,
        structure: Tensor,
        network: Callable[..., Any],
        mirrored: bool,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        if mirrored:
            crop, structure = crop.flip(2), structure.flip(1)
        item = self.preprocessing({"image": crop[0], "structure": structure})
        made = self.inferer(item["image"][None], network, *args, **kwargs)
        logits: Tensor = (made.as_tensor() if isinstance(made, MetaTensor) else made).float()
        return logits.flip(2) if mirrored else logits

    def _check_agreement(self, name: str, outlined_ml: float, found_ml: float) -> None:
        if not self.least * found_ml <= outlined_ml <= self.most * found_ml:
            raise CaseError(
                "structures-disagree",
                f"expected {self.least:g} to {self.most:g} times the {found_ml:.2f} ml of {name} that the finder sees, "
                f"got {outlined_ml:.2f} ml from the network that outlines it; one of them is wrong, look at the image "
                "and at the finder's labels",
            )

    def _search(self, result: Result, image: Volume) -> dict[str, _Found]:
        values = {name: value for value, name in result.label_names.items()}
        if missing := [name for name in self.structures if name not in values]:
            raise UsageError(
                f"finder: expected a bundle that segments {missing}, got one that knows {sorted(values)}; correct the "
                "names, or choose another bundle"
            )
        if result.grid != image.grid:
            raise UsageError(
                f"finder: expected labels on the image's grid, {image.grid.shape}, got them on another, "
                f"{result.grid.shape}; choose a bundle that returns to it"
            )
        return {
            name: self._place(name, _largest_piece(result.labels == values[name]), image.grid)
            for name in self.structures
        }

    def _place(self, name: str, mask: NDArray[np.bool_], grid: Grid) -> _Found:
        found = float(np.count_nonzero(mask)) * (grid.voxel_volume_ml or 0.0)
        if not found or found < self.minimum_ml:
            raise CaseError(
                "structure-not-found",
                f"expected a {name} of {self.minimum_ml:g} ml at least in the image, got {found:.2f} ml; look whether "
                "the image shows it",
            )
        ends = []
        for axis, (size, spacing) in enumerate(zip(mask.shape, grid.spacing, strict=True)):
            others = tuple(other for other in range(3) if other != axis)
            (places,) = np.nonzero(mask.any(axis=others))
            low, high = int(places[0]), int(places[-1]) + 1
            if low == 0 or high == size:
                raise CaseError(
                    "structure-cut",
                    f"expected all of the {name} in the image, got one that reaches its edge; use an image that shows "
                    "more of the head",
                )
            margin = round(self.margin_mm / spacing)
            ends.append(slice(max(low - margin, 0), min(high + margin, size)))
        box = (ends[0], ends[1], ends[2])
        return _Found(box, np.ascontiguousarray(mask[box]), found)


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without specks, each of which would make the box as much larger as it lies away."""
    numbers, sizes = connected_pieces(mask, corners=True)
    largest: NDArray[np.bool_] = (numbers == sizes.argmax()) & mask
    return largest


def _check(image: Volume) -> None:
    """Refuse what has neither left and right where they are told apart by mirroring, nor lengths for a margin."""
    if (axes := "".join(nib.aff2axcodes(image.grid.affine))) != "RAS":
        raise UsageError(
            f"expected an image with axes to the right, front and up (RAS), got {axes}; preprocess it by Orientationd"
        )
    if not image.grid.size_known:
        raise CaseError(
            "voxel-size-unknown",
            "expected an image whose voxel size is known, for margins in millimetres, got one that does not state it; "
            "write it as NIfTI with its true voxel size",
        )
