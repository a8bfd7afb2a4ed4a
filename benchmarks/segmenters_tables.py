"""The tables of `segmenters.py`."""

from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

from segmenters_networks import LARGER, MEASURE, NETWORKS, TWINS
from segmenters_twins import (
    BOUND,
    FEWEST_SCANS,
    FEWEST_SEEDS,
    Run,
    by_seed,
    difference,
    scans,
    verdict,
)

from medkit.bundle.card import decimals
from medkit.metrics.paired import CONFIDENCE, RESAMPLES
from medkit.metrics.segmentation import DEFINITIONS
from medkit.training.score_summary import MEAN_OVER_LABELS, summarise_scores

# By network, and then by fold and seed: the rows of a run's record.
Scores = Mapping[str, Mapping[tuple[int, int], list[dict[str, Any]]]]
HD95 = (
    f"HD95: {DEFINITIONS['hd95_mm']}. That is MONAI's `compute_hausdorff_distance(percentile=95)`; DeepMind's "
    "`surface-distance` weighs the elements of the surface by their area and comes out lower. Infinite where a label "
    "is missed altogether: such cases are counted and left out of the mean"
)
COST = (
    f"Parameters: sizes are chosen to come near that of {MEASURE}. "
    + "".join(f"{label} does not come any smaller: {why}. " for label, why in LARGER.items())
    + "Operations: of one forward pass over one patch, multiplications and additions each counted, from "
    "`torch.utils.flop_counter` for convolutions, matrix products and attention; norms, activations and the Haar "
    "transform are not counted. Those of a scan are by arithmetic: 7 for a state and 6 more for a channel at every "
    "step, of both directions. Memory: the most that the process held in the first two training steps beyond what it "
    "held with the network built (on a GPU, what was allocated). Inference is on one patch, in float32"
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cost_table(costs: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each network, by what it costs."""
    of = costs.get(MEASURE, {}).get("parameters")
    rows = []
    for label, cost in costs.items():
        against = f"{cost['parameters'] / of - 1:+.1%}" if of else "-"
        rows.append(
            [
                label,
                f"{cost['parameters']}",
                against,
                f"{cost['operations'] / 1e9:.2f}",
                f"{cost['operations_of_scans'] / cost['operations']:.1%}",
                f"{cost['peak_bytes'] / 2**20:.0f}",
                f"{cost['steps_per_second']:.2f}",
                f"{cost['voxels_per_second'] / 1e6:.2f}",
            ]
        )
    head = [
        "network",
        "parameters",
        f"against {MEASURE}",
        "10^9 operations",
        "of them scans",
        "memory of a training step, MiB",
        "training steps/s",
        "inference, 10^6 voxels/s",
    ]
    return table(head, rows)


SCORES = (
    "Scores are over labels, cases and seeds, each run counted alike; beside the mean Dice its standard deviation over "
    "cases, of each the mean over its seeds, and the mean with every seed. Voxels: those of all patches of a training, "
    "a voxel as often as it came"
)


def score_table(scores: Scores, voxels: Mapping[str, int], folds: Iterable[int], seeds: Iterable[int]) -> str:
    """A row for each network that has runs of these folds and seeds.

    Args:
        scores: see there.
        voxels: that each network was trained on in a run.
        folds: to take.
        seeds: to take.
    """
    wanted = {(fold, seed) for fold in folds for seed in seeds}
    rows = []
    for label, runs in scores.items():
        chosen = [
            {**row, "case": f"{row['case']}, seed {seed}" if len(wanted) > 1 else row["case"]}
            for (fold, seed), found in runs.items()
            if (fold, seed) in wanted
            for row in found
        ]
        if not chosen:
            continue
        found = summarise_scores(chosen)[MEAN_OVER_LABELS]
        dice, surface, hd95 = found["dice"], found["surface_dice"], found["hd95_mm"]
        missed = f" ({hd95['n_infinite']} of {hd95['n']} infinite)" if hd95["n_infinite"] else ""
        cases, seed_by_seed = _means(mean_dice({run: runs[run] for run in runs.keys() & wanted}))
        rows.append(
            [
                label,
                f"{len(runs.keys() & wanted)}",
                f"{voxels[label] / 1e6:.0f}",
                f"{len(cases)}",
                decimals(dice["mean"], 4),
                f"{stdev(cases.values()):.4f}" if len(cases) > 1 else "-",
                ", ".join(f"{mean:.4f}" for _, mean in sorted(seed_by_seed.items())),
                decimals(surface["mean"], 4),
                decimals(hd95["mean"], 2) + missed,
                f"{decimals(dice['worst'], 3)} ({dice['worst_case']})",
            ]
        )
    head = [
        "network",
        "runs",
        "10^6 voxels",
        "cases",
        "Dice",
        "sd of cases",
        "seed by seed",
        "surface Dice 1 mm",
        "HD95 mm",
        "worst Dice (case)",
    ]
    return table(head, rows)


def _means(scores: Mapping[Run, float]) -> tuple[dict[str, float], dict[int, float]]:
    """By case and by seed."""
    cases: dict[str, list[float]] = {}
    seeds: dict[int, list[float]] = {}
    for run, value in scores.items():
        cases.setdefault(run.case, []).append(value)
        seeds.setdefault(run.seed, []).append(value)
    return (
        {case: fmean(values) for case, values in cases.items()},
        {seed: fmean(values) for seed, values in seeds.items()},
    )


def twin_table(scores: Scores) -> str:
    """Each network beside itself without its scan."""
    return _difference_table(scores, TWINS.items())


def measure_table(scores: Scores) -> str:
    """Each network, less those without their scan, beside the one by which sizes are chosen."""
    others = (label for label in NETWORKS if label not in {MEASURE, *TWINS.values()})
    return _difference_table(scores, ((label, MEASURE) for label in others))


def _difference_table(scores: Scores, pairs: Iterable[tuple[str, str]]) -> str:
    """A row for each pair of networks of which both were run."""
    rows = []
    for label, other in pairs:
        if label not in scores or other not in scores:
            continue
        ours, others = (mean_dice(scores[name]) for name in (label, other))
        interval = difference(ours, others)
        common = ours.keys() & others.keys()
        seeds = by_seed(ours, others).values()
        rows.append(
            [
                f"{label} minus {other}",
                f"{len({run.fold for run in common})}",
                f"{len({run.case for run in common})}",
                f"{interval.mean:+.4f}",
                f"{interval.low:+.4f} to {interval.high:+.4f}",
                ", ".join(f"{value:+.4f}" for value in seeds),
                verdict(interval, seeds, scans(ours, others)),
            ]
        )
    if not rows:
        return "None: of no pair were both run."
    head = [
        "difference in Dice",
        "folds",
        "cases",
        "mean",
        f"{CONFIDENCE:.0%} interval",
        "seed by seed",
        "verdict",
    ]
    return table(head, rows)


DIFFERENCE_LEGEND = (
    "A row: the Dice over labels of the first network minus that of the second, on the same cases, folds and seeds. "
    "Above zero, the first is better.\n\n"
    f"Interval: where the mean may lie with other patients, from a bootstrap ({RESAMPLES} draws, bias-corrected and "
    "accelerated) that draws scans, each with both sides of it and all seeds. It says nothing of luck in training: with "
    "one seed, an interval far from zero may be that seed's luck. So there is a verdict only from "
    f"{FEWEST_SEEDS} seeds and {FEWEST_SCANS} scans on, and a few seeds bound that luck only roughly.\n\n"
    f"Verdict: a difference of less than {BOUND} is taken for none. Equivalent: the interval and the mean of every seed "
    f"lie between -{BOUND} and +{BOUND}. Better: none lies below +{BOUND}. Worse: none lies above -{BOUND}. Otherwise "
    "not resolved. Rows are not corrected for their number: the more there are, the likelier that one is called better "
    "or worse by luck"
)


def mean_dice(runs: Mapping[tuple[int, int], list[dict[str, Any]]]) -> dict[Run, float]:
    """Dice over labels of each case in each run."""
    labels: dict[Run, list[float]] = {}
    for (fold, seed), rows in runs.items():
        for row in rows:
            if row["dice"] is not None:
                labels.setdefault(Run(row["case"], fold, seed), []).append(row["dice"])
    return {run: fmean(values) for run, values in labels.items()}
