"""Every network of `medkit.networks` under one budget, each state-space network beside itself without its scan.

    MEDKIT_DATA=... OMP_NUM_THREADS=4 python benchmarks/segmenters.py [--form middle] [--only scan_unet ...]

Each network is put in the place of that of `hippocampus_segmentation_unet` and trained just as it is: the same folds,
augmentation, optimiser, steps, schedule and running average of the weights, of which the last counts. The short form
took 21 minutes on four threads and ranks nothing. The full one, as long as a bundle's training, takes a GPU or more than
a day; the middle one has its folds and seeds at 200 steps of small patches. A second task, with synthetic images in
which only a distant cue tells the class, stands beside (`segmenters_long_range.py`).

nnU-Net takes part with `--nnunet PYTHON`, the interpreter of an environment of its own (`pip install nnunetv2`): some
quarter of an hour more in the short form.

What was done is kept in RUNS/segmenters/FORM.jsonl, and is not done again under the same settings, with the same
networks, operations and losses and the same versions of packages: a run that was stopped goes on where it was.
Of the tables, `segmenters.md` was made by the middle form, four trainings at a time on one thread each, some two hours
in all; `segmenters_short.md` by the short one, with nnU-Net.
"""

import json
import logging
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import segmenters_long_range as long_range
import segmenters_nnunet as nnunet
import torch
from command_line import command_line
from machine import describe
from results import Results
from segmenters_networks import DEFAULT, MEASURE, NETWORKS, TWINS
from segmenters_tables import (
    COST,
    DIFFERENCE_LEGEND,
    HD95,
    SCORES,
    cost_table,
    measure_table,
    score_table,
    twin_table,
)
from segmenters_training import FORMS, Form, code, config, key, train
from timing import note

from medkit.data.datalist import data_hashes, fold_items, number_of_folds


def plan(form: Form, labels: list[str]) -> Iterator[tuple[str, int, int]]:
    """Network, fold and seed of each run: first what all have, then what only some have more."""
    more = {DEFAULT, TWINS[DEFAULT], MEASURE}
    every = [(fold, seed) for fold in form.folds for seed in form.seeds]
    further = [(fold, seed) for fold in form.more_folds for seed in form.more_seeds]
    yield from ((label, *run) for run in every for label in labels)
    yield from ((label, *run) for run in further if run not in every for label in labels if label in more)


def data_hash(dataset: str) -> str:
    hashes = data_hashes(fold_items(dataset, range(number_of_folds(dataset))))
    return sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def cost(label: str, form: str, device: str) -> dict[str, Any]:
    script = Path(__file__).with_name("segmenters_cost.py")
    command = [sys.executable, str(script), label, form, "--device", device]
    command += ["--threads", str(torch.get_num_threads())]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def costs(results: Results, labels: list[str], form: str, device: str) -> dict[str, Any]:
    found = {}
    for label in labels:
        settings = {
            "what": "cost",
            "device": device,
            "machine": describe(),
            "threads": torch.get_num_threads(),
            "overrides": key(label, 0, 0, FORMS[form], "")["overrides"],
            "code": code(),
        }
        note(f"cost      {label}, {device}")
        found[label] = results.get_or_make(settings, lambda label=label: cost(label, form, device))
    return found


def scores(results: Results, labels: list[str], form: Form, runs: Path) -> dict[str, dict[tuple, Any]]:
    """The whole of each run's values, by network, fold and seed."""
    data = data_hash(config(MEASURE, 0, form).build("dataset_dir"))
    found: dict[str, dict[tuple, Any]] = {label: {} for label in labels}
    for label, fold, seed in plan(form, labels):
        settings = key(label, fold, seed, form, data)
        note(f"training  {label}, fold {fold}, seed {seed}")
        found[label][fold, seed] = results.get_or_make(
            settings, lambda settings=settings: train(settings, runs)
        )
    return found


def nnunet_scores(results: Results, python: str, form: Form, runs: Path) -> dict[str, dict[tuple, Any]]:
    """The whole of each run's values, by fold and seed."""
    parts = config(MEASURE, 0, form)
    dataset, steps = parts.build("dataset_dir"), parts.build("steps")
    label, data = f"nnU-Net {nnunet.version(python)}", data_hash(dataset)
    work = runs / "segmenters" / "nnunet"
    found: dict[tuple, Any] = {}
    for fold, seed in ((fold, seed) for fold in form.folds for seed in form.seeds):
        note(f"training  {label}, fold {fold}, seed {seed}")
        settings = {
            "what": "nnU-Net",
            "network": label,
            "fold": fold,
            "seed": seed,
            "steps": steps,
            "cases": form.cases,
            "data": data,
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        }
        found[fold, seed] = results.get_or_make(
            settings,
            lambda fold=fold, seed=seed: nnunet.measure(python, dataset, form, fold, seed, steps, data, work),
        )
    return {label: found}


