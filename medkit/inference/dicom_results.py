"""A label map, the series that it was made from and the bundle that made it, as DICOM objects."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from medkit.bundle.store import find_bundle
from medkit.data.hashing import hash_files
from medkit.data.reading import file_suffix, read_volume
from medkit.data.writing import write_text
from medkit.dicom.writing.maker import Maker
from medkit.dicom.writing.placing import on_grid
from medkit.dicom.writing.results import ResultKind, write_results
from medkit.dicom.writing.segmentation import SegmentationType
from medkit.errors import CaseError, UsageError
from medkit.inference.dicom_origin import Origin, origin_of
from medkit.inference.records import read_record, to_json
from medkit.inference.result import NOTHING_LABELLED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from medkit.bundle.store import BundleFolder
    from medkit.data.volume import Volume
    from medkit.dicom.result import Reading, SeriesVolume

__all__ = ["DicomOptions", "result_maker", "write_dicom"]

_SHOWN = 5  # names or refusals in a message
_PICKS = {"series", "volume"}  # that say what the labels were made from
_SETTINGS = ("overrides", "flips", "weights")  # of a record: what decides a result besides the bundle
_NO_RECORD = (
    "no record says how the labels were made: that it was this bundle in this state is what the call says, and its "
    "settings are not known"
)
_IDENTITY = ("study_instance_uid", "series_instance_uid", "volume", "made_by")


@dataclass(frozen=True)
class DicomOptions:
    """How results are written.

    Args:
        kinds: which objects.
        segmentation_type: of the segmentation.
        notes: for the report.
        allow_sheared: write about a tilted stack too.
        repairs: see :func:`medkit.dicom.read`.
        picks: the same; ``volume`` or ``series`` where several volumes are on the grid of the labels, or where some
            series of the source cannot be read.
    """

    kinds: Collection[ResultKind] = tuple(ResultKind)
    segmentation_type: SegmentationType = SegmentationType.BINARY
    notes: Sequence[str] = ()
    allow_sheared: bool = False
    repairs: Collection[str] = ()
    picks: Mapping[str, str] = field(default_factory=dict)


def write_dicom(
    labels: Path,
    source: Path,
    bundle: str | Path,
    output: Path,
    options: DicomOptions | None = None,
    *,
    on_note: Callable[[str], None] | None = None,
) -> dict[ResultKind, Path]:
    """Write a label map as DICOM objects of the study that it was made from.

    Where the label map lies in a results folder of ``medkit predict``, the record of its case tells with which state and
    settings of the bundle it was made, and what there is to remark; without one the objects say that the settings are
    not known. Where ``medkit dicom convert`` made the image of that case, its verdicts tell of which volume: labels of
    another one are refused, of the same series too; several images count as the first. ``output`` also gets a record,
    written last. No file of another result is replaced.

    Args:
        labels: NIfTI, NRRD or MetaImage.
        source: folder, zip or file of the series.
        bundle: name or folder of the bundle that made the labels.
        output: folder for the files.
        options: how.
        on_note: is given each remark on the labels.

    Returns:
        Kind to file.

    Raises:
        UsageError: no label map of that name, no such bundle, no codes for a label, another bundle in the record,
            several volumes to choose from, series that cannot be read beside others where none is picked, or
            ``output`` holds other results under the same names.
        CaseError: labels or series cannot be read, do not fit each other, or the labels are known to be of another
            volume (``labels-of-another-series``), or of images of several studies (``inputs-apart``).
    """
    from medkit.dicom import read

    options = options or DicomOptions()
    volume = _read_labels(labels)
    folder = find_bundle(bundle)
    record = _record_beside(labels)
    maker = _maker(folder, record, labels)
    notes = _notes(record, volume)
    if on_note:
        for note in notes:
            on_note(note)
    reading = read(source, repairs=options.repairs, picks=options.picks)
    origin = origin_of(record)
    if origin is not None:
        reading = _of_origin(reading, origin, labels, source)
    elif not _PICKS & options.picks.keys():
        _check_all_read(reading, volume, source)
    chosen = _choose(reading, volume, source)
    told = _record(labels, chosen, maker, notes)
    before = _same_before(output / f"{chosen.name}.json", told)
    written = write_results(
        chosen,
        volume.array,
        volume.grid.affine,
        maker,
        output,
        kinds=options.kinds,
        segmentation_type=options.segmentation_type,
        notes=[*notes, *options.notes],
        allow_sheared=options.allow_sheared,
    )
    told["files"] = before | {
        kind.value: {"path": path.name, "sha256": hash_files([path])} for kind, path in written.items()
    }
    write_text(output / f"{chosen.name}.json", to_json(told))
    return written


def _notes(record: Mapping[str, Any] | None, labels: Volume) -> list[str]:
    notes = [_NO_RECORD] if record is None else list(record.get("notes", ()))
    labelled = (
        labels.array if labels.array.ndim == 3 else labels.array[..., 1:]
    )  # without the background's channel
    if not labelled.any() and NOTHING_LABELLED not in notes:
        notes.append(NOTHING_LABELLED)
    return notes


def _same_before(path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """The files that an earlier call wrote of the same result, by kind.

    Raises:
        UsageError: it was about another result.
    """
    if not path.exists():
        return {}
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        same = there["labels"]["sha256"] == told["labels"]["sha256"]
        if same and all(there[key] == told[key] for key in _IDENTITY):
            return dict(there["files"])
    except (ValueError, LookupError, TypeError):  # no record of ours
        pass
    raise UsageError(
        f"{path}: expected no other result of that name there, got one; choose another folder for each study and result"
    )


def _read_labels(path: Path) -> Volume:
    try:
        return read_volume(path)
    except CaseError as error:
        if error.code in ("file-missing", "format-unknown"):  # the one file that the call names
            raise UsageError(str(error)) from error
        raise


def _record_beside(labels: Path) -> dict[str, Any] | None:
    """The record of the case in a results folder, if the label map lies in one."""
    name = labels.name[: len(labels.name) - len(file_suffix(labels) or "")]
    for parent in labels.resolve().parents:
        if parent.name == "labels":
            inside = labels.resolve().parent.relative_to(parent)
            return read_record(parent.parent / "cases" / inside / f"{name}.json")
    return None


def _maker(folder: BundleFolder, record: Mapping[str, Any] | None, labels: Path) -> Maker:
    if record is None:
        return Maker.from_metadata(folder.name, folder.metadata, folder.digest(), {"known": False})
    if record["bundle"] != folder.name:
        raise UsageError(
            f"{labels}: expected labels made by {folder.name}, got a record that says {record['bundle']}; name that one"
        )
    return result_maker(folder, record)


def result_maker(folder: BundleFolder, provenance: Mapping[str, Any]) -> Maker:
    """The maker of a result, for its DICOM objects.

    Args:
        folder: of the bundle.
        provenance: what made the result, by its record or as a loaded bundle says it
            (:attr:`medkit.inference.predictor.LoadedBundle.provenance`).

    Raises:
        UsageError: see :meth:`medkit.dicom.writing.maker.Maker.from_metadata`.
    """
    settings = {name: provenance[name] for name in _SETTINGS if provenance.get(name)}
    if "weights" in settings:  # by their content, wherever they lay
        settings["weights"] = [file["sha256"] for file in settings["weights"]]
    metadata = {
        **folder.metadata,
        "version": provenance.get("bundle_version", folder.metadata.get("version")),
    }
    return Maker.from_metadata(folder.name, metadata, provenance["bundle_digest"], settings)


def _of_origin(reading: Reading, origin: Origin, labels: Path, source: Path) -> Reading:
    """What was read of the series that the labels were made from; of its volumes the one.

    Raises:
        CaseError: ``labels-of-another-series``, also where that series has other volumes alone.
    """
    own = [one for one in reading.series if one.series_instance_uid == origin.series_instance_uid]
    volumes = tuple(volume for one in own for volume in one.volumes if origin.is_of(volume))
    if not own or (own[0].volumes and not volumes):
        got = (
            f"only {', '.join(volume.name for volume in own[0].volumes[:_SHOWN])} of it" if own else "others"
        )
        raise CaseError(
            "labels-of-another-series",
            f"{labels.name}: expected the series that {origin.image} was converted from (volume {origin.volume}), got "
            f"{got} in {source}; give the folder of that series, whole",
        )
    return replace(reading, series=(replace(own[0], volumes=volumes),))


def _check_all_read(reading: Reading, labels: Volume, source: Path) -> None:
    """Another series of a study often has the same grid: what is refused may be what the labels were made from."""
    if not reading.volumes or not reading.refused:
        return
    found = "; ".join(finding.message for finding in reading.refused[:_SHOWN])
    fitting = [volume.name for volume in reading.volumes if _fits(labels, volume)]
    names = ", ".join(fitting[:_SHOWN]) or "none of those that can be read is on their grid"
    raise UsageError(
        f"{source}: expected all series to be read, since the labels may be of any, got {len(reading.refused)} "
        f"refused ({found}); mend what is refused, or pick what the labels were made from by volume=NAME: {names}"
    )


def _choose(reading: Reading, labels: Volume, source: Path) -> SeriesVolume:
    """The only volume, or the only one on whose grid the labels are."""
    volumes = reading.volumes
    if not volumes:
        found = [finding.message for series in reading.series for finding in series.refusals]
        found += [finding.message for finding in reading.refusals]
        raise CaseError(
            "series-refused",
            f"{source}: expected a series that can be read as a volume, got none: "
            f"{'; '.join(found[:_SHOWN]) or 'no images'}",
        )
    known = ", ".join(volume.name for volume in volumes[:_SHOWN])
    fitting = [volume for volume in volumes if _fits(labels, volume)]
    if len(fitting) == 1 or len(volumes) == 1:
        return (fitting or volumes)[0]
    if not fitting:
        raise CaseError(
            "grids-differ",
            f"{labels.name}: expected the grid of one of the volumes in {source} ({known}), got another; resample onto "
            "it (label maps with nearest neighbours)",
        )
    raise UsageError(
        f"{source}: expected one volume on the grid of {labels.name}, got {len(fitting)}; pick one by "
        f"volume=NAME: {', '.join(volume.name for volume in fitting[:_SHOWN])}"
    )


def _fits(labels: Volume, volume: SeriesVolume) -> bool:
    try:
        on_grid(labels.array, labels.grid.affine, volume)
    except CaseError:
        return False
    return True


def _record(labels: Path, volume: SeriesVolume, maker: Maker, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "labels": {"path": str(labels), "sha256": hash_files([labels])},
        "study_instance_uid": volume.study_instance_uid,
        "series_instance_uid": volume.series_instance_uid,
        "volume": volume.name,
        "made_by": json.loads(maker.identity) | {"bundle_version": maker.version},
        "notes": list(notes),
    }
