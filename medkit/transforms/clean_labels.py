"""Take pieces away from labels: those that lie apart from the largest, or are below a volume, and say what went.

MONAI's ``KeepLargestConnectedComponentd`` and ``RemoveSmallObjectsd`` need scikit-image, tell nobody what they
removed, and the second takes all voxels of one value for one object where a map has several values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

from medkit.data.grid import Grid
from medkit.data.label_map import as_label_map
from medkit.data.monai_io import GRID_KEY
from medkit.data.pieces import connected_pieces
from medkit.errors import CaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from monai.config import KeysCollection
    from numpy.typing import NDArray

__all__ = ["NOTES_KEY", "CleanLabelsd"]

_BRIDGE = 4  # voxels; what hangs together by less is two bodies,
_BODY = 0.05  # of the largest one's voxels at least, without two layers of both: a lobe or a stem is none
NOTES_KEY = "notes"  # of an item: remarks, one line each, that steps leave for its record


@dataclass(frozen=True)
class _Removed:
    pieces: int
    voxels: int
    left: int

    def __str__(self) -> str:
        return f"{self.pieces} piece{'s' if self.pieces > 1 else ''}"


class CleanLabelsd(MapTransform):
    """Remove pieces of a label that lie apart from its largest one, or are too small to be believed.

    Voxels are of one piece when they touch by a face, an edge or a corner. What is removed becomes background,
    and is told in a list of lines under ``notes`` of the item. Without rules nothing is done.

    Args:
        keys: of label maps ``(1, I, J, K)``, or of overlapping masks ``(C, I, J, K)``, each channel a label of its
            own number; or of ones of two axes.
        largest_component: keep the largest piece alone: ``True`` for every label, or a list of label values.
        minimum_mm3: volume that a piece must have to stay, in cubic millimetres by the affine: a number for every
            label, or one by label value.
        minimum_voxels: number of voxels that it must have to stay, likewise, a whole one; for labels whose voxel size
            is unknown.
        one_piece: labels of a body that hangs together, ``True`` for all or a list of values: of them taken as one, the
            largest piece alone stays. A second body that hangs on the first by a bridge of at most four voxels goes too.
            This rule comes first.
        names: label value to name, for the notes; where they are given, rules for other labels are refused.
        allow_missing_keys: pass over keys that are not there.

    Raises:
        UsageError: rules that are none of these, or for a label that there is not.
    """

    def __init__(
        self,
        keys: KeysCollection,
        largest_component: Any = None,
        minimum_mm3: Any = None,
        minimum_voxels: Any = None,
        one_piece: Any = None,
        names: Mapping[Any, str] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.largest = _checked_labels(largest_component, "largest_component")
        self.one_piece = _checked_labels(one_piece, "one_piece")
        self.minimum_mm3 = _checked_minimum(minimum_mm3, "minimum_mm3", "cubic millimetres")
        self.minimum_voxels = _checked_minimum(minimum_voxels, "minimum_voxels", "a whole number of voxels")
        if any(size % 1 for size in self.minimum_voxels.values()):
            raise UsageError(
                f"minimum_voxels: expected a whole number of voxels, got {minimum_voxels!r}; correct it, or give "
                "minimum_mm3"
            )
        self.names = {int(value): name for value, name in (names or {}).items()}
        if self.names:
            self._check_labels()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with its labels cleaned, in arrays of their own.

        Raises:
            CaseError: see :meth:`check_size`.
        """
        item = dict(data)
        if not (self.largest or self.minimum_mm3 or self.minimum_voxels or self.one_piece):
            return item
        for key in self.key_iterator(item):
            item[key], notes = self._clean(item[key])
            item[NOTES_KEY] = [*item.get(NOTES_KEY, ()), *notes]
        return item

    def check_size(self, name: str, *, known: bool) -> None:
        """Check that there is no rule in millimetres for labels of voxels of unknown size.

        Args:
            name: of the image, for the message.
            known: whether the size of its voxels is.

        Raises:
            CaseError: ``voxel-size-unknown``.
        """
        if self.minimum_mm3 and not known:
            raise CaseError(
                "voxel-size-unknown",
                f"{name}: expected an image whose voxel size is known, for the rule minimum_mm3 of the clean-up, got "
                "one that does not state it; give the rule in voxels (minimum_voxels), or none",
            )

    def _check_labels(self) -> None:
        labels = {value for value, name in self.names.items() if not _is_background(name)}
        for rule, values in (
            ("largest_component", _listed(self.largest)),
            ("minimum_mm3", {value for value in self.minimum_mm3 if value is not None}),
            ("minimum_voxels", {value for value in self.minimum_voxels if value is not None}),
            ("one_piece", _listed(self.one_piece)),
        ):
            if unknown := sorted(values - labels):
                raise UsageError(
                    f"{rule}: expected labels out of {', '.join(map(str, sorted(labels)))}, got "
                    f"{', '.join(map(str, unknown))}; correct it"
                )

    def _clean(self, labels: Any) -> tuple[Any, list[str]]:
        voxel_mm3 = _voxel_mm3(labels)
        self.check_size("labels", known=voxel_mm3 is not None)
        cleaned = labels.clone() if isinstance(labels, torch.Tensor) else labels.copy()
        array = _on_host(cleaned)
        notes = self._rest_of_the_body(array, voxel_mm3)
        for value, place, mask in _structures(array):
            if _is_background(self.names.get(value, "")):
                continue
            gone, removed = _small_pieces(mask, self._largest(value), self._minimum(value, voxel_mm3))
            if removed.pieces:
                array[place][gone] = 0
                notes.append(self._told(value, removed, voxel_mm3))
        if isinstance(cleaned, torch.Tensor) and cleaned.device.type != "cpu":
            cleaned.copy_(torch.from_numpy(array))
        return cleaned, notes

    def _rest_of_the_body(self, array: NDArray[Any], voxel_mm3: float | None) -> list[str]:
        if not self.one_piece:
            return []
        parts = [(place, mask) for value, place, mask in _structures(array) if self._in_the_body(value)]
        body = np.zeros(array.shape[1:], np.bool_)
        for place, mask in parts:
            body[place[1:]] |= mask
        gone, removed = _apart_from_the_largest(body)
        if not removed.pieces:
            return []
        for place, mask in parts:
            array[place][mask & gone[place[1:]]] = 0
        went, rest = (
            f"{voxels} voxels" if voxel_mm3 is None else f"{voxels * voxel_mm3 / 1000:.3g} ml"
            for voxels in (removed.voxels, removed.left)
        )
        of_which = (
            "all labels"
            if self.one_piece is True
            else f"labels {', '.join(map(str, sorted(self.one_piece)))}"
        )
        return [f"clean-up removed {removed} ({went}) apart from the largest of {of_which} ({rest})"]

    def _in_the_body(self, value: int) -> bool:
        return _chosen(value, self.one_piece) and not _is_background(self.names.get(value, ""))

    def _largest(self, value: int) -> bool:
        return _chosen(value, self.largest)

    def _minimum(self, value: int, voxel_mm3: float | None) -> float:
        """In voxels; what obeys both rules."""
        voxels = self.minimum_voxels.get(value, self.minimum_voxels.get(None, 0.0))
        if voxel_mm3 is None:
            return voxels
        return max(voxels, self.minimum_mm3.get(value, self.minimum_mm3.get(None, 0.0)) / voxel_mm3)

    def _told(self, value: int, removed: _Removed, voxel_mm3: float | None) -> str:
        size = f"{removed.voxels} voxels" if voxel_mm3 is None else f"{removed.voxels * voxel_mm3:.4g} mm3"
        rest = "" if removed.left else ", all there was"
        return f"clean-up removed {removed} of {self.names.get(value, f'label {value}')} ({size}{rest})"


