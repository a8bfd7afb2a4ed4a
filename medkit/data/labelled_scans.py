"""Look through the scans of a training and their label maps before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medkit.data.checks import check_same_grid
from medkit.data.reading import read_volume
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medkit.data.label_sets import LabelSets
    from medkit.data.volume import Volume

__all__ = ["check_labelled_scans"]

_SHOWN = 5  # cases in a message


def check_labelled_scans(sets: LabelSets, items: Iterable[Mapping[str, str]]) -> None:
    """Read all scans and label maps of a training, held-out ones too, for what would be learned from without a word.

    Args:
        sets: of the table. Where they tell sides, so must the files.
        items: with a ``case``, the path of its scan under ``image`` and of its map under ``label`` or ``truth``.

    Raises:
        UsageError: maps hold values that the table lacks; all of them and the first cases are named.
        CaseError: a file cannot be read, ``grids-differ``, ``voxel-size-unknown`` or ``side-unknown``.
    """
    found = {}
    for item in items:
        labels, image = (
            read_volume(Path(path)) for path in (item.get("label") or item["truth"], item["image"])
        )
        check_same_grid(labels.grid, labels.name, image.grid, image.name)
        for volume in (labels, image):
            _check_stated(volume, sides=bool(sets.pairs))
        if strange := sets.strange(labels.array):
            found[item["case"]] = strange
    if found:
        cases = ", ".join(list(found)[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        raise sets.refusal(
            f"label maps of {cases}", sorted({value for strange in found.values() for value in strange})
        )


def _check_stated(volume: Volume, *, sides: bool) -> None:
    if not volume.grid.size_known:
        raise CaseError(
            "voxel-size-unknown",
            f"{volume.name}: expected a file that states the size of its voxels, for samples are taken in mm, got one "
            "that does not; write it with its true geometry",
        )
    if sides and not volume.grid.side_known:
        raise CaseError(
            "side-unknown",
            f"{volume.name}: expected a file that states its left and right, for the network tells them apart, got "
            "one that does not; write it as NIfTI with its true orientation",
        )
