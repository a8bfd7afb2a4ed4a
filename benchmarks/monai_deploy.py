"""MONAI Deploy's operators beside medkit: the same studies, the same bundle, the same voxels?

    python benchmarks/monai_deploy.py --python PYTHON [--repeats N] [--kinds NAME ...]
        [--work runs/monai_deploy] [--output benchmarks/monai_deploy.md]

``--python`` names an interpreter that has MONAI Deploy App SDK (`pip install --no-deps monai-deploy-app-sdk
holoscan-cu13`, and what these import) beside what medkit needs; it needs no GPU. Segmentations are read back by
highdicom and compared voxel by voxel, at their places in millimetres. Reading alone is judged on ``tests/dicom_series``
as ``dicom_readers.py`` does. With MEDKIT_DATA the images are real; without it they are phantoms. Verdicts stay in
``--work``.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from command_line import command_line
from dicom_readers import GENERATOR, MEDKIT, SEED
from dicom_readers_tables import summary_table
from dicom_readers_worker import Worker
from machine import describe
from monai_deploy_tables import same_table, time_table, wrong_table
from results import Results
from scipy.ndimage import zoom

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from medkit.bundle.store import find_bundle  # noqa: E402
from medkit.data.cases import find_cases  # noqa: E402
from tests.dicom.writing.oracles import by_highdicom, errors, seen_on  # noqa: E402
from tests.dicom.writing.sources import write_series  # noqa: E402
from tests.dicom_series import KINDS, Kind, judge, make  # noqa: E402
from tests.phantoms import hippocampus  # noqa: E402

WAYS = Path(__file__).with_name("monai_deploy_ways.py")
THEIRS, OURS = "MONAI Deploy", "medkit"
EXCHANGED = "MONAI Deploy, its two spacings exchanged"
BUNDLE = "hippocampus_segmentation_unet"
CROPS, LARGE = 5, (64, 80, 64)
LIMIT_SECONDS = 600.0


@dataclass(frozen=True, eq=False)
class Study:
    """A series to segment.

    Args:
        name: for the table.
        array: ``(I, J, K)`` int16.
        affine: to RAS mm.
        attributes: of its images, in the place of the usual ones.
    """

    name: str
    array: np.ndarray
    affine: np.ndarray
    attributes: Mapping[str, Any]


def studies() -> list[Study]:
    """Crops of one size of voxel, one of them in other planes, with other pixels and larger."""
    crops = list(images())
    array, affine = crops[0]
    found = [Study(f"{number}", *crop, {}) for number, crop in enumerate(crops, 1)]
    for axes in ("PSR", "RSA"):
        image = nib.Nifti1Image(array, affine)
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
        )
        turned = image.as_reoriented(turn)
        found.append(Study(f"1, in slices of {axes}", np.asarray(turned.dataobj), turned.affine, {}))
    scaled = zoom(array, (0.8, 1, 1), order=1)
    found += [
        Study("1, pixels of 1.25 x 1 mm", scaled, affine @ np.diag([1.25, 1, 1, 1]), {}),
        Study("1, SeriesNumber empty", array, affine, {"SeriesNumber": ""}),
    ]
    wanted = [(0, size - side) for size, side in zip(LARGE, array.shape, strict=True)]
    return [*found, Study("1, mirrored on and on", np.pad(array, wanted, mode="symmetric"), affine, {})]


def images() -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Arrays with affines, real ones where they can be had."""
    if "MEDKIT_DATA" not in os.environ:
        for seed in range(CROPS):
            yield hippocampus((35, 51, 35), np.eye(4), seed)[0], np.eye(4)
        return
    for case in find_cases([Path(os.environ["MEDKIT_DATA"]) / "hippocampus" / "images"])[:CROPS]:
        image = nib.load(case.paths[0])
        yield np.rint(np.asarray(image.dataobj)).astype(np.int16), image.affine


def with_channel_step(bundle: Path, folder: Path) -> Path:
    """A copy whose images get their channel in a step of its own: the operator takes out the one that loads."""
    copy = folder / bundle.name
    shutil.copytree(bundle, copy, dirs_exist_ok=True)
    path = copy / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["load_image"]["ensure_channel_first"] = False
    config["channel_first"] = {"_target_": "EnsureChannelFirstd", "keys": "image"}
    config["preprocessing"]["transforms"].insert(1, "@channel_first")
    path.write_text(json.dumps(config))
    return copy


