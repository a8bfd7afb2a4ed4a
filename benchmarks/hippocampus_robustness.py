"""How a hippocampus bundle's fold networks stand crops that differ from the training set's.

    MEDKIT_DATA=... python benchmarks/hippocampus_robustness.py RUN [--output benchmarks/hippocampus_robustness.md]

RUN is a cross-validated run's folder; each network predicts the cases that it was not trained on:

- as they are, and mirrored left to right (the training crops all look like left hippocampi);
- with the crop's window moved: N voxels cut off one side, so that the structure comes nearer to the border or is cut
  (Dice over what remains of the truth);
- on crops of the MNI152 template far from any hippocampus: millilitres marked where there is nothing.
"""

from pathlib import Path
from statistics import fmean

import numpy as np
from command_line import command_line
from held_out import held_out_cases
from machine import describe

import medkit
from medkit.data import Volume, as_volume
from medkit.data.grid import Grid
from medkit.metrics.segmentation import score_case

CUTS = (2, 4, 6, 8)
EMPTY_CENTRES_MM = {
    "frontal": (25, 45, 20),
    "parietal": (-30, -50, 50),
    "cerebellum": (25, -65, -35),
    "midline": (0, 0, 40),
}
EMPTY_CROP = (36, 52, 36)


def crop(volume: Volume, window: tuple[slice, ...]) -> Volume:
    start = [part.indices(n)[0] for part, n in zip(window, volume.grid.shape, strict=True)]
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    array = volume.array[window]
    return Volume(array, Grid(array.shape[:3], affine), volume.name)


def windows() -> dict[str, list[tuple[slice, ...]]]:
    """The windows of each condition: every side of every axis for a cut."""
    whole = slice(None)
    conditions = {"as it is": [(whole, whole, whole)]}
    for cut in CUTS:
        sides = [slice(cut, None), slice(None, -cut)]
        conditions[f"{cut} voxels cut off one side"] = [
            tuple(side if axis == k else whole for k in range(3)) for axis in range(3) for side in sides
        ]
    return conditions


def dice(bundle, image: Volume, truth: np.ndarray) -> list[float]:
    result = bundle.predict_volume(image)
    scores = score_case(
        result.labels.astype(np.int32), truth.astype(np.int32), image.grid.spacing, result.label_names
    )
    return [score.dice for score in scores if np.isfinite(score.dice)]


def empty_volumes(bundle, head: Volume) -> dict[str, float]:
    to_voxel = np.linalg.inv(head.grid.affine)
    volumes = {}
    for name, centre in EMPTY_CENTRES_MM.items():
        start = np.round(to_voxel[:3, :3] @ centre + to_voxel[:3, 3] - np.array(EMPTY_CROP) / 2).astype(int)
        window = tuple(slice(a, a + n) for a, n in zip(start, EMPTY_CROP, strict=True))
        volumes[name] = sum(bundle.predict_volume(crop(head, window)).volumes_ml.values())
    return volumes


def name_of(run: Path) -> str:
    """The bundle that a run belongs to: runs lie in a folder of its name."""
    return f"`{run.resolve().parent.name}`"


def main() -> None:
    from nilearn.datasets import load_mni152_template

    parser = command_line(__doc__, __file__)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    head = as_volume(load_mni152_template(resolution=1))
    scores: dict[str, list[float]] = {}
    empty: dict[str, list[float]] = {}
    for folder in sorted(arguments.run.glob("fold*")):
        bundle = medkit.load(folder / "bundle")
        for image, truth in held_out_cases(folder):
            for name, parts in windows().items():
                for window in parts:
                    scores.setdefault(name, []).extend(dice(bundle, crop(image, window), truth[window]))
            mirrored = Volume(image.array[::-1], image.grid, image.name)
            scores.setdefault("mirrored left to right", []).extend(dice(bundle, mirrored, truth[::-1]))
        for name, volume in empty_volumes(bundle, head).items():
            empty.setdefault(name, []).append(volume)
    base = fmean(scores["as it is"])
    lines = ["| crop | Dice over labels | against as it is | worst label |", "|---|---|---|---|"]
    lines += [f"| {n} | {fmean(v):.4f} | {fmean(v) - base:+.4f} | {min(v):.3f} |" for n, v in scores.items()]
    lines += [
        "",
        "| crop of MNI152 without a hippocampus | ml marked, mean over networks | most |",
        "|---|---|---|",
    ]
    lines += [f"| {n} | {fmean(v):.3f} | {max(v):.3f} |" for n, v in empty.items()]
    arguments.output.write_text(
        f"# Hippocampus crops off their centre\n\nThe fold networks of {name_of(arguments.run)}. {describe()}.\n\n"
        + "\n".join(lines)
        + "\n"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
