"""Does storing a bundle's weights in float16 change anything that is measured?

    MEDKIT_DATA=... python benchmarks/half_precision.py RUN [--output benchmarks/half_precision.md]

RUN is a cross-validated run's folder; each fold's network predicts its held-out cases with its weights as trained
(float32) and as they would be stored (rounded to float16).
"""

from pathlib import Path
from statistics import fmean

import numpy as np
from command_line import command_line
from held_out import held_out_cases
from machine import describe

import medkit
from medkit.metrics.segmentation import score_case


def main() -> None:
    parser = command_line(__doc__, __file__)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    before, after, voxels, changed = [], [], 0, 0
    for folder in sorted(arguments.run.glob("fold*")):
        trained, stored = medkit.load(folder / "bundle"), medkit.load(folder / "bundle")
        for value in stored.network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())
        for image, truth in held_out_cases(folder):
            results = [bundle.predict_volume(image) for bundle in (trained, stored)]
            labels, names = [r.labels.astype(np.int32) for r in results], results[0].label_names
            for dice, found in zip((before, after), labels, strict=True):
                scores = score_case(found, truth.astype(np.int32), image.grid.spacing, names)
                dice.append(fmean(score.dice for score in scores))
            voxels += int((labels[0] > 0).sum())
            changed += int((labels[0] != labels[1]).sum())
    largest = max(abs(a - b) for a, b in zip(before, after, strict=True))
    lines = [
        "| weights | Dice over labels |",
        "|---|---|",
        f"| float32, as trained | {fmean(before):.5f} |",
        f"| float16, as stored | {fmean(after):.5f} |",
        "",
        f"{len(before)} cases. Largest change of a case: {largest:.5f}; voxels of another label: {changed} of "
        f"{voxels} marked ({100 * changed / voxels:.3f} %).",
    ]
    arguments.output.write_text(f"# Weights in half precision\n\n{describe()}.\n\n" + "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