def segmented(worker: Worker, folder: Path, place: Path, anew: bool = False) -> dict[str, Any]:
    """The answer of a way for a study, with the file that it wrote."""
    with tempfile.TemporaryDirectory(dir=place) as objects:
        task = {"do": "segment", "folder": str(folder), "objects": objects, "anew": anew}
        answer = worker.read(task, limit=LIMIT_SECONDS)
        kept = place / f"{worker.reader}.dcm"
        for path in Path(objects).glob("*.dcm"):
            path.replace(kept)
        return answer | {"object": kept if not answer["error"] else None}


def labels_of(study: Study, path: Path) -> np.ndarray:
    """Labels on the grid of the study, by their places."""
    array, affine = by_highdicom(path)
    labels = np.zeros(study.array.shape, np.uint8)
    for value in (int(value) for value in np.unique(array) if value):
        labels[seen_on(study.affine, study.array.shape, array == value, affine)] = value
    return labels


def compared(study: Study, workers: dict[str, Worker], place: Path, repeats: int) -> dict[str, Any]:
    """What both made of a study, in turns."""
    folder = place / "series"
    shutil.rmtree(folder, ignore_errors=True)
    write_series(folder, study.array, study.affine, order=False, **study.attributes)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(repeats + 1):  # the first warms up
        for name, worker in workers.items():
            runs[name].append(segmented(worker, folder, place))
    anew = [segmented(workers[THEIRS], folder, place, anew=True) for _ in range(repeats)]
    found: dict[str, Any] = {
        "name": study.name,
        "shape": study.array.shape,
        "error": {name: of[-1]["error"] for name, of in runs.items()},
        "seconds": {name: least(of[1:]) for name, of in runs.items()} | {"anew": least(anew)},
    }
    files = {name: of[-1]["object"] for name, of in runs.items()}
    found["faults"] = {name: len(errors(path)) if path else None for name, path in files.items()}
    labels = {name: labels_of(study, path) for name, path in files.items() if path}
    found["labelled"] = {name: int((of > 0).sum()) for name, of in labels.items()}
    if len(labels) == len(files):
        found["differ"] = int((labels[THEIRS] != labels[OURS]).sum())
    return found


def least(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of each part, when least came between."""
    good = [run["seconds"] for run in runs if not run["error"]]
    return {part: min(run[part] for run in good) for part in (good[0] if good else ())}


def readings(workers: dict[str, Worker], kinds: list[Kind], work: Path) -> dict[str, dict[str, Any]]:
    """Verdicts by column and kind."""
    results = Results(work / "verdicts.jsonl")
    found: dict[str, dict[str, Any]] = {EXCHANGED: {}}
    for name, worker in workers.items():
        key = {"reader": name, "versions": worker.hello["versions"], "seed": SEED, "generator": GENERATOR}
        key |= {"medkit": MEDKIT} if name == OURS else {}
        for kind in kinds:
            verdicts = results.get_or_make(
                key | {"kind": kind.name}, lambda kind=kind, worker=worker: verdict(worker, kind)
            )
            found.setdefault(name, {})[kind.name] = verdicts["as it is"]
            if name == THEIRS:
                found[EXCHANGED][kind.name] = verdicts["exchanged"]
    return {name: found[name] for name in (THEIRS, EXCHANGED, OURS)}


def verdict(worker: Worker, kind: Kind) -> dict[str, Any]:
    """Makes a series, has it read, and judges what came, as it is and with the spacings in the plane exchanged."""
    with tempfile.TemporaryDirectory() as place:
        folder, output = Path(place) / "series", Path(place) / "volumes.npz"
        truth = make(kind.name, folder, SEED)
        answer = worker.read({"do": "read", "folder": str(folder), "output": str(output)})
        volumes = []
        if output.is_file():
            with np.load(output) as arrays:
                count = len(arrays.files) // 2
                volumes = [(arrays[f"a{number}"], arrays[f"m{number}"]) for number in range(count)]
    ways = {"as it is": volumes, "exchanged": [(array, exchanged(affine)) for array, affine in volumes]}
    judged = {name: judge(truth, of, refusals=answer["refusals"]) for name, of in ways.items()}
    return {
        name: {"outcome": str(of.outcome), "reason": of.reason, "readable": truth.readable}
        for name, of in judged.items()
    }


def exchanged(affine: np.ndarray) -> np.ndarray:
    """An affine whose first two axes have each other's length."""
    first, second = np.linalg.norm(affine[:3, :2], axis=0)
    return affine @ np.diag([second / first, first / second, 1, 1]) if first and second else affine


def main() -> None:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--python", required=True, help="interpreter that has MONAI Deploy App SDK")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds of each study")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS), metavar="NAME")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "monai_deploy")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    bundle = find_bundle(BUNDLE).root
    bundles = {THEIRS: with_channel_step(bundle, arguments.work), OURS: bundle}
    workers = {
        name: Worker(name, python, arguments.work / f"{name}.log", (WAYS, str(bundles[name])))
        for name, python in ((THEIRS, arguments.python), (OURS, sys.executable))
    }
    for name, worker in workers.items():
        if "missing" in worker.start():
            sys.exit(f"{name}: {worker.hello['missing']}")
    load = os.getloadavg()[1]
    rows, made = [], studies()
    as_it_is = unchanged(arguments, bundle, made[0])
    for study in made:
        rows.append(compared(study, workers, arguments.work, arguments.repeats))
        print(rows[-1], flush=True)
    kinds = [KINDS[name] for name in arguments.kinds]
    verdicts = readings(workers, kinds, arguments.work)
    named = {name: worker.hello["versions"] for name, worker in workers.items()}
    for worker in workers.values():
        worker.stop()
    arguments.output.write_text(page(rows, verdicts, named, (load, arguments.repeats, as_it_is)))


