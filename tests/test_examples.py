"""The examples run as they are, and find what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest

from tests.head_phantom import head
from tests.phantoms import nifti

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_both_hippocampi_of_the_mni152_template_have_a_plausible_volume(tmp_path):
    output = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, EXAMPLES / "mni152_hippocampi.py", "--output", output],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    files = {"mni152.nii.gz", "hippocampi.nii.gz", "volumes.csv", "hippocampi.png"}
    assert {path.name for path in output.iterdir()} == files
    assert all(str(output / name) in done.stdout for name in files)
    left, right = (float(number) for number in re.findall(r"(?:left|right) ([\d.]+) ml", done.stdout))
    assert 3.3 <= min(left, right) <= max(left, right) <= 5
    assert abs(left - right) <= 0.03 * (left + right) / 2


@pytest.mark.parametrize("more", [[], ["--subject"]])
def test_a_sheet_of_synthetic_brains(tmp_path, more):
    nib.save(nifti(head().numpy()[0, 0], np.eye(4)), tmp_path / "labels.nii.gz")
    options = ["--output", "sheet.png", "--samples", "3", "--size", "32"]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "synthetic_brains.py", "labels.nii.gz", *options, *more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    height, width, _ = plt.imread(tmp_path / "sheet.png").shape
    assert (height, width) == (748, 726)
