"""Series to spoil."""

from __future__ import annotations

import subprocess
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


@pytest.fixture
def picture(stack: Stack, tool: Callable[[str], str], tmp_path: Path) -> Callable[..., Path]:
    """Makes a JPEG picture of noise on a ramp by an option of dcmcjpeg, and gives its path."""

    def make(option: str = "+ee", bits: int = 12) -> Path:
        dataset = stack.datasets[0]
        ramp = np.linspace(0.1, 0.8, 48 * 64).reshape(48, 64)
        pixels = (ramp + np.random.default_rng(0).uniform(-0.1, 0.2, ramp.shape)) * (2**bits - 1)
        pixels = pixels.astype("<u1" if bits == 8 else "<u2")
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
        save(tmp_path / "native.dcm", dataset)
        command = [tool("dcmcjpeg"), option, "+q", "90", tmp_path / "native.dcm", tmp_path / "packed.dcm"]
        subprocess.run(command, check=True)
        return tmp_path / "packed.dcm"

    return make
