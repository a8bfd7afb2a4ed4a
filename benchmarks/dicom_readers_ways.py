"""Ways to read a folder of DICOM into volumes, one process each: a crash is that reader's and nobody else's.

    python benchmarks/dicom_readers_ways.py READER

Reads one JSON line a task from standard input, ``{"folder", "output", "repairs", "picks", "repeats"}``, and answers
each with one: ``{"refusals", "repaired", "error", "seconds"}``. Volumes go to ``output``, a file of arrays ``a0, a1,
...`` with affines to RAS millimetres ``m0, m1, ...``. Needs nothing but numpy and the reader itself.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Array = Any
MEMORY_BYTES = 12 * 2**30
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass
class Given:
    """What a reader gave.

    Attributes:
        volumes: arrays with affines to RAS millimetres.
        refusals: how many series, volumes or files it refused aloud.
        repaired: whether it says that it changed the grid, or dropped something.
    """

    volumes: list[tuple[Array, Array]] = field(default_factory=list)
    refusals: int = 0
    repaired: bool = False


def by_medkit(folder: Path, repairs: list[str], picks: dict[str, str]) -> Given:
    dicom = importlib.import_module("medkit.dicom")
    reading = dicom.read(folder, repairs=[dicom.Repair(name) for name in repairs], picks=picks)
    volumes = [(volume.array, volume.affine) for volume in reading.volumes]
    refusals = len(reading.refusals) + sum(len(series.refusals) for series in reading.series)
    return Given(volumes, refusals, any(volume.repairs for volume in reading.volumes))


def by_simpleitk(folder: Path, repairs: list[str], picks: dict[str, str]) -> Given:
    import SimpleITK as itk

    itk.ProcessObject.SetGlobalWarningDisplay(False)
    given = Given()
    for series in itk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        names = itk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
        try:
            # One file may hold all slices; as a series it would get a fourth axis.
            image = itk.ReadImage(names if len(names) > 1 else names[0])
        except RuntimeError:
            given.refusals += 1
            continue
        if image.GetNumberOfComponentsPerPixel() == 1:
            affine = np.eye(4)
            affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
            affine[:3, 3] = image.GetOrigin()
            given.volumes.append((itk.GetArrayFromImage(image).T, RAS_FROM_LPS @ affine))
    return given


def by_monai(folder: Path, repairs: list[str], picks: dict[str, str]) -> Given:
    import itk  # noqa: F401  # without it MONAI reads DICOM in another way
    from monai.transforms import LoadImage

    return _of_monai(LoadImage()(folder))


def by_monai_pydicom(folder: Path, repairs: list[str], picks: dict[str, str]) -> Given:
    from monai.transforms import LoadImage

    return _of_monai(LoadImage(reader="PydicomReader")(folder))


def _of_monai(image: Any) -> Given:
    return Given([(image.numpy(), image.affine.numpy())])


def by_dcm2niix(folder: Path, repairs: list[str], picks: dict[str, str]) -> Given:
    with tempfile.TemporaryDirectory() as output:
        command = ["dcm2niix", "-z", "n", "-b", "n", "-f", "%s", "-o", output, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        # It writes what it made even (tilt undone, distances made equal) beside the raw volume.
        # An overlay becomes a mask of its own, called so.
        names = {path.name for path in Path(output).glob("*.nii") if "_ROI" not in path.name}
        better = {name for name in names if "_Tilt" in name or "_Eq" in name}
        raw = {name.split("_Tilt")[0].split("_Eq")[0] + ".nii" for name in better}
        # The raw ones are for experts; where a repair was made twice, the longer name has both.
        best = {name for name in better if not any(_goes_on(other, name) for other in better)}
        given = _of_nifti([Path(output) / name for name in sorted((names - raw - better) | best)])
    given.refusals = int(done.returncode != 0 or "Error:" in done.stdout + done.stderr)
    given.repaired = bool(better)
    return given


def _goes_on(name: str, other: str) -> bool:
    return (
        name != other
        and "_Tilt" in name
        and "_Eq" in name
        and name.split("_Tilt")[0] == other.split("_Tilt")[0]
    )


def by_dicom2nifti(folder: Path, repairs: list[str], picks: dict[str, str]) -> Given:
    import dicom2nifti

    with tempfile.TemporaryDirectory() as output:
        dicom2nifti.convert_directory(str(folder), output, compression=False, reorient=False)
        return _of_nifti(sorted(Path(output).glob("*.nii")))


def _of_nifti(paths: list[Path]) -> Given:
    """Three axes each: a fourth is of several volumes. Pictures in colour are no volumes of values."""
    import nibabel as nib

    volumes = []
    for path in paths:
        image = nib.load(path)
        if image.get_data_dtype().names:
            continue
        array = np.asanyarray(image.dataobj)
        parts = [array] if array.ndim < 4 else list(np.moveaxis(array.reshape(*array.shape[:3], -1), 3, 0))
        volumes += [(np.array(part), image.affine) for part in parts]
    return Given(volumes)


def by_highdicom(folder: Path, repairs: list[str], picks: dict[str, str]) -> Given:
    import highdicom
    import pydicom

    given = Given()
    series: dict[str, list[Any]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            dataset = pydicom.dcmread(path)
        except Exception:
            given.refusals += 1
        else:
            if "Rows" in dataset:
                series.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
    for datasets in series.values():
        many = [dataset for dataset in datasets if dataset.get("NumberOfFrames", 1) > 1]
        # A window or a MONOCHROME1 is for show.
        try:
            found = (
                [highdicom.Image.from_dataset(one).get_volume(apply_presentation_lut=False) for one in many]
                if many
                else [highdicom.get_volume_from_series(datasets, apply_presentation_lut=False)]
            )
        except Exception:
            given.refusals += 1
        else:
            given.volumes += [(one.array, RAS_FROM_LPS @ one.affine) for one in found if one.array.ndim == 3]
    return given


READERS: dict[str, Callable[[Path, list[str], dict[str, str]], Given]] = {
    "medkit": by_medkit,
    "SimpleITK": by_simpleitk,
    "MONAI": by_monai,
    "MONAI PydicomReader": by_monai_pydicom,
    "dcm2niix": by_dcm2niix,
    "dicom2nifti": by_dicom2nifti,
    "highdicom": by_highdicom,
}
PACKAGES = {
    "medkit": ("medkit-imaging",),
    "SimpleITK": ("SimpleITK",),
    "MONAI": ("monai", "itk"),
    "MONAI PydicomReader": ("monai", "pydicom"),
    "dicom2nifti": ("dicom2nifti",),
    "highdicom": ("highdicom",),
}


def versions(reader: str) -> str:
    """Names and versions of what reads. Raises where it is not installed."""
    if reader == "dcm2niix":
        done = subprocess.run(["dcm2niix", "-v"], capture_output=True, text=True, check=False)
        return f"dcm2niix {done.stdout.split()[-1]}"
    if reader == "medkit":
        importlib.import_module("medkit.dicom")
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES[reader])


def answer(reader: str, task: dict[str, Any]) -> dict[str, Any]:
    """Does one task; what a reader raises is its refusal, with the error's name and text."""
    seconds, given, error = [], Given(), ""
    for _ in range(task.get("repeats", 1)):
        start = time.perf_counter()
        try:
            given = READERS[reader](Path(task["folder"]), task.get("repairs", []), task.get("picks", {}))
        except Exception as raised:
            error = f"{type(raised).__name__}: {' '.join(str(raised).split())}"[:200]
        seconds.append(time.perf_counter() - start)
    if task.get("output"):
        arrays = {f"a{number}": array for number, (array, _) in enumerate(given.volumes)}
        affines = {f"m{number}": affine for number, (_, affine) in enumerate(given.volumes)}
        np.savez(task["output"], **arrays, **affines)
    return {"refusals": given.refusals, "repaired": given.repaired, "error": error, "seconds": seconds}


def serve(hello: Callable[[], dict[str, str]], answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answers tasks, one JSON line each, until there are no more; the first line is ``hello`` or what is missing."""
    # A reader's own words must not stand among the answers; its libraries write to the descriptor itself.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        first = hello()
    except Exception as raised:
        first = {"missing": f"{type(raised).__name__}: {raised}"}
    print(json.dumps(first), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


def main() -> None:
    reader = sys.argv[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    serve(lambda: {"versions": versions(reader)}, lambda task: answer(reader, task))


if __name__ == "__main__":
    main()