def _chosen(value: int, labels: bool | frozenset[int]) -> bool:
    return labels is True or (labels is not False and value in labels)


def _listed(labels: bool | frozenset[int]) -> frozenset[int]:
    return frozenset() if isinstance(labels, bool) else labels


def _checked_labels(given: Any, rule: str) -> bool | frozenset[int]:
    if given is None or isinstance(given, bool):
        return bool(given)
    if isinstance(given, (list, tuple)) and all(type(value) is int and value >= 0 for value in given):
        return frozenset(given)
    raise UsageError(f"{rule}: expected true, false or a list of label values, got {given!r}; correct it")


def _checked_minimum(given: Any, rule: str, unit: str) -> dict[int | None, float]:
    """By label value; ``None`` stands for every label."""
    sizes = given.values() if isinstance(given, dict) else [given]
    try:
        rules = (
            {int(value): float(size) for value, size in given.items()}
            if isinstance(given, dict)
            else {None: float(given or 0)}
        )
    except (TypeError, ValueError):
        rules = {}
    if any(size is True for size in sizes):  # which Python takes for 1
        rules = {}
    if not all(0 <= size < np.inf for size in rules.values()) or not (rules or given == {}):
        raise UsageError(f"{rule}: expected {unit} from 0, or that by label value, got {given!r}; correct it")
    return {value: size for value, size in rules.items() if size > 0}


