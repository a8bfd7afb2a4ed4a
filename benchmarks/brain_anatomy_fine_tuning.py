"""What fine-tuning on real T1 brings: Dice against automatic label maps, of the bundle and of networks made from it.

    medkit train brain_anatomy_segmentation --config fine_tuning --cross-validate --name fine
    python benchmarks/brain_anatomy_fine_tuning.py runs/brain_anatomy_segmentation/fine [--quick]
        [--results runs/brain_anatomy/fine_tuning.jsonl] [--output benchmarks/brain_anatomy_fine_tuning.md]

The data lie in ``MEDKIT_DATA``. Their label maps are an automatic tool's (DLMUSE), a silver standard: to agree with them
is to imitate it. Each head is segmented alike by the bundle that came of the fold that held it out, and by medkit's as
it is, which saw no real image. What was done is not done again; ``--quick`` takes one head of each fold and writes no
table.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from command_line import command_line
from dlmuse import BUNDLE, SilverCase, label_sets, silver_cases, silver_scores, table_sha256
from machine import describe, versions
from results import Results

import medkit
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.data import read_volume
from medkit.errors import CaseError, UsageError
from medkit.inference.predictor import LoadedBundle
from medkit.metrics.paired import CONFIDENCE, paired_interval
from medkit.metrics.summary import summarise
from medkit.training.initial_weights import initial_weights_sha256
from medkit.training.run import TrainingRun, fold_name, open_run

CONFIG, MEAN = "fine_tuning", "mean over structures"
AIMS = {"without": 0.80, "with": 0.87}
Dice = dict[str, float | None]
"""By structure; ``None`` where it is in neither map."""


def fold_records(run: TrainingRun, weights: str) -> list[dict]:
    """The records of the finished folds of a run.

    Args:
        run: of the bundle's fine-tuning.
        weights: SHA-256 of those of the bundle, from which it must have begun.

    Raises:
        UsageError: another run, no fold that is finished, or one that began with other weights.
    """
    if run.training != CONFIG:
        raise UsageError(
            f"{run.folder}: expected a run of {CONFIG}, got one of {run.training}; train with --config {CONFIG}"
        )
    files = [run.folder / fold_name(fold) / "record.json" for fold in run.folds if fold is not None]
    records = [json.loads(file.read_text()) for file in files if file.is_file()]
    if not records:
        raise UsageError(
            f"{run.folder}: expected a fold that is finished, got none; train with --cross-validate"
        )
    for record in records:
        if (begun := record["settings"]["initial_weights"]) != weights:
            raise UsageError(
                f"{run.folder}: expected networks that began with the bundle's weights ({weights[:12]}), got others "
                f"({str(begun)[:12]}); fine-tune again"
            )
    return records


def held_out_of(records: list[dict]) -> dict[str, int]:
    """The fold that each case was held out of."""
    return {case: record["fold"] for record in records for case in record["test_cases"]}


def scored(bundle: LoadedBundle, case: SilverCase) -> Dice:
    """Dice of what a bundle gives its user of a head; 0 throughout where it refuses it."""
    sets = label_sets()
    try:
        labels = bundle.predict(case.image).labels
    except CaseError:
        return dict.fromkeys(sets.compared.values(), 0.0)
    scores = silver_scores(labels, read_volume(case.reference), sets)
    return {score.name: None if math.isnan(score.dice) else score.dice for score in scores}


def table(before: Mapping[str, Dice], after: Mapping[str, Dice]) -> str:
    """Rows by structure and over them: without, with, and the difference with its interval."""
    names = list(dict.fromkeys(name for dice in before.values() for name in dice))
    columns = [_by_structure(found, names) for found in (before, after)]
    lines = [
        "| structure | n | without: Dice, mean ± sd | worst | with: Dice, mean ± sd | worst | "
        f"gain ({100 * CONFIDENCE:g} %) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in [*names, MEAN]:
        first, second = (column[name] for column in columns)
        cells = [_spread(values) for values in (first, second)]
        gain = paired_interval([second[case] - first[case] for case in first if case in second])
        interval = f"{gain.mean:+.3f} ({gain.low:.3f} to {gain.high:.3f})"
        lines.append(f"| {name} | {len(first)} | {' | '.join(cells)} | {interval} |")
    return "\n".join(lines)


def _by_structure(found: Mapping[str, Dice], names: list[str]) -> dict[str, dict[str, float]]:
    """Structure to case to Dice, where there is one."""
    columns = {
        name: {case: dice[name] for case, dice in found.items() if dice.get(name) is not None}
        for name in names
    }
    return {**columns, MEAN: {case: _mean(dice) for case, dice in found.items()}}


def _mean(dice: Dice) -> float:
    defined = [value for value in dice.values() if value is not None]
    return sum(defined) / len(defined)


def _spread(values: Mapping[str, float]) -> str:
    found = summarise(values, higher_is_better=True)
    return f"{found.mean:.3f} ± {found.sd:.3f} | {found.worst:.3f}"


def aims(before: Mapping[str, Dice], after: Mapping[str, Dice]) -> str:
    """A line for each aim: measured, met or not."""
    lines = ["| Dice over structures | aim | measured | |", "|---|---|---|---|"]
    for name, found in (("without", before), ("with", after)):
        measured = summarise({case: _mean(dice) for case, dice in found.items()}, higher_is_better=True).mean
        verdict = "met" if measured >= AIMS[name] else "not met"
        lines.append(f"| {name} fine-tuning | at least {AIMS[name]:.2f} | {measured:.3f} | {verdict} |")
    return "\n".join(lines)


def page(run: TrainingRun, records: list[dict], before: Mapping[str, Dice], after: Mapping[str, Dice]) -> str:
    """The whole of the table's file."""
    seconds = ", ".join(f"{record['seconds']:.0f}" for record in records)
    steps = {record["steps"] for record in records}
    return f"""# Fine-tuning on real T1

Agreement with the automatic label maps of DLMUSE on T1 of healthy adults (IXI, 2 mm): a silver standard, so that a gain
is one in imitating that tool. Each of {len(after)} heads was held out of the network that is scored on it; the bundle
without fine-tuning saw no real image. Three heads at which the tool failed are left out. Where its map leaves open which
of several classes a voxel is (corpus callosum, fornix, vermis, basal forebrain, fluid), any of them is right.

{aims(before, after)}

{table(before, after)}

Fine-tuning: {", ".join(map(str, sorted(steps)))} steps a fold, {seconds} s on {records[0]["device"]}. Bundle's weights
{records[0]["settings"]["initial_weights"][:12]}, run `{run.folder.name}`. {describe()}.
"""


def main() -> None:
    parser = command_line(__doc__, __file__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--results", type=Path, default=Path("runs/brain_anatomy/fine_tuning.jsonl"))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    folder: BundleFolder = find_bundle(BUNDLE)
    weights = initial_weights_sha256(folder.weights)
    run = open_run(arguments.run)
    records, results = fold_records(run, weights), Results(arguments.results)
    fold_of = held_out_of(records)
    cases = [case for case in silver_cases() if case.name in fold_of]
    if arguments.quick:
        cases = list({case.fold: case for case in cases}.values())
    tuned = {fold: medkit.load(run.folder / fold_name(fold) / "bundle") for fold in {*fold_of.values()}}
    bundle, before, after = medkit.load(folder.root), {}, {}
    for case in cases:
        for found, used in ((before, bundle), (after, tuned[fold_of[case.name]])):
            key = {"case": case.name, "digest": used.folder.digest(), "silver": table_sha256(), **versions()}
            found[case.name] = results.get_or_make(key, lambda case=case, used=used: scored(used, case))
        print(
            f"{case.name} without {_mean(before[case.name]):.3f}, with {_mean(after[case.name]):.3f}",
            flush=True,
        )
    text = page(run, records, before, after)
    if not arguments.quick:
        arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from error
