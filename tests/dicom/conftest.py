"""Series to spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.dicom_series.stacks import Stack, save


@pytest.fixture
def stack() -> Stack:
    """Nine axial slices of CT."""
    return Stack(np.random.default_rng(7))


@pytest.fixture
def mr() -> Stack:
    """Nine axial slices of MR."""
    return Stack(np.random.default_rng(8), modality="MR")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write data sets into a folder of their own, and give it."""

    def write(datasets: list[Dataset], name: str = "series") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number, dataset in enumerate(datasets):
            save(folder / f"{number:03}.dcm", dataset)
        return folder

    return write
