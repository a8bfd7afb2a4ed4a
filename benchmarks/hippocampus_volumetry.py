"""Volumes of `hippocampus_volumetry` on whole heads.

    MEDKIT_DATA=... OMP_NUM_THREADS=4 python benchmarks/hippocampus_volumetry.py [--quick] [--keep]

- the symmetric MNI152 template: left and right should agree within 3 %;
- the T1 of the IXI data (2 mm) against the hippocampi of DLMUSE's automatic label maps, a silver standard: difference of
  the volumes, correlation over people, Dice, and in how many the automatic volume lies in the interval, which was
  verified for manual outlines of another rule; the known failures are left out, and so are the first twelve, on which
  the margin of the crops was chosen;
- left and right of every head; seconds from image to labels.

Results are in RUNS/hippocampus_volumetry, by the weights of both bundles and the code; a run that was stopped goes on.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import dlmuse
import numpy as np
import torch
from brain_heads import TEMPLATE, template
from brain_scores import relative_difference
from command_line import command_line
from machine import describe, versions
from results import Results
from segmenters_tables import table
from sources import sources_sha256
from timing import note

import medkit
from medkit.bundle.build import sources_root
from medkit.bundle.evaluation import write_evaluation
from medkit.bundle.instance import read_config
from medkit.bundle.store import find_bundle, weights_in_use
from medkit.data import Volume, read_volume
from medkit.data.hashing import hash_files
from medkit.errors import CaseError

BUNDLE = "hippocampus_volumetry"
SIDES = ("left", "right")
AIM = 0.03  # difference of the sides of the template
CHOSEN_ON = 12  # heads, the first by name: how crops are cut and brought to a level was chosen on these
_PARTS = ("bundle", "data", "inference", "networks", "ops", "transforms")
_SCRIPTS = ("brain_heads.py", "brain_scores.py", "dlmuse.py", "hippocampus_volumetry.py")
Values = dict[str, Any]


def measured(bundle: Any, image: Volume, reference: Path | None) -> Values:
    """Volumes by side with their intervals, beside those of an automatic label map where there is one."""
    try:
        result = bundle.predict_volume(image)
    except CaseError as error:
        return {"failed": error.code}
    names = result.label_names
    values: Values = {
        "failed": None,
        "seconds": sum(result.seconds.values()),
        "ml": {
            side: sum(ml for name, ml in result.volumes_ml.items() if name.startswith(side)) for side in SIDES
        },
        "interval": {side: _interval(result, side) for side in SIDES},
        "swapped": _swapped(result),
    }
    if reference is not None:
        volume, sets = read_volume(reference), dlmuse.label_sets()
        numbers = {name: value for value, name in sets.compared.items()}
        known = sets.numbers(volume.array)
        values["silver"] = {}
        for side in SIDES:
            mask = known == numbers[f"{side} hippocampus"]
            own = np.isin(result.labels, [value for value, name in names.items() if name.startswith(side)])
            overlap = 2 * np.count_nonzero(mask & own) / (np.count_nonzero(mask) + np.count_nonzero(own))
            values["silver"][side] = {
                "ml": np.count_nonzero(mask) * volume.grid.voxel_volume_ml,
                "dice": overlap,
            }
    return values


def _interval(result: Any, side: str) -> list[float] | None:
    found = (result.volume_interval_ml or {}).get(f"{side} whole hippocampus")
    return None if found is None or "unknown" in (found.low, found.high) else [found.low, found.high]


def _swapped(result: Any) -> bool:
    """Whether the left one's middle lies further to the right than the right one's."""
    middles = []
    for side in SIDES:
        values = [value for value, name in result.label_names.items() if name.startswith(side)]
        places = np.argwhere(np.isin(result.labels, values)) @ result.grid.affine[0, :3]
        middles.append(places.mean() if len(places) else np.nan)
    return not middles[0] < middles[1]


def silver_table(found: Mapping[str, Values]) -> str:
    """By side: how volumes and masks compare with those of the tool, of all heads but the template."""
    done = [values for values in found.values() if values.get("silver")]
    lines = []
    for side in SIDES:
        own = np.array([values["ml"][side] for values in done])
        tool = np.array([values["silver"][side]["ml"] for values in done])
        dices = [values["silver"][side]["dice"] for values in done]
        known = [values for values in done if values["interval"][side]]
        held = [inside(values, side) for values in known]
        lines.append(
            [
                side,
                f"{len(done)} of {len(found) - 1}",
                f"{own.mean():.2f} ± {spread(own):.2f}",
                f"{tool.mean():.2f} ± {spread(tool):.2f}",
                f"{(own - tool).mean():+.2f} ± {spread(own - tool):.2f}",
                f"{np.corrcoef(own, tool)[0, 1]:.2f}" if len(done) > 2 else "-",
                f"{fmean(dices):.3f}, {min(dices):.3f}",
                f"{sum(held)} of {len(held)}",
            ]
        )
    head = [
        "side",
        "n",
        "ml",
        "DLMUSE ml",
        "difference",
        "correlation",
        "Dice, mean and least",
        "in the interval",
    ]
    return table(head, lines)


def asymmetry_text(done: Sequence[Values]) -> str:
    """How much larger right ones are than left ones, by us and by the tool, and whether of the same heads."""
    both = [values for values in done if _has_both(values)]
    told = [[values["ml"], {side: values["silver"][side]["ml"] for side in SIDES}] for values in both]
    own, tool = (np.array([_asymmetry(pair[number]) for pair in told]) for number in (0, 1))
    correlation = f"{np.corrcoef(own, tool)[0, 1]:.2f}" if len(both) > 2 else "-"
    return (
        f"Right less left, in parts of their mean: {own.mean():+.3f} ± {spread(own):.3f}, DLMUSE {tool.mean():+.3f} ± "
        f"{spread(tool):.3f}, correlation {correlation}."
    )


def _has_both(values: Values) -> bool:
    """Whether there is a volume by us and by the tool of either side: an automatic tool too misses one now and then."""
    return bool(values.get("silver")) and all(
        values["ml"][side] > 0 and values["silver"][side]["ml"] > 0 for side in SIDES
    )


def _asymmetry(ml: Mapping[str, float]) -> float:
    return 2 * (ml["right"] - ml["left"]) / (ml["right"] + ml["left"])


def inside(values: Values, side: str) -> bool:
    """Whether the tool's volume lies in the interval about ours."""
    low, high = values["interval"][side]
    return low <= values["silver"][side]["ml"] <= high


