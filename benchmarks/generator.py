"""Measure how long a synthetic image of the brain takes, step by step.

    python benchmarks/generator.py [--maps FOLDER] [--size 160] [--device cpu|cuda] [--samples 8] [--output FILE]

The maps are those of a folder of NIfTI files, by default `brain_label_maps` of MEDKIT_DATA, or else a phantom of 256^3.
Every sample has its own parameters: what a step takes depends on them, so its mean and its longest are told, and how
often it did anything. The whole is made a second time, in one call. Reading the map is not part of it; checking its
values is, and the hash of it in the record. On a GPU the clock waits for it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from command_line import command_line
from machine import describe
from timing import note

sys.path.insert(0, str(Path(__file__).parents[1]))
from medkit.transforms.synthesis.brain import brain_generator
from medkit.transforms.synthesis.generator import Generator
from medkit.transforms.synthesis.sample import Sample
from tests.head_phantom import head

WARM_UP = 2
AIMS = {"cuda": 0.15, "cpu": 3.0}
WHOLE, CHECK = "whole sample", "check of the labels"


def maps(folder: Path | None, device: str) -> Iterator[torch.Tensor]:
    """Label maps (1, 1, D, H, W) on the device, round and round."""
    paths = sorted(folder.glob("*.nii.gz")) if folder else []
    if folder and not paths:
        raise SystemExit(f"expected label maps (*.nii.gz) in {folder}, got none; name another folder")
    if not paths:
        yield from cycle([head((256, 256, 256)).to(device)])
    for path in cycle(paths):
        volume = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj).astype(np.int32)
        yield torch.from_numpy(np.ascontiguousarray(volume))[None, None].to(device)


def seconds(
    generator: Generator, labels: torch.Tensor, rng: torch.Generator
) -> tuple[dict[str, float], set[str]]:
    """Of each step and of all, and the names of the steps that changed the sample."""
    changed, taken = set(), {}
    twin = torch.Generator()
    twin.set_state(rng.get_state())  # the whole is drawn alike
    drawn = generator.steps.draw(rng)
    start = now(labels)
    generator.scheme.check(labels)
    taken[CHECK] = now(labels) - start
    sample = Sample(labels[0, 0])
    for step, parameters in zip(generator.steps.steps, drawn, strict=True):
        start, before = now(labels), sample
        sample = step.apply(sample, parameters)
        taken[type(step).__name__] = now(labels) - start
        changed |= {type(step).__name__} if sample is not before else set()
    start = now(labels)
    generator(labels, twin)
    return {**taken, WHOLE: now(labels) - start}, changed


def now(labels: torch.Tensor) -> float:
    if labels.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def table(found: list[tuple[dict[str, float], set[str]]]) -> list[str]:
    lines = ["| step | mean s | longest s | samples that it changed |", "|---|---|---|---|"]
    for name in found[0][0]:
        times = [taken[name] for taken, _ in found]
        often = sum(name in changed for _, changed in found) if name not in (WHOLE, CHECK) else ""
        lines.append(f"| {name} | {statistics.mean(times):.4f} | {max(times):.4f} | {often} |")
    return lines


def arguments() -> argparse.Namespace:
    parser = command_line(__doc__, __file__)
    data = os.environ.get("MEDKIT_DATA")
    parser.add_argument("--maps", type=Path, default=Path(data) / "brain_label_maps" if data else None)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument(
        "--device", choices=list(AIMS), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--samples", type=int, default=8)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    generator, rng = brain_generator((options.size,) * 3), torch.Generator().manual_seed(0)
    found = []
    for number, labels in zip(
        range(options.samples + WARM_UP), maps(options.maps, options.device), strict=False
    ):
        taken = seconds(generator, labels, rng)
        note(f"{number}: {taken[0][WHOLE]:.3f} s")
        found += [taken] if number >= WARM_UP else []
    place = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    source = "real label maps" if options.maps else "a phantom of 256^3"
    lines = [
        f"# A synthetic brain image of {options.size}^3",
        "",
        f"{describe()}; {place}. {len(found)} samples from {source}. Aim: {AIMS[options.device]} s.",
        "",
        *table(found),
    ]
    options.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
