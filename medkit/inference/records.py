"""One case's files: its results first, its JSON record last.

The record's form is ``medkit/schemas/case.schema.json``.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from medkit.data.grid import SAME_PLACE_VOXELS, voxels_apart
from medkit.data.hashing import hash_files
from medkit.data.peek import source_files
from medkit.data.volume import Volume
from medkit.data.writing import UNFINISHED, write_channels, write_labels, write_text, write_volume
from medkit.errors import UsageError
from medkit.inference.result import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from medkit.data.cases import Case
    from medkit.errors import CaseError
    from medkit.inference.result import Result
    from medkit.inference.uncertainty import Uncertainty
    from medkit.inference.volume_intervals import VolumeInterval

__all__ = [
    "OUTPUT_FOLDERS",
    "check_bundle_owns",
    "check_name_is_free",
    "check_name_leads_inside",
    "describe_files",
    "finished_record",
    "has_all",
    "outputs_there",
    "read_record",
    "record_path",
    "remove_leftovers",
    "save_failure",
    "save_result",
    "settings_that_differ",
    "to_json",
]

DONE, FAILED = "done", "failed"
OUTPUT_FOLDERS = ("labels", "probabilities", "uncertainty", "features", "pictures", "cases")
_IDENTITY = ("bundle", "bundle_digest", "overrides")
_OPTIONAL_IDENTITY = ("flips", "calibration")  # in a record only where there is such
_FIELDS = {
    DONE: {"case", "outputs", "volumes_ml", *_IDENTITY},
    FAILED: {"case", "code", "reason", *_IDENTITY},
}
_LABEL_SUFFIXES = (".nii.gz", ".nrrd", ".mha")
_ABANDONED_SECONDS = 60


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a case lies."""
    return folder / "cases" / f"{name}.json"


def read_record(path: Path) -> dict[str, Any] | None:
    """A case's record, or ``None`` where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if _is_record(record) else None


def _is_record(content: Any) -> bool:
    """Whether a file has what the readers of records count on; the schema says more."""
    if not isinstance(content, dict) or content.get("status") not in (DONE, FAILED):
        return False
    fields, files = _FIELDS[content["status"]], content.get("input")
    return (
        fields <= content.keys()
        and isinstance(files, list)
        and len(files) > 0
        and all(isinstance(file, dict) and file.keys() == {"path", "sha256"} for file in files)
    )


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of runs that were killed; hidden ones, which never bore a final name."""
    for path in folder.rglob(f"{UNFINISHED}*"):
        process = path.name.split("-")[1]
        with suppress(OSError):
            # Another machine's process is not seen from here, but it would have touched its file lately.
            untouched = time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
            if process.isdigit() and untouched and not psutil.pid_exists(int(process)):
                path.unlink()


def describe_files(paths: Iterable[Path]) -> list[dict[str, str | None]]:
    """Path and SHA-256 of every file that reading an image takes, detached voxels included."""
    files = [file for path in paths for file in source_files(path)]
    return [{"path": str(file), "sha256": hash_files([file])} for file in files]


def _describe_input(source: Sequence[Path] | Volume) -> list[dict[str, str | None]]:
    if isinstance(source, Volume):
        return [{"path": source.name, "sha256": source.sha256()}]
    return describe_files(source)


def check_name_leads_inside(name: str) -> None:
    """Check that files called by the name of a case lie in the results folder.

    Raises:
        UsageError: the name is absolute, or a part of it is empty, ``.`` or ``..``.
    """
    if {"", ".", ".."} & {*name.split("/")}:
        raise UsageError(
            f"expected the name of a case that leads into the results folder, such as 'visit1/scan', got {name!r}; "
            "pass another name=, or rename the image"
        )


def check_name_is_free(folder: Path, name: str, source: Sequence[Path] | Volume, remedy: str) -> None:
    """Refuse to replace the results of another image that happens to have the same name.

    Args:
        folder: results folder.
        name: of the case.
        source: the image's files, one a channel, or an image from memory.
        remedy: what the message tells to do.

    Raises:
        UsageError: the folder holds results of this name and another image.
    """
    record = read_record(record_path(folder, name))
    if record is None or record["status"] != DONE:
        return
    then = record["input"]
    path = source.name if isinstance(source, Volume) else str(source[0])
    same_file = path == then[0]["path"] and not path.startswith("<")  # every array is called <array>
    if not same_file and [file["sha256"] for file in _describe_input(source)] != [f["sha256"] for f in then]:
        raise UsageError(
            f"{path}: its results would replace those of {then[0]['path']} in {folder}; {remedy}"
        )