def spread(values: np.ndarray) -> float:
    return stdev(values.tolist()) if len(values) > 1 else float("nan")


def template_text(values: Values) -> str:
    if values["failed"]:
        return f"{TEMPLATE} failed ({values['failed']}), aim not met."
    told = []
    for side in SIDES:
        interval = values["interval"][side]
        between = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
        told.append(f"{side} {values['ml'][side]:.2f} ml{between}")
    apart = relative_difference(*(values["ml"][side] for side in SIDES))
    verdict = "met" if apart <= AIM and all(values["ml"].values()) else "not met"
    return (
        f"{TEMPLATE}: {', '.join(told)}; {apart:.1%} apart. Aim: {AIM:.0%} at most, {verdict}. The template is "
        "symmetric, and the network that outlines sees one hippocampus and the mirror image of the other, which are the "
        "same: the sides can differ by the finder alone."
    )


def text_of(found: Mapping[str, Values]) -> str:
    """All that is told of the heads."""
    failed = {name: values["failed"] for name, values in found.items() if values["failed"]}
    done = [values for values in found.values() if not values["failed"]]
    parts = [template_text(found[TEMPLATE])]
    if any(values.get("silver") for values in done):
        parts += [
            "IXI T1 at 2 mm against DLMUSE, an automatic tool with a rule of its own for what belongs to a hippocampus: "
            "a silver standard, and agreement with it is no accuracy. The intervals are for manual outlines of another "
            f"rule. The {CHOSEN_ON} heads on which the margin of the crops was chosen are left out.",
            silver_table(found),
            asymmetry_text(done),
        ]
    swapped = sum(values["swapped"] for values in done)
    seconds = f", {fmean(values['seconds'] for values in done):.1f} s a head" if done else ""
    parts.append(
        f"{len(done)} of {len(found)} heads segmented{seconds} with {torch.get_num_threads()} threads, sides swapped in "
        f"{swapped}." + "".join(f" {name} failed ({code})." for name, code in failed.items())
    )
    return "\n\n".join(parts)


def metrics(found: Mapping[str, Values]) -> dict[str, float]:
    """For the bundle's metadata."""
    done = [values for values in found.values() if values.get("silver")]
    own = found[TEMPLATE]
    named: dict[str, float | None] = {
        "mni152_difference": None if own["failed"] else relative_difference(*own["ml"].values()),
        "heads": float(len(found)),
        "heads_failed": float(sum(bool(values["failed"]) for values in found.values())),
    }
    for side in SIDES if done else ():
        named[f"{side}_dice_silver_standard"] = fmean(values["silver"][side]["dice"] for values in done)
        named[f"{side}_difference_ml_silver_standard"] = fmean(
            values["ml"][side] - values["silver"][side]["ml"] for values in done
        )
    return {name: round(value, 4) for name, value in named.items() if value is not None}


def arguments() -> argparse.Namespace:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument(
        "--quick", action="store_true", help="the template and two heads; no table is written"
    )
    parser.add_argument("--keep", action="store_true", help="write the figures for the card")
    given = parser.parse_args()
    if given.keep and given.quick:
        parser.error("--keep takes figures of all that is measured")
    return given


def main() -> None:
    given = arguments()
    folder = find_bundle(BUNDLE)
    inference = read_config(folder, "inference")
    finder, weights = find_bundle(inference["finder"]["bundle"]), weights_in_use(folder.weights, inference)
    for needed in weights:
        if not needed.is_file():
            sys.exit(f"{needed}: expected the bundle's weights, got no file; train it and adopt the run")
    here = Path(__file__).parent
    key = {
        "weights": hash_files(weights),
        "config": hash_files([folder.config_path("inference"), finder.config_path("inference")]),
        "intervals": folder.metadata.get("volume_intervals"),
        "silver": dlmuse.table_sha256(),
        "code": sources_sha256(_PARTS, [here / name for name in _SCRIPTS]),
        "threads": torch.get_num_threads(),
        **versions(),
    }
    results = Results(given.runs / BUNDLE / "results.jsonl")
    cases = sorted(dlmuse.silver_cases(), key=lambda case: case.name)[CHOSEN_ON:]
    cases = cases[:2] if given.quick else cases
    load = cache(lambda: medkit.load(folder.root))  # not where all is known already

    def head(name: str, read: Callable[[], Volume], reference: Path | None) -> Values:
        def make() -> Values:
            note(name)
            return measured(load(), read(), reference)

        return results.get_or_make({**key, "head": name}, make)

    found = {TEMPLATE: head(TEMPLATE, template, None)}
    for case in cases:
        found[case.name] = head(case.name, partial(read_volume, case.image), case.reference)
    text = text_of(found)
    if not given.quick:
        given.output.write_text(f"# Hippocampus volumetry\n\n{describe()}.\n\n{text}\n")
    if given.keep:
        write_evaluation(sources_root() / BUNDLE, weights, metrics(found), text)
    print(text)


if __name__ == "__main__":
    main()
