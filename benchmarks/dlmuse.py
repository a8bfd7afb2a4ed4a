"""Heads of the IXI data with automatic label maps, and how a brain bundle's label maps are compared with them.

The label maps are those of DLMUSE: agreement with them is agreement with an automatic tool, not with an expert. What its
values may be among the bundle's classes, the folds, and which cases are left out, stands in
``configs/shared/brain/dlmuse.yaml``, where fine-tuning reads it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medkit.bundle.build import sources_root
from medkit.bundle.fragments import merge, read_fragment
from medkit.data import Volume
from medkit.data.datalist import find_dataset, fold_items
from medkit.data.hashing import hash_files
from medkit.data.label_sets import LabelSets
from medkit.metrics.segmentation import LabelScore, score_case

BUNDLE, DATASET = "brain_anatomy_segmentation", "ixi_t1"


@dataclass(frozen=True)
class SilverCase:
    """One head.

    Args:
        name: of the case.
        fold: that it belongs to.
        image: file of the T1.
        reference: file of the automatic label map.
    """

    name: str
    fold: int
    image: Path
    reference: Path


def label_sets(bundle: str = BUNDLE) -> LabelSets:
    """What the values of the label maps may be among a bundle's classes."""
    config = _config(bundle)
    return LabelSets(config["label_names"], config["label_table"], config["network_def"]["pairs"])


def table_sha256() -> str:
    """Hash of what tells the classes of the values and the cases."""
    root = sources_root()
    return hash_files([root / BUNDLE / "network.yaml", root / "shared" / "brain" / "dlmuse.yaml"])


def silver_cases() -> list[SilverCase]:
    """All cases but the tool's known failures, by fold; the data lie in ``MEDKIT_DATA``."""
    config = _config(BUNDLE)
    split, places = config["split"], {"images": config["images"], "labels": config["labels"]}
    return [
        SilverCase(item["case"], fold, Path(item["image"]), Path(item["label"]))
        for fold in range(len(split))
        for item in fold_items(find_dataset(DATASET), [fold], split=split, **places)
    ]


def silver_scores(labels: NDArray[np.integer], reference: Volume, sets: LabelSets) -> list[LabelScore]:
    """Agreement with the automatic label map in the structures that both know.

    Where the map leaves open which of several classes a voxel is, any of these is taken; another class counts as wrong.

    Args:
        labels: the bundle's label map on the image's own grid, ``(I, J, K)``.
        reference: the automatic label map, as read.
        sets: see :func:`label_sets`.
    """
    if labels.shape != reference.grid.shape:
        raise ValueError(f"expected a label map of shape {reference.grid.shape}, got {labels.shape}")
    predicted, known = sets.comparable(labels, sets.numbers(reference.array))
    grid = reference.grid
    return score_case(predicted, known, grid.spacing_mm, sets.compared, voxel_volume_ml=grid.voxel_volume_ml)


def _config(bundle: str) -> dict:
    root = sources_root()
    network = read_fragment(root / bundle / "network.yaml")
    return merge(network, read_fragment(root / "shared" / "brain" / "dlmuse.yaml"))