def check_bundle_owns(folder: Path, name: str, bundle: str) -> None:
    """Refuse to touch the results that another bundle has under the name of a case.

    Another version of a bundle, or one with other weights, may replace its own results. A failure that left none
    is nobody's.

    Args:
        folder: results folder.
        name: of the case.
        bundle: name of the bundle that would run.

    Raises:
        UsageError: the folder holds results of this name and another bundle.
    """
    record = read_record(record_path(folder, name))
    if record is None or record["bundle"] == bundle:
        return
    if record["status"] == DONE or any((folder / file).exists() for file in _output_files(name)):
        raise UsageError(
            f"{folder}: expected no results of another bundle than {bundle}, got those of {record['bundle']} for "
            f"'{name}'; choose another output folder"
        )


def finished_record(
    folder: Path,
    name: str,
    inputs: list[dict[str, str | None]],
    provenance: dict[str, Any],
    wanted: Iterable[str],
) -> dict[str, Any] | None:
    """The record of a case that needs no new run: same contents, bundle and overrides, all outputs there.

    Args:
        folder: results folder.
        name: of the case.
        inputs: see :func:`describe_files`.
        provenance: of the bundle that would run.
        wanted: kinds of output asked for, such as ``labels``.
    """
    record = read_record(record_path(folder, name))
    if record is None or record["status"] != DONE:
        return None
    hashes = [file["sha256"] for file in inputs]
    same = (
        None not in hashes
        and hashes == [file["sha256"] for file in record["input"]]
        and not settings_that_differ(record, provenance)
        and has_all(record, folder, wanted)
    )
    return record if same else None


def settings_that_differ(record: dict[str, Any], provenance: dict[str, Any]) -> list[str]:
    """In which of its fields a record is of another bundle or other settings than ``provenance`` would make."""
    return [key for key in (*_IDENTITY, *_OPTIONAL_IDENTITY) if record.get(key) != provenance.get(key)]


def has_all(record: dict[str, Any], folder: Path, wanted: Iterable[str]) -> bool:
    """Whether a finished case has all kinds of output that are wanted, and all files that it lists are there."""
    outputs: dict[str, str | None] = record["outputs"]
    return all(kind in outputs for kind in wanted) and all(
        (folder / file).is_file() for file in outputs.values() if file
    )


def outputs_there(folder: Path, name: str) -> list[str]:
    """Kinds of output of a case that lie in the folder, whether or not a record lists them; sorted."""
    found = {file.partition("/")[0] for file in _output_files(name) if (folder / file).exists()}
    return sorted("picture" if kind == "pictures" else kind for kind in found)


def save_result(
    result: Result,
    folder: Path,
    name: str,
    *,
    picture: bool,
    inputs: list[dict[str, str | None]] | None = None,
) -> dict[str, Any]:
    """Write what belongs to a case, its record last; return the record.

    Args:
        result: of the case.
        folder: results folder.
        name: of the case.
        picture: whether to draw one; one that cannot be drawn becomes a note.
        inputs: see :func:`describe_files`; found out here by default.

    Raises:
        OSError: the folder cannot be written to.
    """
    # An old record must not vouch for outputs that are being replaced.
    record_path(folder, name).unlink(missing_ok=True)
    outputs: dict[str, str | None] = {"labels": f"labels/{name}{result.grid.suffix}"}
    if result.soft is not None:
        outputs["probabilities"] = f"probabilities/{name}.nii.gz"
    if result.uncertainty is not None:
        outputs["uncertainty"] = f"uncertainty/{name}.nii.gz"
    if result.features is not None:
        outputs["features"] = f"features/{name}.nii.gz"
    if picture:
        outputs["picture"] = f"pictures/{name}.png"
    _remove_outputs(folder, name, keep=outputs.values())
    _write_arrays(result, folder, outputs)
    notes = list(result.notes)
    if picture and (problem := _try_to_draw(result, folder / f"pictures/{name}.png", name)):
        notes.append(f"no picture: {problem}")
        outputs["picture"] = None
    record = {
        "case": name,
        "status": DONE,
        "input": inputs or _describe_input(result.files or result.volume),
        "outputs": outputs,
        "label_names": {str(value): text for value, text in result.label_names.items()},
        "volumes_ml": result.volumes_ml,
        **({"volume_interval_ml": _intervals(found)} if (found := result.volume_interval_ml) else {}),
        **({"uncertainty": _structures(result.uncertainty)} if result.uncertainty else {}),
        "notes": notes,
        "seconds": result.seconds,
        **result.provenance,
    }
    return _save_record(folder, record)


def _intervals(found: dict[str, VolumeInterval]) -> dict[str, dict[str, float | str]]:
    return {name: asdict(interval) for name, interval in found.items()}


def _structures(uncertainty: Uncertainty) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: None if value is None else round(value, 6) for key, value in asdict(structure).items()}
        for name, structure in uncertainty.structures.items()
    }


