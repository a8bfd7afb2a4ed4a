"""Refuse a label map that shows too few of the structures that it should, and say which are missing, cut or strange.

A network that knows nothing but brains finds parts of one in any image. What it finds in a knee has
sizes that no part of a brain has; what it finds in a belly or in noise has not the shape of one; what it finds in a
neck lies apart from the brain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

from medkit.data.pieces import connected_pieces
from medkit.errors import CaseError, UsageError
from medkit.transforms.clean_labels import NOTES_KEY

if TYPE_CHECKING:
    from collections.abc import Hashable

    from monai.config import KeysCollection
    from numpy.typing import NDArray

__all__ = ["ExpectedStructuresd"]

_PIECE = 0.05  # of the largest one's voxels; smaller ones are specks
# The plane of a body 2 mm from its end, of its largest one: of 30 whole brains at 1 mm at most .19 along any axis, of
# brains cut 20 mm below the top .41 and more. The very last one is where a network is not sure; thicker slices end with
# larger ones.
_END_MM, _FLAT, _FLAT_BY_MM = 2.0, 0.25, 1 / 60


class ExpectedStructuresd(MapTransform):
    """Hold the volumes of structures against those that they can have.

    Notes for the record are lines under ``notes`` of the item: structures that are not there, that the image's edge
    cuts, or of a size that is not to be believed; pieces that lie apart from each other; and a flat end within the
    image, as a brain has where the image was filled up beyond what was scanned.

    Args:
        keys: of label maps ``(1, I, J, K)`` with an affine in millimetres.
        volumes_ml: by label value, the least and the largest volume that is believed.
        fewest: so many structures must have one that is.
        subject: what the image should show, in a word or two.
        names: label value to name.
        one_piece: values of labels that hang together in whatever shows the subject.
        filling: least part of the ellipsoid with the same second moments that the largest piece of these fills. A box
            fills .89 of its own, a half ellipsoid .92.
        allow_missing_keys: pass over keys that are not there.

    Raises:
        UsageError: volumes that are no pairs in order, or fewer of them than ``fewest``; or a ``filling`` that is not
            from 0 to 1, or without ``one_piece``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        volumes_ml: Mapping[Any, Any],
        fewest: int,
        subject: str,
        names: Mapping[Any, str],
        one_piece: Collection[int] = (),
        filling: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.volumes = _checked(volumes_ml)
        if not 1 <= fewest <= len(self.volumes):
            raise UsageError(
                f"fewest: expected from 1 to the {len(self.volumes)} structures of volumes_ml, got {fewest}; correct it"
            )
        if not 0 <= filling <= 1 or (filling and not one_piece):
            raise UsageError(
                f"filling: expected a part from 0 to 1 of what is in one_piece, got {filling}; correct it"
            )
        self.fewest, self.subject, self.filling = fewest, subject, filling
        self.one_piece = sorted(one_piece)
        self.names = {int(value): name for value, name in names.items()}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item, with notes.

        Raises:
            CaseError: ``not-recognised``: too few structures have a volume that is believed, or what was found has
                another shape.
            UsageError: labels without an affine.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            item[NOTES_KEY] = [*item.get(NOTES_KEY, ()), *self._notes(item[key])]
        return item

    def _notes(self, labels: Any) -> list[str]:
        if not isinstance(labels, MetaTensor):
            raise UsageError("expected labels with an affine (a MetaTensor), got others; keep their metadata")
        array = labels.as_tensor()[0].round().cpu().numpy().astype(np.int32)
        voxel_ml = float(abs(np.linalg.det(labels.affine[:3, :3].cpu().numpy()))) / 1000
        counts = np.bincount(array.ravel(), minlength=max(self.volumes) + 1)
        volumes = {value: float(counts[value]) * voxel_ml for value in self.volumes}
        believed = [value for value, (least, most) in self.volumes.items() if least <= volumes[value] <= most]
        if len(believed) < self.fewest:
            raise CaseError(
                "not-recognised",
                f"expected an image of {self.subject}, in which {self.fewest} of {len(self.volumes)} structures at "
                f"least have a size that they can have, got {len(believed)}; look at the image and its voxel size",
            )
        body = np.isin(array, self.one_piece)
        numbers, sizes = connected_pieces(body, corners=False)
        if self.filling and body.any():
            self._check_shape(numbers == sizes.argmax())
        missing = [value for value in self.volumes if not counts[value]]
        reaching = _at_the_edge(array)
        cut = [value for value in self.volumes if value in reaching]
        strange = [value for value in self.volumes if value not in {*believed, *missing, *cut}]
        return [
            *self._told("not in the image", missing),
            *self._told("cut by the edge of the image, its volume is of a part", cut),
            *self._told("of a size that is not to be believed", strange, volumes),
            *self._pieces(sizes, voxel_ml),
            *_flat_ends(body, np.linalg.norm(labels.affine[:3, :3].cpu().numpy(), axis=0)),
        ]

    def _check_shape(self, piece: NDArray[np.bool_]) -> None:
        if (found := _filling(piece)) < self.filling:
            raise CaseError(
                "not-recognised",
                f"expected an image of {self.subject}, which fills {self.filling:g} of an ellipsoid at least, got a "
                f"shape that fills {found:.2f}; look at the image and its voxel size",
            )

    def _pieces(self, sizes: NDArray[np.intp], voxel_ml: float) -> list[str]:
        large = sorted(sizes[sizes > _PIECE * sizes.max()].tolist(), reverse=True)
        if len(large) < 2:
            return []
        shown = ", ".join(f"{number * voxel_ml:.3g} ml" for number in large)
        return [f"in pieces that lie apart: {shown}; look whether each is of {self.subject}"]

    def _told(self, what: str, values: list[int], volumes: Mapping[int, float] | None = None) -> list[str]:
        if not values:
            return []
        shown = [
            self.names.get(value, f"label {value}")
            + (f" ({volumes[value]:.3g} ml)" if volumes is not None else "")
            for value in values
        ]
        return [f"{what}: {', '.join(shown)}"]


