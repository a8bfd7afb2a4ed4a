"""The verdicts of a reading in a form for machines. No patient's data: codes, numbers, names of files and UIDs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from medkit.dicom.findings import Finding
    from medkit.dicom.result import Reading, SeriesReading, SeriesVolume

__all__ = ["verdicts"]


def verdicts(
    reading: Reading,
    repairs: Collection[str] = (),
    picks: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A dictionary for JSON: of each series what was read, split or refused, and why.

    Args:
        reading: of a source.
        repairs: that were asked for.
        picks: that were asked for.
        files: name of the written file by volume, where they were written.
    """
    return {
        "medkit": __version__,
        "repairs": sorted(repairs),
        "picks": dict(picks or {}),
        "series": [_series(series, files or {}) for series in reading.series],
        "refusals": _findings(reading.refusals),
    }


def _series(series: SeriesReading, files: Mapping[str, str]) -> dict[str, Any]:
    verdict = "refused" if series.refusals else "read" if series.volumes else "no image"
    return {
        "series_instance_uid": series.series_instance_uid,
        "number": series.number,
        "modality": series.modality,
        "verdict": "read in part" if series.refusals and series.volumes else verdict,
        "files": series.files,
        "volumes": [_volume(volume, files) for volume in series.volumes],
        "refusals": _findings(series.refusals),
        "notes": _findings(series.notes),
    }


def _volume(volume: SeriesVolume, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": volume.name,
        "file": files.get(volume.name),
        "study_instance_uid": volume.study_instance_uid,
        "shape": list(volume.array.shape),
        "type": str(volume.array.dtype),
        "affine": volume.affine.tolist(),
        "notes": _findings(volume.notes),
        "repairs": _findings(volume.repairs),
        "facts": volume.facts,
    }


def _findings(findings: Collection[Finding]) -> list[dict[str, str]]:
    return [{"code": str(finding.code), "message": finding.message} for finding in findings]
