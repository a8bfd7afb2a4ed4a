"""A data set and settings small enough to train on in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import pytest

from tests.phantoms import hippocampus, nifti

AFFINE = nib.affines.from_matvec([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [1, 2, 3])


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms in three folds, as `dataset.json` lists them."""
    root = tmp_path_factory.mktemp("phantoms")
    names = [f"phantom_{number}" for number in range(1, 7)]
    for seed, name in enumerate(names):
        image, labels = hippocampus((20, 24, 18), AFFINE, seed)
        for folder, array in (("images", image), ("labels", labels)):
            (root / folder).mkdir(exist_ok=True)
            nib.save(nifti(array, AFFINE), root / folder / f"{name}.nii.gz")
    folds = [names[0:2], names[2:4], names[4:6]]
    (root / "dataset.json").write_text(json.dumps({"name": "phantoms", "folds": folds}))
    return root


@pytest.fixture
def small(dataset_dir: Path) -> dict[str, object]:
    """Overrides that make the hippocampus bundle's training take seconds."""
    return {
        "dataset_dir": str(dataset_dir),
        "network_def::filters": [4, 8, 8, 8],
        "patch_size": [24, 24, 24],
        "epochs": 3,
        "samples_per_epoch": 8,
        "batch_size": 2,
        "val_every": 2,
    }