def _checked(volumes_ml: Mapping[Any, Any]) -> dict[int, tuple[float, float]]:
    try:
        volumes = {int(value): (float(least), float(most)) for value, (least, most) in volumes_ml.items()}
    except (TypeError, ValueError):
        volumes = {}
    if not volumes or any(not 0 <= least <= most for least, most in volumes.values()):
        raise UsageError(
            f"volumes_ml: expected a least and a largest volume by label value, got {volumes_ml}; correct them"
        )
    return volumes


def _filling(mask: NDArray[np.bool_]) -> float:
    """Voxels of a mask by those of the ellipsoid with its second moments, whatever the affine."""
    places = np.stack(np.nonzero(mask)).astype(np.float64)
    moments = np.cov(places, bias=True) + np.eye(3) / 12  # a voxel's own
    return float(places.shape[1] / (4 / 3 * np.pi * np.sqrt(5**3 * np.linalg.det(moments))))


def _flat_ends(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> list[str]:
    for axis, spacing in enumerate(spacing_mm):
        planes = mask.sum(axis=tuple(other for other in range(mask.ndim) if other != axis))
        seen, margin = np.flatnonzero(planes), int(_END_MM / spacing)
        ends = [(seen[0], margin), (seen[-1], -margin)] if 2 * margin < len(seen) else []
        large = (_FLAT + _FLAT_BY_MM * spacing) * planes.max()
        if any(0 < end < len(planes) - 1 and planes[end + inwards] > large for end, inwards in ends):
            return [
                "ends in a flat plane within the image, as where nothing was scanned beyond: volumes may be of a part"
            ]
    return []


def _at_the_edge(labels: NDArray[np.int32]) -> set[int]:
    """Values whose box reaches the first or the last voxel of an axis."""
    found = set()
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box and any(
            part.start == 0 or part.stop == size for part, size in zip(box, labels.shape, strict=True)
        ):
            found.add(value)
    return found
