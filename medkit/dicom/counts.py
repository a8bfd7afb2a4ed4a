"""Compare the number of images of a series with what the archive and the files themselves announce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.dicom.findings import Finding, Refused, Repair

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from medkit.dicom.instance import Instance
    from medkit.dicom.planes import Plane

__all__ = ["check_counts"]


def check_counts(
    instances: Sequence[Instance], planes: Sequence[Plane], expected: int | None, repairs: Collection[Repair]
) -> list[Finding]:
    """Compare the count with the archive's, with ImagesInAcquisition, with a PET's NumberOfSlices and a concatenation's.

    Args:
        instances: of the series.
        planes: their frames.
        expected: the archive's count of instances.
        repairs: ``accept-count`` turns a refusal into a note.

    Raises:
        Refused: ``count-mismatch``, where images are missing, or the archive has less.

    Returns:
        What was accepted on request.
    """
    objects = {instance.sop_instance_uid or instance.source.shown for instance in instances}
    problems = []
    if expected is not None and expected != len(objects):
        problems.append(
            f"{instances[0].source.shown}: expected {expected} images as the archive says, got {len(objects)}"
        )
    problems += [
        text for text in (_acquisitions(planes), _positron(planes), _concatenation(instances)) if text
    ]
    if not problems:
        return []
    message = f"{problems[0]}; fetch the series again, or ask for the repair accept-count"
    if Repair.ACCEPT_COUNT in repairs:
        return [Finding(Repair.ACCEPT_COUNT, f"{problems[0]}; taken as it is, as was asked for")]
    raise Refused("count-mismatch", message)


def _acquisitions(planes: Sequence[Plane]) -> str | None:
    """An acquisition may give several reconstructions, and so more images than it announces, but not less."""
    counts: dict[str, set[object]] = {}
    announced: dict[str, int] = {}
    for plane in planes:
        said = plane.instance.elements.integer("ImagesInAcquisition")
        if said is None or said <= 0:
            continue
        key = plane.instance.elements.text("AcquisitionNumber")
        counts.setdefault(key, set()).add(
            (plane.instance.sop_instance_uid or plane.instance.source.shown, plane.number)
        )
        announced[key] = max(said, announced.get(key, 0))
    for key, said in announced.items():
        if len(counts[key]) < said:
            where = planes[0].instance.source.shown
            acquisition = f" of acquisition {key}" if key else ""
            return (
                f"{where}: expected {said} images{acquisition} as ImagesInAcquisition says, got "
                f"{len(counts[key])}"
            )
    return None


def _positron(planes: Sequence[Plane]) -> str | None:
    """NumberOfSlices is that of one time of a PET series (PS3.3 C.8.9.4)."""
    if not planes or planes[0].instance.modality != "PT":
        return None
    elements = planes[0].instance.elements
    said, times = elements.integer("NumberOfSlices"), elements.integer("NumberOfTimeSlices") or 1
    objects = {
        (plane.instance.sop_instance_uid or plane.instance.source.shown, plane.number) for plane in planes
    }
    if said and len(objects) < said * times:
        return f"{planes[0].where}: expected {said * times} images as NumberOfSlices says, got {len(objects)}"
    return None


def _concatenation(instances: Sequence[Instance]) -> str | None:
    parts: dict[str, set[int]] = {}
    totals: dict[str, int] = {}
    for instance in instances:
        uid, part = (
            instance.elements.text("ConcatenationUID"),
            instance.elements.integer("InConcatenationNumber"),
        )
        if uid and part is not None:
            parts.setdefault(uid, set()).add(part)
            totals[uid] = max(
                instance.elements.integer("InConcatenationTotalNumber") or part, totals.get(uid, 0)
            )
    for uid, total in totals.items():
        if len(parts[uid]) < total:
            return f"{instances[0].source.shown}: expected {total} parts of a concatenation, got {len(parts[uid])}"
    return None
