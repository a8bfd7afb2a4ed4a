"""An image for the bundles to segment."""

from __future__ import annotations

import pytest

from tests.phantoms import write_hippocampus


@pytest.fixture
def image(tmp_path):
    write_hippocampus(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"
