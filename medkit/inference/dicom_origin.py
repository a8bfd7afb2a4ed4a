"""Which series an image came from, as ``medkit dicom convert`` said it beside the image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.data.hashing import hash_files
from medkit.dicom.conversion import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Origin", "origin_of"]


@dataclass(frozen=True)
class Origin:
    """Where labels come from.

    Args:
        image: name of the image that was labelled.
        series_instance_uid: of the series that it was converted from.
        volume: its name among the volumes of the conversion.
    """

    image: str
    series_instance_uid: str
    volume: str


def origin_of(record: Mapping[str, Any] | None) -> Origin | None:
    """The series that the image of a case came from.

    Args:
        record: of the case, see ``medkit/schemas/case.schema.json``.

    Returns:
        ``None`` where nothing tells: no record, an image that is no longer there or another by now, one that was not
        converted by medkit, or several.
    """
    inputs = [] if record is None else record.get("input", [])
    if len(inputs) != 1:
        return None
    image = Path(inputs[0]["path"])
    try:
        if hash_files([image]) != inputs[0]["sha256"]:
            return None
        verdicts = json.loads((image.parent / VERDICTS).read_text(encoding="utf-8"))
        return next(
            Origin(image.name, series["series_instance_uid"], volume["name"])
            for series in verdicts["series"]
            for volume in series["volumes"]
            if volume["file"] == image.name and series["series_instance_uid"]
        )
    except (OSError, ValueError, LookupError, TypeError, StopIteration):  # gone, or no verdicts of ours
        return None