def save_failure(
    error: CaseError,
    case: Case,
    folder: Path,
    provenance: dict[str, Any],
    inputs: list[dict[str, str | None]],
) -> dict[str, Any]:
    """Record that a case failed and why; results that an earlier run left under its name are removed.

    They stay where a file of the image cannot be read (its hash is ``None``), as when a disk is not mounted:
    nothing is known against them. The case counts as failed all the same, and the next run tries it again.
    """
    record_path(folder, case.name).unlink(missing_ok=True)
    if all(file["sha256"] for file in inputs):
        _remove_outputs(folder, case.name, keep=())
    record = {
        "case": case.name,
        "status": FAILED,
        "input": inputs,
        "code": error.code,
        "reason": str(error),
        **provenance,
    }
    return _save_record(folder, record)


def _save_record(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Write a case's record; from then on the case counts as processed."""
    write_text(record_path(folder, record["case"]), to_json(record))
    return record


def to_json(content: dict[str, Any]) -> str:
    """JSON text that a file in UTF-8 can hold, whatever bytes a file's name was made of."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    # A byte that is no UTF-8 is a lone surrogate in Python and becomes the escape that JSON has for it.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _remove_outputs(folder: Path, name: str, keep: Iterable[str | None]) -> None:
    for file in _output_files(name) - {*keep}:
        (folder / file).unlink(missing_ok=True)


def _output_files(name: str) -> set[str]:
    """All that the results of a case may be."""
    labels = {f"labels/{name}{suffix}" for suffix in _LABEL_SUFFIXES}
    others = {f"{kind}/{name}.nii.gz" for kind in ("probabilities", "uncertainty", "features")}
    return labels | others | {f"pictures/{name}.png"}


def _write_arrays(result: Result, folder: Path, outputs: dict[str, str | None]) -> None:
    path = folder / str(outputs["labels"])
    if result.labels.ndim == 3:
        write_labels(path, result.labels, result.grid, {0: "background", **result.label_names})
    else:
        write_volume(path, result.labels, result.grid)
    if result.soft is not None:
        classes = (np.asarray(channel, dtype=np.float32) for channel in result.soft)
        write_channels(folder / str(outputs["probabilities"]), classes, len(result.soft), result.grid)
    if result.uncertainty is not None:
        write_volume(folder / str(outputs["uncertainty"]), result.uncertainty.entropy, result.grid)
    if result.features is not None:
        maps = (channel.astype(np.float32) for channel in result.features.array)
        count, grid = len(result.features.array), result.features.grid
        write_channels(folder / str(outputs["features"]), maps, count, grid)


def _try_to_draw(result: Result, path: Path, title: str) -> str | None:
    """Draw the picture, or say why not: a result is good without it."""
    try:
        _draw_picture(result, path, title)
    except OSError:
        raise
    except Exception as error:
        path.unlink(missing_ok=True)
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def _draw_picture(result: Result, path: Path, title: str) -> None:
    """Three planes of the image with the contours of its label map."""
    from medkit.figures.legend import Sum
    from medkit.figures.overlay import draw_overlay

    labels, names = result.labels, result.label_names
    if labels.ndim == 4:
        labels, names = _flattened(labels, names)
    volumes = {value: result.volumes_ml[name] for value, name in names.items()}
    doubt = None if result.uncertainty is None else result.uncertainty.entropy
    if doubt is not None and doubt.ndim == 4:
        doubt = doubt.max(axis=-1)
    draw_overlay(
        _on_grid_of(result),
        labels,
        names,
        path,
        title=title,
        volumes_ml=volumes,
        sums=[
            Sum(name, found.volume, _interval_text(found))
            for name, found in (result.volume_interval_ml or {}).items()
            if name not in result.volumes_ml
        ],
        notes=result.notes,
        doubt=doubt,
    )


def _interval_text(interval: VolumeInterval) -> str:
    if interval.low == UNKNOWN or interval.high == UNKNOWN:
        return ""
    return f"{100 * interval.level:.0f} % interval {interval.low:.2f} to {interval.high:.2f} ml"


def _flattened(masks: NDArray[Any], names: dict[int, str]) -> tuple[NDArray[Any], dict[int, str]]:
    """Overlapping masks as one map, a value a channel; the smallest lies on top."""
    flat = np.zeros(masks.shape[:3], dtype=np.uint16)
    sizes = {channel: np.count_nonzero(masks[..., channel]) for channel in names}
    for channel in sorted(names, key=lambda channel: -sizes[channel]):
        flat[masks[..., channel] > 0] = channel + 1
    return flat, {channel + 1: name for channel, name in names.items()}


def _on_grid_of(result: Result) -> Volume:
    """The image on the grid of its label map, resampled where a bundle gave another."""
    volume, grid = result.volume, result.grid
    same = voxels_apart(grid.shape, grid.affine, volume.grid.affine) <= SAME_PLACE_VOXELS
    if same and grid.shape == volume.grid.shape:
        return volume
    from scipy.ndimage import affine_transform

    channel = volume.array[..., 0] if volume.array.ndim == 4 else volume.array
    to_image = np.linalg.inv(volume.grid.affine) @ grid.affine
    moved = affine_transform(channel.astype(np.float32), to_image, output_shape=grid.shape, order=1)
    return replace(volume, array=moved, grid=grid)
