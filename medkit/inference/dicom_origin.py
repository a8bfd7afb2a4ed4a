"""Which series an image came from, as ``medkit dicom convert`` said it beside the image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.data.hashing import hash_files
from medkit.dicom.conversion import VERDICTS
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medkit.dicom.result import SeriesVolume

__all__ = ["Origin", "origin_of"]


@dataclass(frozen=True)
class Origin:
    """Where labels come from.

    Args:
        image: name of the image that was labelled, the first of several.
        study_instance_uid: of the study that it was converted from.
        series_instance_uid: of the series.
        volume: its name among the volumes of the conversion.
        frames_sha256: see :attr:`medkit.dicom.result.SeriesVolume.frames_sha256`.
    """

    image: str
    study_instance_uid: str
    series_instance_uid: str
    volume: str
    frames_sha256: str | None

    def is_of(self, volume: SeriesVolume) -> bool:
        """Whether the image was converted from a volume: by its frames, since its name depends on what is beside it."""
        if self.frames_sha256 is None or volume.frames_sha256 is None:
            return volume.name == self.volume
        return volume.frames_sha256 == self.frames_sha256


def origin_of(record: Mapping[str, Any] | None) -> Origin | None:
    """The volume that the image of a case came from; of several images the first, on whose grid the labels are.

    Args:
        record: of the case, see ``medkit/schemas/case.schema.json``.

    Returns:
        ``None`` where nothing tells: no record, an image that is no longer there or another by now, or one that was not
        converted by medkit.

    Raises:
        CaseError: ``inputs-apart``, the images came from several studies.
    """
    inputs = [] if record is None else record.get("input", [])
    origins = [_of_image(one) for one in inputs]
    first, *others = origins or [None]
    for other in others:
        if first and other and other.study_instance_uid != first.study_instance_uid:
            raise CaseError(
                "inputs-apart",
                f"{first.image}: expected images of one study, got {other.image} of another; label those of one "
                "examination",
            )
    return first


def _of_image(described: Mapping[str, Any]) -> Origin | None:
    try:
        image = Path(described["path"])
        if hash_files([image]) != described["sha256"]:
            return None
        verdicts = json.loads((image.parent / VERDICTS).read_text(encoding="utf-8"))
        return next(
            Origin(
                image.name,
                volume["study_instance_uid"],
                series["series_instance_uid"],
                volume["name"],
                volume.get("frames_sha256"),
            )
            for series in verdicts["series"]
            for volume in series["volumes"]
            if volume["file"] == image.name and series["series_instance_uid"]
        )
    except (OSError, ValueError, LookupError, TypeError, StopIteration):  # gone, or no verdicts of ours
        return None
