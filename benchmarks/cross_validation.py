"""The cross-validation tables of the hippocampus bundles' records beside their aim.

    python benchmarks/cross_validation.py [--output benchmarks/cross_validation.md]

The figures were made by `medkit train BUNDLE --cross-validate` and adopted with `medkit bundle adopt`; this script only
lays them out.
"""

import json

from command_line import command_line

from medkit.bundle.build import sources_root
from medkit.bundle.card import decimals
from medkit.training.score_summary import MEAN_OVER_LABELS

BUNDLES = ("hippocampus_segmentation_unet", "hippocampus_segmentation_mamba")
AIM_DICE = 0.885


def section(bundle: str) -> str:
    """A heading, how the networks were trained, and their tables."""
    record = json.loads((sources_root() / bundle / "record.json").read_text())
    summary, training = record["cross_validation"]["summary"], record["training"]
    versions = training["versions"]
    lines = [
        f"## {bundle}",
        "",
        f"Trained on {training['device']}; torch {versions['torch']}, monai {versions['monai']}.",
        "",
        "| label | n | Dice | sd | worst | surface Dice 1 mm | HD95 mm | worst HD95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in summary.items():
        d, s, h = row["dice"], row["surface_dice"], row["hd95_mm"]
        lines.append(
            f"| {name} | {d['n']} | {decimals(d['mean'], 4)} | {decimals(d['sd'], 4)} | {decimals(d['worst'], 3)} "
            f"| {decimals(s['mean'], 4)} | {decimals(h['mean'], 2)} | {decimals(h['worst'], 1)} |"
        )
    lines += ["", "| fold | cases | Dice over labels | seconds |", "|---|---|---|---|"]
    lines += [
        f"| {f['fold']} | {f['cases']} | {f['dice']:.4f} | {f['seconds']:.0f} |"
        for f in record["cross_validation"]["folds"]
    ]
    reached = summary[MEAN_OVER_LABELS]["dice"]["mean"]
    verdict = "met" if reached >= AIM_DICE else "not met"
    return "\n".join(
        [*lines, "", f"Aim: Dice over labels of {AIM_DICE} or more. Measured: {reached:.4f}, {verdict}."]
    )


def main() -> None:
    output = command_line(__doc__, __file__).parse_args().output
    text = "\n\n".join(["# Cross-validation", *map(section, BUNDLES)])
    output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
