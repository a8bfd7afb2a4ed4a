"""The rows of nnU-Net itself in `segmenters.py`, in its own environment: the same folds and steps, all else its own."""

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from segmenters_training import Form

from medkit.data import read_volume
from medkit.data.checks import check_same_grid
from medkit.data.datalist import fold_items, number_of_folds
from medkit.metrics.segmentation import AGREEMENT, score_case

NAME = "Dataset904_Hippocampus"
LABELS = {0: "background", 1: "anterior hippocampus", 2: "posterior hippocampus"}
# What predictions are told apart by: the mean over mirrored images, which is nnU-Net's default, or one pass.
PREDICTIONS = {"mirrored": "", "plain": ", no mirroring"}
_SUFFIX = ".nii.gz"
_SCRIPT = Path(__file__).with_name("segmenters_nnunet_run.py")


def version(python: str) -> str:
    """Of nnU-Net in an interpreter's environment.

    Args:
        python: the interpreter.
    """
    code = "from importlib.metadata import version; print(version('nnunetv2'))"
    return subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def measure(
    python: str, dataset: str, form: Form, fold: int, seed: int, steps: int, data: str, work: Path
) -> dict[str, Any]:
    """Train and predict in that environment; score here.

    What was prepared is used again for the same data and version of nnU-Net.

    Args:
        python: interpreter with nnU-Net.
        dataset: folder of the data set.
        form: says which cases are scored.
        fold: held out.
        seed: of random numbers, of which nnU-Net may have others besides.
        steps: of training.
        data: hash of the data set.
        work: folder for nnU-Net's files.

    Returns:
        Rows of scores by `PREDICTIONS`; patch and batch of a step, device and precision.
    """
    place = work / f"{version(python)}-{data[:16]}"
    folders = {
        "nnUNet_raw": place / "raw",
        "nnUNet_preprocessed": place / "preprocessed",
        "nnUNet_results": place / f"results-{steps}-{seed}",
    }
    settings = os.environ | {name: str(path.absolute()) for name, path in folders.items()}
    settings |= {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "nnUNet_compile": "f",
        "nnUNet_def_n_proc": "1",
    }
    raw, prepared = (folders[name] / NAME for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    if not (prepared / "done").is_file():
        convert(dataset, raw)
        _run(python, ["prepare", NAME], settings | {"nnUNet_n_proc_DA": "1"})
        (prepared / "done").touch()
    (prepared / "splits_final.json").write_text(json.dumps(splits(dataset, form)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    words = ["train", NAME, str(fold), str(seed), str(steps), device]
    # Without worker processes; nnU-Net refuses that where it plans.
    made = json.loads(_run(python, words, settings | {"nnUNet_n_proc_DA": "0"}).splitlines()[-1])
    cases = splits(dataset, form)[fold]["val"]
    scores = {name: score(Path(made.pop(name)), dataset, cases) for name in PREDICTIONS}
    return {"scores": scores, **made}


def legend(runs: Iterable[Mapping[str, Any]]) -> str:
    """What a reader has to know of the rows.

    Args:
        runs: from `measure`.
    """
    made = sorted({f"{_step(run)}, on {run['device']} in {run['precision']}" for run in runs})
    return (
        "nnU-Net: its own plans, network, augmentation, loss and schedule; the mean over mirrored images at test time, "
        f"which no other network has, unless said; as many steps, the last weights. A step: {'; '.join(made)}. "
        "Its schedule is made for 250,000 steps, with plain gradient descent: of a few hundred, its row says only that "
        "it runs"
    )


def _step(run: Mapping[str, Any]) -> str:
    return f"{run['batch']} patches of {' x '.join(map(str, run['patch']))} voxels"


def voxels(run: Mapping[str, Any]) -> int:
    """Of a step."""
    return run["batch"] * math.prod(run["patch"])


def _run(python: str, words: list[str], settings: dict[str, str]) -> str:
    command = [python, str(_SCRIPT), *words]
    return subprocess.run(command, check=True, env=settings, stdout=subprocess.PIPE, text=True).stdout


def convert(dataset: str, raw: Path) -> None:
    """Lay the data set out as nnU-Net wants it.

    Args:
        dataset: folder of the data set.
        raw: folder to write, anew.
    """
    shutil.rmtree(raw, ignore_errors=True)
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    items = fold_items(dataset, range(number_of_folds(dataset)))
    for item in items:
        shutil.copy(item["image"], raw / "imagesTr" / f"{item['case']}_0000{_SUFFIX}")
        shutil.copy(item["label"], raw / "labelsTr" / f"{item['case']}{_SUFFIX}")
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {name: value for value, name in LABELS.items()},
        "numTraining": len(items),
        "file_ending": _SUFFIX,
    }
    (raw / "dataset.json").write_text(json.dumps(content))


def splits(dataset: str, form: Form) -> list[dict[str, list[str]]]:
    """Cases to train on and cases to score, for each fold that is held out."""
    folds = [
        [item["case"] for item in fold_items(dataset, [fold])] for fold in range(number_of_folds(dataset))
    ]
    return [
        {
            "train": [case for other, cases in enumerate(folds) if other != fold for case in cases],
            "val": held_out[: form.cases],
        }
        for fold, held_out in enumerate(folds)
    ]


def score(predictions: Path, dataset: str, cases: list[str]) -> list[dict[str, Any]]:
    """Rows as in a training run's record."""
    truths = {
        item["case"]: Path(item["label"]) for item in fold_items(dataset, range(number_of_folds(dataset)))
    }
    rows = []
    for case in cases:
        truth = read_volume(truths[case])
        found = read_volume(predictions / f"{case}{_SUFFIX}")
        check_same_grid(found.grid, found.name, truth.grid, truth.name)
        labels = (volume.array.astype(int) for volume in (found, truth))
        for each in score_case(*labels, truth.grid.spacing, LABELS):
            values = asdict(each)
            rows.append({"case": case, **values, **{name: _safe(values[name]) for name in AGREEMENT}})
    return rows


def _safe(value: float) -> float | str | None:
    """As a record keeps what JSON does not have."""
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)