def _is_background(name: str) -> bool:
    return name.lower() == "background"


def _on_host(labels: Any) -> NDArray[Any]:
    """The numbers of a tensor or array: the same memory, where that is the processor's."""
    if not isinstance(labels, torch.Tensor):
        return np.asarray(labels)
    array: NDArray[Any] = labels.detach().as_subclass(torch.Tensor).cpu().numpy()
    return array


def _voxel_mm3(labels: Any) -> float | None:
    """Volume of a voxel, or ``None`` where nobody knows."""
    if not isinstance(labels, MetaTensor):
        return None
    if GRID_KEY in labels.meta and Grid.from_json(labels.meta[GRID_KEY]).voxel_volume_ml is None:
        return None
    return float(abs(np.linalg.det(labels.affine[:3, :3].cpu().numpy().astype(np.float64))))


def _structures(labels: NDArray[Any]) -> Iterator[tuple[int, tuple[Any, ...], NDArray[np.bool_]]]:
    """Value, place in the array and mask of each label, in a box around it."""
    overlapping = len(labels) > 1
    for number, channel in enumerate(labels):
        whole = (channel > 0).astype(np.uint8) if overlapping else as_label_map(channel)
        for value, box in enumerate(ndimage.find_objects(whole), start=1):
            if box is not None:
                yield number if overlapping else value, (number, *box), whole[box] == value


def _apart_from_the_largest(body: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], _Removed]:
    gone, removed = _small_pieces(body, True, 0)
    for box in ndimage.find_objects((body & ~gone).astype(np.uint8)):  # one, about the largest piece
        second, bodies = _second_bodies((body & ~gone)[box])
        gone[box] |= second
        more = int(second.sum())
        removed = _Removed(removed.pieces + bodies, removed.voxels + more, removed.left - more)
    return gone, removed


def _second_bodies(piece: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """What of a piece is nearer to another core than to its largest one, and how many others there are."""
    eroded = ndimage.binary_erosion(piece, iterations=_BRIDGE // 2, border_value=1)
    cores, sizes = connected_pieces(eroded, corners=False)
    large = sizes > _BODY * sizes.max()
    others = max(0, int(np.count_nonzero(large)) - 1)
    if not others:
        return np.zeros_like(piece), 0
    places = ndimage.distance_transform_edt(~large[cores], return_distances=False, return_indices=True)
    return piece & (cores[tuple(places)] != sizes.argmax()), others


def _small_pieces(
    mask: NDArray[np.bool_], largest_only: bool, minimum_voxels: float
) -> tuple[NDArray[np.bool_], _Removed]:
    pieces, sizes = connected_pieces(mask, corners=True)
    small = (sizes < minimum_voxels) & (sizes > 0)
    if largest_only:
        small |= (sizes > 0) & (np.arange(len(sizes)) != sizes.argmax())
    gone: NDArray[np.bool_] = small[pieces]
    left = int(sizes[~small].sum())
    return gone, _Removed(int(small.sum()), int(sizes[small].sum()), left)