def document(
    form: str,
    found: dict[str, dict[tuple, Any]],
    foreign: dict[str, dict[tuple, Any]],
    spent: dict[str, dict[str, Any]],
) -> list[str]:
    """Paragraphs and tables on the hippocampus."""
    settings = FORMS[form]
    parts = config(MEASURE, 0, settings)
    patch, batch, steps = (parts.build(name) for name in ("patch_size", "batch_size", "steps"))
    every = [values for runs in found.values() for values in runs.values()]
    made = sorted({(values["device"], values["precision"]) for values in every})
    cases = "all cases" if settings.cases is None else f"the first {settings.cases} cases"
    budget = (
        f"Every network: {steps} steps of {batch} patches of {' x '.join(map(str, patch))} voxels from all other "
        f"folds, {settings.optimiser}, the running average of the weights at the last step; scored "
        f"on {cases} of the fold held out. Folds {', '.join(map(str, settings.folds))}; seeds "
        f"{', '.join(map(str, settings.seeds))}. Trained on {'; '.join(', '.join(each) for each in made)}."
    )
    text = [budget]
    if form == "short":
        text.append(
            "**Made by the short form, which ranks nothing**: the networks are far from trained, on one fold and one "
            "seed. It shows that they all learn, and what they cost."
        )
    if form == "middle":
        of_bundles = config(MEASURE, 0, FORMS["full"]).build("steps")
        text.append(
            f"**Made by the middle form**: it tells how much the networks learn in {steps} steps of small patches, "
            f"where the bundles have {of_bundles} of larger ones. After a longer training the order may be another."
        )
    rows = {
        label: {run: values["scores"] for run, values in runs.items()}
        for label, runs in found.items()
        if runs
    }
    voxels = dict.fromkeys(rows, steps * batch * math.prod(patch))
    for label, runs in foreign.items():
        for name, suffix in nnunet.PREDICTIONS.items():
            rows[label + suffix] = {run: values["scores"][name] for run, values in runs.items()}
            voxels[label + suffix] = steps * nnunet.voxels(next(iter(runs.values())))
    text += [
        "## Hippocampus",
        score_table(rows, voxels, settings.folds, settings.seeds),
        f"{SCORES}.",
        f"{HD95}.",
    ]
    text += [f"{nnunet.legend(runs.values())}." for runs in foreign.values()]
    if settings.more_folds != settings.folds:
        few = {label: rows[label] for label in (DEFAULT, TWINS[DEFAULT], MEASURE) if label in rows}
        text += [f"Folds {settings.more_folds}, seeds {settings.more_seeds}:"]
        text += [score_table(few, voxels, settings.more_folds, settings.more_seeds)]
    text += ["## What the scan is worth", twin_table(rows)]
    text += [f"## Beside {MEASURE}", measure_table(rows), f"{DIFFERENCE_LEGEND}."]
    text.append(
        "Crops of 35 x 51 x 35 voxels have little long context: they cannot rank state-space layers alone. An abdominal "
        "CT has more, but there is one, with labels that a tool made: it cannot be split into cases to learn from and "
        "cases to be judged by, and is left out. The long-range task below stands in its place."
    )
    for device, table in spent.items():
        place = "a GPU" if device == "cuda" else f"{torch.get_num_threads()} threads"
        text += [f"## Cost, on {place}", cost_table(table)]
    return [*text, f"{COST}."]


def quieten() -> None:
    """Keep what Lightning remarks on out of the way."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--output", type=Path, help="segmenters.md, or segmenters_short.md of the short form")
    parser.add_argument("--form", choices=FORMS, default="short")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, metavar="NETWORK", default=list(NETWORKS))
    parser.add_argument("--nnunet", metavar="PYTHON", help="interpreter of an environment that has nnunetv2")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all training runs")
    arguments = parser.parse_args()
    quieten()
    results = Results(arguments.runs / "segmenters" / f"{arguments.form}.jsonl")
    labels = [label for label in NETWORKS if label in arguments.only]
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    spent = {device: costs(results, labels, arguments.form, device) for device in devices}
    form = FORMS[arguments.form]
    found = scores(results, labels, form, arguments.runs)
    foreign = nnunet_scores(results, arguments.nnunet, form, arguments.runs) if arguments.nnunet else {}
    text = [
        "# Segmenters",
        f"{describe()}, {torch.get_num_threads()} threads.",
        *document(arguments.form, found, foreign, spent),
    ]
    text += long_range.section(results, arguments.form, labels)
    suffix = "_short" if arguments.form == "short" else ""
    output = arguments.output or Path(__file__).with_name(f"segmenters{suffix}.md")
    output.write_text("\n\n".join(text) + "\n")
    print("\n\n".join(text))


if __name__ == "__main__":
    main()
