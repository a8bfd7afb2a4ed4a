"""Verdicts on series in a form for machines. No patient's data: codes, numbers, names of files and UIDs.

They hold no voxels, so that a study larger than memory can be inspected and converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit import __version__
from medkit.dicom.reading import read_each

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from medkit.dicom.findings import Finding, Repair
    from medkit.dicom.result import SeriesReading, SeriesVolume

__all__ = ["inspect", "series_verdict", "verdicts"]


def inspect(
    source: Path | Sequence[Path],
    *,
    repairs: Collection[Repair | str] = (),
    picks: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Read all series of a source, one after another, and keep the verdicts alone.

    Args and errors are those of :func:`medkit.dicom.read`; for what is given see :func:`verdicts`.
    """
    series, refusals = read_each(source, series_verdict, repairs=repairs, picks=picks)
    return verdicts(series, refusals, repairs, picks)


def verdicts(
    series: Sequence[dict[str, Any]],
    refusals: Collection[Finding],
    repairs: Collection[str] = (),
    picks: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A dictionary for JSON: of each series what was read, split or refused, and why.

    Args:
        series: see :func:`series_verdict`.
        refusals: of files that belong to no series.
        repairs: that were asked for.
        picks: that were asked for.
    """
    return {
        "medkit": __version__,
        "repairs": sorted(map(str, repairs)),
        "picks": dict(picks or {}),
        "series": list(series),
        "refusals": _findings(refusals),
    }


def series_verdict(series: SeriesReading, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The verdict on one series.

    Args:
        series: as it was read.
        files: name of the written file by volume, where they were written.
    """
    verdict = "refused" if series.refusals else "read" if series.volumes else "no image"
    return {
        "series_instance_uid": series.series_instance_uid,
        "number": series.number,
        "modality": series.modality,
        "verdict": "read in part" if series.refusals and series.volumes else verdict,
        "files": series.files,
        "volumes": [_volume(volume, files or {}) for volume in series.volumes],
        "refusals": _findings(series.refusals),
        "notes": _findings(series.notes),
    }


def _volume(volume: SeriesVolume, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": volume.name,
        "file": files.get(volume.name),
        "study_instance_uid": volume.study_instance_uid,
        "frames_sha256": volume.frames_sha256,
        "shape": list(volume.array.shape),
        "type": str(volume.array.dtype),
        "affine": volume.affine.tolist(),
        "notes": _findings(volume.notes),
        "repairs": _findings(volume.repairs),
        "facts": volume.facts,
    }


def _findings(findings: Collection[Finding]) -> list[dict[str, str]]:
    return [{"code": str(finding.code), "message": finding.message} for finding in findings]
