"""Draw a sheet of synthetic brain images: three planes of each, with the spacing that it was acquired with.

    python examples/synthetic_brains.py LABEL_MAP --output sheet.png [--samples 8] [--seed 0] [--size 160]
    python examples/synthetic_brains.py LABEL_MAP --output sheet.png --subject

The label map is a NIfTI file with the values of SynthSeg's training maps, at 1 mm. With `--subject` all samples are
versions of one head: the first half mild, the others severe.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import torch

from medkit.transforms.synthesis.brain import brain_generator, intra_subject_brain_generator


def read(path: Path) -> torch.Tensor:
    """Labels (1, 1, D, H, W), axes to the right, to the front and up."""
    volume = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    return torch.from_numpy(np.ascontiguousarray(volume.round().astype(np.int32)))[None, None]


def spacing(steps: list[dict[str, Any]]) -> str:
    axes = next(entry["parameters"]["axes"] for entry in steps if entry["step"] == "Acquisition")
    return " x ".join(f"{axis['spacing']:.1f}" for axis in axes) + " mm"


def draw(images: list[torch.Tensor], titles: list[str], path: Path) -> None:
    """Sagittal, coronal and axial through the middle, one column an image."""
    figure, axes = plt.subplots(3, len(images), figsize=(2.2 * len(images), 6.8), squeeze=False)
    for column, (image, title) in enumerate(zip(images, titles, strict=True)):
        a, b, c = (length // 2 for length in image.shape)
        for row, plane in enumerate((image[a], image[:, b], image[:, :, c])):
            axes[row, column].imshow(plane.T, origin="lower", cmap="gray", vmin=0, vmax=1)
            axes[row, column].axis("off")
        axes[0, column].set_title(title, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("label_map", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--subject", action="store_true")
    options = parser.parse_args()
    labels, rng = read(options.label_map), torch.Generator().manual_seed(options.seed)
    size = (options.size,) * 3
    if options.subject:
        mild = options.samples // 2
        found = intra_subject_brain_generator(size, mild, options.samples - mild)(labels, rng)
        images, steps = list(found.image[0]), found.record[0]["versions"]
    else:
        made = [brain_generator(size)(labels, rng) for _ in range(options.samples)]
        images, steps = [one.image[0, 0] for one in made], [one.record[0]["steps"] for one in made]
    draw(images, [spacing(entry) for entry in steps], options.output)


if __name__ == "__main__":
    main()