def unchanged(arguments: Any, bundle: Path, study: Study) -> str:
    """What the operator makes of the bundle as it is: its error, or nothing."""
    worker = Worker(THEIRS, arguments.python, arguments.work / "unchanged.log", (WAYS, str(bundle)))
    folder = arguments.work / "series"
    shutil.rmtree(folder, ignore_errors=True)
    write_series(folder, study.array, study.affine)
    error = segmented(worker, folder, arguments.work)["error"]
    worker.stop()
    return error


def page(
    rows: list[dict[str, Any]],
    verdicts: dict[str, dict[str, Any]],
    versions: dict[str, str],
    circumstances: tuple[float, int, str],
) -> str:
    """The whole table as Markdown."""
    load, repeats, as_it_is = circumstances
    images = "real crops" if "MEDKIT_DATA" in os.environ else "phantoms"
    count = len(next(iter(verdicts.values())))
    parts = [
        "# MONAI Deploy's operators beside medkit",
        f"{describe()}. MONAI Deploy ran on: {versions[THEIRS]}. Made by `benchmarks/monai_deploy.py`; load of the "
        f"machine as it began {load:.1f}.",
        f"{EXPLAINED.strip()} With the bundle as it is: {as_it_is or 'no error'}.",
        f"## The same voxels ({images})",
        same_table(rows, THEIRS, OURS),
        "## Time",
        f"Seconds, one thread, each in a process of its own that stays; the least of {repeats}, in turns. On a "
        'busy machine ratios count. "Loaded anew": as the operator treats the folder of a bundle.',
        time_table(rows, THEIRS, OURS),
        "## Reading",
        f"{count} kinds of generated series, judged as in [dicom_readers.md](dicom_readers.md), without repairs. "
        "Nearly all have pixels that are not square.",
        summary_table({name: list(found.values()) for name, found in verdicts.items()}),
        "What was wrong once the spacings were exchanged:",
        wrong_table(verdicts[EXCHANGED]),
        FOUND,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


EXPLAINED = """\
DICOMDataLoaderOperator, DICOMSeriesSelectorOperator, DICOMSeriesToVolumeOperator, MonaiBundleInferenceOperator and
DICOMSegmentationWriterOperator, called by hand one after another; the network is loaded once. The bundle is our
`hippocampus_segmentation_unet`, for the operator with one change: MonaiBundleInferenceOperator takes out the step that
loads the image, and with it the channel that this step adds, so the copy has `EnsureChannelFirstd` behind it.
"""

# Of version 4.0.0, read in its source where a table showed it.
FOUND = """\
## What lies behind it (version 4.0.0)

- **Pixels that are not square** are out of place: the affine has the distance of rows (the first number of PixelSpacing)
  along the row, and that of columns along the column. Labels then differ, as the bundle resamples wrongly.
- **Values wrap around**: the volume gets the type of its first slice. Where that has no value below 1 it is uint16, and
  -100 in a later slice becomes 65436 (`axial-down`).
- **Of instances at one place** all but one are dropped (phases, b-values, echoes).
- **Missing and uneven slices** are not noticed (`gap-one`, `growing-spacing`): the first and the last give an even step.
- **An empty SeriesNumber**, which the standard allows, loses the series.
- The one error by dciodvfy is an empty Manufacturer among the contributing equipment.
"""


if __name__ == "__main__":
    main()
