"""Segment both hippocampi of the MNI152 T1 template, which nilearn carries in its package.

The bundle works on crops around one hippocampus; the template is registered to MNI space, so that the places
to crop are known. Prints where the label map, the volumes and the picture are, and how far the sides differ.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from nilearn.datasets import load_mni152_template

import medkit
from medkit.data import Volume, as_volume, write_labels, write_volume
from medkit.data.grid import Grid
from medkit.figures.overlay import draw_overlay

CENTRES_MM = {"left": (-26.0, -22.0, -13.0), "right": (26.0, -22.0, -13.0)}
CROP_MM = (36, 52, 36)
LARGEST_DIFFERENCE = 0.03


def crop(head: Volume, centre_mm: tuple[float, float, float]) -> tuple[Volume, tuple[slice, ...]]:
    """Cut a box of ``CROP_MM`` around a point; the template has voxels of 1 mm."""
    to_voxel = np.linalg.inv(head.grid.affine)
    centre = to_voxel[:3, :3] @ np.array(centre_mm) + to_voxel[:3, 3]
    start = np.round(centre - np.array(CROP_MM) / 2).astype(int)
    box = tuple(slice(first, first + size) for first, size in zip(start, CROP_MM, strict=True))
    affine = head.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Volume(head.array[box], Grid(CROP_MM, affine), name="crop"), box


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/demo"))
    output: Path = parser.parse_args().output

    template = load_mni152_template(resolution=1)
    template.header.set_xyzt_units("mm")  # which its file does not state
    head = as_volume(template)
    bundle = medkit.load("hippocampus_segmentation_unet")
    labels = np.zeros(head.grid.shape, np.uint8)
    names: dict[int, str] = {}
    volumes_ml: dict[int, float] = {}
    totals = {}
    for offset, (side, centre) in zip((0, 2), CENTRES_MM.items(), strict=True):
        image, box = crop(head, centre)
        result = bundle.predict(image)
        labels[box] = np.where(result.labels > 0, result.labels + offset, labels[box])
        for value, name in result.label_names.items():
            names[value + offset] = f"{side} {name}"
            volumes_ml[value + offset] = result.volumes_ml[name]
        totals[side] = sum(result.volumes_ml.values())

    write_volume(output / "mni152.nii.gz", head.array.astype(np.float32), head.grid)
    write_labels(output / "hippocampi.nii.gz", labels, head.grid, names)
    draw_overlay(head, labels, names, output / "hippocampi.png", title="MNI152 T1", volumes_ml=volumes_ml)
    with (output / "volumes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["structure", "volume (ml)"])
        writer.writerows((names[value], f"{volume:.3f}") for value, volume in volumes_ml.items())

    difference = abs(totals["left"] - totals["right"]) / np.mean(list(totals.values()))
    print(
        f"left {totals['left']:.2f} ml, right {totals['right']:.2f} ml, difference {100 * difference:.1f} %"
    )
    print(f"scan       {output / 'mni152.nii.gz'}")
    print(f"label map  {output / 'hippocampi.nii.gz'}")
    print(f"volumes    {output / 'volumes.csv'}")
    print(f"picture    {output / 'hippocampi.png'}")
    if difference > LARGEST_DIFFERENCE:
        sys.exit(f"the sides of this symmetric template should agree within {100 * LARGEST_DIFFERENCE:.0f} %")


if __name__ == "__main__":
    main()
