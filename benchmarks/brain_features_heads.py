"""Synthetic heads of a bundle's label maps, and tasks made of them, to measure features of the brain on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import BundleFolder
from medkit.data.datalist import fold_label_maps
from medkit.transforms.synthesis.acquisition import Acquisition
from medkit.transforms.synthesis.bias_field import BiasField, log_field
from medkit.transforms.synthesis.brain import intra_subject_brain_generator
from medkit.transforms.synthesis.brain_contrasts import brain_contrasts
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.chain import Chain
from medkit.transforms.synthesis.gamma import Gamma
from medkit.transforms.synthesis.intensities import Intensities
from medkit.transforms.synthesis.kspace_noise import KSpaceNoise
from medkit.transforms.synthesis.label_scheme import looked_up
from medkit.transforms.synthesis.normalisation import Normalisation
from medkit.transforms.synthesis.resolution import Resolution
from medkit.transforms.synthesis.sample import Sample
from medkit.transforms.synthesis.synthesised import Synthesised

HELD_OUT, LEARNED = 0, 1  # folds of the label maps
T1, OTHERS = "T1, inversion recovery", ("T2", "FLAIR", "proton density")
SLICES_MM = 5.0
SYNTHESIS, SEGMENTATION, BIAS, RESOLUTION = (
    "T1 synthesis",
    "segmentation",
    "bias field",
    "super-resolution",
)

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Example:
    """A head, and what each task is given of it and wants.

    Args:
        classes: ``(D, H, W)``, those of the bundle.
        inside: ``(D, H, W)``, brain and the fluid about it.
        pairs: by task, image and what is wanted, ``(1, 1, D, H, W)``.
    """

    classes: Tensor
    inside: Tensor
    pairs: dict[str, tuple[Tensor, Tensor]]


class LabelMaps:
    """Those that a bundle's network learned from, and those that were held out.

    Args:
        folder: of the bundle, trained on label maps of `brain_label_maps` in MEDKIT_DATA.
    """

    def __init__(self, folder: BundleFolder) -> None:
        self.config = ConfigInstance(folder, "train", {"fold": HELD_OUT})
        self._prepare = self.config.build("train::preprocessing")
        self._of_targets = Synthesised(
            "label", intra_subject_brain_generator(), self.config.parser["classes"]
        ).table

    def of_fold(self, fold: int) -> list[Tensor]:
        """``(1, D, H, W)`` each, cut to the head."""
        items = fold_label_maps(self.config.build("dataset_dir"), [fold], self.config.build("split"))
        return [self._prepare({"label": str(Path(item["label"]))})["label"] for item in items]

    def classes(self, labels: Tensor) -> Tensor:
        """Those of the bundle, of values of the maps."""
        targets = looked_up(brain_scheme().target_table(labels.device), labels)
        return looked_up(self._of_targets, targets).long()


def made(steps: Chain, head: Sample, rng: torch.Generator) -> Tensor:
    return steps.apply(head, steps.draw(rng)).needed_image


def of_each(
    maps: Sequence[Tensor], count: int, seed: int, make: Callable[[Tensor, torch.Generator], Any]
) -> list[Any]:
    """Heads of the maps in turn, each of its own random numbers."""
    return [
        make(maps[number % len(maps)], torch.Generator().manual_seed(1000 * seed + number))
        for number in range(count)
    ]


def example(label_map: Tensor, rng: torch.Generator, size: Size, maps: LabelMaps) -> Example:
    """Of one head all tasks, so that they differ in nothing else."""
    scheme = brain_scheme()
    anatomy = intra_subject_brain_generator(size).anatomy
    drawn = anatomy.apply(Sample(label_map[0].contiguous()), anatomy.draw(rng))
    head = replace(drawn, lesions=None)  # how bright one is in another contrast nobody can tell
    other = made(_other_contrast(), head, rng)
    sharp = made(_sharp(OTHERS), head, rng)
    bias, thick = BiasField(std=(0.2, 0.6)), _thick()
    field = bias.draw(rng)
    seen = bias.apply(head.with_image(sharp), field)
    inside = scheme.mask(head.labels, ["brain", "fluid"])
    logarithm = log_field(field, size, head.labels.device)
    classes = maps.classes(head.labels)
    pairs = {
        SYNTHESIS: (other, made(_clean(T1), head, rng)),
        SEGMENTATION: (other, classes),
        BIAS: (made(Chain([Normalisation()]), seen, rng), logarithm - logarithm[inside].mean()),
        RESOLUTION: (made(thick, head.with_image(sharp), rng), sharp),
    }
    return Example(
        classes,
        inside,
        {task: (image[None, None], want[None, None]) for task, (image, want) in pairs.items()},
    )


def _contrasts(names: Sequence[str], **ranges: Any) -> Intensities:
    return Intensities(brain_scheme(), contrasts=[brain_contrasts()[name] for name in names], **ranges)


def _clean(name: str) -> Chain:
    """A contrast as the scanner has it, without noise."""
    return Chain([_contrasts([name], std=(0, 0), freedom=(0, 0)), Normalisation()])


def _sharp(names: Sequence[str]) -> Chain:
    return Chain([_contrasts(names, std=(0, 0.03), freedom=(0, 0.3)), Normalisation()])


def _other_contrast() -> Chain:
    """Anything but T1, with the usual faults."""
    scan = Acquisition(
        Resolution(fine_probability=0.5, slice_spacing=(1, 5), voxel=(1, 2)), [KSpaceNoise(std=(0, 0.03))]
    )
    image = _contrasts(OTHERS, std=(0, 0.06), freedom=(0, 0.3))
    return Chain([image, BiasField(std=(0, 0.3)), Gamma(0.1), scan, Normalisation()])


def _thick() -> Chain:
    slices = Resolution(
        fine_probability=0, thick_probability=1, slice_spacing=(SLICES_MM,) * 2, in_slice=(1, 1)
    )
    return Chain([Acquisition(slices)])
